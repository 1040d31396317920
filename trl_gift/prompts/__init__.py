"""The two translations as text: description -> code ("write") and code -> description ("read").

A base model completes text: the pinned signature with the description as its docstring, and the body follows; to read,
the code stands under a header and the description follows under the next. A chat model is asked, through its tokenizer's
template. Both know how to find the code in what the model wrote, and how a kept code is written as a training target
after the seed description.

A model that thinks first writes `<think>...</think>` before its answer, or only the rest of it where the template has
opened the thought already. Code and descriptions are looked for in the answer alone. What is trained on is always text
that the model could have sampled behind the very prompt that it is sampled with, up to its end token: answers are
therefore never sent through the template, which may drop thoughts, trim, or add line breaks behind the end token.

Not covered: other marks of thoughts than `<think>`, and tokenizers that treat these as special tokens, which decoding
drops. The latter are refused.

Source: GiFT (arXiv 2502.11466), section 3 and appendix; the wordings are ours. Departure: the number of in-context
examples for reading is an option (`num_description_examples`), because a model that was trained to read needs none.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from trl_gift.errors import ConfigError
from trl_gift.prompts import thoughts
from trl_gift.tasks import Task, codetext

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

CODE_HEADER = "### Code\n"
DESCRIPTION_HEADER = "### Description\n"
# Where a base model starts something new after the body: what follows is never part of the pinned function.
CODE_STOPS = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\nassert ", "\n#", "\n@", "\n```")
DESCRIPTION_STOPS = ("\n###",)
_HINT_TITLES = {
    "reference": "One correct solution, as a hint; write your own:",
    "failing_test": "A test that must pass:",
}
# What closes a thought that the template has opened, for an answer that no thought precedes.
_NO_THOUGHT = f"\n{thoughts.CLOSE}\n\n"
# Stands for an answer when a template is asked what it puts behind one.
_PROBE = "4bcf8e1d"


@dataclass(frozen=True, slots=True)
class Example:
    """One code with its description, shown to a base model that is about to read another code."""

    task_id: str
    code: str
    description: str


@dataclass(frozen=True, slots=True)
class Hint:
    """What a prompt to write gives away of a task that the model could not solve (STaR).

    Attributes:
        kind: `"reference"` (the text is a correct program) or `"failing_test"` (a test that the tries failed).
        text: The program or the test.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """A program found in a completion.

    Attributes:
        code: The whole program, ready to execute.
        target: The completion text that a model would be trained to write to give this program.
        verbatim: Whether `target` is exactly the text that was sampled, so that its token ids and log-probabilities
            hold for it.
    """

    code: str
    target: str
    verbatim: bool


class PromptFormat(Protocol):
    """How a kind of model is asked to write and to read."""

    @property
    def code_stops(self) -> tuple[str, ...]:
        """Texts that end a code."""
        ...

    @property
    def description_stops(self) -> tuple[str, ...]:
        """Texts that end a description."""
        ...

    @property
    def end_id(self) -> int | None:
        """The token that ends every training completion; None if they end without one."""
        ...

    def write(self, task: Task, description: str) -> list[int]:
        """Token ids of the prompt that asks for a code of `description` under the pinned signature of `task`."""
        ...

    def write_with_hint(self, task: Task, description: str, hint: Hint) -> list[int]:
        """Token ids of the prompt of `write` with a hint; its completions are read and trained on as those of `write`."""
        ...

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> list[int]:
        """Token ids of the prompt that asks for a description of `code`."""
        ...

    def rewrite(self, task: Task) -> list[int]:
        """Token ids of the prompt that asks for the seed description in other words (RFT+RD)."""
        ...

    def describe(self, completion: str) -> str:
        """The description in a completion of `read` or `rewrite`; empty if there is none."""
        ...

    def extract(self, task: Task, completion: str) -> Extraction | None:
        """The program in a completion of `write`; None when there is no code in it."""
        ...

    def target(self, task: Task, code: str) -> str | None:
        """The completion that gives `code`; None if the code does not fit the pinned signature."""
        ...

    def encode_target(self, task: Task, target: str) -> list[int]:
        """Token ids of a training completion after `write(task, task.description)`, the end token included."""
        ...


def clean_description(text: str) -> str:
    """The description in a completion of `read`: up to the next header, white space trimmed. May be empty."""
    for stop in DESCRIPTION_STOPS:
        text = text.split(stop, 1)[0]
    return text.strip()


@dataclass(frozen=True, slots=True)
class BasePrompts:
    """Prompts for a model that completes text.

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
        return _encode_text(self.tokenizer, write_text(task.signature, description))

    def write_with_hint(self, task: Task, description: str, hint: Hint) -> list[int]:
        return self.write(task, f"{description.strip()}\n\n{_HINT_TITLES[hint.kind]}\n\n{_as_block(hint)}")

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> list[int]:
        return _encode_text(self.tokenizer, read_text(code, examples))

    def rewrite(self, task: Task) -> list[int]:
        text = f"{DESCRIPTION_HEADER}{task.description}\n### The same in other words\n"
        return _encode_text(self.tokenizer, text)

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
        head, joint = (_encode_text(self.tokenizer, text) for text in (prompt, prompt + target))
        return [*_behind(head, joint, self.tokenizer, target), end_token(self.tokenizer)]


@dataclass(frozen=True, slots=True)
class ChatPrompts:
    """Prompts for a model with a chat template; code is expected in a fenced block.

    Attributes:
        tokenizer: Has a chat template.
        system_prompt: The system message; stands before the question where the template has no such message.
        template_kwargs: Further arguments of the template.
        keep_thoughts: Whether the thought before a sampled code belongs to its training target.
        code_stops: Texts that end a code.
        description_stops: Texts that end a description.

    Raises:
        ConfigError: if the template cannot be rendered, or the tokenizer would drop the marks of thoughts.
    """

    tokenizer: PreTrainedTokenizerBase
    system_prompt: str | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    keep_thoughts: bool = False
    code_stops: tuple[str, ...] = ()
    description_stops: tuple[str, ...] = ()
    # Found out at construction.
    _system_message: bool = field(init=False, repr=False, default=False)
    _opens_thought: bool = field(init=False, repr=False, default=False)
    _turn_end: int = field(init=False, repr=False, default=-1)

    def __post_init__(self) -> None:
        if any(str(token) == thoughts.CLOSE for token in _special_tokens(self.tokenizer).values()):
            raise ConfigError(
                f"the tokenizer {self.tokenizer.name_or_path!r} treats {thoughts.CLOSE!r} as a special token, which "
                "decoding drops, so that thoughts would pass for code; use prompt_format='base', or a tokenizer in "
                "which it is an ordinary added token."
            )
        found = object.__setattr__  # the way of frozen dataclasses
        found(self, "_system_message", bool(self.system_prompt) and self._takes_system_message())
        found(self, "_opens_thought", thoughts.is_open(self._text(_PROBE)))
        found(self, "_turn_end", turn_end(self.tokenizer, self.template_kwargs))

    @property
    def end_id(self) -> int | None:
        return self._turn_end

    def write(self, task: Task, description: str) -> list[int]:
        return self._ids(self._text(_ask_to_write(task, description)))

    def write_with_hint(self, task: Task, description: str, hint: Hint) -> list[int]:
        question = f"{_ask_to_write(task, description)}\n\n{_HINT_TITLES[hint.kind]}\n\n```python\n{_shown(hint)}\n```"
        return self._ids(self._text(question))

    def read(self, task: Task, code: str, examples: Sequence[Example] = ()) -> list[int]:
        question = (
            "Describe what the following Python code does, precisely enough that another programmer could write it "
            "again from your description alone. Do not write any code.\n\n"
            f"```python\n{codetext.strip_docstrings(code)}\n```"
        )
        return self._ids(self._text(question))

    def rewrite(self, task: Task) -> list[int]:
        question = (
            "Say the following programming task again in different words. Keep its meaning and every detail, and "
            f"answer with the new description only.\n\n{task.description}"
        )
        return self._ids(self._text(question))

    def describe(self, completion: str) -> str:
        parts = thoughts.split(completion, self._opens_thought)
        return clean_description(parts.answer) if parts else ""

    def extract(self, task: Task, completion: str) -> Extraction | None:
        parts = thoughts.split(completion, self._opens_thought)
        if parts is None:
            return None
        entry_point = codetext.entry_point_of(task.signature) if task.signature else None
        found = codetext.extract(parts.answer, entry_point)
        if found is None:
            return None
        code = codetext.pin(found, task.signature) if task.signature else found
        target = f"{parts.thought if self.keep_thoughts and parts.thought else self._no_thought}{_fenced(code)}"
        return Extraction(code, target, verbatim=target == completion)

    def target(self, task: Task, code: str) -> str | None:
        return f"{self._no_thought}{_fenced(codetext.strip_docstrings(code))}"

    def encode_target(self, task: Task, target: str) -> list[int]:
        prompt = self._text(_ask_to_write(task, task.description))
        head, joint = self._ids(prompt), self._ids(prompt + target)
        return [*_behind(head, joint, self.tokenizer, target), self._turn_end]

    @property
    def _no_thought(self) -> str:
        return _NO_THOUGHT if self._opens_thought else ""

    def _takes_system_message(self) -> bool:
        """Whether the template knows a system message: some refuse it, some leave it out."""
        messages = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}]
        try:
            return _PROBE in _render(self.tokenizer, messages, self.template_kwargs, add_generation_prompt=True)
        except ConfigError:
            return False

    def _text(self, question: str) -> str:
        """The prompt as text, up to where the model's own text begins."""
        system: list[dict[str, str]] = []
        if self.system_prompt and self._system_message:
            system = [{"role": "system", "content": self.system_prompt}]
        elif self.system_prompt:
            question = f"{self.system_prompt}\n\n{question}"
        messages = [*system, {"role": "user", "content": question}]
        return _render(self.tokenizer, messages, self.template_kwargs, add_generation_prompt=True)

    def _ids(self, text: str) -> list[int]:
        # The template has written all special tokens; the tokenizer must not add its own once more.
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def turn_end(tokenizer: PreTrainedTokenizerBase, template_kwargs: Mapping[str, Any] | None = None) -> int:
    """The token that ends an answer in the chat template, or the tokenizer's end token if that has none of its own.

    Raises:
        ConfigError: if the template cannot be rendered, or there is no end token at all.
    """
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    text = _render(tokenizer, messages, template_kwargs or {}, add_generation_prompt=False)
    _, found, suffix = text.rpartition(_PROBE)
    special = {*tokenizer.all_special_ids, *_special_tokens(tokenizer)}
    behind = tokenizer(suffix, add_special_tokens=False)["input_ids"] if found else []
    found_ids = [int(token) for token in behind if token in special]
    return found_ids[0] if found_ids else end_token(tokenizer)


def prompt_format(
    tokenizer: PreTrainedTokenizerBase,
    kind: str = "auto",
    *,
    end_ids: Collection[int] | None = None,
    system_prompt: str | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    stop: tuple[str, ...] = (),
    keep_thoughts: bool = False,
) -> PromptFormat:
    """The prompts for a model.

    Many base models come with the chat template of their chat sibling, but not with its habit of ending a turn:
    `"auto"` takes for a chat model what ends where its template ends an answer.

    Args:
        tokenizer: The model's tokenizer.
        kind: `"chat"`, `"base"` or `"auto"`.
        end_ids: The tokens that end the model's completions; the tokenizer's end token if not given.
        system_prompt: As in `ChatPrompts`.
        template_kwargs: As in `ChatPrompts`.
        stop: Texts that end codes and descriptions besides those of the prompts.
        keep_thoughts: As in `ChatPrompts`.

    Raises:
        ConfigError: for an unknown `kind`, or a `"chat"` that does not fit the tokenizer or the end tokens.
    """
    special = {str(token) for token in _special_tokens(tokenizer).values()}
    if hidden := [text for text in stop if text in special]:
        raise ConfigError(
            f"stop={list(stop)!r}: {hidden[0]!r} is a special token of {tokenizer.name_or_path!r} and never part of a text; "
            "name it as eos_token if it ends completions."
        )
    if kind not in ("auto", "base", "chat"):
        raise ConfigError(f"prompt_format={kind!r} is unknown; use 'auto', 'base' or 'chat'.")
    if kind == "chat" and not tokenizer.chat_template:
        raise ConfigError(
            f"prompt_format='chat' needs a tokenizer with a chat template, and {tokenizer.name_or_path!r} has none; "
            "use prompt_format='base', or give one by chat_template_path."
        )
    if kind != "base" and tokenizer.chat_template:
        end = turn_end(tokenizer, template_kwargs)
        if end in (end_ids if end_ids is not None else {end_token(tokenizer)}):
            return ChatPrompts(tokenizer, system_prompt, template_kwargs or {}, keep_thoughts, stop, stop)
        name = tokenizer.convert_ids_to_tokens(end)
        if kind == "auto":
            logger.warning(
                "%r has a chat template, but does not end where that ends an answer (%s): it is prompted as a base model; "
                "set eos_token=%r to ask it, or prompt_format='base' to hear no more of this",
                tokenizer.name_or_path, name, name,
            )  # fmt: skip
        else:
            raise ConfigError(
                f"prompt_format='chat': the chat template ends an answer with {name!r}, which ends no completion of "
                f"{tokenizer.name_or_path!r}; set eos_token={name!r}, or use prompt_format='base'."
            )
    chat_only = {
        "system_prompt": system_prompt, "chat_template_kwargs": template_kwargs, "train_on_thinking": keep_thoughts
    }  # fmt: skip
    for option, value in chat_only.items():
        if value:
            raise ConfigError(
                f"{option}={value!r} needs a chat model, and {tokenizer.name_or_path!r} completes text; leave it out, "
                "or use prompt_format='chat' with the eos_token of its chat template."
            )
    return BasePrompts(tokenizer, (*CODE_STOPS, *stop), (*DESCRIPTION_STOPS, *stop))


def write_text(signature: str | None, description: str) -> str:
    """The base model's prompt to write: signature and docstring, or a module docstring for a whole program."""
    indent = codetext.INDENT if signature else ""
    lines = description.strip().replace('"""', "'''").splitlines() or [""]
    text = "\n".join([lines[0], *(f"{indent}{line}".rstrip() for line in lines[1:])])
    if len(lines) > 1:
        text += f"\n{indent}"
    elif text.endswith('"'):
        text += " "
    head = f"{signature.rstrip()}\n" if signature else ""
    return f'{head}{indent}"""{text}"""\n'


def read_text(code: str, examples: Sequence[Example] = ()) -> str:
    """The base model's prompt to read: worked examples, then the code, docstrings stripped, and an open header."""
    shown = "".join(
        f"{CODE_HEADER}{codetext.strip_docstrings(example.code)}\n{DESCRIPTION_HEADER}{example.description}\n\n"
        for example in examples
    )
    return f"{shown}{CODE_HEADER}{codetext.strip_docstrings(code)}\n{DESCRIPTION_HEADER}"


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end token.

    Raises:
        ConfigError: if the tokenizer has none; a completion could never end.
    """
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"the tokenizer {tokenizer.name_or_path!r} has no end token; set `tokenizer.eos_token`.")
    return int(tokenizer.eos_token_id)


def _ask_to_write(task: Task, description: str) -> str:
    if task.signature is None:
        return (
            "Write a Python program that solves the following task. It reads from standard input and writes to "
            f"standard output. Answer with one fenced code block.\n\n{description}"
        )
    return (
        "Complete the following Python function. Answer with one fenced code block that holds the whole function.\n\n"
        f"```python\n{write_text(task.signature, description).rstrip()}\n```"
    )


def _shown(hint: Hint) -> str:
    return codetext.strip_docstrings(hint.text) if hint.kind == "reference" else hint.text


def _as_block(hint: Hint) -> str:
    return "\n".join(f"{codetext.INDENT}{line}".rstrip() for line in _shown(hint).splitlines())


def _encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = list(tokenizer(text)["input_ids"])
    # Tokenizers that close every text with the end token would end the completion before it starts.
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids


def _behind(head: list[int], joint: list[int], tokenizer: PreTrainedTokenizerBase, target: str) -> list[int]:
    """Token ids of a target behind its prompt.

    Tokenizers that mark word starts must see the target behind its prompt; where the joint text merges tokens across
    the border, the prompt as sampled wins and the target stands alone.
    """
    if joint[: len(head)] == head:
        return joint[len(head) :]
    return list(tokenizer(target, add_special_tokens=False)["input_ids"])


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    template_kwargs: Mapping[str, Any],
    add_generation_prompt: bool,
) -> str:
    import jinja2

    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, **template_kwargs
            )
        )
    except (jinja2.TemplateError, TypeError) as error:
        raise ConfigError(
            f"the chat template of {tokenizer.name_or_path!r} cannot be rendered ({error}); check it and "
            "chat_template_kwargs, or use prompt_format='base'."
        ) from error


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, Any]:
    """The added tokens that decoding drops, by their ids."""
    return {number: token for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def _longest_program(completion: str) -> str | None:
    """The longest prefix of whole lines that is Python: a base model may run on into prose after the program."""
    lines = completion.rstrip().splitlines()
    for end in range(len(lines), 0, -1):
        code = "\n".join(lines[:end])
        if code.strip() and codetext.parse(code) is not None:
            return code
    return completion.rstrip() or None
