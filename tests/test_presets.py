"""The presets: what they set, how they are overridden, and that each of them trains."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from trl import ModelConfig

from trl_gift import GiFTConfig, GiFTTrainer, load_tasks, presets
from trl_gift.cli.arguments import TaskArguments, parse, train_tasks
from trl_gift.errors import ConfigError, TaskError
from trl_gift.playground import model_path, playground_tasks
from trl_gift.presets import preset_names, preset_options
from trl_gift.sampling.store import read_samples
from trl_gift.sandbox import LocalSandbox

FOLDER = Path(presets.__file__).parent
CPU = {"use_cpu": True, "bf16": False, "report_to": "none"}
FLAGS = ["--model_name_or_path", "playground", "--dataset_name", "playground", "--output_dir", "out", "--use_cpu",
         "true", "--bf16", "false"]  # fmt: skip


def test_the_presets_of_the_method_and_its_relatives():
    assert preset_names() == (
        "gift", "gift-paper", "persd", "rest-em", "rft", "rft+rd", "rft-paper", "self-repair", "ssd", "star",
    )  # fmt: skip


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_sets_options_of_the_trainer_and_says_where_they_come_from(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith(f"# trl-gift train --preset {name} --model_name_or_path ")
    assert re.search(r"arXiv \d{4}\.\d{5}", text)
    options = yaml.safe_load(text)
    assert options == preset_options(name)
    others = {field.name for kind in (TaskArguments, ModelConfig) for field in fields(kind)}
    known = {field.name for field in fields(GiFTConfig)}
    assert set(options) <= known - others - {"output_dir"}
    config = GiFTConfig.from_preset(name, "out", **CPU)
    assert {option: getattr(config, option) for option in options} == options
    defaults = GiFTConfig("out", **CPU)
    for option, value in options.items():
        # YAML reads 2e-5 as a text; argparse would convert it, Python would not.
        is_text = isinstance(getattr(defaults, option), str) or value == "auto"
        assert isinstance(value, str) == is_text, option


def test_the_documented_table_is_what_the_files_say():
    text = (Path(__file__).parent.parent / "docs" / "presets.md").read_text()
    lines = text.split("## Options of each preset")[1].split("##")[0].splitlines()
    head, _, *rows = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert sorted(head[1:]) == list(preset_names())
    documented = {name: {} for name in head[1:]}
    for option, *cells in rows:
        for name, cell in zip(head[1:], cells, strict=True):
            if cell:
                documented[name][option] = yaml.safe_load(cell)
    assert documented == {name: preset_options(name) for name in preset_names()}


def test_equal_budgets():
    sampled = {name: GiFTConfig.from_preset(name, "out", **CPU) for name in preset_names()}
    budget = {name: config.num_steps * config.num_generations for name, config in sampled.items()}
    assert budget.pop("ssd") == budget.pop("persd") == 1
    assert set(budget.values()) == {60}
    training = ("num_selected", "selection_with_replacement", "train_on_references", "num_train_epochs", "learning_rate",
                "warmup_steps", "weight_decay", "max_grad_norm", "loss_weighting", "per_device_train_batch_size",
                "gradient_accumulation_steps", "adam_epsilon", "temperature", "top_k", "pin_imports")  # fmt: skip
    for name, like in (("rft", "gift"), ("rft+rd", "gift"), ("self-repair", "gift"), ("rft-paper", "gift-paper")):
        assert [getattr(sampled[name], item) for item in training] == [
            getattr(sampled[like], item) for item in training
        ], "arms that are compared train alike, on equally many pairs"


def test_options_win_over_the_preset():
    config = GiFTConfig.from_preset("rft", "out", num_steps=4, num_selected=2, **CPU)
    assert (config.sampler, config.num_steps, config.num_selected) == ("conditional", 4, 2)
    with pytest.raises(ConfigError, match="preset 'rtf' is unknown; use one of 'gift', 'gift-paper', 'persd'"):
        GiFTConfig.from_preset("rtf", "out", **CPU)


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("preset: rft\nnum_steps: 7\nnum_generations: 5\n")
    _, config, _, _ = parse("train", [*FLAGS, "--config", str(file), "--num_generations", "2"])
    assert (config.num_generations, config.num_steps, config.sampler) == (2, 7, "conditional")
    assert config.deduplicate
    _, config, _, _ = parse("train", [*FLAGS, "--config", str(file), "--preset=star", "--hint", "failing_test"])
    assert (config.sampler, config.hint, config.num_steps) == ("hinted", "failing_test", 7)
    with pytest.raises(ConfigError, match="preset 'best' is unknown"):
        parse("train", [*FLAGS, "--preset", "best"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_selected": None}, "num_selected=None selects the whole pool"),
        ({"sampler": "hinted", "num_steps": 1}, "num_steps=1 leaves sampler='hinted' no step"),
        ({"sampler": "hinted", "verify": False}, "nothing is run that could fail"),
        ({"hint": "answer"}, "hint='answer' is unknown; use one of 'reference', 'failing_test'"),
    ],
)
def test_options_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        GiFTConfig("out", **CPU, **options)


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as sandbox:
        yield sandbox


def trained(name, folder, sandbox=None, eval_tasks=1, **options):
    """A tiny run of a preset: two tasks, few completions, one optimizer step a round."""
    small = {"num_steps": 2, "num_generations": 2, "num_rounds": min(2, preset_options(name).get("num_rounds", 1))}
    config = GiFTConfig.from_preset(
        name, str(folder), max_steps=1, save_strategy="no", max_completion_length=64, max_description_length=48,
        num_description_examples=0, gradient_checkpointing=False, disable_tqdm=True, sandbox_workers=1,
        per_device_train_batch_size=1 if name.endswith("-paper") else 4, **{**(small if name != "ssd" else {}), **CPU, **options},
    )  # fmt: skip
    trainer = GiFTTrainer(
        model=str(model_path()),
        args=config,
        train_dataset=playground_tasks("train", 3, with_reference=True),
        eval_dataset=playground_tasks("validation", eval_tasks) if eval_tasks else None,
        sandbox=sandbox,
    )
    return trainer.train(), trainer


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_trains(name, tmp_path, sandbox, capsys):
    result, trainer = trained(name, tmp_path, sandbox)
    last = result.rounds[-1]
    assert last["round"] == trainer.args.num_rounds
    assert 0.0 <= last["metrics"]["pass@1"] <= 1.0
    if (
        name == "persd"
    ):  # nothing but repairs is learned, and the playground model, its own teacher here, can hardly repair
        assert last["repairs"] > 0
        assert last["pairs"] == last["lessons"] == 2 * last["repaired"]
    else:
        assert last["pairs"] > 0
        assert result.global_step == trainer.args.num_rounds
    samples = [one for one in read_samples(tmp_path / "_gift" / "round-1") if one.kind == "chain"]
    assert len(samples) == 3 * trainer.args.num_steps * trainer.args.num_generations
    if name == "ssd":
        assert {sample.status for sample in samples} <= {"unverified", "no_code"}
        assert (last["passed"], last["solved_tasks"]) == (0, 0)
        assert last["unverified"] == last["selected"] == last["pairs"] > 0
        assert "none was executed (verify=False)" in capsys.readouterr().err
        assert {(step["pass_rate"], step["solved_tasks"]) for step in last["chain"]} == {(None, None)}
        logged = set().union(*trainer.state.log_history)
        assert "round/unverified" in logged
        assert not logged & {"round/passed", "round/yield", "round/solved_tasks"}
    else:
        assert last["unverified"] == 0
        assert last["selected"] == last["pairs"] - last["references"] - last["lessons"]
    if name == "star":
        hints = {}
        for sample in samples:
            hints.setdefault(sample.task_id, set()).add((sample.step, sample.hint))
            solved = any(s.passed for s in samples if s.task_id == sample.task_id and s.step == 0)
            assert sample.hint == (None if sample.step == 0 or solved else "reference")
        assert any((1, "reference") in seen for seen in hints.values()), "a task that needs its hint"
        # The hint is stripped: the pairs' prompts are those of the seed description.
        prompts = {trainer.prompts.write(task, task.description).ids for task in trainer.tasks}
        for row in trainer.train_dataset:
            kept = sum(label != -100 for label in row["labels"])
            assert tuple(row["input_ids"][:-kept]) in prompts


def test_unverified_training_starts_no_sandbox(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a sandbox was started")

    monkeypatch.setattr("trl_gift.sampling.rollouts.LocalSandbox", refuse)
    result, _ = trained("ssd", tmp_path, eval_tasks=0)
    assert result.rounds[0]["unverified"] > 0


UNTESTED = [
    {"task_id": "a", "description": "Add all numbers.", "signature": "def solve(xs):"},
    {"task_id": "b", "description": "Double each number.", "signature": "def solve(xs):", "tests": None},
]


def test_tasks_without_tests_are_for_unverified_training_alone(tmp_path):
    config = {"max_completion_length": 32, "max_steps": 1, "save_strategy": "no", "gradient_checkpointing": False}
    config |= {"disable_tqdm": True, **CPU}
    model = str(model_path())
    ssd = GiFTConfig.from_preset("ssd", str(tmp_path / "out"), **config)
    result = GiFTTrainer(model=model, args=ssd, train_dataset=UNTESTED).train()
    assert result.rounds[0]["unverified"] > 0
    rft = GiFTConfig.from_preset("rft", str(tmp_path / "other"), **config)
    tasks = load_tasks(UNTESTED, require_tests=False)
    assert [(task.entry_point, task.to_row()["tests"]) for task in tasks] == [("solve", None)] * 2
    for rows in (UNTESTED[1:], tasks):
        with pytest.raises(TaskError, match=r"field 'tests': None: .*give"):
            GiFTTrainer(model=model, args=rft, train_dataset=rows)
    with pytest.raises(TaskError, match="'tests'"):
        GiFTTrainer(model=model, args=ssd, train_dataset=tasks, eval_dataset=UNTESTED[1:])
    with pytest.raises(TaskError, match="task 'a': field 'tests'"):
        _ = tasks[0].all_tests


def test_an_empty_list_of_tests_is_refused_all_the_same():
    with pytest.raises(TaskError, match="any program would pass an empty list"):
        load_tasks([UNTESTED[0] | {"tests": []}], require_tests=False)


def test_the_command_reads_tasks_without_tests(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, UNTESTED)))
    arguments, config, _, _ = parse("train", [*FLAGS, "--preset", "ssd", "--dataset_name", str(path)])
    assert [task.tests for task in train_tasks(arguments, config.verify)] == [None, None]
    with pytest.raises(TaskError):
        train_tasks(arguments)


def test_a_hint_that_no_task_has(tmp_path):
    config = GiFTConfig.from_preset("star", str(tmp_path), **CPU)
    with pytest.raises(ConfigError, match="none of the 2 tasks has one; use hint='failing_test'"):
        GiFTTrainer(model=str(model_path()), args=config, train_dataset=playground_tasks("train", 2))


def test_a_run_records_what_the_preset_resolved_to(tmp_path, sandbox):
    _, trainer = trained("rft", tmp_path, sandbox, num_steps=1, eval_tasks=0)
    options = json.loads((tmp_path / "_gift" / "run.json").read_text())["options"]
    assert (options["sampler"], options["num_steps"], options["num_selected"]) == ("conditional", 1, 8)
    assert options == json.loads(json.dumps(trainer.args.gift_options()))


def test_an_estimate_of_unverified_training_runs_nothing(tmp_path, monkeypatch):
    from trl_gift.estimate import RunParts, calibrate, calibration_config, estimate_run, estimate_text

    monkeypatch.setattr("trl_gift.estimate.calibration.LocalSandbox", None)
    config = GiFTConfig.from_preset(
        "ssd", str(tmp_path), max_completion_length=32, gradient_checkpointing=False, disable_tqdm=True, **CPU
    )
    tasks = playground_tasks("train", 3)
    trainer = GiFTTrainer(model=str(model_path()), args=calibration_config(config, tmp_path), train_dataset=tasks)
    calibration = calibrate(trainer, 2)
    assert calibration.passed is None
    estimate = estimate_run(RunParts.of_trainer(trainer), calibration=calibration)
    assert estimate.sampling.executions == 0
    assert estimate.training.pairs == 3
    assert "nothing executed" in estimate_text(estimate)
