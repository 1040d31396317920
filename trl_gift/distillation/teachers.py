"""Teachers: who writes failed programs again. The student itself, another local model, or a chat endpoint.

A teacher is opened for the time of a stage and gives a writer (`trl_gift.sampling.writers`), or none where the student itself
writes, and the engine on which everything of that stage runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trl_gift import codetext
from trl_gift.errors import ConfigError
from trl_gift.generation import (
    Completion,
    Engine,
    GenerateEngine,
    GenerationRequest,
    SamplingParams,
    choose_engine,
    default_dtype,
    end_ids,
    positions_of,
)
from trl_gift.generation.compact import CompactEngine
from trl_gift.prompts import Extraction, Hint, NoProgram, Pinned, Prompt, PromptFormat, prompt_format
from trl_gift.sampling.context import hash_ids
from trl_gift.sampling.learner import learned
from trl_gift.sampling.scheduler import Generate
from trl_gift.sampling.writers import TwoModels, Writer, Written
from trl_gift.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


ENDPOINT = "openai:"
"""Begins the name of a teacher behind an OpenAI-compatible endpoint; the model's name follows."""


class Teacher(Protocol):
    """Writes failed programs again, or programs of a task."""

    @property
    def name(self) -> str:
        """What records say of it."""
        ...

    @property
    def reads_reference(self) -> bool:
        """Whether it sees the references of tasks."""
        ...

    def varies(self, temperature: float) -> bool:
        """Whether the same question may get another answer.

        Args:
            temperature: That of the stage.
        """
        ...

    def check(self) -> None:
        """Refuses, before anything is sampled, what cannot work here.

        Raises:
            ConfigError: if a package or a key is missing.
        """
        ...

    def check_reachable(self) -> None:
        """Asks once whether a teacher that is elsewhere is there; for a run that has nothing yet.

        Raises:
            ConfigError: if nothing answers.
        """
        ...

    def opened(
        self, student: Engine, prompts: PromptFormat, device: str, rank: int
    ) -> AbstractContextManager[tuple[Writer | None, Engine]]:
        """Its writer, and the engine of the stage.

        Args:
            student: The engine of the student, which scores what is written.
            prompts: The student's prompts, of which each program becomes a target.
            device: Where the student computes.
            rank: Index of this process.
        """
        ...


@dataclass(frozen=True, slots=True)
class TheStudent:
    """The student itself (self-repair)."""

    name: str = "self"
    reads_reference: bool = False

    def varies(self, temperature: float) -> bool:
        """Unless it is greedy."""
        return temperature > 0

    def check(self) -> None:
        """Nothing can be missing."""

    def check_reachable(self) -> None:
        """It is here."""

    @contextmanager
    def opened(
        self, student: Engine, prompts: PromptFormat, device: str, rank: int
    ) -> Iterator[tuple[Writer | None, Engine]]:
        """No writer: the student writes on its own engine."""
        yield None, student


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Another transformers model, or an adapter, on the student's device.

    Attributes:
        name: Its name or path; loaded whenever the teacher is opened.
        params: How it samples.
        pinned: What its prompts show of a task besides the description.
        batch_size: As for the student's engine.
        token_budget: As for the student's engine.
        trust_remote_code: As in transformers.
        reads_reference: Always False: it is asked as the student is.
    """

    name: str
    params: SamplingParams
    pinned: Pinned
    batch_size: int | None = None
    token_budget: int | None = None
    trust_remote_code: bool = False
    reads_reference: bool = False

    def varies(self, temperature: float) -> bool:
        """Unless it is greedy."""
        return temperature > 0

    def check(self) -> None:
        """Finds the model's config, which costs nothing."""
        from transformers import AutoConfig

        try:
            AutoConfig.from_pretrained(self.name, trust_remote_code=self.trust_remote_code)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"teacher={self.name!r} is not a model ({reason}); give 'self', a model's name or path, or 'openai:MODEL'."
            ) from None

    def check_reachable(self) -> None:
        """It is here."""

    @contextmanager
    def opened(
        self, student: Engine, prompts: PromptFormat, device: str, rank: int
    ) -> Iterator[tuple[Writer | None, Engine]]:
        """Loads the model; it is gone when the block ends."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            self.name, trust_remote_code=self.trust_remote_code
        )
        model: Any = AutoModelForCausalLM.from_pretrained(
            self.name,
            dtype=default_dtype(trains_weights=False, on_gpu=device != "cpu"),
            trust_remote_code=self.trust_remote_code,
        )
        model.to(device).eval()
        own = prompt_format(tokenizer, end_ids=end_ids(model, tokenizer), pinned=self.pinned)
        engine: Engine
        if choose_engine("auto", model).name == "compact":
            engine = CompactEngine(model, tokenizer, self.batch_size, self.token_budget)
        else:
            engine = GenerateEngine(model, tokenizer, self.batch_size)
        # A record may be published: of a folder it holds the last name alone.
        name = Path(self.name).name if Path(self.name).is_dir() else self.name
        yield (
            EngineWriter(name, own, prompts, self.params, positions_of(model.config)),
            TwoModels(engine, student),
        )


@dataclass(frozen=True, slots=True)
class EngineWriter:
    """Writes with the engine of the scheduler, which is that of another model than the student.

    Attributes:
        name: What records say of it.
        prompts: How it is asked.
        student: The student's prompts, of which each program becomes a target.
        params: How it samples.
        positions: The most tokens of a prompt with its completion; None if that is not known.
    """

    name: str
    prompts: PromptFormat
    student: PromptFormat
    params: SamplingParams
    positions: int | None = None

    async def write(
        self, task: Task, description: str, hint: Hint | None, step: int, keys: Sequence[int]
    ) -> list[Written]:
        """As `Writer`."""
        prompt = self.prompts.write(task, description, hint)
        asked = hash_ids(prompt.ids)
        if self.positions is not None and len(prompt.ids) + self.params.max_new_tokens > self.positions:
            missing = NoProgram(
                codetext.NO_CODE, f"the question does not fit into the {self.positions} positions of {self.name}"
            )
            return [Written("", missing, asked, 0, "length") for _ in keys]
        params = replace(self.params, stop=prompt.stop, fence=prompt.fence)
        request = GenerationRequest(("teach", task.task_id, step), prompt.ids, params, tuple(keys))
        return [self._written(task, prompt, asked, completion) for completion in await Generate(request)]

    def _written(self, task: Task, prompt: Prompt, asked: str, completion: Completion) -> Written:
        found = self.prompts.extract(task, prompt.after(completion.text))
        if isinstance(found, Extraction):
            found = learned(task, found.code, self.student)
        return Written(completion.text, found, asked, len(completion.token_ids), completion.finish_reason)
