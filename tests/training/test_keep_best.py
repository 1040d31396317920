"""A run ends with the weights of its best measured round, wherever these are; the record and the card say which."""

from __future__ import annotations

import json

import pytest

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, Watch, measured_tasks, training_tasks, weights_of
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.evaluation import Attempt, Evaluation

SOLVED = {0: 0, 1: 3, 2: 2, 3: 1}  # tasks that the base and the model of each round solve


def make_trainer(folder, tokenizer, monkeypatch, rounds=2, **options):
    """A trainer whose evaluations are scripted by the round."""
    watch = Watch()
    trainer = GiFTTrainer(
        make_model(tokenizer), GiFTConfig(str(folder), **SMALL | {"num_rounds": rounds} | options), training_tasks(),
        measured_tasks(), tokenizer, callbacks=[watch], sandbox=InstantSandbox(lambda program, tests: True),
    )  # fmt: skip

    def evaluate(rollouts, tasks, settings, heading="evaluating"):
        number = int(heading.split()[1].rstrip(":")) if heading.startswith("round") else 0
        statuses = ["passed" if place < SOLVED[number] else "failed" for place in range(len(tasks))]
        attempts = [Attempt(task.task_id, -1, "", "", status) for task, status in zip(tasks, statuses, strict=True)]
        return Evaluation(tuple(attempts), (1,), "scripted")

    monkeypatch.setattr("trl_gift.trainer.evaluate_rollouts", evaluate)
    return trainer, watch


def final(folder):
    return json.loads((folder / "_gift" / "final.json").read_text())["round"]


@pytest.mark.parametrize(
    "options", [{"save_strategy": "no"}, {"save_strategy": "steps"}, {"save_strategy": "steps", "save_total_limit": 1}]
)
def test_the_model_is_that_of_the_best_round(options, tmp_path, tokenizer, monkeypatch, capsys):
    trainer, watch = make_trainer(tmp_path, tokenizer, monkeypatch, rounds=3, **options)
    trainer.train()
    assert weights_of(trainer.model) == watch.ended[0]
    assert len(set(watch.ended)) == 3
    assert final(tmp_path) == 1
    assert "* the final model, the best measured round" in capsys.readouterr().err
    assert (
        "Its weights are those of round 1, which solved most evaluation tasks." in (tmp_path / "README.md").read_text()
    )


@pytest.mark.parametrize("options", [{"keep_best_round": False}, {"num_rounds": 1}])
def test_or_of_the_last(options, tmp_path, tokenizer, monkeypatch):
    trainer, watch = make_trainer(tmp_path, tokenizer, monkeypatch, **options)
    trainer.train()
    assert weights_of(trainer.model) == watch.ended[-1]
    assert final(tmp_path) == len(watch.ended)
    assert "Its weights are those of" not in (tmp_path / "README.md").read_text()


def test_a_resumed_run_finds_the_best_round_on_disk(tmp_path, tokenizer, monkeypatch):
    first, watch = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps")
    first.train()
    again, _ = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps")
    again.train(resume_from_checkpoint=True)
    assert weights_of(again.model) == watch.ended[0] == weights_of(first.model)
    longer, more = make_trainer(tmp_path, tokenizer, monkeypatch, rounds=3, save_strategy="steps")
    longer.train(resume_from_checkpoint=True)
    assert weights_of(longer.model) == watch.ended[0]
    assert more.ended[-1] not in watch.ended
    assert final(tmp_path) == 1


def test_where_its_weights_are_gone_a_line_says_so(tmp_path, tokenizer, monkeypatch, capsys):
    first, watch = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps", save_total_limit=1)
    first.train()
    again, _ = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps", save_total_limit=1)
    again.train(resume_from_checkpoint=True)
    assert weights_of(again.model) == watch.ended[1]
    assert final(tmp_path) == 2
    assert "round 1 was the best, but its weights are not on disk any more" in capsys.readouterr().err
