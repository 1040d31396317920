"""Whole runs of the trainer on the embedded model in processes of their own, and when two of them are equal."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support import warm
from trl_gift.playground import model_path
from trl_gift.sampling.store import read_samples

SCRIPT = Path(__file__).with_name("run_trainer.py")
REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)}


def launch(output, *arguments, launcher=(), environment=ENVIRONMENT):
    arguments = [str(model_path()), str(output), *arguments]
    if not launcher:
        return warm.run("tests.support.run_trainer", arguments)
    command = [*launcher, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800, check=False)


def finish(output, *arguments, **keywords):
    process = launch(output, *arguments, **keywords)
    assert process.returncode == 0, process.stderr[-3000:]
    return result_of(output)


def finish_together(output, *arguments):
    """Two processes that train as one."""
    for process in warm.run_together("tests.support.run_trainer", [str(model_path()), str(output), *arguments]):
        assert process.returncode == 0, process.stderr[-3000:]
    return result_of(output)


def result_of(output):
    """Everything that must be equal between two runs: samples without their times, metrics, and weights."""
    samples = {}
    for folder in sorted((output / "_gift").glob("round-*")):
        for sample in read_samples(folder):
            record = sample.to_record()
            del record["created"]
            if record["outcome"]:
                # Time and memory of a program are measurements, not results.
                record["outcome"] = {"status": record["outcome"]["status"]}
            samples[sample.sample_id] = record
    metrics = {}
    for path in sorted((output / "_gift").glob("round-*/metrics.json")):
        metrics[path.parent.name] = json.loads(path.read_text())
        del metrics[path.parent.name]["seconds"]
    (weights,) = (output / "final").glob("*.safetensors")
    return samples, metrics, load_file(weights)


def losses_of(output):
    """Loss of each step, from the last checkpoint."""
    last = max(output.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


def assert_same_samples(samples, expected):
    """Equal in everything; the last bits of a log-probability may move with the batch that it was computed in."""
    assert samples.keys() == expected.keys()
    for key, record in samples.items():
        for name, value in record.items():
            if name in ("logprob_sum", "perplexity") and value is not None:
                assert value == pytest.approx(expected[key][name], rel=1e-4), (key, name)
            else:
                assert value == expected[key][name], (key, name)


def assert_same_metrics(one, two):
    """Equal in everything but the last bits of mean perplexities."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for name, value in one.items():
            if name == "mean_perplexity":
                assert value == pytest.approx(two[name], rel=1e-4)
            else:
                assert_same_metrics(value, two[name])
    elif isinstance(one, list):
        assert len(one) == len(two)
        for left, right in zip(one, two, strict=True):
            assert_same_metrics(left, right)
    else:
        assert one == two


def assert_equal(one, two):
    assert_same_samples(one[0], two[0])
    assert_same_metrics(one[1], two[1])
    assert one[2].keys() == two[2].keys()
    assert max(float((one[2][name] - two[2][name]).abs().max()) for name in one[2]) == 0.0
