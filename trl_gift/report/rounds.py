"""The base model and each finished round as a line of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RoundLine:
    """The base model or a round. What was not measured, or does not exist for the base model, is None.

    Attributes:
        title: `"base"` or `"round N"`.
        pass_at_1: Greedy pass@1, as a share.
        interval: Its 95 % interval.
        gain: Difference to the base model's pass@1, paired by task.
        gain_interval: Its 95 % interval.
        others: Other measures, such as `sampled_pass@10`, each with its 95 % interval.
        solved: Number of tasks with a passing sample.
        tasks: Number of tasks.
        passed: Number of samples that passed.
        samples: Number of samples.
        distinct: Number of programs that may be trained on and differ, summed over tasks.
        pairs: Number of training pairs.
        final: Whether the run has ended with the weights of this round.
    """

    title: str
    pass_at_1: float | None
    interval: Interval | None
    gain: float | None = None
    gain_interval: Interval | None = None
    others: tuple[tuple[str, float, Interval], ...] = ()
    solved: int | None = None
    tasks: int | None = None
    passed: int | None = None
    samples: int | None = None
    distinct: int | None = None
    pairs: int | None = None
    final: bool = False


def round_lines(
    base: Mapping[str, float], measured: Sequence[Mapping[str, Any]], verified: bool, final_round: int | None
) -> list[RoundLine]:
    """The lines of a run.

    Args:
        base: Figures of the untrained model; empty if nothing was measured.
        measured: The content of `metrics.json` of each finished round.
        verified: Whether the run executes its samples.
        final_round: The round whose weights the run has ended with, if it says so.
    """
    lines = [RoundLine("base", *_pass_at_1(base), others=_others(base))] if base else []
    for record in measured:
        metrics, gain = record.get("metrics", {}), record.get("gain")
        lines.append(
            RoundLine(
                f"round {record['round']}",
                *_pass_at_1(metrics),
                gain=gain["pass@1"] if gain else None,
                gain_interval=(gain["low"], gain["high"]) if gain else None,
                others=_others(metrics),
                solved=record["solved_tasks"] if verified else None,
                tasks=record["tasks"],
                passed=record["passed"] if verified else None,
                samples=record["samples"],
                distinct=record["distinct_programs"],
                pairs=record["pairs"],
                final=record["round"] == final_round,
            )
        )
    return lines


def _pass_at_1(metrics: Mapping[str, float]) -> tuple[float | None, Interval | None]:
    if "pass@1" not in metrics:
        return None, None
    return metrics["pass@1"], (metrics["pass@1_low"], metrics["pass@1_high"])


def _others(metrics: Mapping[str, float]) -> tuple[tuple[str, float, Interval], ...]:
    return tuple(
        (name, value, (metrics[f"{name}_low"], metrics[f"{name}_high"]))
        for name, value in metrics.items()
        if f"{name}_low" in metrics and name != "pass@1"
    )
