"""A teacher behind a chat endpoint that speaks OpenAI's protocol: OpenAI itself, or any server with `/chat/completions`.

The official client sends the requests and repeats those that failed. Each answer is on disk before it is used (`answers`), so
nothing is paid for twice. The key comes from an environment variable and goes to the endpoint alone; should an error of the
endpoint quote it, the message is cut free of it.

Not covered: endpoints that stream only, tools, images.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trl_gift import codetext
from trl_gift.common.words import plural
from trl_gift.distillation.answers import ANSWERS, Answer, Answers
from trl_gift.distillation.limits import Pace, Prices, Purse
from trl_gift.distillation.questions import Questions
from trl_gift.errors import ConfigError, StageUnavailable
from trl_gift.generation import Engine
from trl_gift.prompts import Extraction, Hint, NoProgram, PromptFormat, find_in_answer, thoughts
from trl_gift.sampling.learner import learned
from trl_gift.sampling.scheduler import Wait
from trl_gift.sampling.stopped import MAX_COST
from trl_gift.sampling.writers import TeacherSpent, Writer, Written
from trl_gift.tasks import Task

# A token stands for at least one byte, and a message costs a few tokens besides.
_TOKENS_OF_FRAME = 100
_NO_KEY = "none"
_FIRST_ANSWER_S = 10.0


class TeacherUnavailable(StageUnavailable):
    """The endpoint does not answer; what it has answered is kept."""


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How an endpoint is reached and what it may cost.

    Attributes:
        model: The model's name there.
        folder: Where its answers are kept.
        base_url: The address, such as `"http://localhost:8000/v1"`; None for OpenAI's own.
        key_variable: Name of the environment variable that holds the key.
        temperature: As in the protocol.
        max_tokens: Most tokens of an answer.
        timeout_s: Seconds to wait for an answer.
        retries: How often a failed request is repeated.
        concurrency: Number of requests that are under way at once.
        requests_per_minute: Number of requests that begin within a minute; None for any number.
        prices: What tokens cost; None if that is not known.
        most_cost: What all answers in the folder together may cost; None for no limit.
        fields: Further fields of each request; a field that is None is left out of it.
    """

    model: str
    folder: Path
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    temperature: float = 1.0
    max_tokens: int = 512
    timeout_s: float = 600.0
    retries: int = 5
    concurrency: int = 4
    requests_per_minute: float | None = None
    prices: Prices | None = None
    most_cost: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuses options that cannot work here.

        Raises:
            ConfigError: if the client is not installed, or there is no key for OpenAI.
        """
        if find_spec("openai") is None:
            raise ConfigError(
                f"teacher='openai:{self.model}' needs the package openai; `pip install trl-gift[teacher]` installs it."
            )
        if not os.environ.get(self.key_variable) and self.base_url is None:
            raise ConfigError(
                f"teacher='openai:{self.model}' needs a key in the environment variable {self.key_variable}; set it, or give "
                "teacher_base_url for an endpoint without keys."
            )

    def check_reachable(self) -> None:
        """Asks once for the list of models, which costs nothing; any answer will do, because many endpoints have none.

        Where answers are kept already, nothing is asked: they may be all that a run needs.

        Raises:
            ConfigError: if nothing answers.
        """
        if any(self.folder.glob(ANSWERS)):
            return
        import openai

        key = os.environ.get(self.key_variable) or _NO_KEY
        with openai.OpenAI(api_key=key, base_url=self.base_url, timeout=_FIRST_ANSWER_S, max_retries=0) as client:
            try:
                client.models.with_raw_response.list()
            except openai.APIConnectionError as error:
                raise ConfigError(
                    f"teacher='openai:{self.model}': nothing answers at {client.base_url} ({_reason(error)}); start the endpoint "
                    "first, or correct teacher_base_url."
                ) from None
            except openai.APIError:
                return


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """A teacher behind an endpoint.

    Attributes:
        options: How it is reached.
        questions: What it is asked.
        num_processes: Processes that share the limits of requests and money.
    """

    options: EndpointOptions
    questions: Questions
    num_processes: int = 1

    @property
    def name(self) -> str:
        """The model's name."""
        return self.options.model

    @property
    def reads_reference(self) -> bool:
        """Whether its questions show references."""
        return self.questions.shows_reference

    def varies(self, temperature: float) -> bool:
        """Unless each request asks for the temperature 0; a field of its own may ask for another one, or for none."""
        return bool(self.options.fields.get("temperature", temperature) != 0)

    def check(self) -> None:
        """As `EndpointOptions.check`."""
        self.options.check()

    def check_reachable(self) -> None:
        """As `EndpointOptions.check_reachable`."""
        self.options.check_reachable()

    @contextmanager
    def opened(
        self, student: Engine, prompts: PromptFormat, device: str, rank: int
    ) -> Iterator[tuple[Writer | None, Engine]]:
        """Connects; requests that are under way when the block ends are waited for, and their answers kept."""
        client = EndpointClient(self.options, self.num_processes)
        try:
            yield ChatWriter(client, self.questions, prompts), student
        finally:
            client.close()


class EndpointClient:
    """Asks an endpoint, in threads, within its limits.

    Args:
        options: How it is reached.
        num_processes: Processes that share the limits.
    """

    def __init__(self, options: EndpointOptions, num_processes: int = 1) -> None:
        import openai

        self.options = options
        self._key = os.environ.get(options.key_variable) or _NO_KEY
        self._client = openai.OpenAI(
            api_key=self._key, base_url=options.base_url, timeout=options.timeout_s, max_retries=options.retries
        )
        self._answers = Answers(options.folder)
        rate = options.requests_per_minute
        self._pace = Pace(rate / num_processes if rate else None)
        left = None if options.most_cost is None else max(0.0, options.most_cost - self._answers.cost) / num_processes
        self._purse = Purse(left)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(options.concurrency, thread_name_prefix="teacher")

    def ask(self, question: str, key: int) -> Future[Answer | None]:
        """Sends a question; the result is the answer, or None if the money is spent.

        Args:
            question: The text.
            key: Names the draw; requests that differ in it are different.
        """
        return self._threads.submit(self._answer, self.request(question, key))

    def request(self, question: str, key: int) -> dict[str, Any]:
        """The body of a request."""
        options = self.options
        body = {
            "model": options.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "seed": key % 2**31,
            **options.fields,
        }
        if "max_completion_tokens" in options.fields:  # the newer name of the same
            body.pop("max_tokens")
        return {name: value for name, value in body.items() if value is not None}

    def close(self) -> None:
        """Drops the requests that have not begun, waits for the others, and keeps their answers."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._answers.close()
        self._client.close()

    def _answer(self, request: dict[str, Any]) -> Answer | None:
        with self._lock:
            known = self._answers.find(request)
        if known is not None:
            return known
        longest = request.get("max_tokens") or request.get("max_completion_tokens") or self.options.max_tokens
        size = len(request["messages"][0]["content"].encode("utf-8", "surrogatepass")) + _TOKENS_OF_FRAME
        prices = self.options.prices or Prices(0.0, 0.0)
        most = prices.cost(size, int(longest))
        if not self._purse.take(most):
            return None
        cost = 0.0
        try:
            self._pace.wait()
            answer = self._send(request, prices, most)
            cost = answer.cost
            with self._lock:
                self._answers.keep(request, answer)
            return answer
        finally:
            self._purse.settle(most, cost)

    def _send(self, request: dict[str, Any], prices: Prices, most: float) -> Answer:
        import openai
        from openai.types.chat import ChatCompletion

        options = self.options
        known = {name: request[name] for name in ("model", "messages")}
        others = {name: value for name, value in request.items() if name not in known}
        for _ in range(options.retries + 1):
            try:
                response = self._client.chat.completions.create(**known, extra_body=others)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise ConfigError(
                    f"the endpoint of teacher='openai:{options.model}' refuses the key in {options.key_variable} "
                    f"({self._words(error)}); set another one."
                ) from None
            except (openai.BadRequestError, openai.NotFoundError, openai.UnprocessableEntityError) as error:
                raise ConfigError(
                    f"the endpoint of teacher='openai:{options.model}' refuses a request ({self._words(error)}); check "
                    "the model's name and teacher_fields."
                ) from None
            except openai.APIError as error:
                silent = isinstance(error, openai.APIConnectionError)  # a request that ran out of time is one as well
                tries = f", after {plural(options.retries, 'further try', 'further tries')}" if options.retries else ""
                raise TeacherUnavailable(
                    f"the endpoint of teacher='openai:{options.model}' {'does not answer' if silent else 'answers with an error'}"
                    f"{tries} ({self._words(error)}); what it has answered is kept: resume the run."
                ) from None
            # Some servers answer a request that failed with a page, or with no choice.
            if isinstance(response, ChatCompletion) and response.choices:
                return _answer_of(response, prices, most)
        raise TeacherUnavailable(
            f"the endpoint of teacher='openai:{options.model}' gives answers without a choice; what it has answered is kept: "
            "resume the run."
        )

    def _words(self, error: Exception) -> str:
        words = " ".join(str(error).split())[:300]
        return words if self._key == _NO_KEY else words.replace(self._key, "***")


def _reason(error: Exception) -> str:
    """What the client's own error leaves out."""
    return " ".join(str(error.__cause__ or error).split())


def _answer_of(response: Any, prices: Prices, most: float) -> Answer:
    choice, usage = response.choices[0], response.usage
    if usage is None:  # then the cost is not known either, and counts as the most that it can be
        return Answer(choice.message.content or "", str(choice.finish_reason), 0, 0, most)
    return Answer(
        choice.message.content or "",
        str(choice.finish_reason),
        usage.prompt_tokens,
        usage.completion_tokens,
        prices.cost(usage.prompt_tokens, usage.completion_tokens),
    )


@dataclass(frozen=True, slots=True)
class ChatWriter:
    """Writes programs by asking an endpoint.

    Attributes:
        client: Asks.
        questions: What is asked.
        student: The student's prompts, of which each program becomes a target.
    """

    client: EndpointClient
    questions: Questions
    student: PromptFormat

    @property
    def name(self) -> str:
        """The model's name."""
        return self.client.options.model

    async def write(
        self, task: Task, description: str, hint: Hint | None, step: int, keys: Sequence[int]
    ) -> list[Written]:
        """As `Writer`."""
        question = self.questions.text(task, description, hint)
        asked = hashlib.blake2b(question.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        answers: list[Answer | None] = await Wait(tuple(self.client.ask(question, key) for key in keys))
        if any(answer is None for answer in answers):
            raise TeacherSpent(MAX_COST)
        return [self._written(task, asked, answer) for answer in answers if answer is not None]

    def _written(self, task: Task, asked: str, answer: Answer) -> Written:
        parts = thoughts.split(answer.text)
        found: Extraction | NoProgram
        if parts is None:
            found = NoProgram(codetext.UNFINISHED_THOUGHT, "the thought does not end")
        else:
            program = find_in_answer(
                task, parts.answer, self.questions.pinned.signature(task), rename_entry_point=True
            )
            found = (
                NoProgram(program.kind, program.reason)
                if program.code is None
                else learned(task, program.code, self.student)
            )
        reason = "length" if answer.finish_reason == "length" else "eos"
        return Written(answer.text, found, asked, answer.completion_tokens, reason)
