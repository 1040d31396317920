"""What LintSeq sees of a program before it deletes anything: candidate lines, their weights, and the block of each line.

- Candidates are the lines with code, except those within a constant that spans lines: a string, or the value of an
  assignment to a name in capital letters. Such a constant goes as a whole.
- A line's weight is its level of indentation, at least 1.
- A line's block is the line with all more-indented lines that follow it.

Sets of lines are integers whose bits are the lines, because most of the work is to combine such sets.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from trl_gift.lintseq.edits import lines_of

_TAB = 8  # as Python counts
_WITHIN = 1 << 30  # deeper than any line
_CLOSING = ")]},:"
_SPACE = " \t\f\r"


@dataclass(frozen=True, slots=True)
class Layout:
    """A program's lines, and what belongs together.

    Attributes:
        lines: The lines.
        has_code: The lines with code.
        blank: The lines without code or comment.
        blocks: For each line, what goes with it.
        candidates: The lines that may be drawn, in order.
        weights: Weight of each candidate.
        rows: For each line the number of lines that Python counts in it: more than 1 if it holds lone carriage returns.
    """

    lines: tuple[str, ...]
    has_code: int
    blank: int
    blocks: tuple[int, ...]
    candidates: tuple[int, ...]
    weights: tuple[float, ...]
    rows: tuple[int, ...]

    @property
    def all(self) -> int:
        """Every line."""
        return (1 << len(self.lines)) - 1

    def shown(self, kept: int) -> list[int]:
        """The lines of a state in order, without blank lines at its beginning and its end."""
        if kept == self.all:
            return list(range(len(self.lines)))
        solid = kept & ~self.blank
        if not solid:
            return []
        first = (solid & -solid).bit_length() - 1
        shown = bits((kept >> first << first) & ((1 << solid.bit_length()) - 1))
        # An empty line within a string may be all that random lines leave; a program of it is the empty one.
        return shown if len(shown) > 1 or self.lines[shown[0]] else []

    def text(self, kept: int) -> str:
        """The program of a state."""
        return "\n".join([self.lines[line] for line in self.shown(kept)])

    def rows_of(self, kept: int) -> list[int]:
        """The line of each row that Python counts in the program of a state."""
        shown = self.shown(kept)
        if max(self.rows, default=1) == 1:
            return shown
        return [line for line in shown for _ in range(self.rows[line])]


def bits(lines: int) -> list[int]:
    """The members of a set of lines, in order."""
    return [line for line, digit in enumerate(bin(lines)[:1:-1]) if digit == "1"]


def layout_of(code: str, tree: ast.Module) -> Layout:
    """The layout of a program.

    Args:
        code: The program.
        tree: Its syntax tree.
    """
    lines = lines_of(code)
    rows = [1 + line.rstrip("\r").count("\r") for line in lines]
    line_of_row = [index for index, count in enumerate(rows) for _ in range(count)]
    whole = [
        (line_of_row[first - 1], line_of_row[last - 1]) for first, last in _constants(tree) if last <= len(line_of_row)
    ]
    within = {line for first, last in whole for line in range(first + 1, last + 1)}
    stripped = [line.strip(_SPACE) for line in lines]
    has_code = [_has_code(line) or index in within for index, line in enumerate(lines)]
    columns = _columns(lines, stripped, has_code, within)
    step = next((column for column in columns if 0 < column < _WITHIN), 1)
    candidates = [index for index in range(len(lines)) if has_code[index] and index not in within]
    return Layout(
        tuple(lines),
        _set(index for index, code_here in enumerate(has_code) if code_here),
        _set(index for index, text in enumerate(stripped) if not text and not has_code[index]),
        _blocks(columns, whole),
        tuple(candidates),
        tuple(max(1.0, _column(lines[index]) / step) for index in candidates),
        tuple(rows),
    )


def _has_code(line: str) -> bool:
    """Whether a line holds more than a comment; Python also ends a row, and with it a comment, at a lone carriage return."""
    return any(text and text[0] != "#" for text in (row.strip(_SPACE) for row in line.split("\r")))


def _set(lines: Iterator[int]) -> int:
    result = 0
    for line in lines:
        result |= 1 << line
    return result


def _constants(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last row of each constant that spans rows."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() | bytes()) | ast.JoinedStr():
                first, last = node.lineno, node.end_lineno
            case ast.Assign(targets=targets) if all(isinstance(one, ast.Name) and one.id.isupper() for one in targets):
                first, last = node.lineno, node.end_lineno
            case ast.AnnAssign(target=ast.Name(id=name)) if name.isupper():
                first, last = node.lineno, node.end_lineno
            case _:
                continue
        if last is not None and last > first:
            yield first, last


def _column(line: str) -> int:
    """The column at which a line begins, as Python counts it."""
    column = 0
    for sign in line:
        if sign == " ":
            column += 1
        elif sign == "\t":
            column = (column // _TAB + 1) * _TAB
        elif sign == "\f":
            column = 0
        else:
            break
    return column


def _columns(lines: list[str], stripped: list[str], has_code: list[bool], within: set[int]) -> list[int]:
    """Where each line counts as beginning: a blank line as the one above it, a comment at least as the code below it."""
    columns: list[int] = []
    for index, line in enumerate(lines):
        above = columns[-1] if columns else 0
        if index in within:
            columns.append(_WITHIN)
        elif not stripped[index] or (above and not stripped[index].strip(_CLOSING)):
            columns.append(above)
        else:
            columns.append(_column(line))
    below = 0
    for index in reversed(range(len(lines))):
        if not has_code[index]:
            if stripped[index]:
                columns[index] = max(columns[index], below)
        elif index not in within:
            below = columns[index]
    return columns


def _blocks(columns: list[int], whole: list[tuple[int, int]]) -> tuple[int, ...]:
    """For each line the set of lines that goes with it."""
    ends = [len(columns)] * len(columns)
    open_lines: list[int] = []
    for index, column in enumerate(columns):
        while open_lines and columns[open_lines[-1]] >= column:
            ends[open_lines.pop()] = index
        open_lines.append(index)
    blocks = [(1 << end) - (1 << start) for start, end in enumerate(ends)]
    for first, last in whole:
        constant = (1 << (last + 1)) - (1 << first)
        touching = [index for index in range(last + 1) if blocks[index] & constant]
        for index in touching:
            blocks[index] |= constant
    return tuple(blocks)
