"""Words for numbers and for broken JSON in lines for people."""

from __future__ import annotations

import json


def plural(count: int, word: str, several: str | None = None) -> str:
    """A number and its noun, such as "1 round" and "2,000 rounds".

    Args:
        count: The number.
        word: The noun, for one.
        several: The noun for any other number; if not given, `word` with an s.
    """
    return f"{count:,} {agree(count, word, several or f'{word}s')}"


def agree(count: int, one: str, several: str) -> str:
    """The word that agrees with a number, such as "is" and "are"."""
    return one if count == 1 else several


def json_reason(error: json.JSONDecodeError) -> str:
    """What is wrong with a text that is not JSON, and where; a text of one line has no line number of its own."""
    line = f"line {error.lineno}, " if "\n" in error.doc.strip() else ""
    return f"{error.msg}, {line}column {error.colno}"
