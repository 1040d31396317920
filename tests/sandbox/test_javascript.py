"""Calls of a function in JavaScript: what counts as the expected result, what is refused, and that nothing can be forged."""

from __future__ import annotations

import json

import pytest

from trl_gift.errors import TaskError
from trl_gift.sandbox import Case, Status, languages
from trl_gift.sandbox.javascript import javascript_calls
from trl_gift.tasks.task import Task

needs_node = pytest.mark.skipif("javascript" not in languages.available(), reason="Node.js is not installed")
NAN, INFINITE = float("nan"), float("inf")


@needs_node
@pytest.mark.parametrize(
    ("program", "args", "expected"),
    [
        ("function f(a, b) { return a + b; }", (1, 2), 3),
        ("const f = (a) => a.map((x) => x * 2);", ([1, 2],), (2, 4)),
        ("async function f(a) { return a; }", ("\u00fc \u2028\n",), "\u00fc \u2028\n"),
        ("function f() { console.log('working'); }", (), None),
        ("function f(a) { return new Set(a); }", ([3, 1, 3],), [3, 1]),
        ("function f(a) { return new Map(Object.entries(a)); }", ({"k": [1]},), {"k": [1]}),
        ("function f(a) { return BigInt(a) ** 70n; }", (2,), 2**70),
        ("function f(a) { return [a / 0, -a / 0, NaN]; }", (1,), [INFINITE, -INFINITE, NAN]),
        ("function f(a) { return a / 3; }", (1,), 1 / 3),
        ("function f(a) { return a; }", (True,), True),
    ],
)
def test_results_that_are_right(sandbox, program, args, expected):
    outcome = sandbox.run(program, javascript_calls("f", [Case(args=args, expected=expected)]))
    assert outcome.passed, outcome.message
    assert outcome.trusted


@needs_node
@pytest.mark.parametrize(
    ("program", "expected", "status"),
    [
        ("function f(a) { return a + 1; }", 1, Status.FAILED),
        ("function f(a) { return 1; }", True, Status.FAILED),
        ("function f(a) { return true; }", 1, Status.FAILED),
        ("function f(a) { return '1'; }", 1, Status.FAILED),
        ("function f(a) { return NaN; }", 1.0, Status.FAILED),
        ("function f(a) { return 1 / 0; }", 1.0, Status.FAILED),
        ("function f(a) { return { valueOf: () => 1, toJSON: () => 1 }; }", 1, Status.FAILED),
        ("function f(a) { throw new Error('no'); }", 1, Status.ERROR),
        ("function g(a) { return 1; }", 1, Status.ERROR),
        ("function f(a) { process.exit(0); }", 1, Status.FAILED),
        ("process.stdout.write = () => true; function f(a) { return 1; }", 1, Status.FAILED),
        ("function f(a) { return ", 1, Status.ERROR),
    ],
)
def test_results_that_are_wrong(sandbox, program, expected, status):
    outcome = sandbox.run(program, javascript_calls("f", [Case(args=(1,), expected=expected)]))
    assert outcome.status is status, outcome.message


@pytest.mark.parametrize(
    ("name", "case", "reason"),
    [
        ("f(", Case(args=(1,), expected=1), "not the name of a function"),
        ("f", Case(args=(1,), kwargs={"k": 1}, expected=1), "by position only"),
        ("f", Case(args=(2**53,), expected=1), r"2\*\*53"),
        ("f", Case(args=(NAN,), expected=1), "not a value that JavaScript has"),
        ("f", Case(args=({1: 2},), expected=1), "texts as keys"),
        ("f", Case(args=(1,), expected={1, 2}), "not a value that JavaScript has"),
    ],
)
def test_what_is_refused(name, case, reason):
    with pytest.raises(ValueError, match=reason):
        javascript_calls(name, [case])


ROW = {
    "task_id": "add",
    "description": "Add two numbers.",
    "language": "js",
    "signature": "function add(a, b) {",
    "reference": "function add(a, b) {\n  return a + b;\n}",
    "tests": {"inputs": [[1, 2]], "outputs": [3]},
    "hidden_tests": json.dumps({"inputs": [[5, 6]], "outputs": [11]}),
}


@needs_node
def test_a_row_is_a_task_of_a_function(sandbox):
    task = Task.from_row(ROW)
    assert (task.language, task.opening, task.all_tests.num_tests) == ("javascript", "function add(a, b) {", 2)
    assert sandbox.run(task.reference, task.all_tests).passed
    assert not sandbox.run("function add(a, b) { return 3; }", task.all_tests).passed
    assert Task.from_row(task.to_row()) == task


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"signature": "def add(a, b):"}, "line that opens the function"),
        ({"signature": None}, "name the function"),
        ({"tests": {"inputs": [[1, 2]], "outputs": []}}, "a list of 1 value,"),
        ({"hidden_tests": "assert add(1, 2) == 3"}, "are {'inputs', 'outputs'}"),
    ],
)
def test_a_row_that_is_not_such_a_task(changed, reason):
    with pytest.raises(TaskError, match=reason):
        Task.from_row({**ROW, **changed})
