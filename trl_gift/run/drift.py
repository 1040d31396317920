"""How the chains of a round fared, step by step, and some of their codes to look at.

A chain may drift: descriptions that grow or fade, codes that pass less and less. The figures of each step, over all
chains, show it; one number for the whole round does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trl_gift.common.randomness import generator
from trl_gift.sampling.records import UNVERIFIED, CodeSample
from trl_gift.sampling.store import read_samples


@dataclass(frozen=True, slots=True)
class ChainStep:
    """One step, over all chains of a round.

    Attributes:
        step: The step, from 0.
        samples: Codes sampled in it.
        pass_rate: Share of these that passed; None if the run does not verify.
        mean_perplexity: Geometric mean of their perplexities, of passing and failing codes alike; None if all are
            unknown. An arithmetic mean would show nothing but the one most garbled code.
        description_length: Mean length, in characters, of the descriptions that they were written from.
        tokens: Mean number of tokens that a chain sampled in this step: the description's and its codes'.
        solved_seeds: Seeds with a passing code up to and including this step; None if the run does not verify.
    """

    step: int
    samples: int
    pass_rate: float | None
    mean_perplexity: float | None
    description_length: float
    tokens: float
    solved_seeds: int | None


CHAIN_FIGURES = ("pass_rate", "mean_perplexity", "description_length", "tokens", "solved_seeds")
"""The figures of a step that trackers draw."""


@dataclass(frozen=True, slots=True)
class RoundView:
    """What a round's samples look like.

    Attributes:
        steps: The figures of each step.
        mean_perplexity: The geometric mean over all codes of the round; None if no perplexity is known.
        shown: Codes drawn uniformly from all, in the order of task, step and index.
    """

    steps: tuple[ChainStep, ...]
    mean_perplexity: float | None
    shown: tuple[CodeSample, ...]

    def to_records(self) -> list[dict[str, Any]]:
        """The steps as JSON objects."""
        return [asdict(step) for step in self.steps]


def view_round(folder: Path, count: int, key: int) -> RoundView:
    """Reads the samples of a round once, in constant memory.

    Args:
        folder: The round's folder.
        count: How many codes to show.
        key: Key of the draw of these.
    """
    tallies: dict[int, _Tally] = {}
    solved_at: dict[str, int] = {}
    shown: list[tuple[int, CodeSample]] = []
    random = generator(key)
    for position, sample in enumerate(read_samples(folder)):
        tallies.setdefault(sample.step, _Tally()).add(sample)
        if sample.passed:
            solved_at.setdefault(sample.task_id, sample.step)
        if position < count:
            shown.append((position, sample))
        elif count and (place := int(random.integers(position + 1))) < count:
            shown[place] = (position, sample)
    steps = [
        tallies[step].figures(step, sum(first <= step for first in solved_at.values())) for step in sorted(tallies)
    ]
    log_perplexity = sum(tally.log_perplexity for tally in tallies.values())
    return RoundView(
        tuple(steps),
        _geometric_mean(log_perplexity, sum(tally.scored for tally in tallies.values())),
        tuple(sample for _, sample in sorted(shown, key=lambda item: item[0])),
    )


def sample_rows(samples: Sequence[CodeSample]) -> list[dict[str, Any]]:
    """The codes as rows of a table for people: without token ids and hashes, with the reason of a failure."""
    return [
        {
            "round": sample.round,
            "task_id": sample.task_id,
            "step": sample.step,
            "index": sample.index,
            "status": sample.status,
            "perplexity": sample.perplexity,
            "description": sample.description,
            "code": sample.completion if sample.code is None else sample.code,
            "message": (sample.outcome or {}).get("message", ""),
        }
        for sample in samples
    ]


@dataclass(slots=True)
class _Tally:
    samples: int = 0
    passed: int = 0
    unverified: int = 0
    scored: int = 0
    log_perplexity: float = 0.0
    tokens: int = 0
    description_length: int = 0
    chains: set[str] = field(default_factory=set)

    def add(self, sample: CodeSample) -> None:
        self.samples += 1
        self.passed += sample.passed
        self.unverified += sample.status == UNVERIFIED
        self.tokens += len(sample.token_ids)
        if sample.perplexity is not None:
            self.scored += 1
            self.log_perplexity += math.log(sample.perplexity)
        if sample.task_id not in self.chains:  # all codes of a chain's step share one description
            self.chains.add(sample.task_id)
            self.tokens += sample.description_tokens
            self.description_length += len(sample.description)

    def figures(self, step: int, solved_seeds: int) -> ChainStep:
        return ChainStep(
            step=step,
            samples=self.samples,
            pass_rate=None if self.unverified else self.passed / self.samples,
            mean_perplexity=_geometric_mean(self.log_perplexity, self.scored),
            description_length=self.description_length / len(self.chains),
            tokens=self.tokens / len(self.chains),
            solved_seeds=None if self.unverified else solved_seeds,
        )


def _geometric_mean(log_sum: float, count: int) -> float | None:
    return math.exp(log_sum / count) if count else None
