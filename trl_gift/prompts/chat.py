"""Prompts for a model with a chat template: questions, and answers in which the program stands in a fenced block.

The answer to a task with a pinned signature is opened: the prompt ends within the answer, after the opening fence and the
signature, so that the model writes the body and closes the fence. Small models otherwise spend most of their tokens on
words around the program, and name the function as they like. A model that thinks first opens its answers itself.

What is trained on is always text that the model could have sampled after exactly the prompt that it is sampled with, up
to the end token. Answers are therefore never sent through the template, which may drop thoughts, trim white space, or
add line breaks after the end token.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trl_gift import codetext
from trl_gift.errors import ConfigError
from trl_gift.prompts import thoughts
from trl_gift.prompts.border import ANSWER_BEGINNINGS, BODY_BEGINNINGS, TEXT_BEGINNINGS, Border
from trl_gift.prompts.pinned import Pinned
from trl_gift.prompts.protocol import Conversation, Example, Extraction, Hint, NoProgram, Prompt
from trl_gift.prompts.templates import PROBE, ChatTemplate, Message, find_template, turn_end
from trl_gift.prompts.tokens import special_tokens
from trl_gift.prompts.wording import HINT_TITLES, clean_description, hint_text, with_examples, write_text
from trl_gift.sandbox.languages import naming
from trl_gift.tasks import Task
from trl_gift.tasks.targets import target_of_chat, target_of_opened

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Closes a thought that the template has opened, for an answer without a thought.
_NO_THOUGHT = f"\n{thoughts.CLOSE}\n\n"
_CLOSING = "\n```"
_BACKTICKS = re.compile(r"^`{3,}", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ChatPrompts:
    """Prompts for a model with a chat template; the program is expected in a fenced block.

    Attributes:
        tokenizer: The model's tokenizer; must have a chat template.
        system_prompt: The system message. If the template has no system role, the text is put before the question.
        template_kwargs: Further arguments of the template.
        keep_thoughts: Whether the thought before a sampled program belongs to its training target.
        stop: Texts that end completions besides those of the format.
        open_answer: Whether answers with a pinned signature are opened; None to open them unless the model thinks first.
        pinned: What write prompts show besides the description.
        rename_entry_point: Whether an answer counts whose only function with the right number of parameters has another
            name; it gets the name under test.
        date: The date that the template prints where it would print today's; today if not given.

    Raises:
        ConfigError: if the template cannot be rendered or begins answers with a thought that `open_answer` would leave
            open, or if the tokenizer would drop the marks of thoughts.
    """

    tokenizer: PreTrainedTokenizerBase
    system_prompt: str | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    keep_thoughts: bool = False
    stop: tuple[str, ...] = ()
    open_answer: bool | None = None
    pinned: Pinned = field(default_factory=Pinned)
    rename_entry_point: bool = False
    date: datetime.date | None = None
    # These are read from the template at construction.
    _template: ChatTemplate = field(init=False, repr=False, compare=False)
    _opens_thought: bool = field(init=False, repr=False, default=False)
    _thinks: bool = field(init=False, repr=False, default=False)
    _turn_end: int = field(init=False, repr=False, default=-1)
    _border: Border = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if any(str(token) == thoughts.CLOSE for token in special_tokens(self.tokenizer).values()):
            raise ConfigError(
                f"the tokenizer {self.tokenizer.name_or_path!r} treats {thoughts.CLOSE!r} as a special token. Decoding "
                "drops special tokens, so thoughts would be read as code; use prompt_format='base', or a tokenizer in "
                "which it is an ordinary added token."
            )
        found = object.__setattr__  # the way of frozen dataclasses
        template = find_template(self.tokenizer, self.template_kwargs, self.date, self.system_prompt)
        found(self, "_template", template)
        opening = self._text(PROBE).rpartition(PROBE)[2]
        found(self, "_opens_thought", thoughts.is_open(opening))
        found(self, "_turn_end", turn_end(template, self.system_prompt))
        found(self, "_border", Border(self._ids))
        # A template that closes the thought itself, or knows none, belongs to answers without a thought.
        knows_thoughts = thoughts.CLOSE in template.source and thoughts.CLOSE not in opening
        found(self, "_thinks", self.keep_thoughts or self._opens_thought or knows_thoughts)
        if self.open_answer is None:
            found(self, "open_answer", not self._thinks)
        elif self.open_answer and (self.keep_thoughts or self._opens_thought):
            raise ConfigError(
                f"open_answer=True leaves no place for a thought, and {self.tokenizer.name_or_path!r} begins every answer "
                "with one or train_on_thinking is set; leave open_answer out, or switch thoughts off."
            )

    @property
    def end_id(self) -> int | None:
        return self._turn_end

    @property
    def convention(self) -> str:
        opened = "answers opened with the signature" if self.open_answer else "answers not opened"
        return f"prompts for chat models, {opened}, {self.pinned}"

    def write(self, task: Task, description: str, hint: Hint | None = None) -> Prompt:
        if hint is not None and hint.code is not None:
            return self.refine(task, description, hint.code, hint.text)
        question = self._question(task, description)
        if hint is not None:
            question = f"{question}\n\n{HINT_TITLES[hint.kind]}\n\n{fenced(hint_text(hint), task.language)}"
        return self._write(task, question)

    def refine(self, task: Task, description: str, code: str, feedback: str | None) -> Prompt:
        return self._write(
            task, f"{self._question(task, description)}\n\n{_ask_to_refine(code, feedback, task.language)}"
        )

    def _write(self, task: Task, question: str) -> Prompt:
        """The prompt of a question that is answered with a program of a task."""
        signature = self.pinned.signature(task)
        if signature is not None and self.open_answer:
            text = f"{self._text(question)}{_opening(signature)}"
            return self._border.prompt(text, BODY_BEGINNINGS, (_CLOSING, *self.stop))
        entry_point = codetext.entry_point_of(signature) if signature else None
        opened = "class" if signature and codetext.opens_class(signature) else "def"
        fence: str | None = f"{opened} {entry_point}" if entry_point else ""
        if self._thinks or task.language != "python":  # a thought may hold fenced drafts
            fence = None
        return self._border.prompt(self._text(question), ANSWER_BEGINNINGS, self.stop, fence)

    def conversation(self, task: Task, description: str) -> Conversation | None:
        signature = self.pinned.signature(task)
        opened = _opening(signature) if signature is not None and self.open_answer else ""
        turns = self._template.turns(self._messages(self._question(task, description)))
        return Conversation(tuple(turns), opened, self.no_thought)

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> Prompt:
        # As turns of the conversation, examples show what an answer is: a small model alone with the question writes code.
        turns = [(_ask_to_read(example.code, "python"), example.description) for example in examples]
        return self._border.prompt(self._text(_ask_to_read(code, task.language), turns), TEXT_BEGINNINGS, self.stop)

    def rewrite(self, task: Task) -> Prompt:
        question = (
            "Say the following programming task again in different words. Keep its meaning and every detail, and "
            f"answer with the new description only.\n\n{task.description}"
        )
        return self._border.prompt(self._text(question), TEXT_BEGINNINGS, self.stop)

    def describe(self, completion: str, finished: bool = True) -> str:
        parts = thoughts.split(completion, self._opens_thought)
        return clean_description(parts.answer, finished) if parts else ""

    def extract(self, task: Task, completion: str) -> Extraction | NoProgram:
        signature = self.pinned.signature(task)
        if signature is not None and self.open_answer:
            return self._extract_opened(task, signature, completion)
        parts = thoughts.split(completion, self._opens_thought)
        if parts is None:
            return NoProgram(codetext.UNFINISHED_THOUGHT, "the thought does not end")
        found = find_in_answer(task, parts.answer, signature, self.rename_entry_point)
        code = found.code
        if code is None:
            return NoProgram(found.kind, found.reason)
        thought = parts.thought if self.keep_thoughts and parts.thought else self.no_thought
        target = f"{thought}{fenced(code, task.language)}"
        return Extraction(code, target, verbatim=target == completion)

    def _extract_opened(self, task: Task, signature: str, completion: str) -> Extraction | NoProgram:
        """The program of an answer that the prompt has opened with the signature."""
        head = _opening(signature)
        block = codetext.fenced_blocks(f"{head}{completion}")[0]
        body = block.code[len(head.partition("\n")[2]) :].rstrip()
        if not body.strip():
            return NoProgram(codetext.NO_CODE, "the answer ends where it begins")
        code = f"{signature.rstrip()}\n{body}"
        names = task.names_in_tests | codetext.pinned_names(signature)
        if codetext.parse(code) is None:
            # The model may have begun the function anew, or was cut off after it.
            begun = codetext.find_program(f"```python\n{body}\n```", signature, names)
            lines = codetext.lines_of(code)
            whole = codetext.longest_prefix(lines, least=len(codetext.lines_of(signature.rstrip())))
            if begun.code is not None and codetext.parse(begun.code) is not None:
                code = codetext.pin(begun.code, signature)
            elif whole is not None:
                code = whole
        code = codetext.keep_needed(code, names)
        if code.startswith(f"{signature.rstrip()}\n"):
            target: str | None = f"{code[len(signature.rstrip()) + 1 :]}{_CLOSING}"
        else:
            target = self.target(task, code)
        if target is None:
            return NoProgram(codetext.NO_CODE, "the program does not fit after the signature")
        return Extraction(code, target, verbatim=target == completion)

    def target(self, task: Task, code: str) -> str | None:
        signature = self.pinned.signature(task)
        if signature is not None and self.open_answer:
            body = target_of_opened(task, code, signature)
            return None if body is None else f"{body}{_CLOSING}"
        return f"{self.no_thought}{fenced(target_of_chat(task, code, signature), task.language)}"

    def encode(self, prompt: Prompt, target: str) -> tuple[list[int], list[int]]:
        before, after = self._border.split(prompt, target)
        return before, [*after, self._turn_end]

    @property
    def no_thought(self) -> str:
        """What an answer without a thought begins with: the end of a thought that the template has opened, or nothing."""
        return _NO_THOUGHT if self._opens_thought else ""

    def answer(self, completion: str) -> str | None:
        """A completion without its thoughts; None if the last one does not end."""
        parts = thoughts.split(completion, self._opens_thought)
        return None if parts is None else parts.answer

    def _text(self, question: str, turns: Sequence[tuple[str, str]] = ()) -> str:
        """The prompt as text, up to where the model's own text begins.

        Args:
            question: What the user asks.
            turns: Questions and answers that precede it.
        """
        return self._template.render(self._messages(question, turns))

    def _messages(self, question: str, turns: Sequence[tuple[str, str]] = ()) -> list[Message]:
        messages = [("system", self.system_prompt)] if self.system_prompt else []
        for asked, answered in turns:
            messages += [("user", asked), ("assistant", answered)]
        return [*messages, ("user", question)]

    def _question(self, task: Task, description: str) -> str:
        """The question that asks for a program of `description`."""
        signature = self.pinned.signature(task)
        return ask_to_write(signature, description, self.pinned.examples(task), task.language, task.opening)

    def _ids(self, text: str) -> list[int]:
        # The template has written all special tokens; the tokenizer must not add its own again.
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def find_in_answer(task: Task, answer: str, signature: str | None, rename_entry_point: bool = False) -> codetext.Found:
    """The program of a task in the answer of a chat model, in the task's language and with the pinned signature.

    Args:
        task: The task.
        answer: What the model wrote, without its thoughts.
        signature: The signature as prompts show it; None for a whole program.
        rename_entry_point: As in `ChatPrompts`.
    """
    if task.language != "python":
        return codetext.find_text(answer, frozenset(naming(task.language).tags), task.opening)
    found = codetext.find_program(answer, signature, task.names_in_tests, rename_entry_point)
    if found.code is None or signature is None:
        return found
    return codetext.Found(codetext.pin(found.code, signature))


def ask_to_write(
    signature: str | None,
    description: str,
    examples: Sequence[str] = (),
    language: str = "python",
    opening: str = "",
) -> str:
    """The question that asks a chat model for a program.

    Args:
        signature: The pinned signature; None for a whole program.
        description: What the program should do.
        examples: Texts that follow the description, such as assertions.
        language: The language of the program.
        opening: How the function begins, in a language other than Python; empty for a whole program.
    """
    title = naming(language).title
    if opening:
        return (
            f"Write the {title} function that begins as shown and solves the following task. Answer with one fenced code block "
            f"that holds the whole function, without a main program.\n\n{fenced(opening, language)}\n\n"
            f"{with_examples(description, examples)}"
        )
    if signature is None:
        return (
            f"Write a {title} program that solves the following task. It reads from standard input and writes "
            f"to standard output. Answer with one fenced code block.\n\n{with_examples(description, examples)}"
        )
    kind = "class" if codetext.opens_class(signature) else "function"
    return (
        f"Complete the following {title} {kind}. Answer with one fenced code block that holds the whole {kind}."
        f"\n\n{fenced(write_text(signature, description, examples).rstrip())}"
    )


def _ask_to_refine(code: str, feedback: str | None, language: str) -> str:
    if feedback is None:
        return (
            f"The following {naming(language).title} code passes its tests.\n\n{fenced(code, language)}\n\n"
            "Correct it if it is wrong, else answer with the same code."
        )
    return (
        f"The following {naming(language).title} code is wrong.\n\n{fenced(code, language)}\n\nIt fails:\n\n"
        f"{quoted(feedback)}\n\nCorrect it. Keep what is right, unless another approach is needed."
    )


def _ask_to_read(code: str, language: str) -> str:
    shown = codetext.strip_docstrings(code) if language == "python" else code
    return (
        f"Describe what the following {naming(language).title} code does, precisely enough that another programmer could "
        f"write it again from your description alone. Do not write any code.\n\n{fenced(shown, language)}"
    )


def _opening(signature: str) -> str:
    """The beginning of an answer: the opening fence and the signature, up to where the body begins."""
    return f"```python\n{signature.rstrip()}\n"


def fenced(code: str, language: str = "python") -> str:
    """A program in a code block of its language."""
    return quoted(code, naming(language).tags[0])


def quoted(text: str, tag: str = "") -> str:
    """A text in a code block, whose fence is longer than any fence in the text."""
    longest = max((len(found) for found in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{tag}\n{text}\n{fence}"
