"""A completion server as an engine: vLLM, or another server that speaks OpenAI's `/v1/completions`.

Each completion is a request of its own, seeded by its stream key, and many are under way at once, so that the server
batches them as it likes. A sample therefore does not depend on order, on other samples or on a crash as far as the
*server* keeps its promise about seeds (vLLM does so up to rounding, which depends on what else is in a batch). The
samples are not those of the other engines: another program draws them.

Log-probabilities are the model's own. Servers that give those after temperature and truncation are found out by two
requests of one token; then, and where a server gives no token ids, completions are scored.

Prompts and completions have to fit into the server's context, which the engine reads from the server: a completion that
the context cuts ends with the reason `"context"`. Stop texts that the server does not take, and the closing fence of a
program, are found here, and the tokens after them are dropped.

Not covered: servers that give neither log-probabilities nor a way to score.
"""

from __future__ import annotations

import logging
import math
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from trl_gift.errors import ConfigError
from trl_gift.generation import decoding
from trl_gift.generation.engine import Completion, FinishReason, GenerationRequest, GenerationResult, SamplingParams
from trl_gift.generation.server import protocol
from trl_gift.generation.server.client import CompletionClient, GenerationUnavailable, UnknownModel
from trl_gift.generation.server.kinds import Kind, ServedModel, identify
from trl_gift.generation.server.threads import Workers
from trl_gift.generation.stops import StopFinder, TokenTexts, text_end

_logger = logging.getLogger(__name__)
FOREIGN_STOP_TEXTS = 4
"""Stop texts that a request to a server that the user runs has at most: vLLM refuses more unless it is told otherwise."""

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
        most_stops: Most stop texts that a request may have; the engine cuts completions at the others.

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
        most_stops: int = FOREIGN_STOP_TEXTS,
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        # Fast tokenizers must not be used by two threads at once.
        self._tokenizing = threading.Lock()
        self._texts = TokenTexts(tokenizer)
        self._end_ids = frozenset({int(tokenizer.eos_token_id)}) if end_ids is None else end_ids
        self._workers = Workers(batch_size or _DEFAULT_REQUESTS)
        self._given_model = model
        self._adapter = adapter
        self._server = server
        self._most_stops = most_stops
        self._served: ServedModel | None = None
        self._cut_by_context = 0
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
        """Breaks off what is under way, and says how many completions the server's context has cut."""
        if self._cut_by_context:
            assert self._served is not None
            _logger.warning(
                "%d completions were cut by the context of %s, which holds %d tokens (finish_reason 'context').",
                self._cut_by_context, self._client.url, self._served.context,
            )  # fmt: skip
            self._cut_by_context = 0
        self._workers.drop_waiting()
        self._client.close()

    def _prepare(self) -> str:
        """The name to ask for, with the adapter loaded."""
        if self._served is None:
            self._served = identify(self._client, self._given_model)
        if self._model is None:
            if self._adapter is not None:
                self._client.load_adapter(self._adapter.name, self._adapter.path)
                self._model = self._adapter.name
            else:
                self._model = self._served.name
        return self._model

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
            self._cut_by_context += completion.finish_reason == "context"
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
        room = self._room(len(request.prompt_ids))
        if room < 1:
            return Completion("", (), (), "context")
        params = replace(request.params, max_new_tokens=min(request.params.max_new_tokens, room))
        key = request.stream_keys[job.index]
        body = protocol.generation_body(model, request.prompt_ids, params, key, self._end_ids, self._most_stops)
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

    def _room(self, tokens: int) -> int:
        """How many tokens fit into the server's context after these."""
        context = self._served.context if self._served is not None else None
        return sys.maxsize if context is None else context - tokens

    def _ask(self, body: Mapping[str, Any], life: int) -> Mapping[str, Any]:
        return self._client.complete(body, partial(self._is_alive, life))

    def _read(self, request: GenerationRequest, answer: protocol.Answer) -> Completion:
        """An answer as a completion; without log-probabilities if they have to be found by scoring."""
        params = request.params
        if answer.token_ids is None:
            # Tokenised again, perhaps not as sampled; scoring these tokens is right for them all the same.
            by_stop_text = answer.stop_text is not None or (answer.ended and bool(params.stop[: self._most_stops]))
            cut = text_end(answer.text, params)
            ids = list(self._tokenizer(answer.text[:cut], add_special_tokens=False)["input_ids"])
            if answer.ended and not by_stop_text and cut is None:
                ids.append(min(self._end_ids))
            reason: FinishReason = "stop" if by_stop_text or cut is not None else "eos" if answer.ended else "length"
            completion = Completion(answer.text[:cut], tuple(ids), (), reason)
            return self._as_cut(completion, self._room(len(request.prompt_ids)), params)
        end = self._end(answer.token_ids, params)
        completion = decoding.completion_from(
            self._tokenizer,
            request.prompt_ids,
            answer.token_ids[:end],
            (answer.logprobs or ())[:end],
            self._end_ids,
            params,
        )
        if completion.finish_reason == "length" and answer.ended:
            # It ended in a way that its tokens do not show: an end token that the server keeps to itself.
            if self._drops_stop_tokens and params.stop:
                return replace(completion, text=answer.text, finish_reason="stop")
            return replace(completion, finish_reason="stop" if answer.stop_text is not None else "eos")
        return self._as_cut(completion, len(answer.token_ids), params)

    @property
    def _drops_stop_tokens(self) -> bool:
        """Whether the tokens of a stop text are missing: those of an end token are there, so what ended without one did so."""
        return self._served is not None and self._served.kind is Kind.LLAMA_CPP

    def _end(self, token_ids: Sequence[int], params: SamplingParams) -> int:
        """Number of tokens up to the one that completes a stop text or the program's fence."""
        finder = StopFinder(self._texts, params)
        return next((place for place, token in enumerate(token_ids, 1) if finder.add(token)), len(token_ids))

    def _as_cut(self, completion: Completion, tokens: int, params: SamplingParams) -> Completion:
        """With the reason `"context"` where the server's context ended after `tokens`, before the longest length."""
        if completion.finish_reason == "length" and tokens < params.max_new_tokens:
            return replace(completion, finish_reason="context")
        return completion

    def _score(self, model: str, life: int, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[float, ...]:
        if self._room(len(prompt) + len(tokens)) < 1:  # a scoring request draws a token
            return (math.nan,) * len(tokens)
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
