"""`SandboxFusionSandbox`: programs run by a SandboxFusion server, over HTTP (`POST /run_code`).

The server runs one script per request and returns what the script printed. For the verdicts this means:

* `StdioTests`: one request per case, and this side compares the output. As trustworthy as the server.
* `CallTests`: one request. The script prints the `repr` of every returned value, and the expected values never leave
  this side. As trustworthy as the server; only values that are Python literals can cross.
* `AssertTests`: program and tests share one interpreter there, so a program can forge the verdict: `trusted=False`.

Not covered: checker functions (they would run here, unconfined), arguments by reference, peak memory and CPU time (the
server reports wall time only).
"""

from __future__ import annotations

import ast
import http.client
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from trl_gift.sandbox.base import BaseSandbox, check_job, closed
from trl_gift.sandbox.cases import AssertTests, CallTests, Case, StdioTests, Tests
from trl_gift.sandbox.outcome import Limits, Outcome, SandboxError, TestResult
from trl_gift.sandbox.statements import can_fail, parse
from trl_gift.sandbox.status import Status
from trl_gift.sandbox.values.compare_outputs import first_difference, outputs_match
from trl_gift.sandbox.values.compare_values import values_match
from trl_gift.sandbox.values.show import show

_LANGUAGES = {
    "python": "python", "cpp": "cpp", "javascript": "nodejs", "typescript": "typescript", "java": "java", "go": "go",
    "rust": "rust", "lua": "lua", "r": "R", "julia": "julia", "ruby": "ruby", "bash": "bash",
}  # fmt: skip
_COMPILE_S = 30.0
_TAIL = 2000
_MESSAGE = 1000
_ATTEMPTS = 2

_CALLS = """
import sys
space = {{"__name__": "solution"}}
exec(compile({program!r}, "<program>", "exec"), space)
target = {entry!r}.replace("()", "").split(".")
found = space[target[0]]
for part in target[1:]:
    found = getattr(found() if isinstance(found, type) else found, part)
for args, kwargs in {calls!r}:
    value = repr(found(*args, **kwargs))
    sys.stdout.write("\\n" + {marker!r} + value.replace("\\n", " ") + "\\n")
    sys.stdout.flush()
"""

_ASSERTS = """
import sys
space = {{"__name__": "solution"}}
exec(compile({program!r}, "<program>", "exec"), space)
{guard}exec(compile({prelude!r}, "<prelude>", "exec"), space)
for step in {steps!r}:
    exec(compile(step, "<tests>", "exec"), space)
    sys.stdout.write("\\n" + {marker!r} + "passed\\n")
    sys.stdout.flush()
"""


class _ServerError(Exception):
    """The server cannot be reached, or reports that it could not run the script."""


class SandboxFusionSandbox(BaseSandbox):
    """Runs programs on a SandboxFusion server.

    Args:
        url: Address of the server, for example `http://localhost:8080`.
        num_workers: Number of requests in flight at the same time, 8 by default.
        limits: What each program may use, by default `Limits()`. The server receives `wall_s` as the time limit (it does
            not measure CPU time) and `memory_mb` as the memory limit.
        headers: HTTP headers of every request, none by default, for servers behind a gateway that needs a token.

    Raises:
        ValueError: `url` is not an HTTP address.
    """

    def __init__(
        self, url: str, num_workers: int = 8, limits: Limits | None = None, headers: dict[str, str] | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"SandboxFusionSandbox(url={url!r}): not an HTTP address; give http://host:port")
        self.url = url.rstrip("/")
        self.limits = limits or Limits()
        self.window = 4 * num_workers
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="sandbox-fusion")
        self._room = threading.Semaphore(64 * num_workers)
        self._closed = False

    @property
    def isolation(self) -> str:
        """`"sandbox-fusion"`: what isolates the programs is up to the server, and is not proven here."""
        return "sandbox-fusion"

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Queue one program; its future can be cancelled until its first request is sent."""
        check_job(program, tests)
        _check_capable(tests)
        if self._closed:
            raise closed()
        self._room.acquire()
        future = self._threads.submit(self._execute, program, tests, limits or self.limits, stop_at_first_failure)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Cancel what is queued and wait for the requests in flight."""
        self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _execute(self, program: str, tests: Tests, limits: Limits, stop: bool) -> Outcome:
        started = time.monotonic()
        reason = ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                marks, stdout = self._mark(program, tests, limits, stop)
            except _ServerError as error:
                reason = str(error)
                continue
            return _outcome(tests, marks, stdout, time.monotonic() - started, self.isolation, attempt)
        message = f"{reason} (tried {_ATTEMPTS} times)"
        return Outcome(Status.INFRASTRUCTURE, message=message, isolation=self.isolation, attempts=_ATTEMPTS)

    def _mark(self, program: str, tests: Tests, limits: Limits, stop: bool) -> tuple[list[TestResult], str]:
        if isinstance(tests, StdioTests):
            return self._mark_runs(program, tests, limits, stop)
        marker = secrets.token_hex(16)
        if isinstance(tests, CallTests):
            calls = [(case.args, dict(case.kwargs)) for case in tests.cases]
            script = _CALLS.format(program=program, entry=tests.entry_point, calls=calls, marker=marker)
        else:
            script = _assert_script(program, tests, marker)
        status, message, stdout = self._run(script, "python", "", limits)
        printed_values = [line.removeprefix(marker) for line in stdout.split("\n") if line.startswith(marker)]
        printed = "\n".join(line for line in stdout.split("\n") if not line.startswith(marker)).strip()
        results: list[TestResult] = []
        for index in range(tests.num_tests):
            if index >= len(printed_values):
                failed = Status.ERROR if status is Status.PASSED else status
                results.append(TestResult(index, failed, message or "the program ended before the tests ended"))
                break
            if isinstance(tests, CallTests):
                results.append(_compare_call(index, tests, tests.cases[index], printed_values[index]))
            else:
                results.append(TestResult(index, Status.PASSED))
            if stop and not results[-1].passed:
                break
        return results, printed

    def _mark_runs(self, program: str, tests: StdioTests, limits: Limits, stop: bool) -> tuple[list[TestResult], str]:
        results: list[TestResult] = []
        stdout = ""
        program = tests.in_file(program)
        for index, case in enumerate(tests.cases):
            status, message, stdout = self._run(program, _LANGUAGES[tests.language], case.stdin or "", limits)
            expected = case.stdout or ""
            comparison = tests.compare, tests.abs_tol, tests.rel_tol, tests.decimals_only
            if status is Status.PASSED and not outputs_match(stdout, expected, *comparison):
                status, message = Status.FAILED, first_difference(stdout, expected, *comparison)
            results.append(TestResult(index, status, message[:_MESSAGE]))
            if stop and status is not Status.PASSED:
                break
        return results, stdout

    def _run(self, code: str, language: str, stdin: str, limits: Limits) -> tuple[Status, str, str]:
        """Run one script on the server; how it ended, why, and what it printed."""
        request = {
            "code": code,
            "language": language,
            "stdin": stdin,
            "run_timeout": limits.wall_s,
            "compile_timeout": _COMPILE_S,
            "memory_limit_MB": limits.memory_mb,
        }
        reply = self._post("/run_code", request, limits.wall_s + _COMPILE_S + 10)
        if reply.get("status") == "SandboxError":
            raise _ServerError(f"the server reports {reply.get('message') or 'an error of its own'}")
        compiled, ran = reply.get("compile_result") or {}, reply.get("run_result") or {}
        if compiled and (compiled.get("status") != "Finished" or compiled.get("return_code")):
            return Status.SYNTAX_ERROR, _last_line(compiled.get("stderr")), ""
        if not ran:
            raise _ServerError(f"the server sent no run_result (status {reply.get('status')!r})")
        stdout = str(ran.get("stdout") or "")
        if ran.get("status") == "TimeLimitExceeded":
            return Status.TIMEOUT, f"over the limit of {limits.wall_s:g} s of wall time", stdout
        if ran.get("status") != "Finished" or ran.get("return_code"):
            words = _last_line(ran.get("stderr")) or f"exit status {ran.get('return_code')}"
            return _status_of(words), words, stdout
        return Status.PASSED, "", stdout

    def _post(self, path: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), self._headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                reply = json.load(response)
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
            raise _ServerError(f"{self.url}: {error}") from error
        if not isinstance(reply, dict):
            raise _ServerError(f"{self.url}: the reply is not a JSON object")
        return reply


def _check_capable(tests: Tests) -> None:
    if isinstance(tests, StdioTests):
        if tests.checker:
            raise SandboxError("a checker would have to run in this process; give these tests to a LocalSandbox")
        if tests.language not in _LANGUAGES:
            raise SandboxError(f"the server does not run {tests.language}; it runs {', '.join(_LANGUAGES)}")
        return
    if tests.pass_by == "reference":
        raise SandboxError("arguments by reference need a LocalSandbox, because a remote script returns only text")
    if isinstance(tests, CallTests):
        for case in tests.cases:
            try:
                literal = _literal(repr((case.args, dict(case.kwargs), case.expected)))
            except ValueError:  # a number of more digits than Python reads, there as here
                literal = None
            if literal is None:
                raise SandboxError(f"{show(case.args)} is not a Python literal and cannot cross to a remote script")


def _literal(text: str) -> tuple[Any] | None:
    """The value of a literal in a tuple of its own (`None` is a value too), or None."""
    try:
        return (ast.literal_eval(text),)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _assert_script(program: str, tests: AssertTests, marker: str) -> str:
    steps = []
    pending = ""
    for statement in parse(tests.text).body:
        pending += ast.unparse(statement) + "\n"
        if can_fail(statement):
            steps.append(pending)
            pending = ""
    keep = tests.entry_point.split(".")[0] if tests.entry_point else ""
    guard = f"space['candidate'] = space[{keep!r}]\n" if keep else ""
    return _ASSERTS.format(program=program, prelude=tests.prelude, steps=steps, marker=marker, guard=guard)


def _compare_call(index: int, tests: CallTests, case: Case, printed: str) -> TestResult:
    value = _literal(printed)
    call = f"{tests.entry_point}({show(case.args)[1:-1].rstrip(',')})"
    if value is None:
        return TestResult(index, Status.ERROR, f"{call} returned {printed[:200]}, which is not a Python literal")
    tolerance = tests.abs_tol, tests.rel_tol, tests.decimals_only
    if values_match(value[0], case.expected, tests.compare, *tolerance):
        return TestResult(index, Status.PASSED)
    return TestResult(index, Status.FAILED, f"{call} returned {show(value[0])}, not {show(case.expected)}")


def _outcome(
    tests: Tests, results: list[TestResult], stdout: str, wall_s: float, isolation: str, attempts: int
) -> Outcome:
    failures = [result for result in results if not result.passed]
    results = [*results, *(TestResult(index, None) for index in range(len(results), tests.num_tests))]
    return Outcome(
        status=(failures[0].status or Status.ERROR) if failures else Status.PASSED,
        results=tuple(results),
        first_failure=failures[0].index if failures else None,
        message=failures[0].message if failures else "",
        stdout_tail=stdout[-_TAIL:],
        wall_s=round(wall_s, 6),
        isolation=isolation,
        trusted=not isinstance(tests, AssertTests)
        and not tests.in_one_process,  # whose program could forge the verdict
        attempts=attempts,
    )


def _last_line(text: object) -> str:
    lines = str(text or "").strip().splitlines()
    return lines[-1][:_MESSAGE] if lines else ""


def _status_of(words: str) -> Status:
    for prefix, status in (
        (("SyntaxError", "IndentationError", "TabError"), Status.SYNTAX_ERROR),
        (("AssertionError",), Status.FAILED),
        (("MemoryError",), Status.MEMORY),
        (("PermissionError",), Status.VIOLATION),
    ):
        if words.startswith(prefix):
            return status
    return Status.ERROR
