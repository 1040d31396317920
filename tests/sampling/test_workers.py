"""How many programs run at once by default."""

from __future__ import annotations

import os

import pytest

from trl_gift.sampling.workers import default_sandbox_workers


@pytest.mark.parametrize(("cpus", "on_cpu", "workers"), [(8, False, 8), (8, True, 7), (1, True, 1), (1, False, 1)])
def test_a_model_on_the_cpu_keeps_one_for_itself(monkeypatch, cpus, on_cpu, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cpus)))
    assert default_sandbox_workers(on_cpu) == workers
