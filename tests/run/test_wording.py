"""A run that is on disk speaks as the command that has begun it, and says how it is continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from trl_gift.run.ending import unmeasured_line
from trl_gift.run.wording import AS_PYTHON, Wording, how_to_resume, recorded_wording, to_repeat

LINE = "A larger num_steps or sampler='hinted' may solve more."


def test_a_command_line_is_kept_without_what_holds_once_and_without_tokens():
    argv = [
        "--num_steps",
        "3",
        "--resume",
        "--hub_token",
        "hf_secret",
        "--json",
        "--hub-token=hf_x",
        "--eos_token",
        "</s>",
    ]
    assert to_repeat(argv) == ("--num_steps", "3", "--eos_token", "</s>")


@pytest.mark.parametrize(("command", "line", "offers"), [
    (None, LINE, True),
    (["quickstart"], "A larger --steps or --sampler hinted may solve more.", False),
    (["train"], "A larger --num_steps or --sampler hinted may solve more.", True),
])  # fmt: skip
def test_the_wording_is_that_of_the_record(command, line, offers):
    record = {
        "options": {"num_steps": 3, "sampler": "gibbs", "prompt_format": "base"},
        "measured": ["--eval_limit", "3"],
    }
    wording = recorded_wording(record | {"command": command})
    assert wording.phrase(LINE) == line
    assert wording.offers("prompt_format") == offers
    assert wording.to_record() == {"command": command, "measured": ["--eval_limit", "3"]}


def test_an_older_record_is_that_of_train():
    assert recorded_wording({"options": {"num_steps": 3}}).phrase("num_steps=3") == "--num_steps 3"
    assert AS_PYTHON.to_record() == {"command": None, "measured": []}
    assert Wording(command=("train",)).to_record()["command"] == ["train"]


@pytest.mark.parametrize(("record", "words"), [
    ({"command": None}, "trainer.train(resume_from_checkpoint=True) in its script continues it"),
    ({"command": ["quickstart", "--steps", "2"]}, "`trl-gift quickstart --steps 2 --output-dir 'my out' --resume` continues it"),
    ({"command": ["quickstart", "--output_dir", "x"]}, "`trl-gift quickstart --output_dir x --resume` continues it"),
    ({"command": ["sample", "--output_dir", "x"]}, "`trl-gift train --output_dir x --resume` continues it"),
    ({"command": ["train", "--config", "run.yaml"]}, "`trl-gift train --config run.yaml --resume` continues it"),
    ({}, "the command that has begun it, with --resume and --output_dir 'my out', continues it"),
])  # fmt: skip
def test_how_a_run_is_continued(record, words):
    assert how_to_resume(record, Path("my out")) == words


def test_a_run_without_figures_says_how_to_get_some():
    assert unmeasured_line("my out") == (
        "Nothing was measured, because the run has no evaluation tasks (eval_dataset). `trl-gift evaluate 'my out' "
        "--eval_dataset_name TASKS` measures the trained model."
    )
