"""Combines the fork server's reply and the judge's report into one `Outcome`.

The fork server knows how the program's process ended and what it used. The judge knows the results of the tests. A pass
needs both: a report that says so, from a judge that finished.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from trl_gift.sandbox.cases import StdioTests, Tests
from trl_gift.sandbox.confine.plan import NONE, Plan
from trl_gift.sandbox.outcome import Limits, Outcome, TestResult
from trl_gift.sandbox.status import Status

_MESSAGE_LIMIT = 1000


class JudgeDied(Exception):
    """The judge ended without a report; the results of the tests are unknown."""


def outcome_from(
    tests: Tests, limits: Limits, plan: Plan, reply: dict[str, Any], report: bytes, stdout: bytes
) -> Outcome:
    """The outcome of one program.

    Args:
        tests: The tests that it was given.
        limits: The limits that it ran under.
        plan: The layers in force.
        reply: How the program's process ended and what it used, from the fork server.
        report: What the judge wrote: JSON, or the unchanged tests if it did not finish.
        stdout: The end of the program's standard output.

    Raises:
        JudgeDied: The report is missing or incomplete.
    """
    end, status = reply["end"], reply["status"]
    finished = report.startswith(b'{"marks"')
    if end == "judge-died" or (end == "done" and not finished):
        raise JudgeDied("the judge died while it tested the program")
    try:
        marks = json.loads(report) if finished else {"marks": []}
        results = [
            TestResult(index, Status(verdict), _printable(message[:_MESSAGE_LIMIT])[:_MESSAGE_LIMIT], cpu)
            for index, ((verdict, message), cpu) in enumerate(
                zip(marks["marks"], _padded(marks.get("tests_cpu_s", ()), len(marks["marks"])), strict=True)
            )
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise JudgeDied(f"the judge's report is damaged ({type(error).__name__})") from error
    if end == "done" and marks.get("gone"):
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if killed and reply["by_itself"] and reply["cpu_s"] < limits.cpu_s:
            raise JudgeDied("the program was killed from outside, perhaps because the machine ran out of memory")
        verdict, message = _process_end(status, reply["cpu_s"], limits)
        if results and not results[-1].passed:
            message += results[-1].message.removeprefix("the program ended before it answered")
            results[-1] = TestResult(results[-1].index, verdict, message)
        else:
            results.append(TestResult(len(results), verdict, message))
    elif end != "done":
        # Failures that the judge recorded after the program was killed are consequences; the deadline is the reason.
        results = [result for result in results if result.passed]
        results.append(TestResult(len(results), *_deadline(end, limits, stdio=isinstance(tests, StdioTests))))
    total = max(tests.num_tests, len(results))
    failures = [result for result in results if not result.passed]
    results += [TestResult(index, None) for index in range(len(results), total)]
    if not failures and any(result.status is None for result in results):
        raise JudgeDied("the judge left tests out")
    tail = marks.get("stdout_tail")
    return Outcome(
        status=(failures[0].status or Status.ERROR) if failures else Status.PASSED,
        results=tuple(results),
        first_failure=failures[0].index if failures else None,
        message=failures[0].message if failures else "",
        stdout_tail=tail if tail is not None else stdout.decode("utf-8", "replace"),
        cpu_s=round(marks.get("cpu_s") or reply["cpu_s"], 6),  # for stdio the runs' time, not their runner's
        wall_s=round(reply["wall_s"], 6),
        peak_memory_mb=round((marks.get("peak_kb") or reply["peak_kb"]) / 1024, 1),
        isolation=plan.describe(),
        trusted=not tests.in_one_process and plan != NONE,
    )


def _printable(text: str) -> str:
    """`text` with control characters escaped, because messages quote programs and are printed to terminals."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _process_end(status: int, cpu_s: float, limits: Limits) -> tuple[Status, str]:
    """The status and message of a program whose process ended before its tests did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGSYS:
            return Status.VIOLATION, "made a system call that no program may make"
        if number == signal.SIGKILL:
            if cpu_s >= limits.cpu_s:
                return Status.TIMEOUT, f"over the limit of {limits.cpu_s:g} s of CPU time"
            return Status.VIOLATION, "closed its channel"
        return Status.ERROR, f"killed by {signal.Signals(number).name}"
    return Status.ERROR, f"exited with status {os.WEXITSTATUS(status)} before the tests ended"


def _deadline(end: str, limits: Limits, stdio: bool) -> tuple[Status, str]:
    each = " per run" if stdio else ""
    if end == "cpu":
        return Status.TIMEOUT, f"over the limit of {limits.cpu_s:g} s of CPU time{each}"
    if end == "wall":
        return Status.TIMEOUT, f"over the limit of {limits.wall_s:g} s of wall time{each}"
    if end == "judge":
        return Status.TIMEOUT, f"checking its answers took more than {limits.cpu_s:g} s of CPU time"
    return Status.INFRASTRUCTURE, "cancelled"


def _padded(values: Any, count: int) -> list[float | None]:
    return [*values[:count], *[None] * (count - len(values))]
