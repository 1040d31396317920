"""Which tests of a task may be seen while it is being solved, and which decide alone.

A task with hidden tests says so itself. Of a task without hidden tests, the first few tests can stand for those that a user
would show, so that the others still decide whether a program is right.
"""

from __future__ import annotations

from dataclasses import replace

from trl_gift.sandbox import AssertTests, CallTests, StdioTests, Tests
from trl_gift.sandbox.statements import steps
from trl_gift.tasks.task import Task


def visible_tests(task: Task, most: int | None = None) -> Tests | None:
    """The tests that a solver may run and read.

    Args:
        task: The task.
        most: Of a task without hidden tests, how many of its tests are visible; None for all.

    Returns:
        The visible tests of a task with hidden tests; else the first `most` tests, or all if there are no more. None for a
        task without tests. Test code that is one statement, such as the call of a function with all assertions, is one test.
    """
    tests = task.tests
    if tests is None or task.hidden_tests is not None or most is None:
        return tests
    if isinstance(tests, AssertTests):
        return _first_statements(tests, most)
    if isinstance(tests, CallTests | StdioTests) and len(tests.cases) > most:
        return replace(tests, cases=tests.cases[:most])
    return tests


def _first_statements(tests: AssertTests, most: int) -> AssertTests:
    if tests.num_tests <= most:
        return tests
    kept: list[str] = []
    count = 0
    for step in steps(tests.text):
        if count == most:
            break
        kept.append(step.text)
        count += step.is_test
    return replace(tests, source="\n".join(kept))
