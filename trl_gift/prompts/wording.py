"""The texts that prompts consist of, apart from the chat questions: headers, the open function, the hints' titles.

Changing a text here changes every sample of every run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trl_gift import codetext
from trl_gift.prompts.protocol import Example, Hint
from trl_gift.sandbox.languages import naming

CODE_HEADER = "### Code\n"
DESCRIPTION_HEADER = "### Description\n"
REWRITE_HEADER = "### The same in other words\n"
# A base model that writes one of these after the body starts something new, which is not part of the pinned function.
CODE_STOPS = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\nassert ", "\n#", "\n@", "\n```")
# A whole program may hold all of these; what follows it is another header, or the end of the fence that holds it.
PROGRAM_STOPS = ("\n```", "\n###")
DESCRIPTION_STOPS = ("\n###",)
HINT_TITLES = {
    "reference": "One correct solution, as a hint; write your own:",
    "failing_test": "A test that must pass:",
}

WRONG_PROGRAM, ITS_FAILURE, RIGHT_PROGRAM = "A wrong program:", "How it fails:", "The same task, solved correctly:"
"""What a base model reads before a program that it must write again, before the failure, and before its own program."""

PASSING_PROGRAM = "A program that passes its tests:"
"""What a base model reads before a program that is right."""

_SENTENCE_END = re.compile(r"[.!?:](?=\s|$)|\n")


def write_text(signature: str | None, description: str, examples: Sequence[str] = ()) -> str:
    """The base model's prompt to write: signature and docstring, or a module docstring for a whole program.

    Args:
        signature: The pinned signature; None for a whole program.
        description: The description.
        examples: Texts that follow the description in the docstring, such as assertions.
    """
    indent = codetext.INDENT if signature else ""
    words = with_examples(description.strip(), examples).strip().replace('"""', "'''")
    lines = codetext.lines_of(words) or [""]
    text = "\n".join([lines[0], *(f"{indent}{line}".rstrip() for line in lines[1:])])
    if len(lines) > 1:
        text += f"\n{indent}"
    elif text.endswith('"'):
        text += " "
    head = f"{signature.rstrip()}\n" if signature else ""
    return f'{head}{indent}"""{text}"""\n'


def program_text(language: str, description: str, examples: Sequence[str] = (), opening: str = "") -> str:
    """The base model's prompt to write a whole program: a module docstring, or comment lines in another language.

    Args:
        language: The language of the program.
        description: The description.
        examples: Texts that follow the description, such as assertions.
        opening: How the function begins that is wanted instead of a whole program; empty for a program.
    """
    if language == "python":
        return write_text(None, description, examples)
    called = naming(language)
    lines = [f"{called.title} {'function' if opening else 'program'}", ""]
    lines += codetext.lines_of(with_examples(description.strip(), examples))
    lines += ["", f"It begins with: {opening}"] if opening else []
    # Where a comment needs an end, so does an empty line's.
    words = (f"{called.comment} {line} {called.comment_end}" for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in words)


def refine_text(language: str, code: str, feedback: str | None) -> str:
    """What precedes the base model's prompt to write a program again: the program and, as comments, its failure.

    Args:
        language: The language of the program.
        code: The program.
        feedback: Its failure, in words; None if it passes its tests.
    """
    called = naming(language)

    def comments(*lines: str) -> str:
        return "".join(f"{f'{called.comment} {line} {called.comment_end}'.rstrip()}\n" for line in lines)

    if feedback is None:
        return f"{comments(PASSING_PROGRAM)}{code.rstrip()}\n\n{comments(RIGHT_PROGRAM)}"
    failure = comments(ITS_FAILURE, *codetext.lines_of(feedback))
    return f"{comments(WRONG_PROGRAM)}{code.rstrip()}\n\n{failure}\n{comments(RIGHT_PROGRAM)}"


def with_examples(description: str, examples: Sequence[str]) -> str:
    """A description with the examples in a paragraph of their own."""
    return "\n\n".join([description, "\n".join(examples)]) if examples else description


def read_text(code: str, examples: Sequence[Example] = ()) -> str:
    """The base model's prompt to read: the worked examples, the program without docstrings, then an open header."""
    shown = "".join(
        f"{CODE_HEADER}{codetext.strip_docstrings(example.code)}\n{DESCRIPTION_HEADER}{example.description}\n\n"
        for example in examples
    )
    return f"{shown}{CODE_HEADER}{codetext.strip_docstrings(code)}\n{DESCRIPTION_HEADER}"


def clean_description(text: str, finished: bool = True) -> str:
    """The words in a completion of `read`: up to the next header, without code and white space around. May be empty.

    Args:
        text: The completion.
        finished: False for a completion that was cut off at the limit: a last sentence without an end is left out,
            unless it is the only one.
    """
    for stop in DESCRIPTION_STOPS:
        text = text.split(stop, 1)[0]
    if not finished and (ends := list(_SENTENCE_END.finditer(text))):
        text = text[: ends[-1].end()]
    lines = codetext.lines_of(_without_fences(text))
    words = [line for line in lines if not codetext.is_statement(line)]
    return "\n".join(words).strip()


def _without_fences(text: str) -> str:
    """A text without its fenced blocks and the lines that announce them (`Here is the code:`)."""
    pieces: list[str] = []
    place = 0
    for block in codetext.fenced_blocks(text):
        words = text[place : block.start].rstrip()
        if words.endswith(":"):
            words = words[: words.rfind("\n") + 1].rstrip()
        pieces.append(words)
        place = block.end
    return "".join([*pieces, text[place:]])


def hint_text(hint: Hint) -> str:
    """The text of a hint as prompts show it: a reference without its docstrings, a test as it is."""
    return codetext.strip_docstrings(hint.text) if hint.kind == "reference" else hint.text
