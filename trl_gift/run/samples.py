"""The samples of the rounds, read once: what may be selected, how the latest round's chains fared, some samples to show.

A chain may drift: descriptions that grow or fade, programs that pass less and less. The figures of each step, over all
chains, show it; one number for the whole round does not.

Only eligible samples are kept in memory, without their token ids and outcomes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trl_gift import codetext
from trl_gift.common.randomness import generator
from trl_gift.sampling.records import CHAIN, COPIED, REPAIR, UNVERIFIED, CodeSample
from trl_gift.sampling.stopped import BUDGET, MAX_COST, read_stopped
from trl_gift.sampling.store import read_samples


@dataclass(frozen=True, slots=True)
class ChainStep:
    """One step, over all chains of a round.

    Attributes:
        step: The step, from 0.
        samples: Number of samples.
        pass_rate: Share of the samples that passed; None if the run does not verify.
        mean_perplexity: Geometric mean of the perplexities of passing and failing samples; None if all are unknown. An
            arithmetic mean would show only the most garbled program.
        description_length: Mean length of the descriptions that the samples were written from, in characters.
        tokens: Mean number of tokens that a chain sampled in this step: its description and its completions.
        solved_tasks: Tasks with a passing sample up to and including this step; None if the run does not verify.
        leak_rate: Share of the descriptions drawn for this step that gave away a program; None if none was drawn.
    """

    step: int
    samples: int
    pass_rate: float | None
    mean_perplexity: float | None
    description_length: float
    tokens: float
    solved_tasks: int | None
    leak_rate: float | None


@dataclass(frozen=True, slots=True)
class Executions:
    """How far the verdicts of a round can be trusted.

    Attributes:
        isolation: Number of executed programs by the isolation that was in force.
        trusted: Number of verdicts that no program could have forged.
    """

    isolation: Mapping[str, int] = field(default_factory=dict)
    trusted: int = 0


@dataclass(frozen=True, slots=True)
class RoundSamples:
    """The samples that may be selected, and figures of the latest round.

    What a teacher wrote, repairs included, counts apart (`repairs`, `repaired`) and among `tokens` and `executions`; all other
    figures are those of the sampler.

    Attributes:
        eligible: Samples of all rounds that count, by task, in the order of round, step and index: those that passed, or
            all that hold a program if the run does not verify.
        samples: Number of samples of the latest round.
        passed: Number of these that passed.
        unverified: Number of these that were not executed, because the run does not verify.
        no_code: Number of these whose completion holds no program.
        no_code_kinds: Why, by the kinds of reasons in `trl_gift.codetext`.
        copied: Number of these that equal a reference which their chain has read.
        descriptions: Number of descriptions that were drawn for these.
        leaks: Number of these descriptions that gave away a program.
        tokens: Number of tokens sampled in the latest round, descriptions and repairs included.
        executions: How the programs of the latest round were executed.
        repairs: Number of programs that were written again, or written by a teacher.
        repaired: Number of these that passed.
        repairs_no_code: Number of these whose answer holds no program.
        repairs_unchanged: Number of these that are the very program that was shown, layout, comments and local names aside.
        over_budget: Tasks on which `teacher_budget` has stopped the teacher in the latest round.
        over_cost: Tasks on which `teacher_max_cost` has stopped it.
        mean_perplexity: Geometric mean of their perplexities; None if no perplexity is known.
        chain: The figures of each step.
        shown: Samples drawn uniformly from the latest round, in the order of task, step and index.
    """

    eligible: Mapping[str, Sequence[CodeSample]]
    samples: int = 0
    passed: int = 0
    unverified: int = 0
    no_code: int = 0
    no_code_kinds: Mapping[str, int] = field(default_factory=dict)
    copied: int = 0
    descriptions: int = 0
    leaks: int = 0
    tokens: int = 0
    executions: Executions = field(default_factory=Executions)
    repairs: int = 0
    repaired: int = 0
    repairs_no_code: int = 0
    repairs_unchanged: int = 0
    over_budget: int = 0
    over_cost: int = 0
    mean_perplexity: float | None = None
    chain: tuple[ChainStep, ...] = ()
    shown: tuple[CodeSample, ...] = ()

    @property
    def distinct_programs(self) -> int:
        """Eligible programs that differ in their normalised syntax tree, summed over tasks."""
        return sum(
            len({codetext.normalise(sample.code or "") for sample in group}) for group in self.eligible.values()
        )

    @property
    def solved_tasks(self) -> int:
        """Tasks with a passing sample. A sample that was not executed solves nothing."""
        return sum(any(sample.passed for sample in group) for group in self.eligible.values())


def read_rounds(folders: Sequence[Path], num_shown: int = 0, key: int = 0) -> RoundSamples:
    """Reads each sample of the rounds once.

    Args:
        folders: The folders of the rounds that count; the last one is the latest round.
        num_shown: How many samples of the latest round to draw for people to look at.
        key: Key of that draw.
    """
    eligible: dict[str, list[CodeSample]] = {}
    latest = RoundTally(num_shown, key)
    for folder in folders:
        for sample in read_samples(folder):
            if sample.eligible:
                light = replace(sample, token_ids=(), completion="", outcome=None)
                eligible.setdefault(sample.task_id, []).append(light)
            if folder == folders[-1]:
                latest.add(sample)
    stopped = read_stopped(folders[-1]) if folders else {}
    return replace(latest.figures(eligible), over_budget=stopped.get(BUDGET, 0), over_cost=stopped.get(MAX_COST, 0))


def ends_of_chains(folders: Sequence[Path], repairs_only: bool = False) -> dict[str, CodeSample]:
    """By task, the program from which a chain of the next round may go on.

    Args:
        folders: The folders of the earlier rounds, in their order.
        repairs_only: Whether only repaired programs count.

    Returns:
        The last program that a chain of these rounds continued from; a repaired program for a task whose chains have none.
    """
    ends: dict[str, CodeSample] = {}
    solved: set[str] = set()
    for folder in folders:
        for sample in read_samples(folder):  # by step, so the last one stays
            if sample.kind == CHAIN and sample.continues:
                solved.add(sample.task_id)
                ends[sample.task_id] = replace(sample, token_ids=(), completion="", outcome=None)
            elif sample.kind == REPAIR and sample.continues and sample.task_id not in solved:
                ends[sample.task_id] = replace(sample, token_ids=(), completion="", outcome=None)
    return {task_id: end for task_id, end in ends.items() if not repairs_only or task_id not in solved}


class RoundTally:
    """Adds up the samples of one round in the memory that the failed programs of one task take.

    Args:
        num_shown: How many samples to draw for people to look at.
        key: Key of that draw.
    """

    def __init__(self, num_shown: int = 0, key: int = 0) -> None:
        self._steps: dict[int, _Tally] = {}
        self._repairs = _Tally()
        self._repairs_no_code = self._repairs_unchanged = 0
        self._task = ""
        # Of the task whose samples come now, the programs that a repair may have been shown.
        self._failed: dict[str, str] = {}
        self._solved_at: dict[str, int] = {}
        self._isolation: Counter[str] = Counter()
        self._trusted = 0
        self._no_code: Counter[str] = Counter()
        self._num_shown = num_shown
        self._random = generator(key)
        self._shown: list[tuple[int, CodeSample]] = []
        self._count = 0

    def add(self, sample: CodeSample) -> None:
        """Counts one sample; those of a task come in the order of its steps."""
        self._see(sample)
        if sample.kind != CHAIN:
            self._add_repair(sample)
            return
        self._remember(sample)
        self._steps.setdefault(sample.step, _Tally()).add(sample)
        if sample.code is None:
            self._no_code[str(sample.no_code_kind)] += 1
        if sample.passed:
            self._solved_at.setdefault(sample.task_id, sample.step)

    def _add_repair(self, sample: CodeSample) -> None:
        self._repairs.add(sample)
        shown = self._failed.get(sample.parent or "") if sample.task_id == self._task else None
        if sample.code is None:
            self._repairs_no_code += 1
        elif shown is not None and not sample.passed:
            self._repairs_unchanged += codetext.normalise(sample.code) == codetext.normalise(shown)
        self._remember(sample)

    def _remember(self, sample: CodeSample) -> None:
        if sample.task_id != self._task:
            self._task, self._failed = sample.task_id, {}
        if sample.code is not None and not sample.passed:
            self._failed[sample.sample_id] = sample.code

    def _see(self, sample: CodeSample) -> None:
        if sample.outcome:
            self._isolation[sample.outcome["isolation"]] += 1
            self._trusted += sample.outcome["trusted"]
        # Reservoir sampling: each sample is shown with the same probability.
        if self._count < self._num_shown:
            self._shown.append((self._count, sample))
        elif self._num_shown and (place := int(self._random.integers(self._count + 1))) < self._num_shown:
            self._shown[place] = (self._count, sample)
        self._count += 1

    def figures(self, eligible: Mapping[str, Sequence[CodeSample]] | None = None) -> RoundSamples:
        """The figures of what was added.

        Args:
            eligible: The samples that may be selected, which this object does not keep; None for none.
        """
        tallies = self._steps.values()
        return RoundSamples(
            eligible=eligible or {},
            samples=sum(tally.samples for tally in tallies),
            repairs=self._repairs.samples,
            repaired=self._repairs.passed,
            repairs_no_code=self._repairs_no_code,
            repairs_unchanged=self._repairs_unchanged,
            passed=sum(tally.passed for tally in tallies),
            unverified=sum(tally.unverified for tally in tallies),
            no_code=self._no_code.total(),
            no_code_kinds=dict(self._no_code.most_common()),
            copied=sum(tally.copied for tally in tallies),
            descriptions=sum(tally.descriptions for tally in tallies),
            leaks=sum(tally.leaks for tally in tallies),
            tokens=self._repairs.tokens + sum(tally.tokens for tally in tallies),
            executions=Executions(dict(self._isolation), self._trusted),
            mean_perplexity=_geometric_mean(
                sum(tally.log_perplexity for tally in tallies), sum(tally.scored for tally in tallies)
            ),
            chain=tuple(
                self._steps[step].figures(step, sum(first <= step for first in self._solved_at.values()))
                for step in sorted(self._steps)
            ),
            shown=tuple(sample for _, sample in sorted(self._shown, key=lambda item: item[0])),
        )


@dataclass(slots=True)
class _Tally:
    """The sums of one step."""

    samples: int = 0
    passed: int = 0
    unverified: int = 0
    copied: int = 0
    descriptions: int = 0
    leaks: int = 0
    scored: int = 0
    log_perplexity: float = 0.0
    tokens: int = 0
    description_length: int = 0
    chains: set[str] = field(default_factory=set)

    def add(self, sample: CodeSample) -> None:
        self.samples += 1
        self.passed += sample.passed
        self.unverified += sample.status == UNVERIFIED
        self.copied += sample.status == COPIED
        self.tokens += sample.num_tokens
        if sample.perplexity is not None:
            self.scored += 1
            self.log_perplexity += math.log(sample.perplexity)
        if sample.task_id not in self.chains:  # all samples of a chain's step share one description
            self.chains.add(sample.task_id)
            self.tokens += sample.description_tokens
            self.descriptions += sample.description_tries
            self.leaks += sample.description_leaks
            self.description_length += len(sample.description)

    def figures(self, step: int, solved_tasks: int) -> ChainStep:
        return ChainStep(
            step=step,
            samples=self.samples,
            pass_rate=None if self.unverified else self.passed / self.samples,
            mean_perplexity=_geometric_mean(self.log_perplexity, self.scored),
            description_length=self.description_length / len(self.chains),
            tokens=self.tokens / len(self.chains),
            solved_tasks=None if self.unverified else solved_tasks,
            leak_rate=self.leaks / self.descriptions if self.descriptions else None,
        )


def _geometric_mean(log_sum: float, count: int) -> float | None:
    return math.exp(log_sum / count) if count else None


def sample_rows(samples: Sequence[CodeSample]) -> list[dict[str, Any]]:
    """Samples as rows of a table for people: without token ids and hashes, with the reason of a failure."""
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
