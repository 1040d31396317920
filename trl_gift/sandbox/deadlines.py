"""When a limit of wall time ends a program.

The limit is for programs that sleep. A program that computes gets less CPU on a busy machine, and its verdict must not depend
on that. So the limit ends only what has used less than a tenth of a CPU so far; what has used more runs until its limit of
CPU time, which it reaches within ten times as much wall time.
"""

from __future__ import annotations

_BUSY_SHARE = 0.1  # of one CPU


def wall_left(wall_s: float, elapsed_s: float, used_s: float) -> float:
    """Seconds until the limit of wall time ends a program, if it sleeps from now on; zero or less: now.

    Args:
        wall_s: The limit, in seconds.
        elapsed_s: Wall time so far, in seconds.
        used_s: CPU time so far, in seconds.
    """
    return max(wall_s, used_s / _BUSY_SHARE) - elapsed_s


def longest(cpu_s: float, wall_s: float) -> float:
    """The wall time, in seconds, after which these limits, in seconds, have ended every program."""
    return max(wall_s, cpu_s / _BUSY_SHARE)
