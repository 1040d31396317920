"""Which samples the page holds: whole chains of some tasks, what the model was trained on, and some of every other outcome.

A run of 100,000 samples does not fit into a page. Each choice depends on a hash of the run's own names, so the same run
gives the same page, and the tasks whose chains are whole are drawn uniformly. Only what may still be chosen is kept in
memory, whatever the number of samples.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from trl_gift.prompts.edits import Growth, growth_of
from trl_gift.sampling.records import CodeSample

MOST_CHARACTERS = 4000
"""Longest text of a description, a program or a message in the page; a longer one is cut."""

PARAPHRASE = "paraphrase"
_WHOLE_CHAINS = 0.5  # shares of the samples that the page may hold
_TRAINED_ON = 0.3
_EACH_OUTCOME = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample as the page shows it.

    Attributes:
        sample_id: The sample.
        task_id: Its task.
        round: Its round, from 1.
        step: Its step in the chain, from 0.
        index: Its index in the step.
        parent: The sample that its description was read from, `"reference"`, `"paraphrase"` of the task's description, or
            None for that description itself.
        hint: The hint that its prompt showed, or None.
        description: The description that the program was written from.
        program: The program; the completion where it holds none.
        status: The outcome.
        message: The message of the first failing test; empty if there is none.
        failed_test: Position of that test from 0, or None.
        perplexity: The program's perplexity, or None.
        tokens: Number of sampled tokens.
        continues: Whether the chain continued from it.
        draws: How often each round's training drew it, by round; empty if none did.
        growth: How the program grew, if the model wrote it in edits; None otherwise, and for a text that is too long.
    """

    sample_id: str
    task_id: str
    round: int
    step: int
    index: int
    parent: str | None
    hint: str | None
    description: str
    program: str
    status: str
    message: str
    failed_test: int | None
    perplexity: float | None
    tokens: int
    continues: bool
    draws: tuple[tuple[int, int], ...]
    growth: Growth | None


def entry_of(sample: CodeSample, draws: tuple[tuple[int, int], ...] = ()) -> Entry:
    """The entry of a sample, its texts cut to `MOST_CHARACTERS`."""
    outcome = sample.outcome or {}
    return Entry(
        sample_id=sample.sample_id,
        task_id=sample.task_id,
        round=sample.round,
        step=sample.step,
        index=sample.index,
        parent=sample.parent or (PARAPHRASE if sample.description_tokens else None),
        hint=sample.hint,
        description=cut(sample.description),
        program=cut(sample.completion if sample.code is None else sample.code),
        status=sample.status,
        message=cut(sample.message),
        failed_test=outcome.get("first_failure"),
        perplexity=sample.perplexity,
        tokens=sample.num_tokens,
        continues=sample.continues,
        draws=draws,
        growth=short_growth(sample.completion),
    )


def short_growth(completion: str) -> Growth | None:
    """How the program of a completion grew; None if it is not in edits, or longer than `MOST_CHARACTERS`."""
    return growth_of(completion) if len(completion) <= MOST_CHARACTERS else None


def cut(text: str) -> str:
    """A text of at most `MOST_CHARACTERS`; what is cut off is counted at its end."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}\n… ({len(text) - MOST_CHARACTERS:,} more characters)"


class Choice:
    """Chooses while the samples go by, each once, by round, task, step and index.

    Args:
        total: Number of samples of the run.
        most: Number of samples that the page may hold.
        draws: How often each sample was drawn for training, by round.
    """

    def __init__(self, total: int, most: int, draws: Mapping[str, tuple[tuple[int, int], ...]]) -> None:
        self._draws = draws
        holds_all = total <= most
        self._chains = _Chains(most if holds_all else int(most * _WHOLE_CHAINS))
        self._trained_on = _Lowest(0 if holds_all else int(most * _TRAINED_ON))
        self._most_others = 0 if holds_all else max(1, int(most * _EACH_OUTCOME))
        self._others: dict[tuple[int, str], _Lowest] = {}
        self._task: tuple[int, str] | None = None
        self._programs: set[str | None] = set()

    def add(self, sample: CodeSample) -> None:
        """Considers one sample."""
        task = (sample.round, sample.task_id)
        if task != self._task:
            self._task, self._programs = task, set()
        in_chain = self._chains.wants(sample.task_id)
        drawn = self._draws.get(sample.sample_id, ())
        known = sample.code in self._programs
        self._programs.add(sample.code)
        if not in_chain and not drawn and (known or not self._most_others):
            return
        entry = entry_of(sample, drawn)
        if in_chain:
            self._chains.add(entry)
        # Also those of a whole chain: another task may yet take its place.
        if drawn:
            self._trained_on.add(entry)
        elif not known:
            kind = (sample.round, sample.status)
            self._others.setdefault(kind, _Lowest(self._most_others)).add(entry)

    def whole_tasks(self) -> Iterator[list[Entry]]:
        """All samples of each task that was drawn."""
        return self._chains.groups()

    def others(self) -> Iterator[Entry]:
        """Samples to show besides, the most important first; those of whole tasks may be among them.

        First comes what was trained on; then the outcomes of all rounds take turns.
        """
        yield from self._trained_on.entries()
        outcomes = [kind.entries() for _, kind in sorted(self._others.items())]
        yield from (entry for turn in zip_longest(*outcomes) for entry in turn if entry is not None)


class _Chains:
    """Whole tasks with the lowest hashes, as many as fit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._hashes: list[tuple[int, str]] = []  # of the tasks that are kept, negative: the highest hash comes first
        self._limit: int | None = None
        self.tasks: dict[str, list[Entry]] = {}

    def wants(self, task_id: str) -> bool:
        return self._limit is None or _hash(task_id) < self._limit

    def add(self, entry: Entry) -> None:
        if entry.task_id not in self.tasks:
            self.tasks[entry.task_id] = []
            heapq.heappush(self._hashes, (-_hash(entry.task_id), entry.task_id))
        self.tasks[entry.task_id].append(entry)
        self._count += 1
        while self._count > self._most:
            highest, task_id = heapq.heappop(self._hashes)
            self._limit = -highest
            self._count -= len(self.tasks.pop(task_id))

    def groups(self) -> Iterator[list[Entry]]:
        for _, task_id in sorted(self._hashes, reverse=True):
            yield self.tasks[task_id]


class _Lowest:
    """The samples with the lowest hashes, as many as fit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, str, Entry]] = []

    def add(self, entry: Entry) -> None:
        if not self._most:
            return
        item = (-_hash(entry.sample_id), entry.sample_id, entry)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def entries(self) -> list[Entry]:
        return [entry for *_, entry in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def left_out(total: Mapping[tuple[int, str], int], held: Mapping[tuple[int, str], int]) -> Counter[str]:
    """Number of samples that the page does not hold, by outcome; both counts are by round and outcome."""
    missing: Counter[str] = Counter()
    for (number, status), count in total.items():
        missing[status] += count - held.get((number, status), 0)
    return +missing
