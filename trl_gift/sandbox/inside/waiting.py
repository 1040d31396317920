"""Waits for the end of a child process, with limits that the kernel's clock of the child decides."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from collections.abc import Iterator

from trl_gift.sandbox.confine import kernel
from trl_gift.sandbox.deadlines import wall_left


def ended_within(pid: int, seconds: float) -> bool:
    """Whether a child ends within `seconds`; it stays to be reaped."""
    with _watched(pid) as poll:
        return bool(poll.poll(1000 * seconds))


def end_at_limit(pid: int, cpu_s: float, wall_s: float = math.inf) -> str | None:
    """Wait for a child and kill it at a limit; it stays to be reaped.

    Args:
        pid: The child.
        cpu_s: Its CPU time, in seconds.
        wall_s: Its wall time from now on, in seconds, if it uses less than a tenth of a CPU.

    Returns:
        `"CPU"` or `"wall"` if it has reached that limit; None if it has ended by itself.
    """
    started = time.monotonic()
    with _watched(pid) as poll:
        while True:
            used = time.clock_gettime(kernel.cpu_clock(pid))
            sleep_left, cpu_left = wall_left(wall_s, time.monotonic() - started, used), cpu_s - used
            if sleep_left <= 0 or cpu_left <= 0:
                os.kill(pid, signal.SIGKILL)
                return "CPU" if cpu_left <= 0 else "wall"
            if poll.poll(1000 * min(sleep_left, cpu_left) + 1):
                return None


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[select.poll]:
    """A poll that is ready once the child has ended."""
    watch = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        yield poll
    finally:
        os.close(watch)
