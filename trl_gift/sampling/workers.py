"""How many programs run at once beside a model, where the user does not say."""

from __future__ import annotations

import os


def default_sandbox_workers(model_on_cpu: bool) -> int:
    """The CPUs that this process may use; one fewer, but at least one, if the model itself keeps a CPU busy.

    A program that competes with the model for its CPU slows both down.

    Args:
        model_on_cpu: Whether the model runs on the CPU.
    """
    cpus = len(os.sched_getaffinity(0))
    return max(1, cpus - 1) if model_on_cpu else cpus
