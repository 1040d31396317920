"""One test of a task as a person would write it, for prompts and reports."""

from __future__ import annotations

from trl_gift.sandbox import AssertTests, CallTests, StdioTests, Tests
from trl_gift.sandbox.statements import steps
from trl_gift.sandbox.values.show import show
from trl_gift.tasks.testcode import as_written

MAX_TEST_CHARACTERS = 1000
"""Longest text of a test that is shown; some tests hold megabytes of input."""


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
