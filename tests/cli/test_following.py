"""The whole way of a new user: every command that a finished run prints is run, and does what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shlex
import warnings

import datasets
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift.cli import quickstart
from trl_gift.cli.arguments import TaskArguments
from trl_gift.cli.following import measured_flags, next_commands, validate_command
from trl_gift.cli.main import COMMANDS, main
from trl_gift.common.spelling import spell
from trl_gift.config import GiFTConfig
from trl_gift.playground import model_path
from trl_gift.run.example import example_record
from trl_gift.run.folder import RunFolder
from trl_gift.run.wording import QUICKSTART
from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task


def printed(text):
    """The arguments of the commands that a run ends with, by the command's name."""
    lines = [
        line[line.index("trl-gift ") :] for line in text.splitlines() if line.startswith("  ") and "trl-gift " in line
    ]
    return {parts[1]: parts[1:] for parts in map(shlex.split, lines)}


def run(capsys, *argv):
    capsys.readouterr()
    assert main(list(map(str, argv))) == 0, capsys.readouterr().err[-2000:]
    return capsys.readouterr()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in. What a command sets for its process is undone, because the tests share one."""
    monkeypatch.chdir(tmp_path)
    verbosity, threads = transformers.logging.get_verbosity(), torch.get_num_threads()
    with warnings.catch_warnings():
        yield tmp_path
    transformers.logging.set_verbosity(verbosity)
    transformers.logging.enable_progress_bar()
    datasets.enable_progress_bars()
    torch.set_num_threads(threads)


def test_from_the_quickstart_on(here, capsys):
    said = run(capsys, "quickstart", "--quiet", "--tasks", 6, "--heldout", 6, "--steps", 2, "--rounds", 1).out
    commands = printed(said)
    assert list(commands) == ["show", "evaluate", "generate"]
    assert "The model is in quickstart-out/model." in said
    assert "gain over base" in said
    shown = run(capsys, *commands["show"]).out
    assert "round 1" in shown
    assert shown.startswith("the playground's model, 6 tasks, sampler gibbs")
    assert "--steps" in shown, "in the options of the quickstart"
    assert "num_steps" not in shown
    looks = [line[line.index("trl-gift ") :] for line in shown.partition("Next:\n")[2].splitlines()]
    assert [shlex.split(look)[1] for look in looks] == ["show", "show", "show", "report", "evaluate", "generate"]
    for look in looks[:4]:
        assert run(capsys, *shlex.split(look)[1:]).out.strip()
    measured = json.loads(run(capsys, *commands["evaluate"], "--json").out)
    record = json.loads((here / "quickstart-out/_gift/round-1/metrics.json").read_text())
    assert measured["eval_pass@1"] == record["metrics"]["pass@1"]
    assert measured["comparison"]["difference"] == pytest.approx(record["gain"]["pass@1"])
    assert "def solve(" in run(capsys, *commands["generate"]).out
    weights = (here / "quickstart-out/model/model.safetensors").stat()
    again = run(
        capsys, "quickstart", "--tasks", 6, "--heldout", 6, "--steps", 2, "--rounds", 1, "--resume",
        "--output_dir", "quickstart-out",
    )  # fmt: skip
    assert re.sub(r"\d+ s$", "", again.out.strip()) == re.sub(r"\d+ s$", "", said.strip()), "the summary, and no more"
    assert again.err.splitlines()[1] == "the run in quickstart-out is continued"
    assert again.err.splitlines()[2:] == [
        "The run in quickstart-out is finished: its round is measured. A larger --rounds continues it."
    ], "no bars, and nothing of the libraries"
    assert (here / "quickstart-out/model/model.safetensors").stat() == weights, "nothing is written again"
    assert "sampled_pass@1" not in measured


def test_from_an_adapter_of_ones_own_on(here, capsys):
    options = {
        "model_name_or_path": "playground", "dataset_name": "playground", "limit": 4, "dataset_test_split": "validation",
        "eval_limit": 3, "output_dir": "my runs/out", "use_peft": "true", "lora_r": 4, "num_steps": 2,
        "num_generations": 2, "max_completion_length": 64, "max_description_length": 32, "max_steps": 1, "bf16": "false",
        "use_cpu": "true", "report_to": "none", "disable_tqdm": "true",
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    sets = ["--eval_dataset_name", "one=playground", "two=playground"]
    argv = ["train", *flags, *sets, "--logging_steps", "1"]
    output = run(capsys, *argv, "--resume")
    said = output.out + output.err
    assert "my runs/out holds no run to continue; a new one begins." in said
    assert f"`{shlex.join(['trl-gift', *map(str, argv), '--dry-run'])}` says how long that takes." in said
    assert "gain over base" in output.out, "the result is on standard output"
    assert "gain over base" not in output.err
    assert "{'" not in said, "no dictionaries"
    assert "Loading weights" not in said
    assert "step 1: loss " in said
    assert not re.search(r"\w+='\w+'", said), "options are named as on the command line"
    commands = printed(output.out)
    finished = run(capsys, "train", *flags, *sets, "--resume").err
    assert "The run in my runs/out is finished: its round is measured." in finished
    assert "isolated by " in said
    assert "completions of at most" not in finished, "nothing is going to be sampled"
    assert list(commands) == ["show", "evaluate", "generate", "merge"]
    for name in ("show", "generate"):
        assert run(capsys, *commands[name]).out.strip()
    measured = json.loads(run(capsys, *commands["evaluate"], "--json").out)
    assert [measured[f"eval_{name}_num_tasks"] for name in ("one", "two")] == [3, 3]
    assert set(measured["comparison"]) == {"one", "two"}, "each set is compared with the same set of the run"
    assert commands["merge"][-1] == "my runs/out-merged"
    merged = run(capsys, *commands["merge"]).out
    assert merged.startswith(
        "The adapter my runs/out is merged into the playground's model.\nThe model is in my runs/out-merged ("
    )
    assert printed(merged)["generate"] == ["generate", "my runs/out-merged", *commands["generate"][2:]], (
        "a task of the run"
    )
    assert run(capsys, *printed(merged)["generate"]).out.strip()
    whole = json.loads(run(capsys, *printed(merged)["evaluate"], "--json").out)
    assert [whole[f"eval_{name}_num_tasks"] for name in ("one", "two")] == [3, 3]
    card = (here / "my runs/out-merged/README.md").read_text()
    assert "## The adapter's card" in card
    assert "#### Results" in card
    snippet = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    assert commands["generate"][2] in snippet, "the prompt is that of a task of the run"
    capsys.readouterr()
    exec(snippet, {})
    assert capsys.readouterr().out.strip(), "the model has written something"
    model = AutoModelForCausalLM.from_pretrained("my runs/out-merged")
    tokenizer = AutoTokenizer.from_pretrained("my runs/out-merged")
    ids = tokenizer("def solve(xs):\n", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, ids.shape[1], model.config.vocab_size)
    base = AutoModelForCausalLM.from_pretrained(model_path())
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), base.parameters(), strict=True))


def test_commands_are_quoted_and_only_those_that_work_are_there(here):
    (here / "out").mkdir()
    (here / "out/adapter_config.json").write_text("{}")
    run = RunFolder("out/")
    run.start({"measured": []})
    run.write("final.json", {"round": 1, "example": {"description": "don't", "signature": "def f(x):"}})
    commands = printed(next_commands(run, "out"))
    assert commands["merge"] == ["merge", "out", "--output", "out-merged"]
    assert commands["generate"] == ["generate", "out", "don't", "--signature", "def f(x):"]
    assert list(commands) == ["show", "generate", "merge"]


def test_the_example_is_a_task_that_was_solved_and_can_be_typed(here, monkeypatch):
    tests = AssertTests("assert f(1) == 1", entry_point="f")
    tasks = [Task("a", "don't", tests, "def f(x):"), Task("b", "Return x as it is.", tests)]
    run = RunFolder("out")
    assert example_record(run, tasks) == {"description": "Return x as it is.", "signature": None}
    (here / "out/_gift/round-1").mkdir(parents=True)
    monkeypatch.setattr("trl_gift.run.example.passed_tasks", lambda folder: {"a"})
    assert example_record(run, tasks) == {"description": "don't", "signature": "def f(x):"}


def test_the_tasks_to_measure_on_are_named_again(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text("")
    assert measured_flags(TaskArguments(dataset_name="mbpp")) == []
    assert measured_flags(TaskArguments(dataset_name="mbpp", dataset_test_split="test", eval_limit=3)) == [
        "--eval_dataset_name", "mbpp", "--dataset_test_split", "test", "--eval_limit", "3",
    ]  # fmt: skip
    assert measured_flags(TaskArguments(dataset_name="x", eval_dataset_name=[str(path)])) == [
        "--eval_dataset_name", str(path),
    ]  # fmt: skip
    assert measured_flags(TaskArguments(dataset_name="x", eval_dataset_name=[f"mine={path}"])) == [
        "--eval_dataset_name", f"mine={path}",
    ]  # fmt: skip
    assert measured_flags(TaskArguments(dataset_name="x", eval_dataset_name=["humaneval"])) == [
        "--eval_dataset_name", "humaneval", "--dataset_test_split", "test",
    ]  # fmt: skip


def test_the_commands_name_the_tasks_as_the_run_has_read_them():
    arguments = TaskArguments(
        dataset_name="org/set", dataset_config="main", dataset_test_split="test", filter="len(tests) > 1", limit=5,
        column_mapping={"q": "description"}, output_comparison="tokens", language_file=["a.yaml"],
        dataset_streaming=True, skip_invalid=True,
    )  # fmt: skip
    reading = [
        "--column_mapping",
        '{"q": "description"}',
        "--output_comparison",
        "tokens",
        "--language_file",
        "a.yaml",
    ]
    assert shlex.split(validate_command(arguments)) == [
        "trl-gift", "validate", "org/set", "--split", "train", "--name", "main", "--filter", "len(tests) > 1",
        "--limit", "5", *reading, "--streaming", "--skip_invalid",
    ]  # fmt: skip
    assert measured_flags(arguments) == [
        "--eval_dataset_name", "org/set", "--dataset_config", "main", "--dataset_test_split", "test", *reading,
        "--dataset_streaming", "--skip_invalid",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("A larger num_rounds continues it.", "A larger --rounds continues it."),
        ("A larger num_steps or sampler='hinted' may solve more.", "A larger --steps or --sampler hinted may solve more."),
        ("num_rounds=0 is out of range", "--rounds 0 is out of range"),
        ("perplexity_weight=-1 is out of range", "--perplexity-weight -1 is out of range"),
        ("q holds a run; continue it with resume_from_checkpoint=True, or give another output_dir.",
         "q holds a run; continue it with --resume, or give another --output-dir."),
        ("'/tmp/num_steps/x' and num_steps.py: 40 tasks, sampler gibbs", "'/tmp/num_steps/x' and num_steps.py: 40 tasks, sampler gibbs"),
        ("a learning_rate that is too high", "a --learning-rate that is too high"),
    ],
)  # fmt: skip
def test_the_quickstart_names_its_own_options(line, own):
    assert spell(line, QUICKSTART) == own
    assert spell(line, quickstart.names()) == own


def test_every_name_of_the_quickstart_is_an_option_of_it_and_of_the_run():
    offered = {name.removeprefix("--") for name in quickstart._parser().names}
    assert {*QUICKSTART.values()} - {"resume"} <= offered
    assert {*QUICKSTART} <= {item.name for item in dataclasses.fields(GiFTConfig)}


def test_every_command_has_a_form_for_machines(here, capsys):
    options = {
        "model_name_or_path": "playground", "dataset_name": "playground", "limit": 3, "output_dir": "out", "num_steps": 1,
        "num_generations": 2, "max_completion_length": 64, "max_steps": 1, "bf16": "false", "use_cpu": "true",
        "report_to": "none", "disable_tqdm": "true",
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    planned = json.loads(run(capsys, "train", *flags, "--dry-run", "--json").out)
    assert planned
    sampled = json.loads(run(capsys, "sample", *flags, "--json").out)
    assert sampled == {"output_dir": "out", "folder": "out/_gift/round-1"}
    trained = json.loads(run(capsys, "train", *flags, "--resume", "--json").out)
    assert (trained["output_dir"], trained["final_round"], trained["base"]) == ("out", 1, None)
    (record,) = trained["rounds"]
    assert (record["samples"], record["tasks"]) == (6, 3)
    assert [name for name in COMMANDS if "--json" not in help_of(capsys, name)] == []


def help_of(capsys, command):
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    return capsys.readouterr().out
