"""Rewrites tasks of a function into tasks of a whole program, which can be solved in any language.

The protocol: standard input holds one line of JSON for each argument, in order; the program writes the result as one line of
JSON. Tuples are lists there. A task can be rewritten if its tests are calls with literal values that JSON has; the reference
is then executed as such a program, and a task whose reference does not print what the tests expect is left out.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trl_gift.sandbox import AssertTests, CallTests, Case, Sandbox, Status, StdioTests, Tests
from trl_gift.sandbox.javascript import SAME
from trl_gift.tasks.task import Task

CHECKER = f"""\
import json


{SAME}

def check(stdin, stdout, expected):
    return same(json.loads(stdout), json.loads(expected))
"""
_ASKED = (
    "Write a whole program. It reads the arguments of `{name}` from standard input, one line of JSON for each in their order, "
    "and writes the result to standard output as one line of JSON."
)
_MAIN = """

import json as _json
import sys as _sys

print(_json.dumps({name}(*[_json.loads(_line) for _line in _sys.stdin])))
"""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The tasks of a set in the form of standard input and output.

    Attributes:
        tasks: Those that could be rewritten, in their order.
        left_out: By `task_id`, why the others could not.
    """

    tasks: list[Task]
    left_out: Mapping[str, str]


class _NotPossible(Exception):
    """Why a task cannot be rewritten."""


def to_stdio(tasks: Sequence[Task], sandbox: Sandbox, language: str = "python") -> Rewritten:
    """Rewrite tasks, and execute their references to prove that the new tests mean the same.

    Args:
        tasks: Tasks of functions, with references in Python.
        sandbox: Runs the references.
        language: The language of the new tasks; their references are kept if it is Python.
    """
    left_out: dict[str, str] = {}
    written: list[Task] = []
    for task in tasks:
        try:
            written.append(_rewritten(task))
        except _NotPossible as error:
            left_out[task.task_id] = str(error)
    futures = sandbox.submit_all([(str(task.reference), task.all_tests) for task in written])
    kept = []
    for task, future in zip(written, futures, strict=True):
        outcome = future.result()
        if outcome.status is Status.PASSED:
            kept.append(task if language == "python" else _in(task, language))
        else:
            left_out[task.task_id] = f"the reference does not print the expected results ({outcome.status})"
    return Rewritten(kept, left_out)


def _rewritten(task: Task) -> Task:
    if task.tests is None or isinstance(task.tests, StdioTests):
        raise _NotPossible("its tests are not calls of a function")
    if task.reference is None:
        raise _NotPossible("it has no reference to execute")
    name = task.entry_point
    if name is None or not name.isidentifier():
        raise _NotPossible("its tests call no plain function")
    tests = StdioTests(_cases(task.tests, name), checker=CHECKER)
    hidden = None if task.hidden_tests is None else StdioTests(_cases(task.hidden_tests, name), checker=CHECKER)
    return replace(
        task,
        description=f"{task.description.rstrip()}\n\n{_ASKED.format(name=name)}",
        tests=tests,
        hidden_tests=hidden,
        signature=None,
        reference=f"{task.reference.rstrip()}{_MAIN.format(name=name)}",
        prelude="",
        language="python",
        examples=(),
        readings=(),
    )


def _in(task: Task, language: str) -> Task:
    tests, hidden = (
        replace(suite, language=language) if isinstance(suite, StdioTests) else None
        for suite in (task.tests, task.hidden_tests)
    )
    return replace(task, tests=tests, hidden_tests=hidden, language=language, reference=None)


def _cases(tests: Tests, name: str) -> list[Case]:
    if isinstance(tests, CallTests):
        if any(case.kwargs for case in tests.cases):
            raise _NotPossible("a test passes arguments by keyword")
        calls = [(case.args, case.expected) for case in tests.cases]
    elif isinstance(tests, AssertTests):
        calls = [_call(statement, name) for statement in ast.parse(tests.text).body]
    else:
        raise _NotPossible("its tests are not calls of a function")
    return [Case(stdin="".join(map(_line, args)), stdout=_line(expected)) for args, expected in calls]


def _call(statement: ast.stmt, name: str) -> tuple[tuple[Any, ...], Any]:
    """The arguments and the result of `assert name(...) == ...`, all of them literals."""
    match statement:
        case ast.Assert(
            test=ast.Compare(
                left=ast.Call(func=ast.Name(id=called), args=args, keywords=[]),
                ops=[ast.Eq() | ast.Is()],
                comparators=[expected],
            )
        ) if called == name:
            try:
                return tuple(ast.literal_eval(argument) for argument in args), ast.literal_eval(expected)
            except ValueError:
                raise _NotPossible(f"a value in a test is not a literal: {ast.unparse(statement)[:80]!r}") from None
    raise _NotPossible(f"a test is not a call with its result: {ast.unparse(statement)[:80]!r}")


def _line(value: Any) -> str:
    _check_json(value)
    return f"{json.dumps(value)}\n"


def _check_json(value: Any) -> None:
    if isinstance(value, list | tuple):
        for item in value:
            _check_json(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _NotPossible("JSON has no keys but texts")
            _check_json(item)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _NotPossible(f"JSON has no {value!r}")
    elif value is not None and not isinstance(value, bool | int | str):
        raise _NotPossible(f"JSON has no {type(value).__name__}")
