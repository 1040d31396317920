"""The commands as a person runs them: what is printed, what is on standard output, how mistakes are told."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support import warm
from trl_gift.cli.arguments import parse
from trl_gift.cli.main import COMMANDS, _quieten, main
from trl_gift.playground import model_path, playground_tasks

ENVIRONMENT = {"COLUMNS": "200"}


def from_nothing(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "trl_gift.cli.main", *map(str, arguments)],
        capture_output=True, text=True, env=os.environ | ENVIRONMENT, timeout=1800, check=False, cwd=cwd,
    )  # fmt: skip


def trl_gift(*arguments, cwd=None):
    return warm.run("trl_gift.cli.main", arguments, ENVIRONMENT, cwd=cwd)


@pytest.fixture
def tasks_file(tmp_path):
    path = tmp_path / "tasks.jsonl"
    rows = [task.to_row() for task in playground_tasks("train", 4, with_reference=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def options(tmp_path, tasks_file):
    """A small run on the embedded model, as flags."""
    values = {
        "model_name_or_path": model_path(), "dataset_name": tasks_file, "output_dir": tmp_path / "out",
        "num_steps": 1, "num_generations": 2, "max_completion_length": 64, "max_description_length": 48,
        "num_train_epochs": 1, "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "disable_tqdm": True, "sandbox_workers": 1,
    }  # fmt: skip
    return [item for name, value in values.items() for item in (f"--{name}", value)]


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    assert main(["--version"]) == 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command, capsys):
    try:
        code = main([command, "--help"])
    except SystemExit as ended:  # argparse's way
        code = ended.code
    assert code == 0
    out = capsys.readouterr().out
    assert "usage: trl-gift " + command in out
    if command in ("train", "sample"):
        assert "--num_steps" in out
        assert "--quiet" in out
        assert "Number of steps of each task's chain in a round." in " ".join(out.split())
    if command in ("train", "sample", "estimate"):
        assert out.count("usage: ") == 1
        (example,) = re.findall(r"^example:\n  (.+)$", out, re.MULTILINE)
        assert example.startswith(f"trl-gift {command} ")
        arguments = [item for item in example.split()[2:] if item not in ("--memory-gb", "24")]
        parse(command, [*arguments, "--use_cpu", "true", "--bf16", "false"])


def test_doctor(capsys):
    process = from_nothing("doctor", "--json")
    findings = json.loads(process.stdout)
    assert process.returncode == (0 if findings["isolated"] else 1)
    assert findings["versions"]["transformers"]
    assert {layer["name"] for layer in findings["isolation"]}
    assert main(["doctor"]) == process.returncode
    assert "isolation" in capsys.readouterr().out


def test_quickstart_json(tmp_path):
    process = trl_gift(
        "quickstart", "--json", "--quiet", "--tasks", 6, "--heldout", 6, "--steps", 2, "--rounds", 2, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr[-2000:]
    (line,) = process.stdout.strip().splitlines()
    summary = json.loads(line)
    assert set(summary) >= {"base", "rounds", "seconds", "output_dir", "isolation"}
    wanted = {
        "round",
        "pass@1",
        "pass@1_ci",
        "solved_tasks",
        "tasks",
        "samples",
        "passed",
        "distinct_programs",
        "selected",
    }
    assert [entry["round"] for entry in summary["rounds"]] == [1, 2]
    for entry in summary["rounds"]:
        assert set(entry) >= wanted
        assert (entry["tasks"], entry["samples"]) == (6, 36)
    assert summary["output_dir"] == "quickstart-out"
    assert "seccomp" in summary["isolation"]
    run = json.loads((tmp_path / "quickstart-out/_gift/run.json").read_text())
    assert run["options"]["train_on_references"] is False
    assert run["options"]["sampler"] == "gibbs"
    # A second one goes elsewhere; one that is told to go to the same place is refused.
    assert trl_gift("quickstart", "--output-dir", tmp_path / "quickstart-out").returncode == 2


def test_train_sample_evaluate(tmp_path, options):
    sampled = trl_gift("sample", *options)
    assert sampled.returncode == 0, sampled.stderr[-2000:]
    folder = tmp_path / "out/_gift/round-1"
    assert sampled.stdout.strip().splitlines()[-1] == str(folder)
    assert "of 4 tasks have no passing program" in sampled.stdout + sampled.stderr
    before = (folder / "samples.parquet").read_bytes()
    again = trl_gift("train", *options)
    assert again.returncode == 2
    assert again.stderr.strip().splitlines()[-1].startswith("trl-gift: ")
    assert "already holds a run" in again.stderr
    trained = trl_gift("train", *options, "--resume")
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert (folder / "samples.parquet").read_bytes() == before, "what was sampled is not sampled again"
    assert (folder / "metrics.json").exists()
    assert (tmp_path / "out/model.safetensors").exists()
    where = options.index("--output_dir") + 1
    elsewhere = [*options[:where], tmp_path / "eval", *options[where + 1 :]]
    evaluated = trl_gift(
        "evaluate", *elsewhere, "--eval_dataset_name", options[options.index("--dataset_name") + 1], "--json"
    )
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    assert set(json.loads(evaluated.stdout)) >= {"eval_pass@1", "eval_pass@1_low", "eval_pass@1_high"}


def test_a_dry_run_estimates_and_leaves_nothing(tmp_path, options):
    process = trl_gift("train", *options, "--dry-run")
    assert process.returncode == 0, process.stderr[-2000:]
    assert "tokens" in process.stdout
    assert not (tmp_path / "out/_gift").exists()


def test_yaml_config_and_flags_over_it(tmp_path, options, tasks_file):
    config = tmp_path / "run.yaml"
    config.write_text(f"dataset_name: {tasks_file}\nnum_steps: 3\nlimit: 2\n")
    rest = list(options)
    for name in ("--dataset_name", "--num_steps"):
        place = rest.index(name)
        del rest[place : place + 2]
    process = trl_gift("sample", "--config", config, *rest, "--num_generations", 1)
    assert process.returncode == 0, process.stderr[-2000:]
    run = json.loads((tmp_path / "out/_gift/run.json").read_text())
    assert (run["options"]["num_steps"], run["options"]["num_generations"], run["tasks"]["count"]) == (3, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "printing"),
    [
        (["show"], "print('x' * 200_000, flush=True)"),
        (["show"], "print('x') or 0"),  # it is still in the buffer when the command has ended
        (["train", "--help"], ""),
        (["--version"], ""),
    ],
    ids=["long", "short", "help", "version"],
)
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(arguments, printing):
    """As in `trl-gift show OUT | head`."""
    script = (
        "import sys, trl_gift.cli.main as main, trl_gift.cli.show as show\n"
        f"show.run = lambda argv: {printing or 0}\n"
        f"sys.exit(main.main({arguments}))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["train", "--config", "my run.yaml"], "continue with `trl-gift train --config 'my run.yaml' --resume`."),
        (["quickstart", "--resume"], "continue with `trl-gift quickstart --resume`."),
        (["train", "--hub_token", "secret"], "continue with --resume."),
    ],
)
def test_an_interrupted_command_says_how_it_goes_on(arguments, advice, monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"trl_gift.cli.{arguments[0]}"), "run", interrupted)
    assert main(arguments) == 130
    assert capsys.readouterr().err == f"trl-gift: interrupted; what was sampled is kept; {advice}\n"


def test_a_hub_that_does_not_answer_is_one_line(capsys):
    logger = logging.getLogger("huggingface_hub.utils._http")
    before = list(logger.filters)
    _quieten()
    try:
        for number in range(5):
            logger.warning("thrown while requesting HEAD, retry %d", number)
    finally:
        logger.filters[:] = before
    assert capsys.readouterr().err == "the Hub does not answer; trying again for some seconds\n"


@pytest.mark.parametrize(("given", "resumes", "taken", "line"), [
    (None, False, False, "the run goes into quickstart-out"),
    (None, False, True, "the run goes into quickstart-out-2, because quickstart-out exists already"),
    (None, True, True, "the run in quickstart-out is continued, the latest here"),
    ("mine", True, True, "the run in mine is continued"),
    ("mine", False, True, "the run goes into mine"),
])  # fmt: skip
def test_the_quickstart_says_where_it_writes(given, resumes, taken, line, tmp_path, monkeypatch):
    from trl_gift.cli.quickstart import _fresh_folder, _latest_folder, _place

    monkeypatch.chdir(tmp_path)
    if taken:
        (tmp_path / "quickstart-out/_gift").mkdir(parents=True)
        (tmp_path / "quickstart-out/_gift/run.json").write_text("{}")
    options = argparse.Namespace(output_dir=given, resume=resumes)
    assert _place(options, given or (_latest_folder() if resumes else _fresh_folder())) == line
