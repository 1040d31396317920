"""Pairs of a passing and a failing program of one task that differ in little, so that the difference is what matters.

Programs of the same step come first: they were written from the same words. Among these, and then among all others, the pair
with the smallest edit distance is taken, again and again, until the task has enough pairs or its programs are used up. Ties
go by the order of the chain, so the same run gives the same pairs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from trl_gift.export.programs import Program, Programs

_TOKEN = re.compile(r"\w+|[^\w\s]|\n[^\S\n]*|[^\S\n]+")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two programs of one task.

    Attributes:
        passed: The better one.
        failed: The worse one.
        distance: Edit distance of the two, in words, signs and white spaces.
        same_step: Whether a step of a chain wrote both.
    """

    passed: Program
    failed: Program
    distance: int
    same_step: bool


def near_pairs(programs: Programs, most: int | None, uses: int = 1) -> list[Pair]:
    """The pairs of one task, the nearest first.

    Args:
        programs: The programs of the task.
        most: How many pairs at most; None for any number.
        uses: In how many pairs a program may be.
    """
    texts = [[_tokens(one) for one in group] for group in (programs.passed, programs.failed)]
    used: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    pairs: list[Pair] = []
    for same_step in (True, False):
        if most is not None and len(pairs) >= most:
            break  # the distances of the others are not needed
        candidates = [
            (i, j)
            for i, j in product(range(len(programs.passed)), range(len(programs.failed)))
            if _share_step(programs.passed[i], programs.failed[j]) == same_step
            and used[0][i] < uses
            and used[1][j] < uses
        ]
        ranked = sorted((edit_distance(texts[0][i], texts[1][j]), i, j) for i, j in candidates)
        for distance, i, j in ranked:
            if (most is None or len(pairs) < most) and used[0][i] < uses and used[1][j] < uses:
                used[0][i] += 1
                used[1][j] += 1
                pairs.append(Pair(programs.passed[i], programs.failed[j], distance, same_step))
    return pairs


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements of items that make one sequence of the other.

    By Myers' bit vectors (1999) in Hyyrö's form (2003): a column of the table is two integers, whose bits say where the
    value rises and falls by one from row to row.
    """
    if not first:
        return len(second)
    full = (1 << len(first)) - 1
    last = 1 << (len(first) - 1)
    places: dict[str, int] = {}
    for row, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << row
    rises, falls, distance = full, 0, len(first)
    for item in second:
        equal = places.get(item, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal
        right_rises = falls | (full & ~(diagonal | rises))
        right_falls = rises & diagonal
        distance += bool(right_rises & last) - bool(right_falls & last)
        right_rises = right_rises << 1 | 1
        right_falls <<= 1
        equal |= falls
        rises = full & (right_falls | ~(equal | right_rises))
        falls = full & right_rises & equal
    return distance


def _tokens(program: Program) -> list[str]:
    return _TOKEN.findall(program.sample.code or "")


def _share_step(first: Program, second: Program) -> bool:
    return not first.places.isdisjoint(second.places)
