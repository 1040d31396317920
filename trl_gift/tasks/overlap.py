"""Overlap between tasks: by the words of their descriptions, and by the syntax trees of their references.

Descriptions are compared by their sequences of n words (n-grams), without case, punctuation and doctest examples. The
share of common n-grams is relative to the shorter description, which finds a text inside a longer one. If the shorter
description has fewer than n n-grams, the share is relative to the longer one, because a short text is often only the
beginning of another ("write a function to sort the given list"). References are compared by `codetext.skeleton`: names,
imports and layout do not count. Very small references are not compared.

An inverted index holds the hashes of the n-grams, so only descriptions with a common n-gram are compared. Near-duplicates
are found exactly: two sets whose Jaccard index reaches t share one of the |x| - ceil(t |x|) + 1 rarest members of each.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trl_gift import codetext
from trl_gift.tasks.task import Task

NEAR_DUPLICATE_NGRAM = 3
"""Length in words of the n-grams of near-duplicates: one changed word changes only this many n-grams."""

LEAST_CODE_NODES = 11
"""A reference with fewer nodes (`return len(xs)`, `return a + b`) solves many different tasks, so it is not compared."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A task that repeats another task.

    Attributes:
        task_id: The task.
        matched: The `task_id` of the other task.
        source: The dataset of the other task.
        reason: What the two tasks share.
        share: The share of common n-grams, between 0 and 1; 1 if they share the code.
    """

    task_id: str
    matched: str
    source: str
    reason: Literal["description", "code"]
    share: float


def find_overlaps(
    tasks: Sequence[Task], others: Mapping[str, Sequence[Task]], ngram: int, threshold: float
) -> list[Overlap]:
    """The overlaps of `tasks` with other tasks, each with its closest match, in the order of `tasks`.

    Args:
        tasks: The tasks to check.
        others: The tasks to compare with, by the name of their dataset.
        ngram: Length of the n-grams, in words.
        threshold: The least share of common n-grams that counts as overlap.
    """
    known = [(source, other) for source, those in others.items() for other in those]
    codes: dict[str, int] = {}
    sets: list[frozenset[int]] = []
    holders: dict[int, list[int]] = defaultdict(list)
    for index, (_, other) in enumerate(known):
        sets.append(ngrams(other.description, ngram))
        for gram in sets[-1]:
            holders[gram].append(index)
        if (key := _code_key(other)) is not None:
            codes.setdefault(key, index)
    found = []
    for task in tasks:
        key = _code_key(task)
        if key is not None and key in codes:
            found.append(_overlap(task, known[codes[key]], "code", 1.0))
            continue
        own = ngrams(task.description, ngram)
        shared = Counter(index for gram in own for index in holders.get(gram, ()))
        share, index = max(
            ((_share(count, len(own), len(sets[index]), ngram), -index) for index, count in shared.items()),
            default=(0.0, 0),
        )
        if share >= threshold:
            found.append(_overlap(task, known[-index], "description", share))
    return found


def find_near_duplicates(tasks: Sequence[Task], threshold: float, source: str) -> list[Overlap]:
    """The tasks that nearly repeat an earlier task which is kept, by the Jaccard index of n-grams or by their code.

    Args:
        tasks: The tasks to compare with each other.
        threshold: The least Jaccard index that counts as a repetition.
        source: The name of their dataset, for the record.
    """
    sets = [ngrams(task.description, NEAR_DUPLICATE_NGRAM) for task in tasks]
    frequency = Counter(gram for grams in sets for gram in grams)
    codes: dict[str, int] = {}
    holders: dict[int, list[int]] = defaultdict(list)
    found = []
    for index, (task, grams) in enumerate(zip(tasks, sets, strict=True)):
        key = _code_key(task)
        if key is not None and key in codes:
            found.append(_overlap(task, (source, tasks[codes[key]]), "code", 1.0))
            continue
        rarest = sorted(grams, key=lambda gram: (frequency[gram], gram))
        prefix = rarest[: len(grams) - math.ceil(threshold * len(grams)) + 1]
        candidates = {earlier for gram in prefix for earlier in holders.get(gram, ())}
        jaccard, closest = max(
            ((len(grams & sets[earlier]) / len(grams | sets[earlier]), -earlier) for earlier in candidates),
            default=(0.0, 0),
        )
        if candidates and jaccard >= threshold:
            found.append(_overlap(task, (source, tasks[-closest]), "description", jaccard))
            continue
        if key is not None:
            codes[key] = index
        for gram in prefix:
            holders[gram].append(index)
    return found


def ngrams(description: str, n: int) -> frozenset[int]:
    """Hashes of all sequences of n words; of the whole text if it has fewer words; empty for a text without words."""
    words = _WORD.findall(unicodedata.normalize("NFKC", _prose(description)).casefold())
    if not words:
        return frozenset()
    return frozenset(hash(tuple(words[start : start + n])) for start in range(max(1, len(words) - n + 1)))


def _prose(description: str) -> str:
    """The description without doctest examples: the call, its continuation lines, and the result up to an empty line."""
    kept: list[str] = []
    example = False
    for line in description.split("\n"):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            kept.append(line)
    return "\n".join(kept) or description


def _share(count: int, one: int, other: int, ngram: int) -> float:
    shorter, longer = sorted((one, other))
    return count / (shorter if shorter >= ngram else longer)


def _code_key(task: Task) -> str | None:
    python = task.reference is not None and task.language == "python"
    return codetext.skeleton(task.reference or "", LEAST_CODE_NODES) if python else None


def _overlap(task: Task, other: tuple[str, Task], reason: Literal["description", "code"], share: float) -> Overlap:
    return Overlap(task.task_id, other[1].task_id, other[0], reason, round(share, 4))


def without(tasks: Iterable[Task], overlaps: Iterable[Overlap]) -> list[Task]:
    """The tasks that have no overlap."""
    gone = {overlap.task_id for overlap in overlaps}
    return [task for task in tasks if task.task_id not in gone]
