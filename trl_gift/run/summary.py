"""The summary of a round: one frozen object, one JSON file (`metrics.json`), one set of numbers for the trackers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trl_gift.common.words import agree, plural
from trl_gift.evaluation import Evaluation, paired_difference
from trl_gift.run.folder import RunFolder
from trl_gift.run.samples import ChainStep, Executions, RoundSamples
from trl_gift.run.sets import of_set
from trl_gift.training.pairs import TrainingPairs
from trl_gift.training.selection import SelectedSample

# What a record of the whole run leaves out: figures of each step and of each task.
_LONG = ("schema", "chain", "greedy")


@dataclass(frozen=True, slots=True)
class Gain:
    """Difference in greedy pass@1 between a round's model and the base model, paired by task.

    Attributes:
        pass_at_1: Mean difference, after less before.
        low: Lower bound of its 95 % bootstrap interval.
        high: Upper bound of the interval.
    """

    pass_at_1: float
    low: float
    high: float

    def to_record(self) -> dict[str, float]:
        """A JSON object."""
        return {"pass@1": self.pass_at_1, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """What a round's model solves of one set of tasks.

    Attributes:
        metrics: pass@1 and pass@k with their intervals.
        greedy: Whether the greedy program of each task passed.
        gain: Gain over the base model.
    """

    metrics: Mapping[str, float]
    greedy: Mapping[str, bool]
    gain: Gain

    @classmethod
    def of(cls, result: Evaluation, base: Mapping[str, bool]) -> MeasuredSet:
        """The figures of an evaluation, given whether the base model's greedy program of each task passed."""
        difference, interval = paired_difference(result.greedy, base)
        return cls(result.metrics(), result.greedy, Gain(difference, *interval))

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {"metrics": dict(self.metrics), "greedy": dict(self.greedy), "gain": self.gain.to_record()}


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """What a round did. Counts of samples are the round's own; counts of tasks and programs are those of all rounds that count.

    Attributes:
        round: The round, from 1.
        tasks: Number of tasks to learn from.
        solved_tasks: Tasks with a passing sample; 0 if the run does not verify.
        samples: Samples of this round.
        passed: Number of these that passed.
        unverified: Number of these that were not executed, because the run does not verify.
        no_code: Number of these whose completion holds no program.
        no_code_kinds: Why, by the kinds of reasons in `trl_gift.codetext`, most frequent first.
        copied: Number of these that equal a reference which their chain has read; they count neither as passed nor as
            solving a task.
        descriptions: Number of descriptions that were drawn in this round.
        leaks: Number of these that gave away a program; none of them was used.
        distinct_programs: Eligible programs that differ in their normalised syntax tree, summed over tasks.
        tokens: Tokens sampled in this round, descriptions included.
        max_tokens: Tokens at which the sampling of this round was to stop; None for no limit.
        selected: Number of draws of the selection.
        pairs: Number of training pairs.
        references: Number of these that are references.
        too_long: Number of pairs that were left out because they exceed `max_length`.
        unfit: Number of pairs that were left out because their target gives no program, or one that fails.
        repairs: Number of programs that were written again, or written by a teacher; they do not count among `samples`.
        repaired: Number of these that passed.
        repairs_no_code: Number of these whose answer holds no program.
        repairs_unchanged: Number of these that are the very program that was shown, layout, comments and local names aside.
        over_budget: Tasks on which `teacher_budget` has stopped the teacher.
        over_cost: Tasks on which `teacher_max_cost` has stopped it.
        lessons: Number of pairs that are lessons of a teacher.
        mean_perplexity: Geometric mean over this round's samples; None if no perplexity is known.
        chain: Figures of each step of the chains.
        verdicts: How the programs were executed.
        metrics: pass@1 and pass@k of the round's model with their intervals; None if nothing was measured.
        convention: How the model was asked when it was measured, in words; None if nothing was measured.
        greedy: Whether the greedy program of each evaluation task passed; None if nothing was measured.
        gain: Gain over the base model; None if nothing was measured.
        eval_set: Name of the set that these four are of; None if the only set has no name.
        other_sets: The figures of the further sets by name; None if there are none.
        seconds: Wall time by stage, and `total`.
    """

    round: int
    tasks: int
    solved_tasks: int
    samples: int
    passed: int
    unverified: int
    no_code: int
    copied: int
    descriptions: int
    leaks: int
    distinct_programs: int
    tokens: int
    selected: int
    pairs: int
    references: int
    too_long: int
    unfit: int
    repairs: int = 0
    repaired: int = 0
    repairs_no_code: int = 0
    repairs_unchanged: int = 0
    over_budget: int = 0
    over_cost: int = 0
    lessons: int = 0
    max_tokens: int | None = None
    mean_perplexity: float | None = None
    no_code_kinds: Mapping[str, int] = field(default_factory=dict)
    chain: tuple[ChainStep, ...] = ()
    verdicts: Executions = field(default_factory=Executions)
    metrics: Mapping[str, float] | None = None
    convention: str | None = None
    greedy: Mapping[str, bool] | None = None
    gain: Gain | None = None
    eval_set: str | None = None
    other_sets: Mapping[str, MeasuredSet] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def with_evaluations(self, results: Mapping[str, Evaluation], base: Mapping[str, Any]) -> RoundSummary:
        """Adds the evaluation of the round's model.

        Args:
            results: The evaluation of each set by its name; an only set may have an empty name.
            base: The content of `base.json`.
        """
        (name, first), *others = (
            (name, MeasuredSet.of(result, of_set(base, name)["greedy"])) for name, result in results.items()
        )
        return replace(
            self,
            metrics=first.metrics,
            convention=next(iter(results.values())).convention,
            greedy=first.greedy,
            gain=first.gain,
            eval_set=name or None,
            other_sets=dict(others) or None,
        )

    def to_record(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        record = {
            name: value for name, value in asdict(self).items() if value is not None or name == "mean_perplexity"
        }
        record["chain"] = list(record["chain"])
        if self.other_sets:
            record["other_sets"] = {name: found.to_record() for name, found in self.other_sets.items()}
        return record if self.gain is None else {**record, "gain": self.gain.to_record()}

    def logged(self, tokens_per_second: float | None) -> dict[str, float]:
        """The numbers that the trackers get, each with the prefix `round/`.

        Args:
            tokens_per_second: Tokens that all processes together sampled per second, over the whole sampling stage; None
                where this process sampled nothing.
        """
        values = asdict(self)
        logged = {name: value for name, value in values.items() if isinstance(value, int | float) and name != "round"}
        if self.unverified:
            for unknown in ("passed", "solved_tasks"):  # nothing was executed
                del logged[unknown]
        else:
            logged["yield"] = self.passed / self.samples
        if tokens_per_second is not None:
            logged["tokens_per_second"] = tokens_per_second
        for stage, seconds in self.seconds.items():
            logged["seconds" if stage == "total" else f"{stage}_seconds"] = seconds
        if self.gain:
            logged |= {"gain": self.gain.pass_at_1, "gain_low": self.gain.low, "gain_high": self.gain.high}
        return {f"round/{name}": value for name, value in logged.items()}

    def line(self, verified: bool) -> str:
        """The round in one line for people.

        Args:
            verified: Whether the run executes its samples.
        """
        if verified:
            unsolved = self.tasks - self.solved_tasks
            found = (
                f"{self.passed} of {plural(self.samples, 'program')} passed; {unsolved} of {plural(self.tasks, 'task')} "
                f"{agree(unsolved, 'has', 'have')} no passing program"
            )
        else:
            found = (
                f"{self.unverified} of {plural(self.samples, 'completion')} {agree(self.unverified, 'holds', 'hold')} a program; none was executed (verify=False), so it "
                "is not known which are correct"
            )
        if self.repairs:
            found += f"; {self.repaired} of {plural(self.repairs, 'repair')} passed"
        references = f", {self.references} of them with a reference" if self.references else ""
        return f"round {self.round}: {found}; trained on {plural(self.pairs, 'pair')}{references}."


def run_record(run: RunFolder) -> dict[str, Any]:
    """A run as one JSON object: its folder, its figures, and the round whose weights it has ended with."""
    rounds = run.measured_rounds()
    return {
        "output_dir": str(run.root.parent),
        "base": run.read("base.json")["metrics"] if run.has("base.json") else None,
        "rounds": [{name: value for name, value in item.items() if name not in _LONG} for item in rounds],
        "final_round": run.final_round,
    }


def summarise(
    round_index: int,
    samples: RoundSamples,
    selected: Sequence[SelectedSample],
    pairs: TrainingPairs,
    num_tasks: int,
    max_tokens: int | None = None,
) -> RoundSummary:
    """Sums up a round before its evaluation.

    Args:
        round_index: The round, from 1.
        samples: Its samples, and those of earlier rounds that count.
        selected: What was drawn from them.
        pairs: What was trained on.
        num_tasks: Number of tasks to learn from.
        max_tokens: Tokens at which its sampling was to stop; None for no limit.
    """
    return RoundSummary(
        round=round_index,
        tasks=num_tasks,
        solved_tasks=samples.solved_tasks,
        samples=samples.samples,
        passed=samples.passed,
        unverified=samples.unverified,
        no_code=samples.no_code,
        no_code_kinds=samples.no_code_kinds,
        copied=samples.copied,
        descriptions=samples.descriptions,
        leaks=samples.leaks,
        distinct_programs=samples.distinct_programs,
        tokens=samples.tokens,
        max_tokens=max_tokens,
        selected=sum(item.count for item in selected),
        pairs=len(pairs.pairs),
        references=pairs.num_references,
        too_long=pairs.num_too_long,
        unfit=pairs.num_unfit,
        repairs=samples.repairs,
        repaired=samples.repaired,
        repairs_no_code=samples.repairs_no_code,
        repairs_unchanged=samples.repairs_unchanged,
        over_budget=samples.over_budget,
        over_cost=samples.over_cost,
        lessons=pairs.num_lessons,
        mean_perplexity=samples.mean_perplexity,
        chain=samples.chain,
        verdicts=samples.executions,
    )
