"""Runs between a trainer and the server that it started, so that the server never outlives the trainer.

Run as a script by `trl_gift.generation.server.process`, with the standard library alone: `guard.py GRACE_S
COMMAND...`. The guard starts the command in a session of its own and ends it, with all its descendants, when its
standard input is closed, when its parent has ended, or on SIGTERM. It adopts descendants that lost their parent
(child subreaper), so that none gets away; if the guard itself is killed, the kernel kills the command.

Not covered: descendants of a command whose guard was killed with SIGKILL; systems other than Linux, where the command
is ended with its process group but orphans may get away.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.1
NOT_FOUND = 127


def main(arguments: list[str]) -> int:
    """Runs the command until it ends or has to end; returns its exit code."""
    grace_s, command = float(arguments[0]), arguments[1:]
    parent = os.getppid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    try:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return NOT_FOUND
    while server.poll() is None and not stopping and os.getppid() == parent and _is_wanted():
        _reap(server.pid)
    code = server.poll()
    _end(server, grace_s)
    if code is None:
        return 0
    return code if code >= 0 else 128 - code  # as shells say which signal it was


def _is_wanted() -> bool:
    """Waits a moment; False once standard input is closed."""
    try:
        readable, _, _ = select.select([sys.stdin.fileno()], [], [], _POLL_S)
        return not readable or bool(os.read(sys.stdin.fileno(), 1024))
    except InterruptedError:
        return True


def _end(server: subprocess.Popen[bytes], grace_s: float) -> None:
    """Asks all descendants to end, and kills those that have not within the grace period."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + patience_s
        asked: set[int] = set()
        while time.monotonic() < deadline:
            server.poll()
            _reap(server.pid)
            alive = descendants(os.getpid())
            if not alive and not _group_exists(server.pid):
                return
            for pid in alive - asked:
                _kill(pid, number)
            if server.pid not in asked:
                _kill_group(server.pid, number)
            asked |= alive | {server.pid}
            time.sleep(0.02)


def descendants(root: int) -> set[int]:
    """Process ids of all descendants of a process, from `/proc`; those that are only still to be reaped are left out."""
    children: dict[int, list[int]] = {}
    ended = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # has ended in the meantime
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        if fields[0] in "ZX":
            ended.add(int(entry.name))
    found: set[int] = set()
    front = [root]
    while front:
        new = children.get(front.pop(), [])
        found.update(new)
        front.extend(new)
    return found - ended


def _reap(server: int) -> None:
    """Takes leave of adopted processes that have ended; the server's own exit is left to its `Popen`."""
    for entry in Path("/proc").glob("[0-9]*/stat") if _has_zombies(server) else ():
        pid = int(entry.parent.name)
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            if fields[0] == "Z" and int(fields[1]) == os.getpid() and pid != server:
                os.waitpid(pid, os.WNOHANG)
        except (OSError, ChildProcessError):
            continue


def _has_zombies(server: int) -> bool:
    """Whether a child other than the server waits to be reaped; asks the kernel, which is cheaper than a walk through `/proc`."""
    try:
        waiting = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return waiting is not None and waiting.si_pid != server


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _kill_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
