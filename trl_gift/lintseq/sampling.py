"""LintSeq (arXiv 2410.02749): a program as sequences of edits each of whose states lints clean.

Backward from the whole program: draw a candidate line by its weight, delete it with its block, lint what is left, delete every line
that an error points to with its block, and so on until the rest is clean; what went is one edit. This repeats until no
candidate is left; comments that are left are the last to go. Forward, the states in reverse are the sequence.

Departures from the authors' program:

- Blank lines come with the code that they separate: no state begins or ends with one, except the whole program.
- A string that spans lines goes as a whole.
- Resolving is exact (`trl_gift.lintseq.edits`).

Every draw depends on the seed and on the number of the sequence alone. Nothing is executed.

Not covered: languages other than Python.
"""

from __future__ import annotations

import ast
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from trl_gift.common.randomness import generator, stream_key
from trl_gift.errors import ConfigError, UserError
from trl_gift.lintseq.edits import Edit, EditSequence, Hunk, lines_of
from trl_gift.lintseq.facts import Facts
from trl_gift.lintseq.layout import Layout, bits, layout_of
from trl_gift.lintseq.linters import Linter, linter_of

MOST_LINES = 1000
"""The longest program that is taken by default: the cost grows with the square of the length."""


class ProgramError(UserError):
    """A program that has no edit sequences.

    Attributes:
        kind: Why, in the words of a count: `does not compile`, `is too long`, `is nested too deeply`.
    """

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        super().__init__(f"the program {kind}: {detail}")


def sample_edit_sequences(
    code: str,
    num_sequences: int = 5,
    seed: int = 0,
    linter: str | Linter = "fast",
    *,
    random_lines: bool = False,
    max_lines: int = MOST_LINES,
) -> list[EditSequence]:
    """Independent edit sequences of a Python program.

    Every state but the last lints clean. The last is the program itself, whatever the linter says about it: lines in error at the
    start go with the first deletion.

    Args:
        code: The program.
        num_sequences: How many sequences.
        seed: With the number of a sequence, it decides all draws. Give each program of a set a seed of its own, or the draws
            of all programs are the same numbers.
        linter: `"fast"`, `"pylint"` or a linter of your own.
        random_lines: The paper's ablation: sets of lines of random sizes and places, without a linter.
        max_lines: The longest program that is taken.

    Returns:
        `num_sequences` sequences; without edits for the empty program.

    Raises:
        ProgramError: if the program does not compile, or is longer than `max_lines`.
        ConfigError: for an unknown linter or a negative number of sequences.
    """
    if num_sequences < 0:
        raise ConfigError(f"num_sequences={num_sequences}: must be at least 0.")
    chosen = linter_of(linter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user cannot change the programs
        layout = layout_of(code, _checked(code, max_lines))
        try:
            judge = None if random_lines else Judge(layout, chosen)
            return [_sequence(layout, judge, seed, index) for index in range(num_sequences)]
        except RecursionError:
            raise ProgramError("is nested too deeply", "the linter cannot follow it.") from None


def check_language(language: str) -> None:
    """Raises a `ConfigError` for a language that has no linter here."""
    if language != "python":
        raise ConfigError(
            f"language {language!r}: edit sequences need a linter of the language, and there is one for python alone; "
            "leave out programs of other languages."
        )


class Judge:
    """Says which lines are in error after a deletion; remembers what it has said."""

    def __init__(self, layout: Layout, linter: Linter) -> None:
        self._layout = layout
        self._linter = linter
        self._said: dict[int, int] = {0: 0}
        self._facts: dict[int, Facts] = {}
        # Facts hold for clean states alone, and the program itself may have errors.
        self._unclean = {layout.all} if linter.only_names and self._lint(layout.all) else set()

    def errors(self, kept: int, gone: int) -> int:
        """The lines in error after a deletion.

        Args:
            kept: The lines before it.
            gone: The lines that it takes.
        """
        rest = kept & ~gone
        if not rest & self._layout.has_code:
            return 0
        if not self._linter.only_names or kept in self._unclean:
            return self._lint(rest)
        facts = self._facts.get(kept)
        if facts is None:
            facts = self._facts[kept] = Facts(self._layout, kept)
        foresight = facts.foresee(gone, rest)
        errors = self._lint(rest) if foresight.errors is None else foresight.errors
        if not errors and foresight.whole:
            self._facts[rest] = facts
        return errors

    def _lint(self, kept: int) -> int:
        errors = self._said.get(kept)
        if errors is None:
            rows = self._layout.rows_of(kept)
            found = self._linter.errors(self._layout.text(kept))
            errors = 0
            for row in found:
                errors |= 1 << self._code_line(kept, rows[min(max(row, 1), len(rows)) - 1])
            self._said[kept] = errors
        return errors

    def _code_line(self, kept: int, line: int) -> int:
        """The line with code that an error points to: the one above, if it points to a comment or a blank line."""
        code = kept & self._layout.has_code
        above = code & ((2 << line) - 1)
        return (above.bit_length() if above else (code & -code).bit_length()) - 1


def _sequence(layout: Layout, judge: Judge | None, seed: int, index: int) -> EditSequence:
    draws = generator(stream_key("lintseq", seed, index))
    if judge is None:
        states = _random_states(len(layout.lines), lambda low, high: int(draws.integers(low, high)))
    else:
        states = _linted_states(layout, judge, draws.random(len(layout.candidates)).tolist())
    return _forward(layout, states)


def _linted_states(layout: Layout, judge: Judge, draws: Sequence[float]) -> list[int]:
    """The states from the whole program to the empty one."""
    kept = layout.all
    states = [kept]
    candidates, weights = list(layout.candidates), list(layout.weights)
    for draw in draws:
        if not candidates:
            break
        sums = list(accumulate(weights))
        line = candidates[min(bisect_right(sums, draw * sums[-1]), len(sums) - 1)]
        gone = layout.blocks[line] & kept
        while errors := judge.errors(kept, gone):
            for wrong in bits(errors):
                gone |= layout.blocks[wrong] & kept
        kept &= ~gone
        states.append(kept)
        left = [place for place, candidate in enumerate(candidates) if kept >> candidate & 1]
        candidates, weights = [candidates[place] for place in left], [weights[place] for place in left]
    return [*states, 0]


def _random_states(count: int, integer: Callable[[int, int], int]) -> list[int]:
    """The states of the ablation: each deletion takes a random number of random lines."""
    lines = list(range(count))
    states = [(1 << count) - 1]
    while lines:
        size = integer(1, len(lines)) if len(lines) > 1 else 1
        for place in range(size):  # the first `size` places of a shuffle
            other = integer(place, len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        kept = states[-1]
        for line in lines[:size]:
            kept &= ~(1 << line)
        lines = lines[size:]
        states.append(kept)
    return states


def _forward(layout: Layout, states: Sequence[int]) -> EditSequence:
    """The sequence whose states these are, in reverse."""
    edits: list[Edit] = []
    programs: list[str] = []
    before: list[int] = []
    for kept in reversed(states):
        after = layout.shown(kept)
        if len(after) > len(before):
            edits.append(_growth(layout, before, after))
            programs.append("\n".join([layout.lines[line] for line in after]))
            before = after
    return EditSequence(tuple(edits), tuple(programs))


def _growth(layout: Layout, before: Sequence[int], after: Sequence[int]) -> Edit:
    """The edit that adds lines; `before` is a part of `after`, in the same order."""
    hunks: list[Hunk] = []
    start = old = 0
    added: list[str] = []
    for new, line in enumerate([*after, -1]):
        if line >= 0 and (old == len(before) or before[old] != line):
            if not added:
                start = new
            added.append(layout.lines[line])
            continue
        if added:
            hunks.append(Hunk(old, start, (), tuple(added)))
            added = []
        old += 1
    return Edit(tuple(hunks))


def _checked(code: str, max_lines: int) -> ast.Module:
    """The syntax tree of a program that compiles."""
    count = len(lines_of(code))
    if count > max_lines:
        raise ProgramError("is too long", f"it has {count:,} lines, and at most {max_lines:,} are taken (max_lines).")
    try:
        tree = ast.parse(code)
        compile(code, "<program>", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ProgramError("does not compile", f"{error.msg} (line {error.lineno or 1}).") from None
    except ValueError as error:  # null bytes, lone surrogates
        raise ProgramError("does not compile", f"{error}.") from None
    except (RecursionError, MemoryError):
        raise ProgramError("is nested too deeply", "the compiler cannot follow it.") from None
    return tree
