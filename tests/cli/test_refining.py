"""`--refine_steps`: the figures of the whole procedure stand beside the plain ones, and every turn is kept."""

from __future__ import annotations

import json

import pytest

import trl_gift
from trl_gift import GiFTConfig
from trl_gift.cli.main import main
from trl_gift.errors import ConfigError
from trl_gift.inference.saved import read_evaluation
from trl_gift.playground import model_path, playground_tasks

CPU = ["--use_cpu", "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true", "--sandbox_workers", "1"]
MEASURE = ["evaluate", "playground", "--eval_dataset_name", "playground", "--eval_limit", "8", "--max_completion_length", "64",
           "--eval_num_generations", "2", *CPU]  # fmt: skip


def measured(**options):
    given = {"use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True, "max_completion_length": 64,
             "eval_num_generations": 2, "sandbox_workers": 1}  # fmt: skip
    args = GiFTConfig("unused", **given | options)
    return trl_gift.evaluate(str(model_path()), playground_tasks("test", 8), args, refine_steps=2)


def refinements(evaluation):
    """What was asked and answered: a message may say where an object lay in memory."""
    return [
        (one.task_id, one.index, one.code, [(turn.prompt, turn.completion) for turn in one.turns])
        for one in evaluation.attempts
    ]


def test_beside_the_plain_figures_and_whatever_the_batch(capsys, tmp_path):
    assert main([*MEASURE, "--refine_steps", "2", "--save", str(tmp_path / "new"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert main([*MEASURE, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    same = [name for name in plain if name.startswith("eval_")]
    assert [record[name] for name in same] == [plain[name] for name in same]
    assert "eval_refined_pass@1" not in plain
    assert record["eval_refined_pass@1"] >= record["eval_pass@1"]
    assert record["eval_refined_sampled_pass@1"] >= record["eval_sampled_pass@1"]
    assert record["refinement_tokens"] == record["eval_refinement_tokens"] > 0
    assert record["tokens"] == plain["tokens"]
    (kept,) = read_evaluation(tmp_path / "new").values()
    assert refinements(kept) == refinements(measured(engine_batch_size=2))
    assert any(attempt.turns for attempt in kept.attempts)
    for attempt in kept.attempts:
        assert all("# How it fails:" in turn.prompt for turn in attempt.turns)
        assert not (attempt.passed and attempt.turns)


def test_people_read_both_and_what_weakens_them(capsys, tmp_path):
    assert main([*MEASURE, "--refine-steps", "1"]) == 0
    shown = capsys.readouterr()
    assert "greedy, then at most 1 refinement\n" in shown.out
    assert " of these tokens for " in shown.out
    assert "all tests are visible" not in shown.err
    assert main([*MEASURE, "--refine-steps", "1", "--visible-tests", "0", "--eval_num_generations", "0"]) == 0
    assert (
        "of 8 tasks of playground all tests are visible, so refinements see what decides." in capsys.readouterr().err
    )


def test_generate_shows_the_program_as_it_ended(capsys):
    command = [
        "generate",
        "playground",
        "answer total",
        "--signature",
        "def solve(xs):",
        "--max_completion_length",
        "64",
    ]
    tests = ["--tests", "assert solve([1, 2]) == 'never'"]
    assert main([*command, *tests, "--refine_steps", "2", "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    (turns,) = record["refinements"]
    assert turns
    assert record["program"] == turns[-1]["code"]
    assert "assert solve([1, 2]) == 'never'" in turns[0]["prompt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*MEASURE, "--refine_steps", "-1"], "--refine_steps -1: must be at least 0."),
        ([*MEASURE, "--visible_tests", "-1"], "--visible_tests -1: must be at least 0."),
        (["generate", "playground", "x", "--refine_steps", "2"], "without tests; give --tests."),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(capsys, arguments, message):
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trl-gift: ")]
    assert message in line


@pytest.mark.parametrize(("option", "value"), [("refine_steps", -1), ("visible_tests", 0)])
def test_numbers_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=f"{option}={value} is out of range"):
        trl_gift.evaluate(str(model_path()), playground_tasks("test", 1), **{option: value})
