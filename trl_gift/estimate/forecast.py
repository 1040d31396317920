"""`trl-gift estimate --pilot N`: will a run help? What the untrained model does with N of the tasks, and a sentence.

The pilot draws, for each of N tasks drawn at random (`trl_gift.estimate.piloting`):

1. four programs at each temperature of `trl_gift.sampling.pilot`: the pass rate by temperature;
2. sixteen programs at the run's temperature: pass@k without bias, and extrapolated to the programs of a round; the share of tasks
   that the model solves sometimes, which is what it can learn to do reliably;
3. a chain of four steps with three programs each: do programs that are written from a read-back description pass
   (fidelity), how many tasks it solves, which with references begins from these, how many descriptions give a program away (leaks),
   how many distinct programs come from 1,000 tokens;
4. where there are references, four programs with the reference as a hint: self-distillation gains about in proportion to the gap
   between a model with a hint and without one.

No sample is recorded, and no stream is one of the run's. The sentence follows fixed bounds (`verdict_of`), which come from the
experiments in the docs: the gain is bounded by what sampling can reach; references pay most where the model alone does not
begin; a model that reads its programs back poorly gets more from plain sampling.

With `sampling_model` that model draws, and its figures do not say what the model in training lacks; the sentence then depends on it.

Not covered: how much of the headroom a round turns into greedy pass@1, which depends on the training; see the docs for what it
was in some runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import fmean
from typing import Any

from trl_gift import codetext
from trl_gift.common.words import plural
from trl_gift.errors import ConfigError
from trl_gift.estimate.headroom import extrapolated_pass_at_k
from trl_gift.estimate.piloting import CHAIN_STEPS, CHAIN_WIDTH, DRAWN, HINTED, PilotSamples, draw_pilot
from trl_gift.evaluation.pass_at_k import bootstrap_interval, pass_at_k
from trl_gift.sampling.context import tokens_of_step
from trl_gift.sampling.pilot import PilotResult
from trl_gift.sampling.records import REFERENCE, CodeSample
from trl_gift.trainer import GiFTTrainer

_NEARLY_ALL = 0.9  # pass@1 above which little is left
_LITTLE = 0.05  # headroom, or share of tasks in between, below which the model does not begin by itself
_REFERENCE_HELPS = 0.1  # what a reference has to add, as a hint to the pass rate or as a start to the tasks solved
_READS_WELL = 0.5  # pass rate of what is written from read-back descriptions, relative to that from the task's own


class Verdict(StrEnum):
    """Whether a run should help."""

    WORTH_IT = "worth it"
    DEPENDS = "worth it if"
    WITH_REFERENCES = "worth it with references"
    TEACHER = "rather a teacher"
    NOT = "not worth it"


@dataclass(frozen=True, slots=True)
class Estimated:
    """A mean over tasks with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimated:
        """The mean of one value a task, with its bootstrap interval over the tasks."""
        return cls(fmean(values), *bootstrap_interval(values))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a pilot has found.

    Attributes:
        tasks: Number of tasks of the pilot.
        temperatures: What each temperature gave.
        temperature: The temperature of all that follows: the run's, or the best of these for `"auto"`.
        pass_at: pass@k without bias, for k of 1, 4 and 16.
        round_programs: Programs of a task in a round.
        solved: pass@k extrapolated to that number: the share of tasks that a round of plain sampling should solve.
        in_between: Share of the tasks of which some programs pass, and not all.
        fidelity: Pass rate of programs written from descriptions of the model's own passing programs; None if there was none.
        fidelity_programs: Number of these programs.
        chain_solved: Share of the tasks that the short chains solve, which begin from the references where there are any.
        descriptions: Number of descriptions drawn.
        leaks: Number of these that gave a program away.
        plain_distinct: Distinct passing programs from 1,000 tokens of plain sampling.
        chain_distinct: The same of the chains.
        references: Number of tasks of the pilot with a reference.
        hint_gap: Pass rate with the reference as a hint less that without one, over these; None without references.
        programs: Number of programs that the pilot has drawn.
        drawn_by: The `sampling_model` that has drawn all of it, which the figures are of; None for the model in training.
    """

    tasks: int
    temperatures: tuple[PilotResult, ...]
    temperature: float
    pass_at: dict[int, Estimated]
    round_programs: int
    solved: Estimated
    in_between: Estimated
    fidelity: float | None
    fidelity_programs: int
    chain_solved: Estimated
    descriptions: int
    leaks: int
    plain_distinct: float
    chain_distinct: float
    references: int
    hint_gap: Estimated | None
    programs: int
    drawn_by: str | None = None

    @property
    def headroom(self) -> float:
        """What a round's sampling should solve less what one program does."""
        return self.solved.value - self.pass_at[1].value

    @property
    def relative_fidelity(self) -> float | None:
        """`fidelity` as a share of the pass rate of tasks that have a passing program; None where it is not known."""
        alone = self.pass_at[1].value / self.pass_at[DRAWN].value if self.pass_at[DRAWN].value else 0.0
        return None if self.fidelity is None or not alone else self.fidelity / alone

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        verdict, sentence = verdict_of(self)
        return {**asdict(self), "headroom": self.headroom, "verdict": str(verdict), "sentence": sentence}


def verdict_of(forecast: Forecast) -> tuple[Verdict, str]:
    """Whether a run should help, and why in one sentence."""
    alone, hint = forecast.pass_at[1].value, forecast.hint_gap
    if forecast.drawn_by is not None:
        return _verdict_of_another(forecast, forecast.drawn_by)
    if alone >= _NEARLY_ALL:
        return Verdict.NOT, f"Not worth it: one program already solves {alone:.0%} of the tasks; take harder ones."
    reach = f"{forecast.solved.value:.0%} of the tasks with {forecast.round_programs} programs, {alone:.0%} with one"
    if forecast.headroom < _LITTLE or forecast.in_between.value < _LITTLE:
        begun = forecast.chain_solved.value - forecast.pass_at[DRAWN].value
        if forecast.references and begun >= _REFERENCE_HELPS:
            return Verdict.WITH_REFERENCES, (
                f"Worth it with references: the model alone solves {reach}, but chains that begin from references solve "
                f"{forecast.chain_solved.value:.0%}."
            )
        if hint is not None and hint.value >= _REFERENCE_HELPS:
            return Verdict.WITH_REFERENCES, (
                f"Worth it with references: the model alone solves {reach}, but {100 * hint.value:+.0f} points of its programs pass "
                "with the reference as a hint."
            )
        if forecast.references:
            return Verdict.TEACHER, (
                f"Rather a teacher: the model solves {reach}, and the references do not change that; programs of a "
                "stronger model, or training on the references alone, should help more."
            )
        return Verdict.TEACHER, (
            f"Rather a teacher: the model solves {reach}; references, or programs of a stronger model, are needed to begin."
        )
    sampler = _sampler_for(forecast)
    if forecast.references:
        return (
            Verdict.WITH_REFERENCES,
            f"Worth it with references, which the tasks have: the model solves {reach}; {sampler}.",
        )
    return Verdict.WORTH_IT, f"Worth it: the model solves {reach}; {sampler}."


def _verdict_of_another(forecast: Forecast, name: str) -> tuple[Verdict, str]:
    """The same where a `sampling_model` has drawn: what it solves says what there is to learn, and not who lacks it."""
    reach = (
        f"{name} solves {forecast.solved.value:.0%} of the tasks with {forecast.round_programs} programs, "
        f"{forecast.pass_at[1].value:.0%} with one"
    )
    if max(forecast.solved.value, forecast.chain_solved.value) < _LITTLE:
        return (
            Verdict.TEACHER,
            f"Rather a teacher: {reach}, so there is little to learn; a stronger model is needed.",
        )
    return (
        Verdict.DEPENDS,
        f"Worth it if the model in training solves fewer tasks, which a pilot without sampling_model says: {reach}; "
        f"{_sampler_for(forecast)}.",
    )


def _sampler_for(forecast: Forecast) -> str:
    """Which way to sample should suit the model, in words."""
    reads = forecast.relative_fidelity
    # The preset has a pilot of its own, which is refused beside a sampling_model.
    given = f" --temperature {forecast.temperature:g}" if forecast.drawn_by else ""
    if reads is None or reads < _READS_WELL:
        return f"it reads programs back poorly, so take plain sampling (--preset rft{given})"
    if forecast.chain_distinct < forecast.plain_distinct:
        return (
            f"its chains find fewer distinct programs for as many tokens, so take plain sampling (--preset rft{given})"
        )
    return "the chain should suit it"


def run_forecast(trainer: GiFTTrainer, num_tasks: int, say: Callable[[str], None] = lambda line: None) -> Forecast:
    """Draws the pilot's programs as the trainer would draw those of a round: with the untrained model or its `sampling_model`.

    Args:
        trainer: Has the untrained model, an engine and a sandbox; nothing is trained or recorded.
        num_tasks: Tasks of the pilot, at least 2; all of them if the trainer has fewer.
        say: Gets a line for people before each part.

    Raises:
        ConfigError: if the run does not verify its programs.
        IsolationUnavailable: if programs cannot be isolated on this machine.
    """
    args = trainer.args
    if num_tasks < 2:
        raise ConfigError(f"num_tasks={num_tasks} is out of range: an interval needs several tasks; use 2 or more.")
    if not args.verify:
        raise ConfigError("--pilot counts programs that pass, but with verify=False nothing is run; leave it out.")
    return forecast_of(draw_pilot(trainer, num_tasks, say), args.num_steps * args.num_generations)


def forecast_of(pilot: PilotSamples, round_programs: int) -> Forecast:
    """What a pilot's samples say.

    Args:
        pilot: The samples.
        round_programs: Programs of a task in a round of the run.
    """
    counts = {task_id: sum(passed for _, passed in found) for task_id, found in pilot.plain.items()}
    passed = list(counts.values())
    solved, interval = extrapolated_pass_at_k(passed, DRAWN, round_programs)
    read_back = [one for one in pilot.chains if one.parent not in (None, REFERENCE)]
    solved_by_chains = {one.task_id for one in pilot.chains if one.passed}
    steps: dict[tuple[str, int], list[CodeSample]] = {}
    for one in pilot.chains:
        steps.setdefault((one.task_id, one.step), []).append(one)
    gaps = [rate - counts[name] / DRAWN for name, rate in pilot.hinted.items()]
    return Forecast(
        tasks=len(counts),
        temperatures=pilot.temperatures,
        temperature=pilot.temperature,
        pass_at={k: Estimated.of([pass_at_k(DRAWN, count, k) for count in passed]) for k in (1, 4, DRAWN)},
        round_programs=round_programs,
        solved=Estimated(solved, *interval),
        in_between=Estimated.of([float(0 < count < DRAWN) for count in passed]),
        fidelity=fmean(one.passed for one in read_back) if read_back else None,
        fidelity_programs=len(read_back),
        chain_solved=Estimated.of([float(name in solved_by_chains) for name in counts]),
        descriptions=sum(group[0].description_tries for group in steps.values()),
        leaks=sum(group[0].description_leaks for group in steps.values()),
        plain_distinct=_per_1000(
            {(name, codetext.normalise(code)) for name, found in pilot.plain.items() for code, ok in found if ok},
            pilot.plain_tokens,
        ),
        chain_distinct=_per_1000(
            {(one.task_id, codetext.normalise(one.code or "")) for one in pilot.chains if one.passed},
            sum(map(tokens_of_step, steps.values())),
        ),
        references=len(gaps),
        hint_gap=Estimated.of(gaps) if gaps else None,
        programs=sum(result.samples for result in pilot.temperatures)
        + DRAWN * len(counts)
        + len(pilot.chains)
        + HINTED * len(gaps),
        drawn_by=pilot.drawn_by,
    )


def forecast_text(forecast: Forecast) -> str:
    """The forecast as lines to read."""
    rates = ", ".join(f"{one.passed / one.samples:.0%} at {one.temperature:g}" for one in forecast.temperatures)
    rows = {
        "pass rate by temperature": rates,
        **{f"pass@{k}": _shown(value) for k, value in forecast.pass_at.items()},
        f"pass@{forecast.round_programs}, extrapolated": _shown(forecast.solved),
        "tasks solved sometimes": _shown(forecast.in_between),
        "read-back programs that pass": "no program to read"
        if forecast.fidelity is None
        else f"{forecast.fidelity:.0%} of {forecast.fidelity_programs:,}",
        f"tasks solved by {CHAIN_STEPS * CHAIN_WIDTH} of chains": _shown(forecast.chain_solved),
        "descriptions with a leak": f"{forecast.leaks:,} of {forecast.descriptions:,}",
        "distinct in 1,000 tokens": f"{forecast.plain_distinct:.1f} plain, {forecast.chain_distinct:.1f} by chains",
        "the reference as a hint": "no references"
        if forecast.hint_gap is None
        else f"{100 * forecast.hint_gap.value:+.0f} points [{100 * forecast.hint_gap.low:+.0f}, {100 * forecast.hint_gap.high:+.0f}]",
    }
    heading = (
        f"will it help? a pilot of {plural(forecast.tasks, 'task')}, {forecast.programs:,} programs, temperature "
        f"{forecast.temperature:g}, 95 % intervals over the tasks"
        f"{f', drawn by {forecast.drawn_by}' if forecast.drawn_by else ''}"
    )
    return "\n".join([heading, *(f"  {name:<30} {value}" for name, value in rows.items()), verdict_of(forecast)[1]])


def _shown(value: Estimated) -> str:
    return f"{value.value:.0%} [{value.low:.0%}, {value.high:.0%}]"


def _per_1000(programs: set[tuple[str, str]], tokens: int) -> float:
    return 1000 * len(programs) / tokens if tokens else 0.0
