"""Evaluation without a trainer measures what a trainer measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig

import trl_gift
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.cli.main import main
from trl_gift.errors import ConfigError, TaskError
from trl_gift.evaluation import EvaluationSettings
from trl_gift.generation import GenerateEngine
from trl_gift.generation.compact import CompactEngine
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
    assert (
        main(["evaluate", *options, "--output_dir", str(tmp_path / "out"), "--eval_dataset_name", str(rows), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 2.0
    assert not (tmp_path / "out").exists(), "an evaluation leaves no run"


def test_a_trainer_of_another_precision_may_come_after_it(tmp_path, tasks, sandbox):
    """The state that accelerate shares among a process's objects stays as it was."""
    from accelerate.state import AcceleratorState, is_initialized

    args = GiFTConfig(str(tmp_path), **CPU | {"bf16": True})
    before = is_initialized()
    trl_gift.evaluate(str(model_path()), tasks[:1], args, sandbox=sandbox)
    assert is_initialized() == before
    trainer = GiFTTrainer(str(model_path()), args, playground_tasks("train", 1), sandbox=sandbox)
    assert trainer.accelerator.mixed_precision == "bf16"
    trl_gift.evaluate(str(model_path()), tasks[:1], args, sandbox=sandbox)
    assert AcceleratorState().mixed_precision == "bf16"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("engine", ["compact", "generate"])
def test_the_mode_of_a_model_stays_as_it_was(tmp_path, tasks, sandbox, training, engine, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    model = AutoModelForCausalLM.from_pretrained(model_path()).train(training)
    model.lm_head.train(not training)  # parts may differ from the whole
    before = [part.training for part in model.modules()]
    args = GiFTConfig(str(tmp_path), generation_engine=engine, **CPU)
    other = GenerateEngine if engine == "compact" else CompactEngine
    monkeypatch.setattr(other, "submit", None)  # the engine that was not asked for draws nothing
    trl_gift.evaluate(model, tasks[:1], args, processing_class=tokenizer, sandbox=sandbox)
    assert [part.training for part in model.modules()] == before


def test_a_path_is_as_good_as_its_name(tmp_path, tasks, sandbox):
    args = GiFTConfig(str(tmp_path), **CPU)
    assert trl_gift.evaluate(Path(model_path()), tasks[:1], args, sandbox=sandbox).attempts
    trainer = GiFTTrainer(Path(model_path()), args, playground_tasks("train", 1), sandbox=sandbox)
    assert trainer.model.config.name_or_path == str(model_path())


def nameless():
    model = AutoModelForCausalLM.from_pretrained(model_path())
    model.config.name_or_path = ""
    return model


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tasks": None}, TaskError, "tasks is None, not a sequence of tasks; give the result of load_tasks, or rows"),
        ({"tasks": 3}, TaskError, "tasks is 3, not a sequence of tasks"),
        ({"tasks": playground_tasks("test", 1)[0]}, TaskError, r"tasks is one Task; give a list, such as \[task\]"),
        ({"tasks": {}}, TaskError, "tasks is an empty dictionary"),
        ({"tasks": {"a": []}}, TaskError, r"tasks\['a'\] holds no tasks"),
        ({"tasks": {"mbpp": 3}}, TaskError, r"tasks\['mbpp'\] is 3, not a sequence of tasks"),
        ({"args": SFTConfig("out", use_cpu=True, bf16=False, report_to="none")}, ConfigError,
         "args is a SFTConfig; give a GiFTConfig"),
        ({"model": AutoModelForCausalLM.from_pretrained(model_path()), "dtype": "bfloat16"}, ConfigError,
         "dtype is an argument of from_pretrained, and the model is loaded already; leave it out"),
        ({"model": None}, ConfigError, "model is a NoneType; give a model, a name on the Hub or a folder"),
        ({"model": "playground"}, ConfigError, "is a name of the command line; in Python, "),
        ({"model": nameless()}, ConfigError, "processing_class is missing, and the model does not say where it was loaded"),
    ],
)  # fmt: skip
def test_mistakes_of_a_call_are_told(tasks, sandbox, changes, error, message):
    arguments = {"model": str(model_path()), "tasks": tasks[:1], "sandbox": sandbox} | changes
    with pytest.raises(error, match=message):
        trl_gift.evaluate(**arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train_dataset": {}}, TaskError, "train_dataset is an empty dictionary"),
        ({"train_dataset": playground_tasks("test", 1)[0]}, TaskError, "train_dataset is one Task"),
        ({"eval_dataset": 7}, TaskError, "eval_dataset is 7, not a sequence of tasks"),
        ({"model": nameless()}, ConfigError, "processing_class is missing, and the model does not say where it was loaded"),
        ({"model": 3}, ConfigError, "model is a int; give a model, a name on the Hub or a folder"),
    ],
)  # fmt: skip
def test_they_are_told_by_the_trainer_too(tmp_path, changes, error, message):
    given = {
        "model": str(model_path()),
        "args": GiFTConfig(str(tmp_path), **CPU),
        "train_dataset": playground_tasks("train", 1),
    }
    with pytest.raises(error, match=message):
        GiFTTrainer(**given | changes)


def test_the_command_measures_the_test_split_of_dataset_name(tmp_path, tasks, capsys):
    folder = tmp_path / "tasks"
    folder.mkdir()
    for split, some in (("train", tasks[:1]), ("test", tasks[1:4])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(task.to_row()) + "\n" for task in some))
    options = ["--model_name_or_path", "playground", "--use_cpu", "true", "--bf16", "false", "--report_to", "none",
               "--output_dir", str(tmp_path / "out"), "--dataset_name", str(folder), "--json"]  # fmt: skip
    assert main(["evaluate", *options]) == 0
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 3.0
    assert main(["evaluate", *options, "--eval_limit", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 2.0
    assert main(["evaluate", *options, "--eval_filter", f"task_id == {tasks[2].task_id!r}"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_num_tasks"] == 1.0
