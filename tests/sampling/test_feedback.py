"""What a failed program is told: the failing test and what happened there, in a bounded text."""

from __future__ import annotations

import pytest

from trl_gift.sampling.feedback import feedback
from trl_gift.sandbox import AssertTests, CallTests, Case, LocalSandbox, Outcome, Status, StdioTests

ASSERTS = AssertTests("assert add(0, 0) == 0\nassert add(1, 2) == 3", entry_point="add")
CALLS = CallTests("add", [Case(args=(0, 0), expected=0), Case(args=(1, 2), expected=3)])
RUNS = StdioTests([Case(stdin="0 0", stdout="0"), Case(stdin="1 2", stdout="3")])


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("program", "tests", "told"),
    [
        ("def add(a, b):\n    return a - b", ASSERTS, ["assert add(1, 2) == 3", "returned -1"]),
        ("def add(a, b):\n    return a / 0", ASSERTS, ["assert add(0, 0) == 0", "ZeroDivisionError: division by zero"]),
        ("def add(a, b):\n    return a -", ASSERTS, ["SyntaxError"]),
        ("def sub(a, b):\n    return a", ASSERTS, ["add"]),
        ("def add(a, b):\n    return a - b", CALLS, ["add(1, 2)", "3", "-1"]),
        ("print(eval(input().replace(' ', '-')))", RUNS, ["# Input:\n1 2\n# Output:\n3", "-1"]),
    ],
)  # fmt: skip
def test_the_first_failure_is_named_with_what_happened(sandbox, program, tests, told):
    text = feedback(sandbox.run(program, tests), tests)
    assert all(part in text for part in told), text
    assert len(text.splitlines()) <= 8


def test_where_an_object_lies_in_memory_is_not_said(sandbox):
    outcome = sandbox.run("def add(a, b):\n    return lambda: (a, b)", ASSERTS)
    assert " at 0x" in outcome.message
    assert "returned <function" in feedback(outcome, ASSERTS)
    assert "0x" not in feedback(outcome, ASSERTS)


def test_a_text_of_any_length_is_cut_and_one_without_words_has_the_status():
    long = feedback(Outcome(Status.FAILED, first_failure=1, message="x" * 10**6), ASSERTS)
    assert long.startswith("assert add(1, 2) == 3\nxxx")
    assert len(long) < 1100
    assert feedback(Outcome(Status.TIMEOUT), ASSERTS) == "timeout"
