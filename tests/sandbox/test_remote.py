"""The HTTP sandbox, against a small real server that speaks the protocol and runs the scripts in a LocalSandbox."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trl_gift.sandbox import (
    AssertTests,
    CallTests,
    Case,
    Limits,
    LocalSandbox,
    Sandbox,
    SandboxClosed,
    SandboxError,
    SandboxFusionSandbox,
    Status,
    StdioTests,
)

ADD = "def add(a, b):\n    return a + b\n"
ADDS = AssertTests("assert add(1, 2) == 3\nassert add(2, 2) == 4", entry_point="add")
CALLS = CallTests("add", [Case(args=(1, 2), expected=3), Case(args=([1], [2]), expected=[1, 2])])
STDIO = StdioTests([Case(stdin="1 2\n", stdout="3\n"), Case(stdin="3 4\n", stdout="7\n")])


class Handler(BaseHTTPRequestHandler):
    """`POST /run_code`, answered as SandboxFusion does; the script itself runs confined."""

    sandbox: LocalSandbox
    requests: list[dict]
    trouble: list[object]

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append({**request, "path": self.path, "token": self.headers.get("Authorization")})
        if self.trouble:
            trouble = self.trouble.pop(0)
            if trouble == "drop":
                self.close_connection = True
                return
            self.reply(*trouble)
            return
        limits = Limits(cpu_s=min(2.0, request["run_timeout"]), wall_s=request["run_timeout"], memory_mb=512)
        tests = StdioTests([Case(stdin=request["stdin"], stdout="\0")], compare="exact")
        outcome = self.sandbox.run(request["code"], tests, limits=limits)
        timeout = outcome.status is Status.TIMEOUT
        ran = {
            "status": "TimeLimitExceeded" if timeout else "Finished",
            "execution_time": outcome.wall_s,
            "return_code": None if timeout else int(outcome.status is not Status.FAILED),
            "stdout": outcome.stdout_tail,
            "stderr": "" if outcome.status is Status.FAILED else f"Traceback ...\n{outcome.message}",
        }
        good = ran["return_code"] == 0
        self.reply(
            200, {"status": "Success" if good else "Failed", "message": "", "compile_result": None, "run_result": ran}
        )

    def reply(self, code: int, body: object) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    with LocalSandbox(num_workers=1) as pool:
        Handler.sandbox, Handler.requests, Handler.trouble = pool, [], []
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            thread = threading.Thread(target=http.serve_forever)
            thread.start()
            yield http
            http.shutdown()
            thread.join()


@pytest.fixture
def remote(server) -> Iterator[SandboxFusionSandbox]:
    Handler.requests.clear()
    Handler.trouble.clear()
    with SandboxFusionSandbox(
        f"http://127.0.0.1:{server.server_port}/", num_workers=2, limits=Limits(cpu_s=1, wall_s=2)
    ) as sandbox:
        yield sandbox


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
