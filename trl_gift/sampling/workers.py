"""How many programs run at once: the one place that decides it, for a run and for its estimate."""

from __future__ import annotations

import os


def default_sandbox_workers(model_on_cpu: bool) -> int:
    """The number of sandbox workers where the user names none.

    Args:
        model_on_cpu: Whether the model computes on the CPU. It keeps one CPU busy, and programs that compete for that CPU
            slow down both.

    Returns:
        The number of CPUs of this process, less one for a model on the CPU; at least 1.
    """
    return max(1, len(os.sched_getaffinity(0)) - model_on_cpu)
