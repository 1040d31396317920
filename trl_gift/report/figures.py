"""The figures of the page, gathered in one pass over the samples of each round, in memory that does not grow with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trl_gift.report.choice import Choice
from trl_gift.report.run import BASE, Run
from trl_gift.run.samples import RoundSamples, RoundTally
from trl_gift.sampling.records import COPIED, NO_CODE, PASSED, UNVERIFIED
from trl_gift.sampling.store import count_samples
from trl_gift.sandbox import Status

OUTCOMES = (
    PASSED, COPIED, UNVERIFIED, Status.FAILED.value, Status.ERROR.value, Status.TIMEOUT.value, Status.MEMORY.value,
    Status.VIOLATION.value, Status.SYNTAX_ERROR.value, NO_CODE, Status.INFRASTRUCTURE.value,
)  # fmt: skip
"""Every outcome of a sample, in the order in which they are shown."""

_BINS = 24
_SHOWN = 0.99  # of the pool; a few very high perplexities would leave the rest one bar


@dataclass(frozen=True, slots=True)
class Perplexities:
    """Perplexities of a round's pools, before selection (each program once) and after it (as often as it was drawn).

    Attributes:
        programs: Number of programs in the pools.
        draws: Number of draws.
        median_before: Median of the programs.
        median_after: Median of the draws.
        edges: Bounds of the bins; the last bin also holds all higher perplexities.
        before: Share of the programs in each bin.
        after: Share of the draws in each bin.
    """

    programs: int
    draws: int
    median_before: float
    median_after: float
    edges: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """What a round did.

    Attributes:
        number: The round, from 1.
        samples: The figures of its samples.
        statuses: Number of samples by outcome.
        perplexities: Those of its selection; None before it, and where no perplexity is known.
        seconds: Wall time by stage, without the total; empty before the round's end.
    """

    number: int
    samples: RoundSamples
    statuses: Mapping[str, int]
    perplexities: Perplexities | None
    seconds: Mapping[str, float]

    @property
    def executed(self) -> int:
        """Number of verdicts, each of which an execution gave."""
        return sum(self.samples.executions.isolation.values())


@dataclass(frozen=True, slots=True)
class Changed:
    """Evaluation tasks that a round solves and the base model does not, and the other way round."""

    number: int
    gained: Sequence[str]
    lost: Sequence[str]


@dataclass(frozen=True)
class Figures:
    """All figures of a run.

    Attributes:
        rounds: One for each round that has begun.
        changed: One for each round that was measured.
        choice: The samples that the page may show.
    """

    rounds: Sequence[RoundFigures]
    changed: Sequence[Changed]
    choice: Choice
    totals: Counter[tuple[int, str]] = field(default_factory=Counter)


def gather(run: Run, most_samples: int) -> Figures:
    """Reads each sample of a run once.

    Args:
        run: The run.
        most_samples: Number of samples that the page may hold.

    Raises:
        ConfigError: if a file of the run cannot be read.
    """
    numbers = run.round_numbers
    draws: dict[str, list[tuple[int, int]]] = {}
    perplexities = {number: _selection(run, number, draws) for number in numbers}
    total = sum(count_samples(run.round_folder(number)) for number in numbers)
    choice = Choice(total, most_samples, {name: tuple(counts) for name, counts in draws.items()})
    rounds, totals = [], Counter[tuple[int, str]]()
    for number in numbers:
        tally, statuses = RoundTally(), Counter[str]()
        for sample in run.read_samples(number):
            tally.add(sample)
            statuses[sample.status] += 1
            choice.add(sample)
        seconds = run.measured[number - 1].get("seconds", {}) if number <= len(run.measured) else {}
        stages = {stage: value for stage, value in seconds.items() if stage != "total"}
        in_order = {name: statuses[name] for name in OUTCOMES if statuses[name]}
        rounds.append(RoundFigures(number, tally.figures(), in_order, perplexities[number], stages))
        totals.update({(number, status): count for status, count in statuses.items()})
    return Figures(rounds, _changed(run), choice, totals)


def _changed(run: Run) -> list[Changed]:
    base, changed = run.greedy(BASE), []
    for number in range(1, len(run.measured) + 1):
        after = run.greedy(number)
        shared = sorted(base.keys() & after.keys())
        if shared:
            gained = [name for name in shared if after[name] and not base[name]]
            lost = [name for name in shared if base[name] and not after[name]]
            changed.append(Changed(number, gained, lost))
    return changed


def _selection(run: Run, number: int, draws: dict[str, list[tuple[int, int]]]) -> Perplexities | None:
    """The perplexities of a round's selection; adds its draws to `draws`."""
    values, counts = [], []
    for row in run.read_selection(number):
        if row["count"]:
            draws.setdefault(row["sample_id"], []).append((number, row["count"]))
        if row["perplexity"] is not None:
            values.append(row["perplexity"])
            counts.append(row["count"])
    if not values or not sum(counts):
        return None
    return perplexity_figures(np.asarray(values), np.asarray(counts))


def perplexity_figures(values: np.ndarray, counts: np.ndarray) -> Perplexities:
    """The two distributions of a selection.

    Args:
        values: Perplexities of the programs in the pools, shape `(programs,)`.
        counts: How often each was drawn, shape `(programs,)`; their sum is not 0.
    """
    low, high = float(values.min()), float(np.quantile(values, _SHOWN))
    edges = np.linspace(low, high if high > low else low + max(abs(low), 1.0) * 1e-3, _BINS + 1)
    shown = np.clip(values, edges[0], edges[-1])
    before, _ = np.histogram(shown, edges)
    after, _ = np.histogram(shown, edges, weights=counts)
    drawn = np.repeat(values, counts)
    return Perplexities(
        programs=len(values),
        draws=int(counts.sum()),
        median_before=float(np.median(values)),
        median_after=float(np.median(drawn)),
        edges=tuple(map(float, edges)),
        before=tuple(map(float, before / before.sum())),
        after=tuple(map(float, after / after.sum())),
    )


def finite(value: float | None) -> float | None:
    """A value that can be drawn; None for one that cannot."""
    return value if value is not None and math.isfinite(value) else None
