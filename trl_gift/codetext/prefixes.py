"""The longest beginning of some lines that is Python: models write words after a program, and limits cut programs."""

from __future__ import annotations

from trl_gift.codetext.syntax import parse_or_line

# Each try parses a shorter beginning. The parser names the line of the error, so two are enough but for strings and
# brackets that are never closed.
_TRIES = 5


def longest_prefix(lines: list[str], least: int = 0) -> str | None:
    """The longest beginning of whole top-level statements that parses; None if none of more than `least` lines does.

    Args:
        lines: The lines of a text.
        least: The result has more lines than this.
    """
    end = len(lines)
    for _ in range(_TRIES):
        while end > least and not lines[end - 1].strip():
            end -= 1
        if end <= least:
            return None
        text = "\n".join(lines[:end])
        tree, wrong = parse_or_line(text)
        if tree is not None:
            return text
        end = _statement_before(lines, min(wrong, end) - 1, end)
    return None


def _statement_before(lines: list[str], wrong: int, end: int) -> int:
    """Where the top-level statement that holds line `wrong` (from 0) begins; before it if it is the last one tried."""
    place = min(wrong, end - 1)
    while place > 0 and not _begins(lines[place]):
        place -= 1
    return place


def _begins(line: str) -> bool:
    """Whether a line begins a top-level statement: a decorator stays with what it decorates, a branch with its `if`."""
    return bool(line) and not line[0].isspace() and line[0] not in ")]}" and not line.startswith(_CONTINUES)


_CONTINUES = ("else:", "elif ", "except:", "except ", "finally:", "'''", '"""')
