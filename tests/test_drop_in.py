"""A TRL user's script becomes ours by its import, the trainer's name and the config's name; both texts are in the docs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from trl_gift.playground import model_path, playground_tasks

SCRIPTS = Path(__file__).parent.parent / "docs/scripts"
CHANGES = {
    "from trl import SFTConfig, SFTTrainer": "from trl_gift import GiFTConfig, GiFTTrainer",
    "SFTConfig(": "GiFTConfig(",
    "SFTTrainer(": "GiFTTrainer(",
}


def sft_script():
    return (SCRIPTS / "sft.py").read_text(encoding="utf-8")


def changed(script):
    for old, new in CHANGES.items():
        assert script.count(old) == 1, f"{old!r} shall occur once in an ordinary script"
        script = script.replace(old, new)
    return script


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a user would stand: the model under its name, and the two files of the script."""
    model = tmp_path / "Qwen/Qwen2.5-Coder-0.5B"
    model.parent.mkdir()
    shutil.copytree(model_path(), model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_rows(folder, to_row):
    for name, kind, count in (("train", "train", 3), ("test", "validation", 2)):
        tasks = playground_tasks(kind, count, with_reference=True)
        lines = [json.dumps(to_row(task)) for task in tasks]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(script):
    names = {"__name__": "__main__"}
    exec(compile(script, "script.py", "exec"), names)
    return names["trainer"]


def test_the_docs_show_what_is_tested_here():
    assert changed(sft_script()) == (SCRIPTS / "gift.py").read_text(encoding="utf-8")
    page = (SCRIPTS.parent / "from-sft.md").read_text(encoding="utf-8")
    for name in ("sft", "gift"):
        assert f"](scripts/{name}.py)" in page


def test_the_script_runs_as_sft(folder, capsys):
    write_rows(folder, lambda task: {"prompt": task.description + "\n", "completion": task.reference})
    run(sft_script())
    assert "eval_loss" in capsys.readouterr().out
    assert (folder / "my-model/adapter_model.safetensors").exists()


def test_the_script_runs_as_gift_with_three_names_changed(folder, capsys):
    write_rows(folder, lambda task: task.to_row())
    trainer = run(changed(sft_script()))
    printed = capsys.readouterr().out
    assert "eval_pass@1" in printed
    assert "step 1: " in printed, "callbacks hear of every step"
    assert (folder / "my-model/adapter_model.safetensors").exists()
    # What the script asked for is what was done: the options keep their meaning.
    assert trainer.args.gradient_accumulation_steps == 2
    assert [path for path in os.listdir("my-model") if path.startswith("checkpoint-")], "save_strategy"
    metrics = json.loads((folder / "my-model/_gift/round-1/metrics.json").read_text())
    assert metrics["samples"] == 3 * 20 * 3
    assert metrics["pairs"] > 0


def test_the_best_checkpoint_needs_a_metric_that_is_measured(tmp_path):
    from trl_gift import GiFTConfig
    from trl_gift.errors import ConfigError

    options = {"use_cpu": True, "load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    with pytest.raises(ConfigError, match="metric_for_best_model='eval_pass@1'"):
        GiFTConfig(str(tmp_path), **options)
    GiFTConfig(str(tmp_path), metric_for_best_model="eval_pass@1", greater_is_better=True, **options)


def tiny_run(folder, **arguments):
    import torch

    from trl_gift import GiFTConfig, GiFTTrainer

    torch.set_num_threads(1)
    config = GiFTConfig(
        str(folder), num_steps=1, num_generations=1, num_description_examples=0, num_train_epochs=1, use_cpu=True,
        max_completion_length=64, report_to="none", disable_tqdm=True, sandbox_workers=1, save_strategy="no",
    )  # fmt: skip
    arguments.setdefault("train_dataset", playground_tasks("train", 2, with_reference=True))
    arguments.setdefault("model", str(model_path()))
    return GiFTTrainer(args=config, **arguments)


def test_an_optimizer_of_the_users_own(tmp_path):
    import torch

    trainer = tiny_run(tmp_path, optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 1e-3}))
    trainer.train()
    assert isinstance(trainer.optimizer.optimizer, torch.optim.SGD)


@pytest.mark.parametrize(
    "arguments",
    [
        {"data_collator": list},
        {"formatting_func": str},
        {"compute_metrics": dict},
        {"compute_loss_func": sum},
        {"optimizers": (object(), None)},
    ],
)
def test_what_cannot_be_carried_over_says_why(tmp_path, arguments):
    from trl_gift.errors import ConfigError

    with pytest.raises(ConfigError, match="is an argument of SFTTrainer that GiFTTrainer cannot take"):
        tiny_run(tmp_path, **arguments)


def test_rewards_are_the_tests_of_tasks(tmp_path):
    from trl_gift.errors import ConfigError

    with pytest.raises(
        ConfigError, match=r"reward_funcs is an argument of TRL's GRPOTrainer; .*give each task its tests"
    ):
        tiny_run(tmp_path, reward_funcs=[len])


def test_a_generation_config_that_cannot_be_saved_is_refused_at_once(tmp_path):
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    from trl_gift.errors import ConfigError

    model = AutoModelForCausalLM.from_pretrained(model_path())
    model.generation_config.update(do_sample=False, temperature=0.5)
    with pytest.raises(ConfigError, match=r"generation config is not valid, .*`temperature`.*generation_config\.json"):
        tiny_run(tmp_path / "whole", model=model)
    tiny_run(tmp_path / "adapter", model=model, peft_config=LoraConfig(task_type="CAUSAL_LM"))  # it alone is saved


@pytest.mark.parametrize("form", ["path", "text", "frame", "columns", "rows", "dataset"])
def test_tasks_come_in_every_usual_form(tmp_path, form):
    import datasets
    import pandas

    def given(kind):
        rows = [task.to_row() for task in playground_tasks(kind, 3, with_reference=True)]
        file = tmp_path / f"{kind}.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return {
            "path": file, "text": str(file), "frame": pandas.DataFrame(rows), "rows": rows,
            "columns": {name: [row[name] for row in rows] for name in rows[0]}, "dataset": datasets.Dataset.from_list(rows),
        }[form]  # fmt: skip

    trainer = tiny_run(tmp_path / "out", train_dataset=given("train"), eval_dataset=given("validation"))
    assert trainer.tasks == playground_tasks("train", 3, with_reference=True)
    assert trainer.eval_tasks == playground_tasks("validation", 3, with_reference=True)


def test_a_misspelt_argument_is_one(tmp_path):
    with pytest.raises(TypeError, match="peft_confg"):
        tiny_run(tmp_path, peft_confg=None)
