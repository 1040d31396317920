"""Prompts for a model that completes text: an open function to write, a header to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trl_gift import codetext
from trl_gift.prompts.border import BODY_BEGINNINGS, PROGRAM_BEGINNINGS, TEXT_BEGINNINGS, Border
from trl_gift.prompts.pinned import Pinned
from trl_gift.prompts.protocol import Conversation, Example, Extraction, Hint, NoProgram, Prompt
from trl_gift.prompts.tokens import end_token
from trl_gift.prompts.wording import (
    CODE_STOPS,
    DESCRIPTION_HEADER,
    DESCRIPTION_STOPS,
    HINT_TITLES,
    PROGRAM_STOPS,
    REWRITE_HEADER,
    clean_description,
    hint_text,
    program_text,
    read_text,
    refine_text,
    write_text,
)
from trl_gift.sandbox.languages import naming
from trl_gift.tasks import Task
from trl_gift.tasks.targets import target_of_base

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class BasePrompts:
    """Prompts for a model that completes text.

    Attributes:
        tokenizer: The model's tokenizer; must have an end token.
        stop: Texts that end completions besides those of the format.
        pinned: What write prompts show besides the description.

    Examples:
        The write prompt of a task whose signature is `def solve(xs):`:

        ```python
        def solve(xs):
            \"\"\"Sum of the squares of xs.\"\"\"
        ```
    """

    tokenizer: PreTrainedTokenizerBase
    stop: tuple[str, ...] = ()
    pinned: Pinned = field(default_factory=Pinned)
    _border: Border = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_border", Border(self._ids))  # the way of frozen dataclasses

    @property
    def end_id(self) -> int | None:
        return end_token(self.tokenizer)

    @property
    def convention(self) -> str:
        return f"prompts for base models, {self.pinned}"

    @property
    def no_thought(self) -> str:
        """What a completion without a thought begins with: nothing."""
        return ""

    def answer(self, completion: str) -> str | None:
        """A completion without its thoughts, of which a base model has none."""
        return completion

    def write(self, task: Task, description: str, hint: Hint | None = None) -> Prompt:
        if hint is not None and hint.code is not None:
            return self.refine(task, description, hint.code, hint.text)
        if hint is not None:
            description = f"{description.strip()}\n\n{HINT_TITLES[hint.kind]}\n\n{_indented(hint_text(hint))}"
        return self._write(task, description)

    def refine(self, task: Task, description: str, code: str, feedback: str | None) -> Prompt:
        return self._write(task, description, refine_text(task.language, code, feedback))

    def conversation(self, task: Task, description: str) -> Conversation | None:
        return None

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> Prompt:
        return self._border.prompt(read_text(code, examples), TEXT_BEGINNINGS, (*DESCRIPTION_STOPS, *self.stop))

    def rewrite(self, task: Task) -> Prompt:
        text = f"{DESCRIPTION_HEADER}{task.description}\n{REWRITE_HEADER}"
        return self._border.prompt(text, TEXT_BEGINNINGS, (*DESCRIPTION_STOPS, *self.stop))

    def describe(self, completion: str, finished: bool = True) -> str:
        return clean_description(completion, finished)

    def extract(self, task: Task, completion: str) -> Extraction | NoProgram:
        signature = self.pinned.signature(task)
        if signature is None:
            found = _whole_program(task, completion)
            if found.code is None:
                return NoProgram(found.kind, found.reason)
            return Extraction(found.code, found.code, verbatim=found.code == completion)
        code = codetext.complete(signature, completion)
        if code is None:
            return NoProgram(codetext.NO_CODE, "the completion holds no statement of the function")
        target = code[len(signature.rstrip()) + 1 :]
        return Extraction(code, target, verbatim=target == completion)

    def target(self, task: Task, code: str) -> str | None:
        return target_of_base(task, code, self.pinned.signature(task))

    def encode(self, prompt: Prompt, target: str) -> tuple[list[int], list[int]]:
        before, after = self._border.split(prompt, target)
        return before, [*after, end_token(self.tokenizer)]

    def _write(self, task: Task, description: str, before: str = "") -> Prompt:
        """The open function or program of a description.

        Args:
            task: The task.
            description: The description.
            before: Text that precedes it.
        """
        signature, examples = self.pinned.signature(task), self.pinned.examples(task)
        if signature is None:
            text = program_text(task.language, description, examples, task.opening)
            return self._border.prompt(f"{before}{text}", PROGRAM_BEGINNINGS, (*PROGRAM_STOPS, *self.stop))
        text = write_text(signature, description, examples)
        return self._border.prompt(f"{before}{text}", BODY_BEGINNINGS, (*CODE_STOPS, *self.stop))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = list(self.tokenizer(text)["input_ids"])
        # A tokenizer that closes every text with the end token would end the completion before it starts.
        while ids and ids[-1] == self.tokenizer.eos_token_id:
            ids.pop()
        return ids


def _indented(text: str) -> str:
    return "\n".join(f"{codetext.INDENT}{line}".rstrip() for line in codetext.lines_of(text))


def _whole_program(task: Task, completion: str) -> codetext.Found:
    """The program that a completion begins with: a base model may write prose after it, or the program in a fence."""
    if task.language != "python":
        text = completion.strip("\n").rstrip()
        if text.startswith("```"):
            return codetext.find_text(text, frozenset(naming(task.language).tags), task.opening)
        return codetext.Found(text) if text else codetext.Found(None, codetext.NO_CODE, "the completion is empty")
    text = completion.rstrip()
    program = codetext.longest_prefix(codetext.lines_of(text))
    if program is not None and program.strip():
        return codetext.Found(program)
    found = codetext.find_program(completion, None)
    # A program with a syntax error is still the model's answer: the execution reports the error.
    return found if found.code is not None or not text else codetext.Found(text)
