"""Prompts for a model that completes text: an open function to write, a header to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_gift.prompts.protocol import Example, Extraction, Hint
from trl_gift.prompts.tokens import end_token, target_ids
from trl_gift.prompts.wording import (
    CODE_STOPS,
    DESCRIPTION_HEADER,
    DESCRIPTION_STOPS,
    HINT_TITLES,
    REWRITE_HEADER,
    clean_description,
    hint_text,
    read_text,
    write_text,
)
from trl_gift.tasks import Task, codetext

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class BasePrompts:
    """Prompts for a model that completes text.

    Attributes:
        tokenizer: The model's tokenizer; must have an end token.
        code_stops: Texts that end a completion of `write`.
        description_stops: Texts that end a completion of `read` or `rewrite`.

    Examples:
        The write prompt of a task whose signature is `def solve(xs):`:

        ```python
        def solve(xs):
            \"\"\"Sum of the squares of xs.\"\"\"
        ```
    """

    tokenizer: PreTrainedTokenizerBase
    code_stops: tuple[str, ...] = CODE_STOPS
    description_stops: tuple[str, ...] = DESCRIPTION_STOPS

    @property
    def end_id(self) -> int | None:
        return end_token(self.tokenizer)

    def write(self, task: Task, description: str) -> list[int]:
        return self._ids(write_text(task.signature, description))

    def write_with_hint(self, task: Task, description: str, hint: Hint) -> list[int]:
        return self.write(task, f"{description.strip()}\n\n{HINT_TITLES[hint.kind]}\n\n{_indented(hint_text(hint))}")

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> list[int]:
        return self._ids(read_text(code, examples))

    def rewrite(self, task: Task) -> list[int]:
        return self._ids(f"{DESCRIPTION_HEADER}{task.description}\n{REWRITE_HEADER}")

    def describe(self, completion: str) -> str:
        return clean_description(completion)

    def extract(self, task: Task, completion: str) -> Extraction | None:
        if task.signature is None:
            code = _longest_program(completion)
            return Extraction(code, code, verbatim=code == completion) if code else None
        code = codetext.complete(task.signature, completion)
        if code is None:
            return None
        target = code[len(task.signature.rstrip()) + 1 :]
        return Extraction(code, target, verbatim=target == completion)

    def target(self, task: Task, code: str) -> str | None:
        if task.signature is None:
            return codetext.strip_docstrings(code)
        entry_point = codetext.entry_point_of(task.signature)
        return codetext.body_of(code, entry_point) if entry_point else None

    def encode_target(self, task: Task, target: str) -> list[int]:
        prompt = write_text(task.signature, task.description)
        return [
            *target_ids(self._ids(prompt), self._ids(prompt + target), self.tokenizer, target),
            end_token(self.tokenizer),
        ]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = list(self.tokenizer(text)["input_ids"])
        # A tokenizer that closes every text with the end token would end the completion before it starts.
        while ids and ids[-1] == self.tokenizer.eos_token_id:
            ids.pop()
        return ids


def _indented(text: str) -> str:
    return "\n".join(f"{codetext.INDENT}{line}".rstrip() for line in text.splitlines())


def _longest_program(completion: str) -> str | None:
    """The longest prefix of whole lines that is Python: a base model may write prose after the program."""
    lines = completion.rstrip().splitlines()
    for end in range(len(lines), 0, -1):
        code = "\n".join(lines[:end])
        if code.strip() and codetext.parse(code) is not None:
            return code
    return completion.rstrip() or None
