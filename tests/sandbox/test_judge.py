"""A verdict depends on the program and its tests alone: not on what a reply holds besides, nor on other tasks' tests."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.processes import descendants, wait_until
from trl_gift.sandbox import AssertTests, CallTests, Case, Limits, LocalSandbox, Status

# Answers every call as it likes, with what it likes for the arguments.
FORGER = """
import sys
ours = sys._getframe(1).f_globals
codec = ours["codec"]
ours["Answers"].encode_value = lambda self, value, changed: codec.encode({reply})
def sort(xs):
    return xs
"""
SORTED = "def sort(xs):\n    return sorted(xs)"
SAME = "def sort(xs):\n    return xs"


@pytest.fixture(scope="module", params=[True, False], ids=["local", "hosted"])
def sandbox(request):
    with LocalSandbox(num_workers=1, in_process=request.param) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    "source",
    [
        "xs = [3, 1, 2]\nassert sort(xs) == sorted(xs)",
        "def check(candidate):\n    xs = [3, 1, 2]\n    assert candidate(xs) == sorted(xs)\ncheck(sort)",
        "for n in range(1, 4):\n    xs = list(range(n, 0, -1))\n    assert sort(xs) == sorted(xs)",
    ],
)
def test_a_reply_cannot_change_arguments(sandbox, source):
    forger = FORGER.format(reply='("value", [0], [[0]])')
    assert sandbox.run(forger, AssertTests(source, entry_point="sort")).status is Status.VIOLATION


def test_cases_stay_as_they_are(sandbox):
    tests = CallTests("sort", cases=[Case(args=([3, 1, 2],), expected=[1, 2, 3])])
    for _ in range(2):
        assert sandbox.run(FORGER.format(reply='("value", [1, 2, 3], [[1, 2, 3]])'), tests).status is Status.VIOLATION
        assert sandbox.run(SORTED, tests).passed
        assert not sandbox.run(SAME, tests).passed


def test_by_reference_arguments_are_those_of_one_program(sandbox):
    tests = AssertTests("xs = [3, 1, 2]\nsort(xs)\nassert xs == [1, 2, 3]", entry_point="sort", pass_by="reference")
    for _ in range(2):
        assert sandbox.run("def sort(xs):\n    xs.sort()", tests).passed
        assert not sandbox.run("def sort(xs):\n    pass", tests).passed


@pytest.mark.parametrize(
    "harm",
    [
        "import math\nmath.isclose = lambda *a, **k: True",
        "import builtins\nbuiltins.abs = lambda x: 0",
        "import signal\nsignal.alarm(1)",
        "import sys\nsys.setrecursionlimit(60)",
        "import trl_gift.sandbox.values.compare_values as c\nc.values_match = lambda *a: True",
        "import os\nos.environ['X'] = '1'",
    ],
)
def test_what_tests_change_ends_with_them(sandbox, harm):
    """The tests of other tasks, in the same slot, give the verdicts that they give before."""
    close = AssertTests("import math\nassert math.isclose(f(1), 2)", entry_point="f")
    near = AssertTests("assert abs(f(1) - 2) < 1e-9", entry_point="f")
    calls = CallTests("f", cases=[Case(args=(1,), expected=2)])
    harmful = AssertTests(f"{harm}\nassert f(1)", entry_point="f")
    right, wrong = "def f(x):\n    return 2", "def f(x):\n    return 7"
    assert sandbox.run(wrong, harmful).status is not Status.INFRASTRUCTURE
    for tests in (close, near, calls):
        assert sandbox.run(right, tests).passed
        assert not sandbox.run(wrong, tests).passed


def test_tests_draw_the_same_numbers_for_every_program(sandbox):
    tests = AssertTests("import random\nx = random.random()\nassert f(x) == 0, x", entry_point="f")
    first, second = (sandbox.run("def f(x):\n    return x", tests).message for _ in range(2))
    assert first == second


def test_a_test_may_not_escape_into_processes(sandbox):
    tests = AssertTests("import os\ntry:\n    os.fork()\nexcept OSError:\n    pass\nelse:\n    raise SystemExit\nassert f(1)", entry_point="f")  # fmt: skip
    assert sandbox.run("def f(x):\n    return 1", tests).passed


@pytest.mark.parametrize(
    "program",
    [
        'import numpy\ndef f(x):\n    return numpy.frombuffer(b"\\xff\\xff\\xff\\x7f", dtype="<U1")',
        'def f(x):\n    return type("\\x01" * 20_000_000, (), {})()',
        "def f(x):\n    raise ExceptionGroup('g', [ValueError(1)])",
        "class E(Exception):\n    def __str__(self):\n        raise self\ndef f(x):\n    raise E",
        "def f(x):\n    raise UnicodeDecodeError('a', b'', 1, 2, 'b')",
        FORGER.format(reply='("raised", ["ExceptionGroup", "Exception"], "w", ["w", 3])') + "f = sort",
        FORGER.format(reply='("raised", ["\\x00" * 1_000_000] * 20, "w" * 10_000_000, [])') + "f = sort",
    ],
)
def test_every_answer_gets_a_verdict(sandbox, program):
    if "numpy" in program:
        pytest.importorskip("numpy")
    for tests in (
        AssertTests("assert f(1) == 1", entry_point="f"),
        AssertTests("y = f(1)\nassert y == 1", entry_point="f"),
        CallTests("f", cases=[Case(args=(1,), expected=1)]),
    ):
        outcome = sandbox.run(program, tests)
        assert outcome.status in (Status.ERROR, Status.FAILED, Status.VIOLATION)
        assert len(outcome.message) <= 1000
        assert outcome.attempts == 1


def test_tests_that_never_end_are_a_verdict(sandbox):
    tests = AssertTests("import itertools\nfor i in itertools.count():\n    assert f(1) == 1", entry_point="f")
    outcome = sandbox.run("def f(x):\n    return 1", tests, limits=Limits(cpu_s=0.3))
    assert (outcome.status, outcome.attempts) == (Status.TIMEOUT, 1)
    assert sandbox.run("def f(x):\n    return 1", AssertTests("assert f(1) == 1", entry_point="f")).passed


def test_tests_that_crash_are_a_verdict(sandbox):
    tests = AssertTests("import ctypes\nx = f(1)\nctypes.string_at(0)\nassert x == 3", entry_point="f")
    outcome = sandbox.run("def f(x):\n    return 3", tests)
    assert (outcome.status, outcome.message) == (Status.ERROR, "its answers ended the process that judges them")
    assert sandbox.run("def f(x):\n    return 1", AssertTests("assert f(1) == 1", entry_point="f")).passed


def test_a_program_that_is_killed_from_outside_runs_again():
    """As the kernel kills where memory runs out; nothing that the program did."""
    with LocalSandbox(num_workers=1) as sandbox:
        tests = AssertTests("assert f(1) == 1", entry_point="f")
        sandbox.run("def f(x):\n    return 1", tests)
        idle = descendants()
        future = sandbox.submit("import time\ndef f(x):\n    time.sleep(3)\n    return 1", tests)
        assert wait_until(lambda: descendants() - idle)
        (program,) = descendants() - idle
        os.kill(program, signal.SIGKILL)
        outcome = future.result()
        assert outcome.passed
        assert outcome.attempts == 2
