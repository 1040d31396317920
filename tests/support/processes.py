"""The processes below this one, and waiting for what other processes and threads do."""

from __future__ import annotations

import os
import time

# Only what hangs takes so long: nothing that a test waits for is limited by less, because the machine may be busy.
BACKSTOP_S = 300.0


def descendants(root: int | None = None) -> set[int]:
    """The processes below this one (or `root`), from the kernel's table."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found: set[int] = set()
    frontier = {root or os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found |= frontier
    return found


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = BACKSTOP_S) -> bool:
    """Whether the condition holds before the backstop is reached."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def workers() -> set[int]:
    """Every process of any sandbox on this machine, whatever its parent is."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if b"sandbox/inside/worker.py" in file.read() and alive(int(name)):
                    found.add(int(name))
        except OSError:
            continue
    return found
