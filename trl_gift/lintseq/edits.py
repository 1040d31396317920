"""Programs as lines, edits as hunks, and the text of an edit sequence. A text resolves to its program exactly, or not at all.

A program is the list of its lines between line feeds: `"a\\nb\\n"` has the lines `a`, `b` and an empty one, and `""` has none. All
other characters, such as carriage returns, form feeds and U+2028, belong to their line. An edit is a unified diff without context
and without file headers. The text of a sequence has, for each edit, a line feed, `DIFF_TOKEN` and the edit's hunks:

    <|diff|>@@ -0,0 +1,2 @@
    +def double(x):
    +    return 2 * x
    <|diff|>@@ -1,0 +2 @@
    +    # twice

Each line of a program has a sign before it in the text, so no line can be taken for a header or for the token.

Not covered: context lines, and a diff that says `\\ No newline at end of file`; the empty last line says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trl_gift.errors import UserError

DIFF_TOKEN = "<|diff|>"
"""Begins each edit of a text; a model that writes edits has it as one token."""

_NUMBER = "(0|[1-9][0-9]{0,8})"
_HEADER = re.compile(rf"@@ -{_NUMBER}(?:,{_NUMBER})? \+{_NUMBER}(?:,{_NUMBER})? @@")
_SHOWN = 40


class HunkError(UserError):
    """A text that is not an edit sequence, or an edit that does not fit its program.

    Attributes:
        reason: What is wrong.
        edit: Number of the edit in the text, from 1; 0 before the first edit.
        line: Number of the line in the text, from 1; 0 for an edit that is not from a text.
    """

    def __init__(self, reason: str, edit: int = 0, line: int = 0) -> None:
        self.reason, self.edit, self.line = reason, edit, line
        place = ", ".join(f"{name} {number}" for name, number in (("edit", edit), ("line", line)) if number)
        super().__init__(f"{place}: {reason}" if place else reason)


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that replace others at one place.

    Attributes:
        old: Number of lines before that place in the program before the edit.
        new: Number of lines before that place in the program after the edit.
        removed: The lines that go; empty in a sampled sequence.
        added: The lines that come.
    """

    old: int
    new: int
    removed: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        header = f"@@ -{_range(self.old, len(self.removed))} +{_range(self.new, len(self.added))} @@"
        return "\n".join([header, *("-" + line for line in self.removed), *("+" + line for line in self.added)])


@dataclass(frozen=True, slots=True)
class Edit:
    """One step of a sequence: its hunks, in the order of the lines. `str` gives the unified diff."""

    hunks: tuple[Hunk, ...]

    @property
    def added(self) -> int:
        """Number of lines that come."""
        return sum(len(hunk.added) for hunk in self.hunks)

    def __str__(self) -> str:
        return "\n".join(map(str, self.hunks))


@dataclass(frozen=True, slots=True)
class EditSequence:
    """A program as the edits that write it from nothing.

    Attributes:
        edits: The edits, in the order in which they apply.
        states: The program after each edit; the last is the whole program. The program before the first edit is empty.
    """

    edits: tuple[Edit, ...]
    states: tuple[str, ...]

    @property
    def code(self) -> str:
        """The whole program."""
        return self.states[-1] if self.states else ""


def to_text(sequence: EditSequence) -> str:
    """The text of a sequence, as a model is trained to write it; empty for the empty program."""
    return "".join(f"\n{DIFF_TOKEN}{edit}" for edit in sequence.edits)


def resolve(text: str) -> str:
    """The program that a text of edits writes.

    Args:
        text: What `to_text` returns or a model wrote, without the end token. The first line feed may be missing, and line
            feeds may follow the last edit.

    Raises:
        HunkError: where the text is malformed, or an edit does not fit the program so far.
    """
    code = ""
    for _, code in grow(text):  # noqa: B007 (the last one counts)
        pass
    return code


def grow(text: str) -> Iterator[tuple[Edit, str]]:
    """Each edit of a text, with the program after it. What comes before a malformed edit is given before the error.

    Raises:
        HunkError: as `resolve`.
    """
    for edit, program in _grown(text):
        yield edit, "\n".join(program)


def parse(text: str) -> tuple[Edit, ...]:
    """The edits of a text.

    Raises:
        HunkError: where the text is malformed. Whether the edits fit their programs is not checked.
    """
    return tuple(edit for edit, _ in _parsed(text))


def apply(edit: Edit, code: str) -> str:
    """The program after an edit.

    Raises:
        HunkError: if the edit does not fit the program.
    """
    return "\n".join(_applied(edit, lines_of(code), 0, (0,) * len(edit.hunks)))


def marked(edit: Edit, code: str) -> list[tuple[str, str]]:
    """The lines of a program while an edit applies, each with its sign: `"+"` comes, `"-"` goes, `" "` stays.

    Args:
        edit: The edit.
        code: The program before it, which it fits.
    """
    lines = lines_of(code)
    rows: list[tuple[str, str]] = []
    read = 0
    for hunk in edit.hunks:
        end = hunk.old + len(hunk.removed)
        rows += [(" ", line) for line in lines[read : hunk.old]]
        rows += [("-", line) for line in hunk.removed]
        rows += [("+", line) for line in hunk.added]
        read = end
    return [*rows, *((" ", line) for line in lines[read:])]


def lines_of(code: str) -> list[str]:
    """The lines of a program, as edits count them."""
    return code.split("\n") if code else []


def _range(start: int, count: int) -> str:
    first = start + 1 if count else start
    return f"{first}" if count == 1 else f"{first},{count}"


def _grown(text: str) -> Iterator[tuple[Edit, list[str]]]:
    """The edits of a text, each with the lines of the program after it."""
    program: list[str] = []
    for number, (edit, places) in enumerate(_parsed(text), 1):
        program = _applied(edit, program, number, places)
        yield edit, program


def _parsed(text: str) -> Iterator[tuple[Edit, tuple[int, ...]]]:
    """The edits of a text, each with the line of the text at which each of its hunks begins."""
    lines = text.split("\n")
    while lines and not lines[-1]:
        lines.pop()
    place = 1 if lines and not lines[0] else 0
    number = 0
    while place < len(lines):
        if not lines[place].startswith(DIFF_TOKEN):
            raise HunkError(
                f"expected {DIFF_TOKEN}, a hunk or the end, not {_shown(lines[place])}.", number, place + 1
            )
        number += 1
        lines[place] = lines[place].removeprefix(DIFF_TOKEN)
        hunks: list[Hunk] = []
        places: list[int] = []
        while True:
            places.append(place + 1)
            hunk, place = _hunk(lines, place, number)
            hunks.append(hunk)
            if place == len(lines) or not lines[place].startswith("@@"):
                break
        yield Edit(tuple(hunks)), tuple(places)


def _hunk(lines: Sequence[str], place: int, edit: int) -> tuple[Hunk, int]:
    """The hunk whose header is at a place, and the place after it."""
    found = _HEADER.fullmatch(lines[place])
    if found is None:
        raise HunkError(f"{_shown(lines[place])} is not a header such as '@@ -1,0 +2,3 @@'.", edit, place + 1)
    old, removed, new, added = (1 if number is None else int(number) for number in found.groups())
    if removed + added == 0:
        raise HunkError("the hunk neither removes nor adds a line.", edit, place + 1)
    if (removed and not old) or (added and not new):
        raise HunkError("the first line has the number 1, not 0.", edit, place + 1)
    body = []
    start = place + 1
    for index, sign in enumerate("-" * min(removed, len(lines)) + "+" * min(added, len(lines)), start):
        if index >= len(lines):
            raise HunkError(f"the text ends, but the header says -{removed} +{added} lines.", edit, len(lines))
        if not lines[index].startswith(sign):
            raise HunkError(
                f"expected a line with {sign!r}, as the header says -{removed} +{added} lines, not {_shown(lines[index])}.",
                edit,
                index + 1,
            )
        body.append(lines[index][1:])
    if len(body) < removed + added:
        raise HunkError(f"the text ends, but the header says -{removed} +{added} lines.", edit, len(lines))
    hunk = Hunk(old - 1 if removed else old, new - 1 if added else new, tuple(body[:removed]), tuple(body[removed:]))
    return hunk, start + removed + added


def _applied(edit: Edit, program: Sequence[str], number: int, places: Sequence[int]) -> list[str]:
    result: list[str] = []
    read = 0
    for hunk, line in zip(edit.hunks, places, strict=True):
        end = hunk.old + len(hunk.removed)
        if hunk.old < read:
            raise HunkError(f"the hunk at line {hunk.old + 1} lies before the end of the one above it.", number, line)
        if end > len(program):
            raise HunkError(f"the hunk reaches line {end} of a program of {len(program)} lines.", number, line)
        result += program[read : hunk.old]
        if hunk.new != len(result):
            raise HunkError(
                f"the hunk adds its lines after line {len(result)} of the new program, but its header says {hunk.new}.",
                number,
                line,
            )
        if tuple(program[hunk.old : end]) != hunk.removed:
            raise HunkError(f"the program has other lines at {hunk.old + 1} than the hunk removes.", number, line)
        result += hunk.added
        read = end
    result += program[read:]
    return [] if result == [""] else result


def _shown(line: str) -> str:
    return ascii(line if len(line) <= _SHOWN else line[:_SHOWN] + "...")
