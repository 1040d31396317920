"""One suite for all sandboxes: the same programs get the same verdicts on this machine, on many, and over HTTP."""

from __future__ import annotations

import pytest

from tests.support.fusion_server import CALLS, STDIO
from tests.support.processes import BACKSTOP_S
from tests.support.programs import ADD
from trl_gift.sandbox import (
    AssertTests,
    Limits,
    LocalSandbox,
    Sandbox,
    SandboxClosed,
    Status,
)

ASSERTS = AssertTests("assert add(1, 2) == 3\nassert add([1], [2]) == [1, 2]", entry_point="add")
ECHO_SUM = "print(sum(map(int, input().split())))"
# On an HTTP server a program runs together with its assertions, so it could forge that verdict, and the outcome says so.
UNTRUSTED = {("fusion", "assert")}


@pytest.fixture(scope="module")
def local():
    with LocalSandbox(num_workers=2, limits=Limits(cpu_s=1, wall_s=BACKSTOP_S)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def hosted():
    with LocalSandbox(num_workers=2, limits=Limits(cpu_s=1, wall_s=BACKSTOP_S), in_process=False) as sandbox:
        yield sandbox


@pytest.fixture(params=["local", "hosted", "fusion", pytest.param("ray", marks=pytest.mark.slow)])
def backend(request):
    """The name of a backend and a sandbox of it."""
    fixture = {"local": "local", "hosted": "hosted", "fusion": "remote", "ray": "ray_pool"}[request.param]
    return request.param, request.getfixturevalue(fixture)


def test_protocol(backend):
    _, sandbox = backend
    assert isinstance(sandbox, Sandbox)
    assert sandbox.isolation
    assert sandbox.limits.cpu_s > 0


@pytest.mark.parametrize(
    ("program", "tests", "status", "first_failure"),
    [
        (ADD, ASSERTS, Status.PASSED, None),
        (ADD, CALLS, Status.PASSED, None),
        (ECHO_SUM, STDIO, Status.PASSED, None),
        ("def add(a, b):\n    return 3\n", ASSERTS, Status.FAILED, 1),
        ("def add(a, b):\n    return 3\n", CALLS, Status.FAILED, 1),
        ("print(3)", STDIO, Status.FAILED, 1),
        ("def add(", ASSERTS, Status.SYNTAX_ERROR, None),
        ("print(", STDIO, Status.SYNTAX_ERROR, None),
        ("def add(a, b):\n    return a[b]\n", CALLS, Status.ERROR, 0),
        ("raise ValueError", STDIO, Status.ERROR, 0),
        ("def add(a, b):\n    while True:\n        pass\n", CALLS, Status.TIMEOUT, None),
        ("while True:\n    pass", STDIO, Status.TIMEOUT, None),
    ],
)
def test_verdicts(backend, program, tests, status, first_failure):
    name, sandbox = backend
    outcome = sandbox.run(program, tests, limits=Limits(cpu_s=0.5, wall_s=BACKSTOP_S))
    assert outcome.status is status, outcome
    assert outcome.passed == (status is Status.PASSED)
    assert outcome.trusted == ((name, tests.kind) not in UNTRUSTED)
    if first_failure is not None:
        assert outcome.first_failure == first_failure
    assert type(outcome).from_dict(outcome.to_dict()) == outcome


def test_map_keeps_the_order_or_does_not(backend):
    _, sandbox = backend
    pairs = [(ADD, CALLS), ("def add(a, b):\n    return 0\n", CALLS)] * 5
    assert [(i, o.passed) for i, o in sandbox.map(pairs)] == [(i, i % 2 == 0) for i in range(10)]
    assert {(i, o.passed) for i, o in sandbox.map(pairs, ordered=False)} == {(i, i % 2 == 0) for i in range(10)}


def test_submit_answers_later(backend):
    _, sandbox = backend
    futures = [sandbox.submit(ADD, CALLS) for _ in range(6)]
    assert all(future.result(BACKSTOP_S).passed for future in futures)


@pytest.mark.parametrize("in_process", [True, False])
def test_a_closed_sandbox_refuses_programs(in_process):
    sandbox = LocalSandbox(num_workers=1, in_process=in_process)
    sandbox.close()
    with pytest.raises(SandboxClosed):
        sandbox.submit(ADD, CALLS)
