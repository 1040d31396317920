"""Prompts for a model that has learned to write edits (LintSeq): those of its kind, and both forms of an answer.

The prompts are those of a model that writes whole programs, so that figures before and after the training can be compared,
and so that a model which has not learned edits yet can be sampled from. An answer that begins with the token of edits is
resolved to its program. Any other answer holds a whole program, as without edits. An answer with malformed edits holds no
program, and the reason says where it is malformed.

The edits write the whole program, signature included, also where the prompt shows it: each state of the program is one that a
linter can judge. So a chat model's answer is not opened with the signature if nobody asks for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trl_gift import codetext
from trl_gift.errors import ConfigError
from trl_gift.lintseq import DIFF_TOKEN, Edit, HunkError, grow, resolve
from trl_gift.prompts import thoughts
from trl_gift.prompts.base import BasePrompts
from trl_gift.prompts.chat import ChatPrompts, fenced
from trl_gift.prompts.protocol import Conversation, Example, Extraction, Hint, NoProgram, Prompt
from trl_gift.tasks import Task
from trl_gift.tasks.targets import target_of_chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MALFORMED_EDITS = "malformed edits"
"""Kind of a completion that begins with edits and does not resolve to a program."""

_HEADER = "\n@@"
_PROBE = (
    f"{DIFF_TOKEN}@@ -0,0 +1,2 @@\n+def f(x):\n+    return x\n{DIFF_TOKEN}@@ -1,0 +2 @@\n+    x += '  {DIFF_TOKEN}'"
)


def writes_edits(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model with this tokenizer has learned, or is going to learn, to write edits."""
    return DIFF_TOKEN in tokenizer.get_added_vocab()


def is_edit_text(answer: str) -> bool:
    """Whether an answer without its thoughts is in the form of edits, malformed or not."""
    return answer.lstrip("\n").startswith(DIFF_TOKEN)


def edit_text_of(completion: str) -> str | None:
    """The edits of a recorded completion, malformed or not, without its thoughts; None if it is not in the form of edits."""
    if is_edit_text(completion):
        return completion
    parts = thoughts.split(completion)
    return parts.answer if parts is not None and is_edit_text(parts.answer) else None


@dataclass(frozen=True, slots=True)
class Growth:
    """How a program came about, edit by edit.

    Attributes:
        edits: The edits, as far as they fit.
        states: The program after each.
        fault: Why the text ends there without a program; empty if it does not.
    """

    edits: tuple[Edit, ...]
    states: tuple[str, ...]
    fault: str = ""


def growth_of(completion: str) -> Growth | None:
    """How the program of a recorded completion came about; None for a completion that is not in the form of edits."""
    text = edit_text_of(completion)
    if text is None:
        return None
    edits: list[Edit] = []
    states: list[str] = []
    fault = ""
    try:
        for edit, state in grow(text.strip("\n")):
            edits.append(edit)
            states.append(state)
    except HunkError as error:
        fault = str(error)
    return Growth(tuple(edits), tuple(states), fault)


def check_edits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Checks that texts of edits come back from the tokenizer as they were.

    Raises:
        ConfigError: for a tokenizer that changes them.
    """
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if text != _PROBE:
        raise ConfigError(
            f"target_format='edits': the tokenizer {tokenizer.name_or_path!r} does not give back a text of edits as it was; use "
            "target_format='code'."
        )


@dataclass(frozen=True, slots=True)
class EditPrompts:
    """The prompts of a model whose tokenizer has the token of edits.

    Attributes:
        whole: The prompts for whole programs, which these extend.
    """

    whole: BasePrompts | ChatPrompts

    @property
    def end_id(self) -> int | None:
        return self.whole.end_id

    @property
    def convention(self) -> str:
        # The questions are the same, so that a model before and after its training on edits can be compared.
        return self.whole.convention

    def write(self, task: Task, description: str, hint: Hint | None = None) -> Prompt:
        return self._asked(self.whole.write(task, description, hint))

    def _asked(self, prompt: Prompt) -> Prompt:
        # A later hunk of an edit begins like a decorator, which ends the body of a whole program.
        own = self.whole.stop
        return replace(prompt, stop=tuple(text for text in prompt.stop if text in own or not _HEADER.startswith(text)))

    def refine(self, task: Task, description: str, code: str, feedback: str | None) -> Prompt:
        return self._asked(self.whole.refine(task, description, code, feedback))

    def conversation(self, task: Task, description: str) -> Conversation | None:
        return self.whole.conversation(task, description)

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> Prompt:
        return self.whole.read(task, code, examples)

    def rewrite(self, task: Task) -> Prompt:
        return self.whole.rewrite(task)

    def describe(self, completion: str, finished: bool = True) -> str:
        return self.whole.describe(completion, finished)

    def extract(self, task: Task, completion: str) -> Extraction | NoProgram:
        answer = self.whole.answer(completion)
        if answer is None or not is_edit_text(answer):
            return self.whole.extract(task, completion)
        text = answer.strip("\n")
        try:
            code = resolve(text)
        except HunkError as error:
            return NoProgram(MALFORMED_EDITS, str(error))
        if not code.strip():
            return NoProgram(codetext.NO_CODE, "the edits write an empty program")
        signature = self.whole.pinned.signature(task)
        if signature is not None:
            found = codetext.find_program(fenced(code), signature, task.names_in_tests)
            if found.code is None:
                return NoProgram(found.kind, found.reason)
            if not code.startswith(f"{signature.rstrip()}\n"):
                code = codetext.pin(code, signature)
        target = self.edit_target(text)
        return Extraction(code, target, verbatim=target == completion)

    def target(self, task: Task, code: str) -> str | None:
        """The target in the form of a whole program; `edit_target` gives that of edits."""
        return self.whole.target(task, code)

    def edit_target(self, text: str) -> str:
        """The target of a text of edits, which `to_text` returns."""
        return f"{self.whole.no_thought}{text.removeprefix(chr(10))}"

    def program(self, task: Task, code: str) -> str:
        """The program that edits write for a reference: with the pinned signature and without docstrings."""
        signature = self.whole.pinned.signature(task)
        code = target_of_chat(task, code, signature)
        return code if signature is None else codetext.pin(code, signature)

    def encode(self, prompt: Prompt, target: str) -> tuple[list[int], list[int]]:
        return self.whole.encode(prompt, target)
