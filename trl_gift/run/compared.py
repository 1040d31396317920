"""Runs of several configs on the same seeds, compared: paired differences with two kinds of intervals.

An interval *over the tasks* says whether other held-out tasks would show the same difference between these very models. An
interval *over the seeds* says whether other runs would show the same on these very tasks. The first is a bootstrap over the
tasks, each with its mean over the seeds; the second is Student's t over the differences of each seed.

Not covered: both at once. A difference to rely on lies beyond zero in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from trl_gift.errors import ConfigError
from trl_gift.evaluation.pass_at_k import Interval, bootstrap_interval, pass_at_k
from trl_gift.run.folder import RunFolder
from trl_gift.sandbox import Status

PASS_AT_1 = "pass@1"
TOKENS = "tokens sampled"
UNEQUAL = 0.05
"""Share by which the tokens of two configs may differ before a comparison says so."""

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What one finished run came to.

    Attributes:
        tasks: By figure, the value of each held-out task: `pass@1` of the greedy program of the final model, and
            `sampled pass@k` where programs were sampled.
        totals: By figure, one number: tasks solved and distinct programs up to the last round, tokens of all rounds.
        eval_tasks: Fingerprint of the held-out tasks.
        max_tokens: The token budget of a round; None for none.
    """

    tasks: Mapping[str, Mapping[str, float]]
    totals: Mapping[str, float]
    eval_tasks: str
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of a config less that of the first config.

    Attributes:
        name: The figure.
        first: Its mean over the seeds for the first config.
        other: The same for the other one.
        difference: `other - first`, the mean of the paired differences.
        over_seeds: 95 % t-interval over the seeds; None for one seed.
        over_tasks: 95 % bootstrap interval over the held-out tasks; None for a figure that is no mean over tasks.
    """

    name: str
    first: float
    other: float
    difference: float
    over_seeds: Interval | None
    over_tasks: Interval | None

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def is_finished(run: RunFolder) -> bool:
    """Whether a run has ended, and not only all rounds of an earlier, smaller `num_rounds`."""
    return run.final_round is not None and run.num_measured_rounds >= int(run.option("num_rounds"))


def figures_of(run: RunFolder) -> RunFigures:
    """Reads the figures of a finished run.

    Raises:
        ConfigError: for a run without held-out tasks.
    """
    rounds, final = run.measured_rounds(), run.final_round
    assert final is not None, "the run is finished"
    last = rounds[-1]
    if "greedy" not in rounds[final - 1]:
        raise ConfigError(
            f"{run.root.parent} has measured no held-out tasks, so there is nothing to compare; give eval_dataset_name or "
            "dataset_test_split."
        )
    tasks = {PASS_AT_1: {name: float(passed) for name, passed in rounds[final - 1]["greedy"].items()}}
    counts: dict[str, tuple[int, int]] = {}
    for attempt in run.read(f"round-{final}/evaluation.json")["attempts"]:
        if attempt["index"] >= 0 and attempt["status"] != Status.INFRASTRUCTURE:
            drawn, passed = counts.get(attempt["task_id"], (0, 0))
            counts[attempt["task_id"]] = drawn + 1, passed + (attempt["status"] == Status.PASSED)
    for k in run.option("eval_k") or ():
        values = {name: pass_at_k(drawn, passed, k) for name, (drawn, passed) in counts.items() if drawn >= k}
        if values:
            tasks[f"sampled pass@{k}"] = values
    totals = {
        "tasks solved": float(last["solved_tasks"]),
        "distinct programs": float(last["distinct_programs"]),
        TOKENS: float(sum(item["tokens"] for item in rounds)),
    }
    return RunFigures(tasks, totals, run.read("run.json")["eval_tasks"]["fingerprint"], last.get("max_tokens"))


def differences(first: Sequence[RunFigures], other: Sequence[RunFigures]) -> list[Difference]:
    """Compares two configs figure by figure.

    Args:
        first: The runs of the first config, one for each seed.
        other: Those of the other, with the same seeds in the same order.

    Raises:
        ConfigError: if they were measured on different tasks.
    """
    if len({run.eval_tasks for run in (*first, *other)}) > 1:
        raise ConfigError(
            "the runs were measured on different held-out tasks; give all configs the same eval_dataset_name, eval_filter and "
            "eval_limit."
        )
    found = []
    pairs = list(zip(first, other, strict=True))
    for name in first[0].tasks:
        if all(name in run.tasks for pair in pairs for run in pair):
            found.append(_over_tasks(name, [(one.tasks[name], two.tasks[name]) for one, two in pairs]))
    for name in first[0].totals:
        found.append(_paired(name, [(one.totals[name], two.totals[name]) for one, two in pairs], None))
    return found


def unequal_tokens(found: Sequence[Difference]) -> float | None:
    """By what share of the first config's tokens the other's differ, where that is more than `UNEQUAL`."""
    tokens = next(item for item in found if item.name == TOKENS)
    share = tokens.difference / tokens.first
    return share if abs(share) > UNEQUAL else None


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's 95 % interval of a mean; None for a single value.

    Beyond 30 degrees of freedom the quantile is taken from its expansion in their inverse, which is exact to three decimals.
    """
    count = len(values)
    if count < 2:
        return None
    freedom = count - 1
    quantile = _T95[freedom - 1] if freedom <= len(_T95) else 1.95996 + 2.3723 / freedom + 2.8225 / freedom**2
    mean, half = fmean(values), quantile * stdev(values) / math.sqrt(count)
    return mean - half, mean + half


def _over_tasks(name: str, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Difference:
    shared = sorted(set.intersection(*({*values} for pair in pairs for values in pair)))
    if not shared:
        raise ConfigError(f"the runs share no held-out task with a {name}.")
    by_task = [fmean(two[task] - one[task] for one, two in pairs) for task in shared]
    means = [(fmean(one[task] for task in shared), fmean(two[task] for task in shared)) for one, two in pairs]
    return _paired(name, means, bootstrap_interval(by_task))


def _paired(name: str, pairs: Sequence[tuple[float, float]], over_tasks: Interval | None) -> Difference:
    gaps = [two - one for one, two in pairs]
    return Difference(
        name,
        fmean(one for one, _ in pairs),
        fmean(two for _, two in pairs),
        fmean(gaps),
        t_interval(gaps),
        over_tasks,
    )
