"""The judge: a long-lived confined process that tests one program after another.

For each program it receives its end of the channel and a memory file with the exam (the encoded tests). It replaces the
content of that file by its report and sends "done". The report reaches the trainer through the file, never through the
fork server, because the next program inherits the fork server's memory.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from functools import lru_cache
from typing import Any, NoReturn

from trl_gift.sandbox.inside.judge_calls import Report, examine
from trl_gift.sandbox.inside.judge_stdio import examine_runs
from trl_gift.sandbox.inside.program import read_all
from trl_gift.sandbox.values import codec

TASK = struct.Struct("<?")
DONE = b"done"
_SMALL = 1 << 16


def serve(duty: socket.socket) -> NoReturn:
    """Judge programs until the fork server closes the connection."""
    sys.setrecursionlimit(10_000)  # values may be nested as deep as the codec allows, and tests recurse over them
    while True:
        message, fds, _, _ = socket.recv_fds(duty, TASK.size, 2)
        if not message:
            os._exit(0)
        channel, exam = fds
        (stop,) = TASK.unpack(message)
        _write_report(exam, _judge(channel, read_all(exam), stop))
        os.close(channel)
        os.close(exam)
        duty.send(DONE)


def _judge(channel: int, data: bytes, stop: bool) -> Report:
    """The report for one program."""
    exam = _decoded(data)
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
    body = json.dumps(report).encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, body, 0)
