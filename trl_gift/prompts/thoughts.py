"""`<think>...</think>`: tells what a model wrote before its answer from the answer.

Marks count only outside the code fences of the answer, so that a program may contain them. Within a thought only its end
counts, because models write fenced code in thoughts, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN = "<think>"
CLOSE = "</think>"
# What may come next in an answer: a mark, a whole fence, or a fence that the end of the text cuts off.
_NEXT = re.compile(
    rf"({OPEN})|({CLOSE})|(?:^|(?<={CLOSE}))[ \t]*```[^\n]*\n.*?(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Parts:
    """A completion in two.

    Attributes:
        thought: Everything before the answer, as the model wrote it, with marks and white space. May be empty.
        answer: The text outside all thoughts.
    """

    thought: str
    answer: str


def split(text: str, opened: bool = False) -> Parts | None:
    """Splits a completion into thought and answer.

    Args:
        text: What the model wrote.
        opened: Whether its prompt ends within a thought.

    Returns:
        The parts; None if the last thought does not end, so that there is no answer yet. A closing mark without an
        opening one ends a thought that began with the text. If further thoughts interrupt the answer, `answer` joins
        its pieces, and `thought` is the text before the first piece.
    """
    place = 0
    if opened:
        place = text.find(CLOSE)
        if place < 0:
            return None
        place += len(CLOSE)
    pieces: list[str] = []
    start = place  # of the piece of answer that is being read
    answered = False  # whether a piece so far holds more than white space
    first = place  # where the answer begins: after the leading thoughts and the white space between them
    while (found := _NEXT.search(text, place)) is not None:
        place = found.end()
        if found.group(1):
            pieces.append(text[start : found.start()])
            end = text.find(CLOSE, place)
            if end < 0:
                return None
            start = place = end + len(CLOSE)
        elif found.group(2):
            pieces, start = [], place
        if found.group(1) or found.group(2):
            answered = bool(pieces) and (answered or bool(pieces[-1].strip()))
            if not answered:
                first = start
    answer = "".join([*pieces, text[start:]])
    if not first:
        return Parts("", answer)
    first += len(text[first:]) - len(text[first:].lstrip())
    return Parts(text[:first], answer.lstrip())


def is_open(prompt: str) -> bool:
    """Whether a prompt ends within a thought."""
    return prompt.rstrip().endswith(OPEN)
