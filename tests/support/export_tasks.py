"""The tasks of the recorded runs that are exported."""

from __future__ import annotations

from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task

TASKS = 4


def tasks():
    tests = AssertTests("assert add(1, 2) == 3", entry_point="add")
    return [Task(f"tasks/{number:05d}", f"Add, {number}.", tests, "def add(a, b):") for number in range(TASKS)]
