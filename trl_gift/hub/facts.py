"""What a card may say: the facts of a run, read from its records, and those of the model.

This is the one place that reads the records for a card: the names of their fields stand here and nowhere else in this
room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from trl_gift.run.folder import RunFolder, drawn_by
from trl_gift.run.methods import Learned, has_teacher
from trl_gift.run.sets import views
from trl_gift.tasks.decontamination import MEASURED


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much greedy pass@1 rose over the base model, as a share of the tasks.

    Attributes:
        value: The difference, paired task by task.
        low: Lower bound of its 95 % interval.
        high: Upper bound of its 95 % interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation, as a card shows it.

    Attributes:
        title: `"base"` or `"round N"`.
        metrics: pass@k by name, as shares; each with the bounds of its 95 % interval, `NAME_low` and `NAME_high`.
        gain: The gain over the base model; None for the base model itself.
    """

    title: str
    metrics: Mapping[str, float]
    gain: Gain | None = None

    @property
    def measures(self) -> list[str]:
        """Names of the figures that have an interval, such as `pass@1` and `sampled_pass@10`."""
        return [name for name in self.metrics if f"{name}_low" in self.metrics]


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """What a finished round has recorded.

    Attributes:
        round: The round, from 1.
        samples: Number of completions that were sampled.
        passed: Number of samples that passed every test of their task.
        no_code: Number of completions without a program.
        tasks: Number of tasks to solve.
        solved_tasks: Number of tasks with a passing sample, among the samples of all rounds that count.
        distinct_programs: Number of passing programs that differ, summed over the tasks, among the same samples.
        pairs: Number of training pairs.
        references: Number of training pairs that came from reference solutions.
        tokens: Number of sampled tokens.
        isolation: Number of executed programs by the isolation that was in force.
        trusted: Number of verdicts that were decided where the program could not reach them.
        metrics: The evaluation after the round; empty if nothing was measured.
        gain: The gain over the base model; None if nothing was measured.
    """

    round: int
    samples: int
    passed: int
    no_code: int
    tasks: int
    solved_tasks: int
    distinct_programs: int
    pairs: int
    references: int
    tokens: int
    isolation: Mapping[str, int]
    trusted: int
    metrics: Mapping[str, float]
    gain: Gain | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run has recorded so far.

    Attributes:
        options: The resolved options.
        versions: Library versions.
        num_tasks: Number of tasks that were trained on.
        num_eval_tasks: Number of tasks that were measured on.
        base: Metrics of the untrained model; empty if nothing was measured.
        rounds: The finished rounds, in order.
        overlapping: Number of training tasks that were left out because they overlap with the tasks that were measured
            on; None if the run did not compare them.
        convention: How the models were asked when they were measured, in words; empty if nothing was measured.
        final_round: The round whose weights the run has ended with; None while it has not ended.
        piloted: The temperature that a pilot has chosen; None if none was run.
        eval_set: Name of the set that these figures are of; empty if it has none.
        other_sets: The evaluations on each further set, by its name, that of the base model first.
        drawn_by: Another model that sampled, with its fingerprint; None if the model in training did.
    """

    options: Mapping[str, Any]
    versions: Mapping[str, str]
    num_tasks: int
    num_eval_tasks: int
    base: Mapping[str, float]
    rounds: tuple[RoundFacts, ...]
    overlapping: int | None = None
    convention: str = ""
    final_round: int | None = None
    piloted: float | None = None
    eval_set: str = ""
    other_sets: Mapping[str, Sequence[Measured]] = field(default_factory=dict)
    drawn_by: str | None = None

    @property
    def temperature(self) -> float:
        """The temperature that programs were sampled at."""
        given = self.options["temperature"]
        return (self.piloted or 1.0) if given == "auto" else float(given)

    @property
    def final(self) -> Measured | None:
        """The evaluation of the model that the run has: of its final round, or of the latest while it has not ended."""
        measured = self.measured[1:] if self.base else self.measured
        if not measured:
            return self.measured[-1] if self.measured else None
        wanted = f"round {self.final_round}"
        return next((item for item in measured if item.title == wanted), measured[-1])

    @property
    def learned(self) -> Learned | None:
        """What the model that the run has was trained on; None before a round is finished."""
        if not self.rounds:
            return None
        counts = [(item.pairs, item.references) for item in self.rounds[: self.final_round]]
        return Learned.of(counts, bool(self.options["restart_from_base"]))

    @property
    def has_teacher(self) -> bool:
        """Whether another model than the one that samples wrote programs, too."""
        return has_teacher(self.options)

    @property
    def verified(self) -> bool:
        """Whether the sampled programs were executed."""
        return bool(self.options.get("verify", True))

    @property
    def measured(self) -> list[Measured]:
        """All evaluations of the run, that of the base model first."""
        return _measured(self.base, self.rounds)

    @property
    def not_executed(self) -> int:
        """Number of evaluation attempts that could not be executed, in all evaluations."""
        measured = [*self.measured, *(item for those in self.other_sets.values() for item in those)]
        return sum(int(item.metrics.get("infrastructure_failures", 0)) for item in measured)

    @property
    def left_out(self) -> int:
        """Number of evaluation tasks that were too long for the model, in all sets."""
        first = [those[0] for those in (self.measured, *self.other_sets.values()) if those]
        return sum(int(item.metrics.get("left_out", 0)) for item in first)

    @property
    def isolation(self) -> dict[str, int]:
        """Number of executed programs of all rounds, by the isolation that was in force."""
        total: dict[str, int] = {}
        for item in self.rounds:
            for name, count in item.isolation.items():
                total[name] = total.get(name, 0) + count
        return dict(sorted(total.items()))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known about the model that a card is about.

    Attributes:
        name: Title of the card.
        repo_id: The model's repository; None if it is not on the Hub.
        location: Where the card's snippet loads the model from: a repository or a folder.
        base_location: Where it loads the base model of an adapter from.
        base_model: The Hub's name of the model that training began with; None for a local one.
        base_text: The same in words, for a local one.
        licence: The card's licence fields (`license`, `license_name`, `license_link`), as the base model has them.
        dataset: The Hub's name of the dataset that the tasks come from, or None.
        eval_dataset: The Hub's name of the dataset that was measured on, or None.
        samples_repo: The repository of the samples dataset, or None.
        adapter: The adapter in words; None for a fully trained model.
        quantization: How the base was quantised in training; None if it was not.
        prompt: An example of a prompt, exactly as the model reads it.
        completion_length: Number of tokens that a completion of the run may have.
        shows_task: Whether this is the prompt of a task that was trained on.
        training: Settings of each round's training, by name.
        programming_language: The language of all tasks; None if they have several.
        writes_edits: Whether it writes programs in edits.
        num_embeddings: Number of rows of its embedding, to which an adapter that writes edits needs its base resized.
    """

    name: str
    repo_id: str | None
    location: str
    base_location: str
    base_model: str | None
    base_text: str
    licence: Mapping[str, str]
    dataset: str | None
    eval_dataset: str | None
    samples_repo: str | None
    adapter: str | None
    quantization: str | None
    prompt: str
    completion_length: int
    shows_task: bool
    training: Mapping[str, str]
    programming_language: str | None
    writes_edits: bool = False
    num_embeddings: int = 0

    @property
    def is_lora(self) -> bool:
        """Whether the adapter is a LoRA adapter."""
        return self.adapter is not None and "LoRA" in self.adapter


def run_facts(run: RunFolder) -> RunFacts | None:
    """The facts of the run in a folder; None before it has started."""
    if not run.exists:
        return None
    recorded = run.read("run.json")
    base = run.read("base.json") if run.has("base.json") else {}
    return RunFacts(
        options=recorded["options"],
        versions=recorded["versions"],
        num_tasks=recorded["tasks"]["count"],
        num_eval_tasks=recorded["eval_tasks"]["count"],
        base=base.get("metrics", {}),
        rounds=tuple(map(round_facts, run.measured_rounds())),
        overlapping=_overlapping(run),
        convention=base.get("convention", ""),
        final_round=run.final_round,
        piloted=run.read("pilot.json")["temperature"] if run.has("pilot.json") else None,
        eval_set=base.get("eval_set", ""),
        other_sets={
            name: _measured(view["metrics"], [round_facts(item) for item in records])
            for name, view, records in islice(views(base, run.measured_rounds()), 1, None)
            if view is not None
        },
        drawn_by=drawn_by(recorded),
    )


def round_facts(recorded: Mapping[str, Any]) -> RoundFacts:
    """The facts of a round.

    Args:
        recorded: Content of the round's `metrics.json`.
    """
    verdicts = recorded.get("verdicts", {})
    gain = recorded.get("gain")
    return RoundFacts(
        **{
            name: recorded[name] for name in ("round", "samples", "passed", "no_code", "pairs", "references", "tokens")
        },
        tasks=recorded["tasks"],
        solved_tasks=recorded["solved_tasks"],
        distinct_programs=recorded["distinct_programs"],
        isolation=verdicts.get("isolation", {}),
        trusted=verdicts.get("trusted", 0),
        metrics=recorded.get("metrics", {}),
        gain=Gain(gain["pass@1"], gain["low"], gain["high"]) if gain else None,
    )


def _measured(base: Mapping[str, float], rounds: Sequence[RoundFacts]) -> list[Measured]:
    found = [Measured("base", base)] if base else []
    return found + [Measured(f"round {item.round}", item.metrics, item.gain) for item in rounds if item.metrics]


def _overlapping(run: RunFolder) -> int | None:
    record = run.read("decontamination.json") if run.has("decontamination.json") else {}
    if MEASURED not in record.get("compared", {}):
        return None
    return len([item for item in record["removed"] if item["source"] == MEASURED])
