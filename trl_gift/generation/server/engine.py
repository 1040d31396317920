"""A completion server as an engine: vLLM, or another server that speaks OpenAI's `/v1/completions`.

Each completion is a request of its own, seeded by its stream key, and many are under way at once, so that the server
batches them as it likes. A sample therefore does not depend on order, on other samples or on a crash as far as the
*server* keeps its promise about seeds (vLLM does so up to rounding, which depends on what else is in a batch). The
samples are not those of the other engines: another program draws them.

Log-probabilities are the model's own. Servers that give those after temperature and truncation are found out by two
requests of one token; then, and where a server gives no token ids, completions are scored.

Not covered: servers that give neither log-probabilities nor a way to score.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from trl_gift.errors import ConfigError
from trl_gift.generation import decoding
from trl_gift.generation.engine import Completion, FinishReason, GenerationRequest, GenerationResult
from trl_gift.generation.server import protocol
from trl_gift.generation.server.client import CompletionClient, GenerationUnavailable, UnknownModel
from trl_gift.generation.server.threads import Workers
from trl_gift.generation.stops import text_end

# How long a step waits for an answer before it returns to the caller.
_POLL_S = 0.02
_DEFAULT_REQUESTS = 128
_URGENT = float("inf")
# Two ways of saying the same number, in half precision, differ by less.
_SAME_LOGPROB = 0.05


class RestartableServer(Protocol):
    """A server that the engine may have started again (`trl_gift.generation.server.process.ManagedServer`)."""

    def is_alive(self) -> bool:
        """Whether its process runs."""
        ...

    def restart(self, reason: str) -> None:
        """Starts it again.

        Raises:
            GenerationUnavailable: if it was already started again once.
        """
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter for the server.

    Attributes:
        name: What the server calls it; says which weights these are.
        path: Its folder, as the server sees it.
    """

    name: str
    path: str


@dataclass(slots=True)
class _Flight:
    """A request with the completions that are done."""

    request: GenerationRequest
    finished: dict[int, Completion] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    """One missing completion; `life` counts the server's restarts before the request was sent."""

    flight: _Flight
    index: int
    life: int = 0
    misses: int = 0


class ServerEngine:
    """Client of a completion server.

    Args:
        client: Talks to the server.
        tokenizer: The model's tokenizer; the server must have the same.
        end_ids: Tokens that end a completion; the tokenizer's end token if not given.
        batch_size: Most requests under way at once; 128 if not given.
        model: The name that the server serves the model by; the first that it lists if not given.
        adapter: The adapter to sample from.
        server: The server's process, if it is ours: it is started again once when it dies.

    Raises:
        ConfigError: from `step` and `score`, if the server cannot do what is needed.
    """

    def __init__(
        self,
        client: CompletionClient,
        tokenizer: PreTrainedTokenizerBase,
        *,
        end_ids: frozenset[int] | None = None,
        batch_size: int | None = None,
        model: str | None = None,
        adapter: Adapter | None = None,
        server: RestartableServer | None = None,
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        # Fast tokenizers must not be used by two threads at once.
        self._tokenizing = threading.Lock()
        self._end_ids = frozenset({int(tokenizer.eos_token_id)}) if end_ids is None else end_ids
        self._workers = Workers(batch_size or _DEFAULT_REQUESTS)
        self._given_model = model
        self._adapter = adapter
        self._server = server
        self._model: str | None = None
        self._life = 0
        self._trouble: GenerationUnavailable | None = None
        self._missing: list[_Job] = []
        self._finished: queue.SimpleQueue[tuple[_Job, Future[Completion]]] = queue.SimpleQueue()
        self._flights = 0
        self._gives_raw_logprobs: bool | None = None
        self._scores_by_echo = False
        self.tokens_generated = 0

    @property
    def pending(self) -> int:
        """Requests submitted and not yet returned."""
        return self._flights

    def submit(self, request: GenerationRequest) -> None:
        """Queues a request; it goes out with the next step."""
        self._flights += 1
        flight = _Flight(request)
        self._missing.extend(_Job(flight, index) for index in range(len(request.stream_keys)))

    def step(self) -> list[GenerationResult]:
        """Sends the missing requests, waits a moment, and returns the requests that are finished, possibly none.

        Raises:
            GenerationUnavailable: if the server is gone, and for the second time if it is ours. What has come in was
                returned before; all other requests are sent again with the next step.
            ConfigError: if the server refuses a request.
        """
        try:
            if self._missing and self._trouble is None:
                self._send()
        except GenerationUnavailable as trouble:
            self._trouble = trouble
        results = self._collect()
        if not results and self._trouble is not None:
            self._recover()
        return results

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, ...]]:
        """Log-probability of each completion token after its prompt; scoring goes before all waiting completions.

        Raises:
            GenerationUnavailable: if the server is gone, and for the second time if it is ours.
            ConfigError: if the server has no way to score.
        """
        done: dict[int, tuple[float, ...]] = {}
        while len(done) < len(pairs):
            try:
                model, life = self._prepare(), self._life
                futures = {
                    place: self._workers.start(partial(self._score, model, life, *pairs[place]), _URGENT)
                    for place in range(len(pairs))
                    if place not in done
                }
                for place, future in futures.items():
                    done[place] = future.result()
            except GenerationUnavailable as trouble:
                self._trouble = trouble
                self._recover()
        return [done[place] for place in range(len(pairs))]

    def close(self) -> None:
        """Breaks off what is under way. Not needed after the last result; the threads are gone by then."""
        self._workers.drop_waiting()
        self._client.close()

    def _prepare(self) -> str:
        """The name to ask for, with the adapter loaded."""
        if self._model is None:
            if self._adapter is not None:
                self._client.load_adapter(self._adapter.name, self._adapter.path)
                self._model = self._adapter.name
            else:
                self._model = self._given_model or self._first_model()
        return self._model

    def _first_model(self) -> str:
        models = self._client.models()
        if not models:
            raise ConfigError(f"{self._client.url} serves no model; start it with one, or set server_model.")
        return models[0]

    def _send(self) -> None:
        model = self._prepare()
        if self._gives_raw_logprobs is None:
            touched = [job for job in self._missing if not job.flight.request.params.is_untouched]
            if touched:
                self._gives_raw_logprobs = self._probe(model, touched[0].flight.request)
        missing, self._missing = self._missing, []
        for job in missing:
            job.life = self._life
            future = self._workers.start(partial(self._complete, model, job), job.flight.request.priority)
            future.add_done_callback(partial(self._note, job))

    def _note(self, job: _Job, future: Future[Completion]) -> None:
        if not future.cancelled():
            self._finished.put((job, future))

    def _probe(self, model: str, request: GenerationRequest) -> bool:
        """Whether log-probabilities are the same at two temperatures, and so those of the model itself."""
        # Behind one token, where hardly any model is so sure of the next that temperature would not show.
        prompt = request.prompt_ids[:1]
        cold, hot = (
            protocol.likeliest(self._client.complete(protocol.probe_body(model, prompt, temperature)))
            for temperature in (1.0, 2.0)
        )
        return cold is not None and hot is not None and abs(cold - hot) < _SAME_LOGPROB

    def _collect(self) -> list[GenerationResult]:
        results: list[GenerationResult] = []
        wait = self._flights > 0 and self._trouble is None
        while True:
            try:
                job, future = self._finished.get(timeout=_POLL_S) if wait else self._finished.get_nowait()
            except queue.Empty:
                return results
            wait = False
            completion = self._result(job, future)
            if completion is None:
                self._missing.append(job)
                continue
            request = job.flight.request
            self.tokens_generated += len(completion.token_ids)
            job.flight.finished[job.index] = completion
            if len(job.flight.finished) == len(request.stream_keys):
                completions = tuple(job.flight.finished[index] for index in range(len(request.stream_keys)))
                results.append(GenerationResult(request.key, completions))
                self._flights -= 1

    def _result(self, job: _Job, future: Future[Completion]) -> Completion | None:
        """The completion, or None if it must be requested again."""
        try:
            return future.result()
        except GenerationUnavailable as trouble:
            # Trouble with a server that has since been started again is over.
            if job.life == self._life:
                self._trouble = trouble
        except UnknownModel:
            # A server that its owner restarted has lost its adapters.
            job.misses += 1
            if self._adapter is None or job.misses > 1:
                raise
            self._model = None
        return None

    def _recover(self) -> None:
        trouble, self._trouble = self._trouble, None
        assert trouble is not None
        if self._server is None:
            raise trouble
        self._life += 1
        self._model = None
        self._server.restart(str(trouble))

    def _is_alive(self, life: int) -> bool:
        """Whether another attempt can help a job of that life of the server."""
        return self._server is None or (life == self._life and self._server.is_alive())

    # In the threads -------------------------------------------------------------------------------------------------

    def _complete(self, model: str, job: _Job) -> Completion:
        request = job.flight.request
        body = protocol.generation_body(
            model, request.prompt_ids, request.params, request.stream_keys[job.index], self._end_ids
        )
        answer = protocol.Answer.from_choice(self._ask(body, job.life))
        with self._tokenizing:
            completion = self._read(request, answer)
        if not completion.token_ids:
            return completion
        raw = request.params.is_untouched or self._gives_raw_logprobs
        if not completion.logprobs or not raw:
            logprobs = self._score(model, job.life, request.prompt_ids, completion.token_ids)
            completion = replace(completion, logprobs=logprobs)
        return completion

    def _ask(self, body: Mapping[str, Any], life: int) -> Mapping[str, Any]:
        return self._client.complete(body, partial(self._is_alive, life))

    def _read(self, request: GenerationRequest, answer: protocol.Answer) -> Completion:
        """An answer as a completion; without log-probabilities if they have to be found by scoring."""
        stop = request.params.stop
        if answer.token_ids is None:
            # Tokenised again, perhaps not as sampled; scoring these tokens is right for them all the same.
            by_stop_text = answer.stop_text is not None or (answer.ended and bool(stop))
            ids = list(self._tokenizer(answer.text, add_special_tokens=False)["input_ids"])
            if answer.ended and not by_stop_text:
                ids.append(min(self._end_ids))
            cut = text_end(answer.text, request.params)
            reason: FinishReason = "stop" if by_stop_text or cut is not None else "eos" if answer.ended else "length"
            return Completion(answer.text[:cut], tuple(ids), (), reason)
        completion = decoding.completion_from(
            self._tokenizer, request.prompt_ids, answer.token_ids, answer.logprobs or (), self._end_ids, request.params
        )
        if completion.finish_reason == "length" and answer.ended:
            # It ended in a way that its tokens do not show: an end token that the server keeps to itself.
            return replace(completion, finish_reason="stop" if answer.stop_text is not None else "eos")
        return completion

    def _score(self, model: str, life: int, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[float, ...]:
        if not self._scores_by_echo:
            try:
                choice = self._ask(protocol.scoring_body(model, prompt, tokens, echo=False), life)
            except UnknownModel:
                raise
            except ConfigError:
                found = None  # a field that a strict server does not know
            else:
                found = protocol.scores(choice, prompt, tokens, echo=False)
            if found is not None:
                return found
        choice = self._ask(protocol.scoring_body(model, prompt, tokens, echo=True), life)
        found = protocol.scores(choice, prompt, tokens, echo=True)
        if found is None:
            raise ConfigError(
                f"{self._client.url} gives no log-probabilities of given tokens, neither by 'prompt_logprobs' (vLLM) "
                "nor by 'echo'; use a vLLM server, or generation_engine='compact'."
            )
        self._scores_by_echo = True
        return found
