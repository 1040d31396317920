"""Runs of one program over many inputs: compiled once in a confined process, forked once per input.

The runner holds the channel to the judge and never executes the program. Its forks execute it, each with its own standard
input and output, limits and filter, and with the channel closed.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys
import types
from typing import Any, NoReturn

from trl_gift.sandbox.confine import kernel
from trl_gift.sandbox.confine.layers import Allowance, limit
from trl_gift.sandbox.inside import surroundings
from trl_gift.sandbox.inside.ending import end
from trl_gift.sandbox.inside.program import BOM, FILENAME, Confinement, new_module, read_all
from trl_gift.sandbox.inside.waiting import end_at_limit
from trl_gift.sandbox.status import Status

_MESSAGE = 600


def become(source: int, channel: int, confinement: Confinement) -> NoReturn:
    """Compile the program in the file `source`, then run it once for every pair of files that the judge sends.

    The arguments are those of `program.become`. Every run has a standard output of its own, and may leave files.
    """
    allowance = confinement.allowance
    text = read_all(source).decode("utf-8", "surrogatepass")
    os.dup2(channel, 3)
    os.closerange(4, 1 << 16)
    judge = socket.socket(fileno=3)
    seconds = int(allowance.cpu_s) + 2
    limit(resource.RLIMIT_CPU, 1000 * seconds)
    try:
        code = compile(text.removeprefix(BOM), FILENAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reply = {"state": Status.SYNTAX_ERROR, "message": f"{type(error).__name__}: {error}"[:_MESSAGE]}
        judge.send(json.dumps(reply).encode())
        os._exit(0)
    judge.send(b'{"state": "ready"}')
    gc.freeze()
    me = os.getpid()
    while True:
        message, fds, _, _ = socket.recv_fds(judge, 16, 2)
        if not message:
            os._exit(0)
        errors = os.memfd_create("stderr")  # a new file for every run, so that no run sees the output of another
        left = surroundings.left_files()
        pid = kernel.fork()
        if pid == 0:
            try:
                kernel.die_with_parent(me)
                for number, fd in enumerate((*fds, errors)):
                    os.dup2(fd, number)
                os.closerange(3, 1 << 16)
                confinement.enter(left)
                _execute(code)
            finally:
                os._exit(1)  # a fork must not return into the runner's loop
        answer = supervise(pid, allowance, errors)
        for fd in (*fds, errors):
            os.close(fd)
        judge.send(json.dumps(answer).encode())


def _execute(code: types.CodeType) -> NoReturn:
    """Run the program as `__main__` and end the process as the interpreter would."""
    module = new_module("__main__")
    # As the interpreter opens it: lines end as they were written.
    sys.stdin = open(0, encoding="utf-8", errors="replace", newline="\n", closefd=False)  # noqa: SIM115
    status = 0
    try:
        exec(code, module.__dict__)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException as error:  # noqa: BLE001  every exception of the program is data
        status = 1
        _report(error)
    end(module, status)


def _report(error: BaseException) -> None:
    """Write one line about an uncaught error to the standard error."""
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = f" (line {trace.tb_lineno})"
        trace = trace.tb_next
    os.write(2, f"\n{type(error).__name__}: {error}{line}"[:_MESSAGE].encode("utf-8", "replace"))


def supervise(pid: int, allowance: Allowance, errors: int) -> dict[str, Any]:
    """Wait for one run and end it at its limits.

    Args:
        pid: The process of the run.
        allowance: Its limits.
        errors: Descriptor of its standard error.

    Returns:
        `status` and `message` (`passed` only means that the output may be compared), `cpu_s` in seconds, `peak_kb` in KiB.
    """
    reason = end_at_limit(pid, allowance.cpu_s, allowance.wall_s)
    _, status, usage = os.wait4(pid, 0)
    cpu = usage.ru_utime + usage.ru_stime
    verdict, message = _status_at_end(status, reason, cpu, allowance, errors)
    return {"status": verdict, "message": message, "cpu_s": cpu, "peak_kb": usage.ru_maxrss}


def _status_at_end(status: int, reason: str | None, cpu: float, allowance: Allowance, errors: int) -> tuple[str, str]:
    """The status and message of a run that has ended; `passed` only means that its output may be compared."""
    if reason == "CPU" or (
        os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and cpu >= allowance.cpu_s
    ):
        return Status.TIMEOUT, f"over the limit of {allowance.cpu_s:g} s of CPU time"
    if reason == "wall":
        return Status.TIMEOUT, f"over the limit of {allowance.wall_s:g} s of wall time"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGSYS:
            return Status.VIOLATION, "made a system call that no program may make"
        return Status.ERROR, f"killed by {signal.Signals(number).name}"
    code = os.WEXITSTATUS(status)
    if code == 0:
        return Status.PASSED, ""
    size = os.fstat(errors).st_size
    tail = os.pread(errors, _MESSAGE, max(0, size - _MESSAGE)).decode("utf-8", "replace").strip()
    lines = [line for line in tail.splitlines() if "Error" in line] or tail.splitlines()
    message = lines[-1] if lines else f"exit status {code}"
    if message.startswith("MemoryError"):
        return Status.MEMORY, message
    if message.startswith("PermissionError"):
        return Status.VIOLATION, message
    return Status.ERROR, message
