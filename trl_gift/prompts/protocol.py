"""What the rest of the package knows of prompts: the protocol `PromptFormat` and the types that go through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class Example:
    """A program with a summary, shown to a model before the program that it must describe.

    Attributes:
        code: The program.
        description: What it does, in words.
    """

    code: str
    description: str


@dataclass(frozen=True, slots=True)
class Hint:
    """What a prompt shows of a task that the model could not solve: one of the three rescues of `trl_gift.sampling.hints`.

    Attributes:
        kind: `"reference"` (the text is a correct program), `"failing_test"` (a test that sampled programs failed) or
            `"repair"` (the failure of a wrong program, in words).
        text: The program, the test or the failure.
        code: The wrong program of a repair; None for the others.
    """

    kind: str
    text: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is given, and what ends its completion.

    Attributes:
        ids: Token ids of the prompt, up to a border that the first token of a completion does not cross.
        text: The whole text of the prompt.
        left: The end of `text` that `ids` do not cover; a completion begins with it. Often empty.
        stop: Texts that end a completion; they are cut off.
        fence: If not None, a completion also ends after the first Python code fence that holds this text and is closed.
    """

    ids: tuple[int, ...]
    text: str
    left: str = ""
    stop: tuple[str, ...] = ()
    fence: str | None = None

    def after(self, completion: str) -> str:
        """What a completion adds to `text`.

        A model that does not begin with `left` may reach it later: one that first writes a comment after the docstring
        is in the body after the next line break.
        """
        if completion.startswith(self.left):
            return completion[len(self.left) :]
        return completion.partition(self.left)[2]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt as the turns of a chat, for tools that render the chat template themselves.

    Attributes:
        turns: The role and the text of each turn before the answer.
        opening: How the prompt has begun the answer; it precedes a target.
        rendered: What a target may begin with because the template has opened a thought; such tools leave it out.
    """

    turns: tuple[tuple[str, str], ...]
    opening: str = ""
    rendered: str = ""

    def answer(self, target: str) -> str:
        """The whole answer that a training target stands for."""
        return f"{self.opening}{target.removeprefix(self.rendered)}"


@dataclass(frozen=True, slots=True)
class Extraction:
    """A program found in a completion.

    Attributes:
        code: The whole program, ready to execute.
        target: What a model would be trained to write after the text of the prompt to give this program.
        verbatim: Whether `target` is exactly what was sampled after the text of the prompt, so that the sampled token ids
            and log-probabilities are valid for it.
    """

    code: str
    target: str
    verbatim: bool


@dataclass(frozen=True, slots=True)
class NoProgram:
    """Why a completion holds no program.

    Attributes:
        kind: One of the kinds of reasons in `trl_gift.codetext`, for statistics.
        reason: The reason in words.
        code: None, where an `Extraction` has the program.
    """

    kind: str
    reason: str
    code: None = None


class PromptFormat(Protocol):
    """How one kind of model is asked to write programs and to describe them."""

    @property
    def end_id(self) -> int | None:
        """The token that ends every training completion; None if they end without one."""
        ...

    @property
    def convention(self) -> str:
        """How programs are asked for, in words: two figures can be compared only if they were measured alike."""
        ...

    def write(self, task: Task, description: str, hint: Hint | None = None) -> Prompt:
        """The prompt that asks for a program of `description` with the pinned signature of `task`.

        `extract` and `target` treat the completions of a prompt with a hint as those of a prompt without one.
        """
        ...

    def conversation(self, task: Task, description: str) -> Conversation | None:
        """The prompt of `write` as turns of a chat; None where prompts are plain text."""
        ...

    def refine(self, task: Task, description: str, code: str, feedback: str | None) -> Prompt:
        """The prompt that shows a program of `description`, with its failure in words, and asks for a right one.

        Without a failure (`feedback=None`) it says that the program passes its tests. `extract` and `target` treat its completions as those of `write`.
        """
        ...

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> Prompt:
        """The prompt that asks for a description of `code`."""
        ...

    def rewrite(self, task: Task) -> Prompt:
        """The prompt that asks for the task's own description in other words (RFT+RD)."""
        ...

    def describe(self, completion: str, finished: bool = True) -> str:
        """The description in what was sampled after a prompt of `read` or `rewrite`; empty if it holds none.

        Code is left out, and so is a sentence that was cut off because the completion is not `finished`.
        """
        ...

    def extract(self, task: Task, completion: str) -> Extraction | NoProgram:
        """The program in what was sampled after a prompt of `write`, or why it holds none."""
        ...

    def target(self, task: Task, code: str) -> str | None:
        """The target that gives `code`; None if `code` does not fit the pinned signature.

        What `extract` takes from a target may differ from `code`, for example where helpers move into the function, so a
        target is executed before it is learned.
        """
        ...

    def encode(self, prompt: Prompt, target: str) -> tuple[list[int], list[int]]:
        """Token ids of a training example: those of the prompt, and those of the target with the end token.

        Together they are the ids of the joint text. Where the tokenizer joins the first characters of the target with
        the end of the prompt, that end is part of the second list.
        """
        ...
