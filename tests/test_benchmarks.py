"""Each benchmark still runs, on next to nothing; its figures here mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize(
    ("arguments", "ratios"),
    [
        ("store.py --rows 100", set()),
        ("sandbox.py --programs 20 --rounds 1 --workers 1", {"vs_subprocess"}),
        (
            "sampling.py --tasks 2 --steps 2 --repeats 1 --generate-sizes 8",
            {
                "samples_per_s_vs_authors_schedule",
                "tokens_per_s_vs_generate",
                "share_of_ceiling",
                "time_outside_generation",
            },
        ),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_it_runs_and_ends_with_its_ratios(arguments, ratios):
    script, *options = arguments.split()
    command = [sys.executable, str(BENCHMARKS / script), *options, "--json"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    answer = json.loads(process.stdout.splitlines()[-1])
    assert ratios <= answer.get("ratios", {}).keys()
    assert all(value > 0 for value in answer.get("ratios", {}).values())


def test_the_learning_benchmark_starts():
    command = [sys.executable, str(BENCHMARKS / "learning.py"), "--help"]
    assert "--repeats" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
