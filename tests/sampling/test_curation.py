"""Curation keeps the tasks that the untrained model solves sometimes, measures once, and keeps the rates on record."""

from __future__ import annotations

import re

import pytest

from tests.support.tiny_runs import SMALL, TinyRun, training_tasks
from trl_gift import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.sampling.curation import Curation, CurationSettings
from trl_gift.tasks import Task


def curation(**rates):
    return Curation(CurationSettings(), rates)


TASKS = [Task(name, "d", None) for name in ("never", "rarely", "mostly", "always")]
MEASURED = {"never": 0.0, "rarely": 0.125, "mostly": 0.875, "always": 1.0}


def test_rates_strictly_between_the_bounds_are_kept():
    assert [task.task_id for task in curation(**MEASURED).kept(TASKS)] == ["rarely", "mostly"]
    bounds = CurationSettings(above=0.1, below=0.8)
    assert [task.task_id for task in Curation(bounds, MEASURED).kept(TASKS)] == ["rarely"]
    assert curation(**MEASURED).line(TASKS) == (
        "curation keeps 2 of 4 tasks (by the pass rate of 8 programs each; at most 0%: 1, at least 100%: 1)."
    )


def test_it_is_on_record_without_loss():
    done = Curation(CurationSettings(0.2, 0.9, 4), MEASURED)
    assert Curation.read(done.record()) == done


def test_no_task_left_is_one_line():
    with pytest.raises(ConfigError, match=r"curate=True leaves none of 1 task \(.*\); give other tasks, or widen"):
        curation(never=0.0).kept(TASKS[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curate": True, "verify": False}, "curate=True counts programs that pass"),
        ({"curate_above": 0.5, "curate_below": 0.5}, "leave no pass rate between them"),
        ({"curate_above": 1.5}, "curate_above=1.5 is out of range"),
        ({"curate_generations": 0}, "curate_generations=0 is out of range"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        GiFTConfig("out", use_cpu=True, bf16=False, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    return TinyRun(
        tmp_path_factory.mktemp("curated"), tokenizer, num_rounds=1, curate=True, curate_above=0.4, curate_below=0.9,
        curate_generations=5,
    )  # fmt: skip


def test_a_run_samples_for_the_kept_tasks_alone(run):
    record = run.read("curation.json")
    assert (record["above"], record["below"], record["num_generations"]) == (0.4, 0.9, 5)
    assert set(record["rates"]) == {"s0", "s1", "s2", "s3"}
    kept = {name for name, rate in record["rates"].items() if 0.4 < rate < 0.9}
    assert kept, "in this run nothing is kept"
    assert kept != set(record["rates"]), "in this run everything is kept"
    assert {task.task_id for task in run.trainer.tasks} == set(run.samples(1)) == kept
    assert run.rounds[0]["tasks"] == len(kept)
    asked = run.asked("curation")
    assert [len(request.stream_keys) for request in asked] == [5] * 4
    assert len({key for request in asked for key in request.stream_keys}) == 20
    assert {request.params.max_new_tokens for request in asked} == {SMALL["max_completion_length"]}


def test_it_is_measured_before_the_first_round_alone(run):
    kinds = [request.key[0] for request in run.requests]
    assert set(kinds[:4]) == {"curation"}
    before = run.read("curation.json")
    ran = len(run.sandbox.submitted)
    run.trainer.train(resume_from_checkpoint=True)
    assert run.read("curation.json") == before
    assert len(run.sandbox.submitted) == ran
    assert len(run.trainer.tasks) < len(training_tasks())


def test_the_temperature_that_a_pilot_chooses_is_that_of_the_rates(tmp_path, tokenizer):
    run = TinyRun(
        tmp_path,
        tokenizer,
        num_rounds=1,
        curate=True,
        temperature="auto",
        judge=lambda program, tests: len(program) % 2 == 1,
    )
    assert {request.params.temperature for request in run.asked("curation")} == {run.read("pilot.json")["temperature"]}
