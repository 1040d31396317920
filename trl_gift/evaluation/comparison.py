"""Two evaluations of the same tasks, compared task by task: a paired difference says more than two separate intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trl_gift.evaluation.pass_at_k import bootstrap_interval


@dataclass(frozen=True, slots=True)
class Comparison:
    """Greedy pass@1 of an evaluation less that of an earlier one, paired by task.

    Attributes:
        difference: Mean difference over the shared tasks, from -1 to 1.
        low: Lower bound of its 95 % bootstrap interval.
        high: Upper bound of the interval.
        tasks: Number of tasks that both evaluations could execute.
        gained: The tasks that only the later evaluation solves, in their order.
        lost: The tasks that only the earlier evaluation solves, likewise.
    """

    difference: float
    low: float
    high: float
    tasks: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def compare(after: Mapping[str, bool], before: Mapping[str, bool]) -> Comparison:
    """Compares the greedy programs of two evaluations.

    Args:
        after: Whether the greedy program of each task passed, as `Evaluation.greedy`.
        before: The same of the earlier evaluation.

    Raises:
        ValueError: if they share no task.
    """
    difference, (low, high) = paired_difference(after, before)
    shared = sorted(after.keys() & before.keys())
    return Comparison(
        difference,
        low,
        high,
        len(shared),
        gained=tuple(task_id for task_id in shared if after[task_id] and not before[task_id]),
        lost=tuple(task_id for task_id in shared if before[task_id] and not after[task_id]),
    )


def paired_difference(after: Mapping[str, bool], before: Mapping[str, bool]) -> tuple[float, tuple[float, float]]:
    """Mean difference of two greedy evaluations over the tasks they share, with its 95 % bootstrap interval.

    Raises:
        ValueError: if they share no task.
    """
    shared = sorted(after.keys() & before.keys())
    differences = [float(after[task_id]) - float(before[task_id]) for task_id in shared]
    if not differences:
        raise ValueError("the two evaluations share no task.")
    return sum(differences) / len(differences), bootstrap_interval(differences)
