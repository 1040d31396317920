"""Hints that a prompt may show for a task that plain sampling did not solve.

STaR (arXiv 2203.14465, section 3.2) shows the right answer. Its analogue for code is the reference solution, or, where
none is at hand, the first test that the latest try failed.
"""

from __future__ import annotations

from collections.abc import Sequence

from trl_gift.prompts import Hint
from trl_gift.sampling.records import CodeSample
from trl_gift.sandbox import AssertTests, CallTests, StdioTests, Tests
from trl_gift.sandbox.statements import steps
from trl_gift.sandbox.values.show import show
from trl_gift.tasks import Task
from trl_gift.tasks.testcode import as_written

HINTS = ("reference", "failing_test")
MAX_TEST_CHARACTERS = 1000
"""Longest text of a test that is shown; some tests hold megabytes of input."""


def hint_for(kind: str, task: Task, tries: Sequence[CodeSample]) -> Hint | None:
    """The hint of a kind for a task.

    Args:
        kind: `"reference"` or `"failing_test"`.
        task: The task.
        tries: The samples that did not solve it, in the order of sampling.

    Returns:
        None where the task has no reference to show.
    """
    if kind == "reference":
        return Hint(kind, task.reference) if task.reference is not None else None
    assert task.tests is not None, "a task that was tried and failed has tests"
    # Where no try held a program, nothing has failed yet: the first test says most. Hidden tests come after the others
    # and are never shown: for one of these the last visible test stands in.
    failures = [sample.outcome["first_failure"] for sample in tries if sample.outcome]
    return Hint(kind, show_test(task.tests, (failures[-1] if failures else None) or 0))


def show_test(tests: Tests, index: int) -> str:
    """One test as a person would write it, at most `MAX_TEST_CHARACTERS` long."""
    if isinstance(tests, AssertTests):
        statements = [step.text for step in steps(tests.text) if step.is_test]
        text = statements[min(index, len(statements) - 1)]
        # A statement that only calls the function with the assertions says nothing; show these.
        return _cut(text if text.startswith("assert") else as_written(tests.text, text) or tests.text)
    if isinstance(tests, StdioTests) and tests.after:
        return _cut(tests.after)
    case = tests.cases[min(index, len(tests.cases) - 1)]
    if isinstance(tests, CallTests):
        arguments = [show(value, MAX_TEST_CHARACTERS) for value in case.args]
        arguments += [f"{name}={show(value, MAX_TEST_CHARACTERS)}" for name, value in case.kwargs.items()]
        call = _cut(f"{tests.entry_point}({', '.join(arguments)})")
        return f"assert {call} == {show(case.expected, MAX_TEST_CHARACTERS)}"
    return f"# Input:\n{_cut(case.stdin or '')}\n# Output:\n{_cut(case.stdout or '')}"


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_TEST_CHARACTERS else text[:MAX_TEST_CHARACTERS] + "..."
