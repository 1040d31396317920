"""How a judge tests programs that read standard input and write standard output.

The judge holds the expected outputs. The runner at the other end of the channel is trusted. For each test it receives one
memory file with the input and an empty one for the output. The program sees neither the channel nor the other tests.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from trl_gift.sandbox.inside.program import read_all
from trl_gift.sandbox.status import Status
from trl_gift.sandbox.values.compare_outputs import first_difference, outputs_match

_TAIL = 2000


def examine_runs(exam: dict[str, Any], channel: int, stop: bool) -> dict[str, Any]:
    """The report on one program: one run per case.

    Args:
        exam: The decoded tests.
        channel: The judge's end of the channel to the runner.
        stop: Whether to stop at the first failing case.

    Returns:
        `marks`, a `(status, message)` per case that ran; `gone`, set if the runner was ended from outside; `cpu_s` in
        all and `tests_cpu_s` per run, in seconds; `peak_kb`, the highest memory in KiB; `stdout_tail` of the last run.
    """
    duty = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(channel))
    marks: list[tuple[str, str]] = []
    cost: dict[str, Any] = {"cpu_s": 0.0, "peak_kb": 0, "tests_cpu_s": [], "stdout_tail": ""}
    try:
        first = json.loads(duty.recv(1 << 16) or b"{}")
        if first.get("state") != "ready":
            status = Status(first.get("state", Status.ERROR))
            return {"marks": [(status, first.get("message", "the program could not be compiled"))], **cost}
        for case in exam["cases"]:
            mark = _run(exam, case, duty, cost)
            if mark is None:  # the runner was ended from outside, by a deadline or a cancellation
                return {"marks": marks, "gone": True, **cost}
            marks.append(mark)
            if stop and mark[0] != Status.PASSED:
                break
    finally:
        duty.close()
    return {"marks": marks, **cost}


def _run(exam: dict[str, Any], case: dict[str, Any], duty: socket.socket, cost: dict[str, Any]) -> Any:
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    try:
        data = memoryview(case["stdin"].encode("utf-8", "surrogatepass"))
        while data:
            data = data[os.write(stdin, data) :]
        os.lseek(stdin, 0, os.SEEK_SET)
        socket.send_fds(duty, [b"run"], [stdin, stdout])
        answer = duty.recv(1 << 16)
        if not answer:
            return None
        end = json.loads(answer)
        cost["cpu_s"] += end["cpu_s"]
        cost["peak_kb"] = max(cost["peak_kb"], end["peak_kb"])
        cost["tests_cpu_s"].append(end["cpu_s"])
        printed = read_all(stdout)
        cost["stdout_tail"] = printed[-_TAIL:].decode("utf-8", "replace")
        if end["status"] != Status.PASSED:
            return end["status"], end["message"]
        return _compare(exam, case, printed.decode("utf-8", "replace"))
    finally:
        os.close(stdin)
        os.close(stdout)


def _compare(exam: dict[str, Any], case: dict[str, Any], printed: str) -> tuple[str, str]:
    if exam["checker"]:
        try:
            good = bool(_checker(exam["checker"])(case["stdin"], printed, case["stdout"]))
        except (Exception, SystemExit) as error:  # noqa: BLE001  it may raise on malformed output, a wrong answer
            return Status.FAILED, f"the checker raised {type(error).__name__}: {error}"[:500]
        return (Status.PASSED, "") if good else (Status.FAILED, "the checker rejected the output")
    comparison = exam["compare"], exam["abs_tol"], exam["rel_tol"], exam["decimals_only"]
    if outputs_match(printed, case["stdout"], *comparison):
        return Status.PASSED, ""
    return Status.FAILED, first_difference(printed, case["stdout"], *comparison)


@lru_cache(maxsize=64)
def _checker(source: str) -> Callable[[str, str, str], object]:
    namespace: dict[str, Any] = {"__name__": "checker"}
    exec(compile(source, "<checker>", "exec", dont_inherit=True), namespace)
    check: Callable[[str, str, str], object] = namespace["check"]
    return check
