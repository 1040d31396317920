"""`<think>...</think>`: what a model wrote before its answer, told apart from it.

Marks count outside code fences of the answer only, so that a program may contain them. Within a thought nothing counts
but its end: models think in fenced code, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPEN = "<think>"
CLOSE = "</think>"
# Whichever of these comes first in an answer: a mark, or a whole fence, or one that the end of the text cuts off.
_NEXT = re.compile(
    rf"({OPEN})|({CLOSE})|(?:^|(?<={CLOSE}))[ \t]*```[^\n]*\n.*?(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Parts:
    """A completion in two.

    Attributes:
        thought: Everything before the answer, as it was written: marks and white space included. May be empty.
        answer: The text outside all thoughts.
    """

    thought: str
    answer: str


def split(text: str, opened: bool = False) -> Parts | None:
    """Tells thoughts from the answer.

    Args:
        text: What the model wrote.
        opened: Whether its prompt ends within a thought.

    Returns:
        The parts; None where the last thought does not end, and the answer is not there yet. A thought that ends
        without having begun has begun with the text. Of an answer that is interrupted by further thoughts, `answer`
        joins the pieces and `thought` is what stands before the first.
    """
    place = 0
    if opened:
        place = text.find(CLOSE)
        if place < 0:
            return None
        place += len(CLOSE)
    pieces: list[str] = []
    start = place  # of the piece of answer that is being read
    first = place  # where the answer begins: behind the thoughts that nothing but white space parts
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
        if (found.group(1) or found.group(2)) and not "".join(pieces).strip():
            first = start
    answer = "".join([*pieces, text[start:]])
    if not first:
        return Parts("", answer)
    first += len(text[first:]) - len(text[first:].lstrip())
    return Parts(text[:first], answer.lstrip())


def is_open(prompt: str) -> bool:
    """Whether a prompt ends within a thought."""
    return prompt.rstrip().endswith(OPEN)
