"""The HTTP sandbox, against a small real server that speaks the protocol and runs the scripts in a LocalSandbox."""

from __future__ import annotations

import json

import pytest

from tests.support.fusion_server import CALLS, STDIO, Handler
from tests.support.programs import ADD
from trl_gift.sandbox import (
    AssertTests,
    CallTests,
    Case,
    Limits,
    Sandbox,
    SandboxClosed,
    SandboxError,
    SandboxFusionSandbox,
    Status,
    StdioTests,
)

ADDS = AssertTests("assert add(1, 2) == 3\nassert add(2, 2) == 4", entry_point="add")


def test_is_a_sandbox(remote):
    assert isinstance(remote, Sandbox)
    assert remote.isolation == "sandbox-fusion"


@pytest.mark.parametrize(("tests", "trusted"), [(ADDS, False), (CALLS, True)])
def test_functions(remote, tests, trusted):
    outcome = remote.run("print('hello')\n" + ADD, tests)
    assert outcome.passed, outcome
    assert outcome.trusted is trusted
    assert [result.passed for result in outcome.results] == [True, True]
    assert outcome.stdout_tail == "hello"
    wrong = remote.run("def add(a, b):\n    return 3 if a == 1 else None\n", tests)
    assert wrong.status is Status.FAILED
    assert wrong.first_failure == 1
    assert [result.passed for result in wrong.results] == [True, False]


def test_stdio_is_compared_on_this_side(remote):
    assert remote.run("print(sum(map(int, input().split())))", STDIO).passed
    outcome = remote.run("print(3)", STDIO, stop_at_first_failure=False)
    assert (outcome.status, outcome.first_failure, outcome.message) == (Status.FAILED, 1, "line 1 is '3', not '7'")
    assert outcome.trusted
    assert all("7" not in json.dumps(request) for request in Handler.requests if "print(3)" in request["code"])


@pytest.mark.parametrize(
    ("program", "tests", "status"),
    [
        ("def add(", ADDS, Status.SYNTAX_ERROR),
        ("def add(", CALLS, Status.SYNTAX_ERROR),
        ("print(", STDIO, Status.SYNTAX_ERROR),
        ("def add(a, b):\n    raise KeyError(a)", CALLS, Status.ERROR),
        ("def add(a, b):\n    while True: pass", CALLS, Status.TIMEOUT),
        ("while True: pass", STDIO, Status.TIMEOUT),
        ("raise SystemExit(0)", ADDS, Status.ERROR),
        ("import os\nos._exit(0)", CALLS, Status.ERROR),
        ("class Yes:\n    def __eq__(self, o): return True\ndef add(a, b):\n    return Yes()", CALLS, Status.ERROR),
        (
            "class Yes(int):\n    def __eq__(self, o): return True\ndef add(a, b):\n    return Yes()",
            CALLS,
            Status.FAILED,
        ),
        (
            "class Yes:\n    def __repr__(self): return '__import__(\"os\").getpid()'\ndef add(a, b):\n    return Yes()",
            CALLS,
            Status.ERROR,
        ),
        ("def add(a, b):\n    return 'x'", CALLS, Status.FAILED),
    ],
)
def test_status(remote, program, tests, status):
    assert remote.run(program, tests).status is status


def test_what_is_sent(server):
    with SandboxFusionSandbox(
        f"http://127.0.0.1:{server.server_port}", headers={"Authorization": "Bearer x"}
    ) as sandbox:
        Handler.requests.clear()
        sandbox.run("print(3)", STDIO, limits=Limits(cpu_s=3, wall_s=4, memory_mb=99))
    request = Handler.requests[0]
    assert request["path"] == "/run_code"
    assert request["token"] == "Bearer x"
    assert (request["language"], request["stdin"], request["run_timeout"], request["memory_limit_MB"]) == (
        "python",
        "1 2\n",
        4,
        99,
    )


@pytest.mark.parametrize(
    "trouble",
    [
        (503, {}),
        (200, b"no json"),
        (200, []),
        (200, {"status": "SandboxError", "message": "full"}),
        (200, {"status": "Success"}),
        "drop",
    ],
)
def test_a_failed_request_is_tried_again_and_then_infrastructure(remote, trouble):
    Handler.trouble[:] = [trouble]
    outcome = remote.run("print(3)", StdioTests(STDIO.cases[:1]))
    assert outcome.passed
    assert outcome.attempts == 2
    Handler.trouble[:] = [trouble, trouble]
    outcome = remote.run("print(3)", StdioTests(STDIO.cases[:1]))
    assert outcome.status is Status.INFRASTRUCTURE
    assert "tried 2 times" in outcome.message


def test_a_missing_server_is_infrastructure():
    with SandboxFusionSandbox("http://127.0.0.1:9") as sandbox:
        assert sandbox.run(ADD, ADDS).status is Status.INFRASTRUCTURE


def test_tests_that_it_cannot_run_are_refused(remote):
    with pytest.raises(SandboxError, match="give these tests to a LocalSandbox"):
        remote.run("", StdioTests(STDIO.cases, checker="def check(stdin, stdout, expected):\n    return True"))
    with pytest.raises(SandboxError, match="by reference"):
        remote.run(ADD, CallTests("add", CALLS.cases, pass_by="reference"))
    with pytest.raises(SandboxError, match="not a Python literal"):
        remote.run(ADD, CallTests("add", [Case(args=(float("nan"), 1), expected=1)]))
    with pytest.raises(ValueError, match="give http://host:port"):
        SandboxFusionSandbox("localhost")


def test_map_and_close(server):
    sandbox = SandboxFusionSandbox(f"http://127.0.0.1:{server.server_port}", num_workers=2)
    outcomes = list(sandbox.map([(ADD, CALLS), (ADD, ADDS)] * 5))
    assert [index for index, _ in outcomes] == list(range(10))
    assert all(outcome.passed for _, outcome in outcomes)
    sandbox.close()
    with pytest.raises(SandboxClosed):
        sandbox.submit(ADD, ADDS)
