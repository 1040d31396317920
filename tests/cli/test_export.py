"""`trl-gift export`: what it prints, where it writes, and what it refuses."""

from __future__ import annotations

import json

import datasets
import pytest

from tests.support.recorded_runs import RecordedRun
from trl_gift.cli.main import main
from trl_gift.prompts import BasePrompts
from trl_gift.run.folder import RunFolder
from trl_gift.run.prompts import write_prompts
from trl_gift.tasks import Task


@pytest.fixture
def run(tmp_path, tokenizer):
    recorded = RecordedRun(
        tasks=3,
        program=lambda *place: f"def add(a, b):\n    return a + b + {place[0] * 100 + place[1] * 10 + place[2]}\n",
    )
    tasks = [Task(recorded.task_id(number), "Add.", None, "def add(a, b):") for number in range(3)]
    folder = recorded.write(tmp_path / "out")
    write_prompts(RunFolder(folder), tasks, BasePrompts(tokenizer))
    return folder


def test_a_folder_in_that_of_the_run_by_default(run, capsys):
    assert main(["export", str(run), "--to", "dpo"]) == 0
    printed = capsys.readouterr().out
    output = run / "export-dpo"
    assert f"text, in {output}." in printed
    assert "left out, no program in the completion: " in printed
    assert "left out, copies of a reference: " in printed
    rows = datasets.load_dataset(str(output), split="train", cache_dir=str(run / "cache"))
    assert printed.startswith(f"{len(rows)} pairs of 3 tasks (3 in the run)")
    assert "message" in rows.column_names


def test_the_same_for_programs(run, tmp_path, capsys):
    command = ["export", str(run / "_gift"), "--to", "kto", "--output", str(tmp_path / "new"), "--json"]
    assert main([*command, "--pairs-per-task", "0", "--messages", "false"]) == 0
    record = json.loads(capsys.readouterr().out)
    rows = datasets.load_dataset(str(tmp_path / "new"), split="train", cache_dir=str(tmp_path / "cache"))
    assert (record["rows"], record["kind"], record["repository"]) == (len(rows), "kto", None)
    assert record["rows"] == record["passed"] + record["failed"]
    assert "message" not in rows.column_names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "dpo", "--uses_per_program", "0"], "--uses_per_program 0: must be at least 1."),
        (["--to", "dpo", "--format", "conversational"], "--format conversational needs a run of a chat model"),
        (["--to", "dpoo"], "--to: invalid choice: 'dpoo'; did you mean dpo?"),
        ([], "the following arguments are required: --to"),
        (["--to", "sft", "--output", "{run}"], "exists; give another folder"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(run, capsys, arguments, message):
    assert main(["export", str(run), *(item.format(run=run) for item in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
