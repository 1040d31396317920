"""The judge: a long-lived confined process that tests one program after another.

For each program it receives its end of the channel and a memory file with the exam (the encoded tests). It replaces the
content of that file by its report and sends "done". The report reaches the trainer through the file, never through the
fork server, because the next program inherits the fork server's memory.

Tests that run code of their own run in a fork of the judge, one for each program: what they change (`math.isclose`, the
random stream, an alarm) ends with the fork, and every program meets the same judge. Tests without such code, calls with
expected values and plain tests (`plain_tests`), run in the judge itself. Parsed and compiled tests stay in the judge for all
programs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from functools import lru_cache
from typing import Any, NoReturn

from trl_gift.sandbox import statements
from trl_gift.sandbox.confine import kernel
from trl_gift.sandbox.confine.seccomp import Filter
from trl_gift.sandbox.inside.judge_calls import Report, examine
from trl_gift.sandbox.inside.judge_stdio import examine_runs
from trl_gift.sandbox.inside.program import Answers, read_all
from trl_gift.sandbox.inside.waiting import end_at_limit
from trl_gift.sandbox.plain_tests import is_plain
from trl_gift.sandbox.status import Status
from trl_gift.sandbox.values import codec

TASK = struct.Struct("<?d")  # whether to stop at the first failing test, CPU time for the tests in seconds
DONE = b"done"
GONE = b"gone"
"""Sent in the place of `DONE` after a program that ended before it answered."""
_GONE = 77  # how a fork says so
_SMALL = 1 << 16


def serve(duty: socket.socket, strict: Filter | None) -> NoReturn:
    """Judge programs until the fork server closes the connection.

    Args:
        duty: The connection to the fork server.
        strict: The filter of a fork that runs the tests' own code; None where there is no seccomp.
    """
    sys.setrecursionlimit(10_000)  # values may be nested as deep as the codec allows, and tests recurse over them
    while True:
        message, fds, _, _ = socket.recv_fds(duty, TASK.size, 2)
        if not message:
            os._exit(0)
        channel, file = fds
        stop, cpu_s = TASK.unpack(message)
        exam = _decoded(read_all(file))
        if _runs_code(exam):
            gone = _judge_in_fork(exam, channel, file, stop, cpu_s, strict)
        else:
            report = _judge(exam, channel, stop)
            _write_report(file, report)
            gone = bool(report.get("gone"))
        os.close(channel)
        os.close(file)
        duty.send(GONE if gone else DONE)


def _runs_code(exam: dict[str, Any]) -> bool:
    """Whether the tests run code of their own in the judge."""
    if exam["kind"] == "stdio":
        return bool(exam["checker"])
    if exam["kind"] == "call" or exam["shared"]:
        return False
    statements.steps(exam["source"])  # compiled here, for all programs
    return not is_plain(exam["source"], exam["prelude"])


def _judge_in_fork(
    exam: dict[str, Any], channel: int, file: int, stop: bool, cpu_s: float, strict: Filter | None
) -> bool:
    """Runs the tests in a fork, which ends with them; a fork that cannot finish is a verdict on the program.

    Returns:
        Whether the program ended before it answered.
    """
    me = os.getpid()
    pid = kernel.fork()
    if pid == 0:
        try:
            kernel.die_with_parent(me)
            if strict is not None:
                strict.install()
            report = _judge(exam, channel, stop)
            _write_report(file, report)
            os._exit(_GONE if report.get("gone") else 0)
        finally:
            os._exit(1)  # a fork must not return into the judge's loop
    out_of_time = end_at_limit(pid, cpu_s) is not None
    _, status, _ = os.wait4(pid, 0)
    if out_of_time:
        words = f"checking its answers took more than {cpu_s:g} s of CPU time"
        _write_report(file, {"marks": [(Status.TIMEOUT, words)], "gone": False})
    elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == _GONE:
        return True
    elif status:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            os._exit(1)  # killed from outside: no verdict
        _write_report(
            file, {"marks": [(Status.ERROR, "its answers ended the process that judges them")], "gone": False}
        )
    return False


def _judge(exam: dict[str, Any], channel: int, stop: bool) -> Report:
    """The report for one program."""
    if exam["kind"] == "stdio":
        return examine_runs(exam, channel, stop)
    return examine(exam, channel, stop)


@lru_cache(maxsize=256)
def _decoded_once(data: bytes) -> Any:
    exam = codec.decode(data)
    return {**exam, "cases": [codec.decode(case) for case in exam["cases"]]} if "cases" in exam else exam


def _decoded(data: bytes) -> Any:
    """The exam. Its cases are decoded one by one, when they are needed, if they are large.

    So they are where tests pass arguments by reference and could change them; else small exams are kept decoded.
    """
    if len(data) < _SMALL and (exam := _decoded_once(data)).get("pass_by") != "reference":
        return exam
    exam = codec.decode(data)
    return {**exam, "cases": map(codec.decode, exam["cases"])} if "cases" in exam else exam


def _write_report(fd: int, report: Report) -> None:
    """Replace the exam by the report."""
    body = memoryview(json.dumps(report).encode())
    os.ftruncate(fd, 0)
    place = 0
    while place < len(body):
        place += os.pwrite(fd, body[place:], place)


_TRUSTED = "def f(x, y):\n    return [x, y]\n"
_TRUSTED_TESTS = (
    "def check(g):\n    for n in range(10):\n        assert g(n, {'a': 2.5}) == [n, {'a': 2.5}]\ncheck(f)\n"
)


def warm_up(rounds: int = 5) -> None:
    """Judge a trusted program in the fork server itself, before the first judge is forked; see `program.warm_up`."""
    exam = {
        "kind": "assert",
        "source": _TRUSTED_TESTS,
        "prelude": "",
        "entry_point": "f",
        "pass_by": "value",
        "shared": False,
    }
    channels = [socket.socketpair() for _ in range(rounds)]
    pid = kernel.fork()
    if pid == 0:
        try:
            for ours, theirs in channels:
                ours.close()
                Answers(theirs.fileno()).serve(_TRUSTED)
                theirs.close()
        finally:
            os._exit(0)
    for ours, theirs in channels:
        theirs.close()
        file = os.memfd_create("exam")
        _write_report(file, _judge(_decoded(codec.encode(exam)), ours.fileno(), True))
        os.close(file)
        ours.close()
    os.waitpid(pid, 0)
