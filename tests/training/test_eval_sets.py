"""Several sets of evaluation tasks, as transformers' `Trainer` takes them; and tasks that are too long for the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

import trl_gift
from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, measured_tasks, training_tasks
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError, ResumeError, TaskError
from trl_gift.inference.saved import check_comparable, read_earlier
from trl_gift.report import write_report
from trl_gift.run.ending import run_text
from trl_gift.sandbox import Case, StdioTests
from trl_gift.tasks import Task, is_task_sets, task_sets

LONG = Task("long", "word " * 1200, StdioTests(cases=[Case(stdin="measured", stdout="1")]))
HARD = [
    Task(f"h{number}", f"Print {number} twice.", StdioTests(cases=[Case(stdin="hard", stdout="1")]))
    for number in range(2)
]


@pytest.fixture
def make(tokenizer, tmp_path):
    def trainer(eval_dataset, folder="out", sandbox=None, tasks=None, **options):
        return GiFTTrainer(
            make_model(tokenizer), GiFTConfig(str(tmp_path / folder), **SMALL | options), tasks or training_tasks(),
            eval_dataset, tokenizer, sandbox=sandbox or InstantSandbox(lambda program, tests: "hard" not in str(tests)),
        )  # fmt: skip

    return trainer


def read(folder, name):
    return json.loads((folder / "_gift" / name).read_text())


def test_each_set_is_measured_after_every_round_under_its_name(make, tmp_path, capsys):
    trainer = make({"easy": measured_tasks(), "hard": [*HARD, LONG]}, tasks=[*training_tasks(), replace(LONG, task_id="t")],
                   decontaminate=False)  # fmt: skip
    assert [task.task_id for task in trainer.eval_tasks] == ["m0", "m1", "m2"]
    rounds = trainer.train().rounds
    logged = [entry for entry in trainer.state.log_history if any(name.endswith("pass@1") for name in entry)]
    assert [[name for name in entry if name.endswith("pass@1")] for entry in logged] == [
        ["eval_easy_pass@1"], ["eval_hard_pass@1"],
    ] * 3  # fmt: skip
    for item in rounds:
        assert (item["eval_set"], item["metrics"]["pass@1"], item["gain"]["pass@1"]) == ("easy", 1.0, 0.0)
        other = item["other_sets"]["hard"]
        assert (other["metrics"]["pass@1"], other["metrics"]["num_tasks"], other["metrics"]["left_out"]) == (
            0.0,
            2.0,
            1.0,
        )
        assert other["greedy"] == {"h0": False, "h1": False}
    base = read(tmp_path / "out", "base.json")
    assert (base["eval_set"], len(base["attempts"]), base["left_out"]) == ("easy", 3, [])
    assert [one["task_id"] for one in base["other_sets"]["hard"]["attempts"]] == ["h0", "h1"]
    assert base["other_sets"]["hard"]["left_out"] == ["long"]
    kept = read(tmp_path / "out", "round-2/evaluation.json")
    assert [one["task_id"] for one in kept["other_sets"]["hard"]["attempts"]] == ["h0", "h1"]
    assert read(tmp_path / "out", "run.json")["left_out"] == {"tasks": ["t"], "eval_dataset hard": ["long"]}

    text = run_text(base, rounds, 2, left_out=["t"])
    assert text in capsys.readouterr().err
    easy, hard = (next(line for line in text.splitlines() if line.startswith(name)) for name in ("easy  ", "hard  "))
    assert easy.split()[-1] == "distinct"
    assert hard.split() == ["hard", "pass@1", "gain", "over", "base"]
    assert "easy: No gain is shown" in text
    assert "hard: No gain is shown" in text
    assert "1 evaluation task of hard was left out, because prompt and max_completion_length exceed the" in text
    assert "1 training task was left out" in text

    metrics = trainer.evaluate()
    assert {name: value for name, value in metrics.items() if name.endswith("pass@1")} == {
        "eval_easy_pass@1": 1.0, "eval_hard_pass@1": 0.0,
    }  # fmt: skip
    again = trainer.evaluate({"more": HARD}, metric_key_prefix="test")
    assert again["test_more_pass@1"] == 0.0


def test_the_card_the_report_and_the_tables_show_every_set(make, tmp_path):
    make({"easy": measured_tasks(), "hard": [*HARD, LONG]}).train()
    card = (tmp_path / "out/README.md").read_text()
    assert "On the set hard:" in card
    assert "(the set easy, the first table; it chooses the final round)" in card
    run = trl_gift.load_run(tmp_path / "out")
    assert [line.pass_at_1 for line in run.lines] == [1.0] * 3
    assert [line.pass_at_1 for line in run.lines_of("hard")] == [0.0] * 3
    assert list(run.rounds["hard_pass@1"]) == [0.0, 0.0]
    assert list(run.rounds["pass@1"]) == [1.0, 1.0]
    page = Path(write_report(run).path).read_text()
    assert "pass@1 after each round, easy" in page
    assert "pass@1 after each round, hard" in page
    assert "1 evaluation task of hard was left out" in page


def test_the_first_set_chooses_the_best_round(make, tmp_path):
    """Every later round of `falling` passes less often, every later round of `rising` more often."""

    def judge(program, tests):
        measured = len(list((tmp_path / folder / "_gift").glob("round-*/metrics.json")))
        return {"seed": True, "hard": measured > 0, "measured": measured == 0}[tests.cases[0].stdin]

    for folder, names, best in (("a", ("falling", "rising"), 1), ("b", ("rising", "falling"), 2)):
        sets = {"falling": measured_tasks(), "rising": HARD}
        trainer = make({name: sets[name] for name in names}, folder, InstantSandbox(judge))
        trainer.train()
        assert read(tmp_path / folder, "final.json")["round"] == best


def test_a_metric_for_the_best_model_names_a_set(make):
    best = {"greater_is_better": True}
    sets = {"easy": measured_tasks(), "hard": HARD}
    for metric in ("eval_easy_pass@1", "hard_pass@1", "eval_hard_sampled_pass@1_low"):
        make(sets, metric_for_best_model=metric, **best)
    make(measured_tasks(), metric_for_best_model="eval_pass@1", **best)
    for given, metric, fix in (
        (sets, "eval_pass@1", "eval_easy_pass@1"), (sets, "eval_mbpp_pass@1", "eval_easy_pass@1"),
        (measured_tasks(), "eval_mbpp_pass@1", "eval_pass@1"),
    ):  # fmt: skip
        with pytest.raises(
            ConfigError, match=f"{metric}' is not measured by the sets .* metric_for_best_model='{fix}'"
        ):
            make(given, metric_for_best_model=metric, **best)


def test_a_named_metric_chooses_the_checkpoint_within_a_round(make):
    trainer = make({"easy": measured_tasks(), "hard": HARD}, metric_for_best_model="eval_hard_pass@1", num_rounds=1,
                   greater_is_better=True, load_best_model_at_end=True, eval_strategy="steps", eval_steps=1,
                   save_strategy="steps", save_steps=1)  # fmt: skip
    trainer.train()
    assert trainer.state.best_metric == 0.0


def test_what_is_a_set_and_what_is_a_column():
    rows = [{"task_id": "a", "description": "Add.", "signature": "def f(a):", "tests": ["assert f(1) == 1"]}]
    columns = {name: [value] for name, value in rows[0].items()}
    assert not is_task_sets(columns)
    assert list(task_sets(columns)) == [""]
    assert list(task_sets(rows)) == [""]
    named = {"tasks": measured_tasks(), "rows": rows, "table": Dataset.from_list(rows)}
    assert {name: len(tasks) for name, tasks in task_sets(named).items()} == {"tasks": 3, "rows": 1, "table": 1}
    with pytest.raises(TaskError, match=r"eval_dataset\['empty'\] holds no tasks"):
        task_sets({"tasks": measured_tasks(), "empty": []})
    with pytest.raises(TaskError, match="eval_dataset is a dictionary with 'train'; give one of them"):
        task_sets(DatasetDict(train=Dataset.from_list(rows)))


def test_a_run_continues_with_its_sets_alone(make):
    make({"easy": measured_tasks(), "hard": HARD}).train()
    for given, words in (
        (measured_tasks(), "the sets of evaluation tasks was 'easy, hard' and is now ''"),
        ({"easy": measured_tasks(), "hard": HARD[:1]}, "it was begun with 2 evaluation tasks of hard, and there are 1 now"),
        ({"easy": measured_tasks(), "hard": [replace(task, prelude="import os") for task in HARD]},
         "the contents of its 2 evaluation tasks of hard are not the same any more"),
    ):  # fmt: skip
        with pytest.raises(ResumeError, match=words):
            make(given).train(resume_from_checkpoint=True)
    with pytest.raises(
        ResumeError, match="it was begun with 4 training tasks, and there are 3 now; give the same tasks"
    ):
        make({"easy": measured_tasks(), "hard": HARD}, tasks=training_tasks()[:3]).train(resume_from_checkpoint=True)
    make({"easy": measured_tasks(), "hard": HARD}).train(resume_from_checkpoint=True)


def test_an_evaluation_is_compared_with_the_same_set_of_the_run(make, tmp_path):
    make({"easy": measured_tasks(), "hard": [*HARD, LONG]}).train()
    convention = read(tmp_path / "out", "base.json")["convention"]
    for place in ("base.json", "round-1"):
        earlier = read_earlier(tmp_path / "out/_gift" / place)
        assert {name: sorted(found.task_ids) for name, found in earlier.items()} == {
            "easy": ["m0", "m1", "m2"], "hard": ["h0", "h1"],
        }  # fmt: skip
        check_comparable({"easy": measured_tasks(), "hard": HARD}, convention, earlier, place)
        check_comparable({"hard": HARD}, convention, earlier, place)
