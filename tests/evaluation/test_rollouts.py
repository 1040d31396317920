"""Evaluation without a trainer measures what a trainer measures."""

from __future__ import annotations

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import trl_gift
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.cli.main import main
from trl_gift.errors import TaskError
from trl_gift.evaluation import EvaluationSettings
from trl_gift.playground import model_path, playground_tasks
from trl_gift.sampling.rollouts import RolloutSettings
from trl_gift.sandbox import LocalSandbox

CPU = {"use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True, "max_completion_length": 80}


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as pool:
        yield pool


@pytest.fixture(scope="module")
def tasks():
    return playground_tasks("validation", 6)


def test_it_measures_what_a_trainer_measures(tmp_path, tasks, sandbox):
    args = GiFTConfig(str(tmp_path), **CPU, eval_num_generations=3, eval_k=[1, 3])
    trainer = GiFTTrainer(str(model_path()), args, playground_tasks("train", 1), tasks, sandbox=sandbox)
    expected = {name: value for name, value in trainer.evaluate().items() if name not in ("epoch", "round")}
    result = trl_gift.evaluate(str(model_path()), tasks, args, sandbox=sandbox)
    assert {f"eval_{name}": value for name, value in result.metrics().items()} == expected
    assert {attempt.task_id for attempt in result.attempts} == {task.task_id for task in tasks}


def test_a_model_in_memory_and_no_options(tasks, sandbox):
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    model = AutoModelForCausalLM.from_pretrained(model_path()).train()
    result = trl_gift.evaluate(model, tasks[:2], processing_class=tokenizer, sandbox=sandbox)
    assert len(result.attempts) == 2
    assert result.metrics()["num_tasks"] == 2.0


def test_the_defaults_are_those_of_a_run():
    config = GiFTConfig("out", use_cpu=True, bf16=False)
    assert config.evaluation_settings() == EvaluationSettings(seed=config.seed)
    assert config.rollout_settings() == RolloutSettings(limits=config.limits())


def test_without_tasks_there_is_nothing_to_measure():
    with pytest.raises(TaskError, match="tasks holds no tasks"):
        trl_gift.evaluate(str(model_path()), [])


def test_the_command_needs_no_tasks_to_learn_from(tmp_path, tasks, capsys):
    rows = tmp_path / "tasks.jsonl"
    rows.write_text("".join(json.dumps(task.to_row()) + "\n" for task in tasks[:2]), encoding="utf-8")
    options = ["--model_name_or_path", "playground", "--use_cpu", "true", "--bf16", "false", "--report_to", "none"]
    assert main(["evaluate", *options, "--output_dir", str(tmp_path / "out"), "--eval_dataset_name", str(rows)]) == 0
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 2.0
    assert not (tmp_path / "out").exists(), "an evaluation leaves no run"


def test_the_command_measures_the_test_split_of_dataset_name(tmp_path, tasks, capsys):
    folder = tmp_path / "tasks"
    folder.mkdir()
    for split, some in (("train", tasks[:1]), ("test", tasks[1:4])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(task.to_row()) + "\n" for task in some))
    options = ["--model_name_or_path", "playground", "--use_cpu", "true", "--bf16", "false", "--report_to", "none",
               "--output_dir", str(tmp_path / "out"), "--dataset_name", str(folder)]  # fmt: skip
    assert main(["evaluate", *options]) == 0
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 3.0
    assert main(["evaluate", *options, "--eval_limit", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 2.0
    assert main(["evaluate", *options, "--eval_filter", f"task_id == {tasks[2].task_id!r}"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 1.0
