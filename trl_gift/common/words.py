"""Words for numbers in lines for people."""

from __future__ import annotations


def plural(count: int, word: str) -> str:
    """A number and its noun, such as "1 round" and "2,000 rounds"."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")
