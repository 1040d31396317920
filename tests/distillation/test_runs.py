"""Whole runs with a teacher on the playground: what is recorded and learned, and a run that is killed while it asks.

Options that are followed here: distillation=, teacher=, teacher_base_url=, teacher_key_variable=, teacher_concurrency=,
repair_attempts=, max_refine_steps=, teacher_budget=, teacher_temperature=, teacher_max_tokens=, teacher_fields=.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

pytest.importorskip("openai")

from tests.support.chat_server import KEY, serve
from tests.support.run_trainer import make_trainer
from tests.support.whole_runs import REPOSITORY, finish, finish_together
from trl_gift.errors import ConfigError
from trl_gift.playground import model_path, playground_tasks
from trl_gift.run.samples import read_rounds
from trl_gift.sampling.records import CHAIN, REPAIR, SOLUTION
from trl_gift.sampling.store import read_samples

KNOWN = {task.description: task.reference for task in playground_tasks("train", 8, with_reference=True)}
OPTIONS = {"num_rounds": 1, "num_steps": 1, "num_generations": 1, "train_on_references": False, "save_strategy": "no"}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("TEACHER_KEY", KEY)


def options(server, **more):
    reached = {"teacher": "openai:scripted", "teacher_base_url": server.url, "teacher_key_variable": "TEACHER_KEY"}
    return OPTIONS | reached | more


def run(output, **options):
    trainer = make_trainer(str(model_path()), str(output), **OPTIONS | options)
    trainer.train(resume_from_checkpoint=(output / "_gift").exists())
    return trainer


def samples(output, number=1):
    return list(read_samples(output / f"_gift/round-{number}"))


def metrics(output, number=1):
    return json.loads((output / f"_gift/round-{number}/metrics.json").read_text())


def result(output):
    """All that two equal runs share; the last bits of a log-probability may move with the batch that it was computed in."""
    kept = ("sample_id", "kind", "parent", "status", "code", "target", "continues", "num_tokens")
    figures = ("samples", "passed", "repairs", "repaired", "lessons", "pairs", "tokens", "greedy")
    found = [[getattr(sample, name) for name in kept] for sample in samples(output)]
    perplexities = [sample.perplexity and round(sample.perplexity, 5) for sample in samples(output)]
    return found, perplexities, {name: metrics(output)[name] for name in figures}


def test_a_run_whose_endpoint_is_not_there_does_not_begin(tmp_path):
    given = {"teacher": "openai:m", "teacher_base_url": "http://127.0.0.1:9/v1", "distillation": "repair"}
    with pytest.raises(ConfigError, match=r"nothing answers at http://127\.0\.0\.1:9/v1/"):
        run(tmp_path / "out", **given)
    assert not (tmp_path / "out/_gift/run.json").exists()


def test_rectified_programs_have_a_lineage_and_are_learned(tmp_path):
    output = tmp_path / "out"
    with serve(programs=KNOWN, share=0.6, faults=("429", "500", "429")) as server:
        given = {
            "max_refine_steps": 2,
            "teacher_temperature": 0.3,
            "teacher_max_tokens": 90,
            "teacher_fields": {"user": "x"},
        }
        run(output, **options(server, distillation="persd-combined", **given))
        assert {(body["temperature"], body["max_tokens"], body["user"]) for body in server.sent} == {(0.3, 90, "x")}
        assert len(server.sent) == sum(sample.kind == REPAIR for sample in samples(output))
    found = {sample.sample_id: sample for sample in samples(output)}
    failed = [sample for sample in found.values() if sample.kind == CHAIN and not sample.passed]
    repairs = [sample for sample in found.values() if sample.kind == REPAIR]
    assert {sample.task_id for sample in repairs} == {sample.task_id for sample in failed}
    passed = [sample for sample in repairs if sample.passed]
    assert 0 < len(passed) < len(failed), "the teacher solves a share of them"
    for sample in repairs:
        wrong = found[sample.parent]
        assert not wrong.passed
        assert wrong.step == (0 if wrong.kind == CHAIN else 1) == sample.step - 1
        assert (sample.hint, sample.model_hash, sample.num_tokens) == ("repair", "scripted", 20)
        assert (
            sample.passed
            == sample.continues
            == (sample.perplexity is not None)
            == (sample.code == KNOWN[describe(sample)])
        )
    figures = metrics(output)
    assert (figures["samples"], figures["repairs"], figures["repaired"]) == (8, len(repairs), len(passed))
    assert figures["lessons"] == figures["pairs"] == 2 * len(passed)
    assert figures["tokens"] == sum(sample.num_tokens for sample in found.values())


def describe(sample):
    return next(task.description for task in playground_tasks("train", 8) if task.task_id == sample.task_id)


@pytest.mark.parametrize("distillation", ["stand", "inpd"])
def test_solutions_of_a_teacher(tmp_path, distillation):
    output = tmp_path / "out"
    with serve(programs=KNOWN) as server:
        run(output, **options(server, distillation=distillation))
        questions = [body["messages"][0]["content"] for body in server.sent]
    solved = {sample.task_id for sample in samples(output) if sample.kind == CHAIN and sample.passed}
    asked = {sample.task_id for sample in samples(output) if sample.kind == SOLUTION}
    everything = {task.task_id for task in playground_tasks("train", 8)}
    assert solved
    assert asked == (everything if distillation == "stand" else everything - solved)
    assert all("is wrong" not in question for question in questions)
    assert metrics(output)["lessons"] == metrics(output)["pairs"] == len(asked)


def test_chains_of_the_next_round_begin_with_repaired_programs(tmp_path):
    output = tmp_path / "out"
    with serve(programs=KNOWN) as server:
        given = options(server, distillation="repair", num_rounds=2, sampler="gibbs", pool="continuing")
        trainer = run(output, **given)
    first, second = samples(output, 1), samples(output, 2)
    solved = {sample.task_id for sample in first if sample.kind == CHAIN and sample.passed}
    repaired = {sample.task_id: sample.sample_id for sample in first if sample.kind == REPAIR and sample.passed}
    assert repaired
    assert not solved & repaired.keys()
    for sample in second:
        if sample.kind == CHAIN:
            read = sample.parent is not None
            assert sample.parent in (None, repaired.get(sample.task_id))
            assert not (read and sample.task_id in solved)
    assert any(sample.parent is not None for sample in second if sample.kind == CHAIN)
    assert metrics(output, 1)["selected"] == 2 * len(solved | repaired.keys()), "repaired programs are in the pool"
    assert trainer.state.global_step > 0


def test_a_budget_goes_to_unsolved_tasks_and_the_student_repairs_itself(tmp_path):
    """Drawn on the student's own engine, by keys of its own, so that a limit changes no program that is drawn."""
    budget = {"distillation": "self-repair", "num_steps": 2, "repair_attempts": 2, "max_refine_steps": 2}
    for name, limit in (("all", None), ("some", 30)):
        make_trainer(str(model_path()), str(tmp_path / name), **OPTIONS | budget | {"teacher_budget": limit}).sample()
    everything, some = samples(tmp_path / "all"), samples(tmp_path / "some")
    chains = [sample.sample_id for sample in everything if sample.kind == CHAIN]
    assert chains == [sample.sample_id for sample in some if sample.kind == CHAIN]
    drawn = {sample.sample_id: sample.code for sample in everything if sample.kind == REPAIR}
    limited = [sample for sample in some if sample.kind == REPAIR]
    assert limited
    stopped = read_rounds([tmp_path / "some/_gift/round-1"])
    assert (stopped.over_cost, read_rounds([tmp_path / "all/_gift/round-1"]).over_budget) == (0, 0)
    finished = {sample.task_id for sample in limited if sample.passed}
    wanted = {sample.task_id for sample in everything if sample.kind == REPAIR}
    assert len(wanted - {sample.task_id for sample in limited}) <= stopped.over_budget <= len(wanted - finished)
    assert {sample.sample_id: sample.code for sample in limited}.items() <= drawn.items()
    tokens = sum(sample.num_tokens for sample in limited)
    assert 30 <= tokens < 30 + 80, "it stops with the first program that reaches the limit"
    solved = Counter(sample.task_id for sample in some if sample.kind == CHAIN and sample.passed)
    assert all(not solved[sample.task_id] for sample in limited)
    assert all(sample.model_hash == some[0].model_hash and sample.teacher_tokens == 0 for sample in limited)


def test_two_processes_repair_what_one_does(tmp_path):
    given = {
        "num_rounds": 1,
        "num_steps": 1,
        "distillation": "self-repair",
        "repair_attempts": 2,
        "teacher_budget": 120,
    }
    arguments = [f"{name}={value!r}" for name, value in given.items()]
    one, two = finish(tmp_path / "one", *arguments)[0], finish_together(tmp_path / "two", *arguments)[0]
    seen = ("kind", "parent", "code", "status")
    assert any(record["kind"] == REPAIR for record in one.values())
    for first, second in ((one, two), (two, one)):
        for name, record in first.items():
            assert [record[key] for key in seen] == [second[name][key] for key in seen]


def test_another_local_model(tmp_path):
    taught = {"distillation": "persd", "teacher": str(model_path())}
    make_trainer(str(model_path()), str(tmp_path / "out"), **OPTIONS | taught).sample()
    written = [sample for sample in samples(tmp_path / "out") if sample.kind == REPAIR]
    assert written
    assert all(sample.model_hash == Path(model_path()).name and sample.teacher_tokens > 0 for sample in written)


def test_a_killed_run_pays_for_nothing_twice_and_its_key_is_nowhere(tmp_path):
    (tmp_path / "whole").mkdir()
    with serve(programs=KNOWN, share=0.6, stop_after=4) as server:
        given = options(server, distillation="persd-refine", max_refine_steps=2, teacher_concurrency=1)
        command = [sys.executable, "-m", "tests.support.run_trainer", str(model_path()), str(tmp_path / "out")]
        process = subprocess.Popen(
            [*command, *(f"{name}={value!r}" for name, value in given.items())],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert server.silent.wait(120)
        process.kill()
        said = process.communicate()[0].decode()
        server.script.stop_after = -1
        run(tmp_path / "out", **given)
        bodies = [json.dumps(body, sort_keys=True) for body in server.sent]
        assert len(bodies) == len(set(bodies)) > 4
        run(tmp_path / "whole" / "out", **given)
        assert sorted(map(json.dumps, server.sent[len(bodies) :])) == sorted(
            map(json.dumps, server.sent[: len(bodies)])
        )
    assert result(tmp_path / "out") == result(tmp_path / "whole" / "out")
    assert KEY not in said
    for path in Path(tmp_path).rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_limit_of_money_ends_the_asking_and_not_the_run(tmp_path):
    with serve(programs=KNOWN) as server:
        run(tmp_path / "out", **options(server, distillation="persd", teacher_prices=[0.0, 1e6 / 80], teacher_max_cost=1.5,
                                        teacher_concurrency=1))  # fmt: skip
        assert len(server.sent) == 3, "80 tokens may cost 1 and 20 cost 0.25: a fourth request could exceed the limit"
    figures = metrics(tmp_path / "out")
    assert figures["repairs"] == 3
    asked = {sample.task_id for sample in samples(tmp_path / "out") if sample.kind == REPAIR}
    failed = {sample.task_id for sample in samples(tmp_path / "out") if sample.kind == CHAIN and not sample.passed}
    assert (figures["over_cost"], figures["over_budget"]) == (len(failed - asked), 0) != (0, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"teacher": "openai:x"}, "has nothing to do; set distillation"),
        ({"distillation": "persd", "verify": False}, "with verify=False nothing is run"),
        (
            {"distillation": "persd", "teacher_base_url": "http://x"},
            "is for a chat endpoint; set teacher='openai:MODEL'",
        ),
        (
            {"distillation": "persd", "teacher_prices": [1.0, 2.0]},
            r"teacher_prices=\[1.0, 2.0\] is for a chat endpoint",
        ),
        ({"teacher_retries": 9}, "teacher_retries=9 is for a chat endpoint"),
        ({"distillation": "persd", "teacher": "openai:x", "teacher_max_cost": 0}, "teacher_max_cost=0"),
        ({"distillation": "persd", "teacher": "/no/such/model"}, "teacher='/no/such/model' is not a model"),
        (
            {"distillation": "persd", "teacher": "openai:x", "teacher_key_variable": "NO_KEY"},
            "variable NO_KEY; set it",
        ),
        ({"distillation": "persd", "teacher": "openai:x", "teacher_prices": [1.0]}, "give two prices"),
        ({"teacher_prices": [1.0, 2.0]}, r"teacher_prices=\[1.0, 2.0\] is for a chat endpoint"),
        ({"distillation": "persd", "teacher": "openai:x", "teacher_max_cost": 1.0}, "needs teacher_prices"),
    ],
)
def test_options_that_cannot_work(tmp_path, given, message):
    with pytest.raises(ConfigError, match=message):
        make_trainer(str(model_path()), str(tmp_path), **OPTIONS | given)
