"""A run becomes a data set: its rows are the run's samples, asked for as the run asks, and nothing else of the tasks."""

from __future__ import annotations

import json
from collections import Counter

import datasets
import pytest

from tests.support.export_tasks import TASKS, tasks
from tests.support.recorded_runs import RecordedRun
from trl_gift.errors import ConfigError
from trl_gift.export import KINDS, export_run
from trl_gift.export.rows import COLUMNS
from trl_gift.run.folder import RunFolder
from trl_gift.run.samples import read_rounds
from trl_gift.sampling.store import read_samples
from trl_gift.training.pairs import make_pair


def samples_of(folder):
    return {one.sample_id: one for path in RunFolder(folder).sampled_rounds() for one in read_samples(path)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["base", "chat"])
def test_the_folder_loads_as_it_was_made_and_each_run_gives_it_again(run_of, tmp_path, kind, of):
    exported = export_run(run_of(of), kind)
    folder = exported.save(tmp_path / "data set")
    loaded = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == exported.dataset.to_list() == export_run(run_of(of), kind).dataset.to_list()
    assert loaded.column_names == list(COLUMNS[kind])
    card = (folder / "README.md").read_text()
    assert all(f"| `{name}` |" in card for name in COLUMNS[kind])
    assert f"--to {kind}`" in card
    assert "The programs are those that a code model wrote while it trained itself." in card
    assert {path.name for path in tmp_path.iterdir()} == {"data set", "cache"}
    with pytest.raises(ConfigError, match="exists; give another folder"):
        exported.save(folder)


@pytest.mark.parametrize("kind", ["dpo", "reward"])
def test_a_pair_is_a_passing_and_a_failing_program_of_one_task(run_of, kind):
    samples, rows = samples_of(run_of()), export_run(run_of(), kind, pairs_per_task=3).dataset
    assert len({row["task_id"] for row in rows}) == TASKS
    for row in rows:
        chosen, rejected = samples[row["chosen_id"]], samples[row["rejected_id"]]
        assert chosen.task_id == rejected.task_id == row["task_id"]
        assert chosen.passed
        assert rejected.status in ("failed", "error", "timeout", "memory", "violation", "syntax_error")
        assert (row["status"], row["message"]) == (rejected.status, rejected.message)
        assert row["chosen"].endswith(chosen.target)
        assert row["rejected"].endswith(rejected.target)
        places = [
            {(one.round, one.step) for one in samples.values() if (one.task_id, one.code) == (own.task_id, own.code)}
            for own in (chosen, rejected)
        ]
        assert row["same_step"] is not places[0].isdisjoint(places[1])
    used = [row[name] for row in rows for name in ("chosen_id", "rejected_id")]
    assert len(used) == len(set(used))
    assert max(sum(row["task_id"] == one["task_id"] for row in rows) for one in rows) == 3


def test_labels_are_the_verdicts_and_passing_programs_are_what_may_be_selected(run_of):
    samples = samples_of(run_of())
    labelled = export_run(run_of(), "kto", pairs_per_task=None).dataset
    assert all(row["label"] is samples[row["sample_id"]].passed for row in labelled)
    passing = export_run(run_of(), "sft", pairs_per_task=None).dataset
    assert {row["sample_id"] for row in passing} == {row["sample_id"] for row in labelled if row["label"]}
    eligible = read_rounds(RunFolder(run_of()).sampled_rounds()).eligible
    assert {row["sample_id"] for row in passing} <= {one.sample_id for group in eligible.values() for one in group}
    few = export_run(run_of(), "kto", pairs_per_task=2).dataset
    assert max(Counter((row["task_id"], row["label"]) for row in few).values()) == 2
    assert {row["task_id"] for row in few} == {row["task_id"] for row in labelled}
    assert {row["sample_id"] for row in few} <= {row["sample_id"] for row in labelled}


def test_every_attempt_has_its_verdict_and_its_error(run_of):
    samples, rows = samples_of(run_of()), export_run(run_of(), "attempts").dataset
    assert [row["sample_id"] for row in rows] == list(samples)
    for row in rows:
        one = samples[row["sample_id"]]
        assert (row["status"], row["code"], row["completion"]) == (one.status, one.code, one.completion)
        assert (row["message"], row["passed"], row["written_from"]) == (one.message, one.passed, one.description)
    assert {row["error_class"] for row in rows} == {
        "passed", "failed_test", "runtime_error", "compile_error", "no_program"
    }  # fmt: skip


@pytest.mark.parametrize("of", ["base", "chat"])
def test_in_plain_text_the_tokens_are_those_of_the_training(run_of, prompts_of, of):
    prompts = prompts_of[of]
    for row in export_run(run_of(of), "sft", format="text").dataset:
        task = next(task for task in tasks() if task.task_id == row["task_id"])
        target = samples_of(run_of(of))[row["sample_id"]].target
        pair = make_pair(task, target, prompts)
        encode = lambda text: prompts.tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
        assert [*encode(row["prompt"] + row["completion"]), prompts.end_id] == pair.input_ids
        ids = prompts.write(task, task.description).ids
        assert tuple(encode(row["prompt"])) == ids


def test_as_turns_of_a_chat_the_text_is_that_of_the_training(run_of, prompts_of):
    prompts = prompts_of["chat"]
    for row in export_run(run_of("chat"), "sft").dataset:
        task = next(task for task in tasks() if task.task_id == row["task_id"])
        assert [turn["role"] for turn in row["prompt"] + row["completion"]] == ["system", "user", "assistant"]
        text = prompts.tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
        target = samples_of(run_of("chat"))[row["sample_id"]].target
        trained = prompts.tokenizer.decode(make_pair(task, target, prompts).input_ids)
        assert text == f"{trained}\n"


def test_arguments_of_the_template_are_in_a_column_that_trl_reads(run_of, tmp_path):
    given = {"enable_thinking": False, "level": 2}
    folder = run_of("chat", options={"chat_template_kwargs": given})
    exported = export_run(folder, "dpo")
    assert all(row["chat_template_kwargs"] == given for row in exported.dataset)
    loaded = datasets.load_dataset(
        str(exported.save(tmp_path / "new")), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.to_list() == exported.dataset.to_list()
    assert "chat_template_kwargs" not in export_run(folder, "dpo", format="text").dataset.column_names


def test_no_row_holds_what_the_task_keeps_to_itself(run_of):
    prompts = (RunFolder(run_of()).root / "prompts.jsonl").read_text()
    assert "assert add" not in prompts
    assert set(json.loads(prompts.splitlines()[0])) == {
        "task_id", "description", "signature", "language", "text", "left", "conversation"
    }  # fmt: skip
    rows = export_run(run_of(), "dpo", messages=False).dataset
    assert "message" not in rows.column_names
    assert "assert add" not in json.dumps(rows.to_list())


def test_a_run_without_verdicts_gives_its_programs_alone(run_of):
    folder = run_of(verify=False)
    exported = export_run(folder, "sft", pairs_per_task=2)
    assert len(exported.dataset) == 2 * TASKS
    for kind in ("dpo", "kto", "reward", "attempts"):
        with pytest.raises(ConfigError, match="did not verify its programs; use to='sft'"):
            export_run(folder, kind)


def test_what_cannot_be_made_says_why_in_a_line(run_of, tmp_path):
    old = RecordedRun(rounds=1).write(tmp_path / "old")
    cases = [
        (lambda: export_run(tmp_path, "dpo"), "holds no run"),
        (lambda: export_run(run_of(), "ppo"), "to='ppo' is unknown; use one of dpo, kto"),
        (lambda: export_run(run_of(), "dpo", format="chat"), "format='chat' is unknown"),
        (lambda: export_run(run_of(), "dpo", pairs_per_task=0), "pairs_per_task=0 is out of range"),
        (lambda: export_run(run_of(), "dpo", uses_per_program=0), "uses_per_program=0 is out of range"),
        (lambda: export_run(run_of(), "dpo", format="conversational"), "needs a run of a chat model"),
        (lambda: export_run(old, "dpo"), "holds no prompts"),
    ]
    for call, message in cases:
        with pytest.raises(ConfigError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
