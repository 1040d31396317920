"""What the rest of the package knows of prompts: the protocol `PromptFormat` and the types that go through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class Example:
    """A program with its description, shown to a base model before the program that it must describe.

    Attributes:
        task_id: The task that the example is from.
        code: A correct program of that task.
        description: The description of that task.
    """

    task_id: str
    code: str
    description: str


@dataclass(frozen=True, slots=True)
class Hint:
    """A hint shown with a task that the model could not solve (STaR).

    Attributes:
        kind: `"reference"` (the text is a correct program) or `"failing_test"` (a test that sampled programs failed).
        text: The program or the test.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """A program found in a completion.

    Attributes:
        code: The whole program, ready to execute.
        target: The completion that a model would be trained to write to give this program.
        verbatim: Whether `target` is exactly the text that was sampled, so that its token ids and log-probabilities
            are valid for the target.
    """

    code: str
    target: str
    verbatim: bool


class PromptFormat(Protocol):
    """How one kind of model is asked to write programs and to describe them."""

    @property
    def code_stops(self) -> tuple[str, ...]:
        """Texts that end a completion of `write`."""
        ...

    @property
    def description_stops(self) -> tuple[str, ...]:
        """Texts that end a completion of `read` or `rewrite`."""
        ...

    @property
    def end_id(self) -> int | None:
        """The token that ends every training completion; None if they end without one."""
        ...

    def write(self, task: Task, description: str) -> list[int]:
        """Token ids of the prompt that asks for a program of `description` with the pinned signature of `task`."""
        ...

    def write_with_hint(self, task: Task, description: str, hint: Hint) -> list[int]:
        """Token ids of the prompt of `write` with a hint; `extract` and `target` treat its completions as those of `write`."""
        ...

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> list[int]:
        """Token ids of the prompt that asks for a description of `code`."""
        ...

    def rewrite(self, task: Task) -> list[int]:
        """Token ids of the prompt that asks for the task's own description in other words (RFT+RD)."""
        ...

    def describe(self, completion: str) -> str:
        """The description in a completion of `read` or `rewrite`; empty if it holds none."""
        ...

    def extract(self, task: Task, completion: str) -> Extraction | None:
        """The program in a completion of `write`; None if it holds none."""
        ...

    def target(self, task: Task, code: str) -> str | None:
        """The completion that gives `code`; None if `code` does not fit the pinned signature."""
        ...

    def encode_target(self, task: Task, target: str) -> list[int]:
        """Token ids of a training completion after `write(task, task.description)`, the end token included."""
        ...
