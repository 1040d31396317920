"""Allocation: which task gets how many steps of a round's chains, by how uncertain its measured pass rate is.

A task that the model nearly always or nearly never solves gives the same verdict again and again. A task in between gives
programs that pass and programs that fail, and among them new ones. A task's weight is p (1 - p), where p = (k + 1) / (n + 2)
is the mean of the posterior of its pass rate, given k of n programs that passed and a uniform prior. At one n for all tasks
this is proportional to the variance of that posterior, and it is the chance that exactly one given program of two passes.

The sum of all steps stays that of the uniform allocation. Every task keeps a quarter of its steps, because a rate of few
programs is rough. A plan is a function of the rates, so it is the same on every process and when a run is resumed.

Not covered: rates are those of the untrained model; later rounds keep the plan of the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trl_gift.common.words import plural

SMALLEST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Allocation:
    """Steps by task, and what they were computed from.

    Attributes:
        num_steps: Mean number of steps of a task.
        smallest: Number of steps that every task has at least.
        num_generations: Programs of each task that were drawn to measure its pass rate.
        rates: The measured pass rate of each task, between 0 and 1.
        steps: The number of steps of each task's chain.
    """

    num_steps: int
    smallest: int
    num_generations: int
    rates: dict[str, float]
    steps: dict[str, int]

    def line(self) -> str:
        """The plan in one line."""
        total, counts = sum(self.steps.values()), self.steps.values()
        return (
            f"step_allocation='uncertain': {plural(total, 'step')} a round, as with 'uniform'; from {min(counts)} to {max(counts)} for "
            f"a task, by the pass rate of {plural(self.num_generations, 'program')} each."
        )

    def record(self) -> dict[str, Any]:
        """A JSON object, from which `read` restores the allocation."""
        return asdict(self)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Allocation:
        """The inverse of `record`."""
        return cls(
            record["num_steps"],
            record["smallest"],
            record["num_generations"],
            dict(record["rates"]),
            dict(record["steps"]),
        )


def allocate(rates: Mapping[str, float], num_generations: int, num_steps: int, at_least: int = 1) -> Allocation:
    """Divides `len(rates) * num_steps` steps among the tasks.

    Args:
        rates: The measured pass rate of each task, at least one task.
        num_generations: Programs of each task that were drawn to measure its pass rate.
        num_steps: Mean number of steps of a task.
        at_least: Number of steps that a sampler needs.

    Returns:
        An allocation in which a task of greater weight never has fewer steps.
    """
    smallest = max(at_least, math.ceil(SMALLEST_SHARE * num_steps))
    weights = {task_id: _weight(round(rate * num_generations), num_generations) for task_id, rate in rates.items()}
    free = len(rates) * (num_steps - smallest)
    # Whole numbers, so that the shares do not depend on rounding; the largest remainders get what is left.
    total = sum(weights.values())
    parts = {task_id: divmod(free * weight, total) for task_id, weight in weights.items()}
    left = free - sum(whole for whole, _ in parts.values())
    first = sorted(parts, key=lambda task_id: (-parts[task_id][1], task_id))[:left]
    steps = {task_id: smallest + whole + (task_id in first) for task_id, (whole, _) in parts.items()}
    return Allocation(num_steps, smallest, num_generations, dict(rates), steps)


def _weight(passed: int, drawn: int) -> int:
    """P (1 - p) for p = (passed + 1) / (drawn + 2), times a number that all tasks share."""
    return (passed + 1) * (drawn - passed + 1)
