"""References: which reading of a row is right, and which references fail their own tests.

A run must not learn from a reference that fails its tests, read it or show it. Where a row holds several solutions, or tests
that can be read in several ways, the first reading whose reference passes is the right one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trl_gift.sandbox import Outcome, Sandbox, Tests
from trl_gift.tasks.task import Reading, Task


@dataclass(frozen=True, slots=True)
class Checked:
    """What running the references has shown.

    Attributes:
        readings: By task, the place of the reading that passes among its readings; a task without is read as it is now.
        failing: By task, why its reference fails, if no reading passes. A reference that could not be run for lack of a
            sandbox is not among them.
    """

    readings: Mapping[str, int]
    failing: Mapping[str, str]


def check_references(tasks: Sequence[Task], sandbox: Sandbox) -> Checked:
    """Runs every reference against its own tests, reading by reading until one passes.

    Args:
        tasks: The tasks; those without a reference or without tests are passed over.
        sandbox: Runs the references.
    """
    readings: dict[str, int] = {}
    failing: dict[str, str] = {}
    waiting = [task for task in tasks if task.reference is not None and task.tests is not None]
    place = 0
    while waiting:
        outcomes = _run([_job(task, place) for task in waiting], sandbox)
        further = []
        for task, outcome in zip(waiting, outcomes, strict=True):
            if outcome.passed:
                if task.readings:
                    readings[task.task_id] = place
            elif place + 1 < len(task.readings):
                further.append(task)
            elif why := outcome.failure:
                failing[task.task_id] = why
        waiting, place = further, place + 1
    return Checked(readings, failing)


def with_readings(tasks: Sequence[Task], readings: Mapping[str, int]) -> list[Task]:
    """The tasks, each with one reading: that of `Checked.readings`, or how it is read now."""
    return [task.read_as(_reading(task, readings.get(task.task_id))) if task.readings else task for task in tasks]


def settled(tasks: Sequence[Task], sandbox: Sandbox) -> list[Task]:
    """The tasks, each with the first reading whose reference passes; only tasks with several readings are run."""
    several = [task for task in tasks if task.readings]
    return with_readings(tasks, check_references(several, sandbox).readings) if several else list(tasks)


def _reading(task: Task, place: int | None) -> Reading | None:
    return None if place is None else task.readings[place]


def _job(task: Task, place: int) -> tuple[str, Tests]:
    if not task.readings:
        return str(task.reference), task.all_tests
    reading = task.readings[place]
    return reading.reference, reading.tests or task.all_tests


def _run(jobs: Sequence[tuple[str, Tests]], sandbox: Sandbox) -> list[Outcome]:
    return [future.result() for future in sandbox.submit_all(jobs)]
