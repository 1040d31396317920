"""A run ends with the weights of its best measured round, wherever these are; the record and the card say which."""

from __future__ import annotations

import json

import pytest
from peft import LoraConfig, get_peft_model

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, Watch, measured_tasks, training_tasks, weights_of
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.evaluation import Attempt, Evaluation
from trl_gift.run.trained import trained_model
from trl_gift.training.pairs import TrainingPairs

SOLVED = {0: 0, 1: 3, 2: 2, 3: 1}  # tasks that the base and the model of each round solve


def make_trainer(folder, tokenizer, monkeypatch, rounds=2, model=None, **options):
    """A trainer whose evaluations are scripted by the round."""
    watch = Watch()
    trainer = GiFTTrainer(
        model or make_model(tokenizer), GiFTConfig(str(folder), **SMALL | {"num_rounds": rounds} | options), training_tasks(),
        measured_tasks(), tokenizer, callbacks=[watch], sandbox=InstantSandbox(lambda program, tests: True),
    )  # fmt: skip

    def evaluate(rollouts, sets, settings):
        ((heading, tasks),) = sets.items()
        number = int(heading.split()[1].rstrip(":")) if heading.startswith("round") else 0
        statuses = ["passed" if place < SOLVED[number] else "failed" for place in range(len(tasks))]
        attempts = [Attempt(task.task_id, -1, "", "", status) for task, status in zip(tasks, statuses, strict=True)]
        return {heading: Evaluation(tuple(attempts), (1,), "scripted")}

    monkeypatch.setattr("trl_gift.trainer.evaluate_sets", evaluate)
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


@pytest.mark.parametrize("options", [{"save_strategy": "no"}, {"save_strategy": "steps", "save_total_limit": 1}])
def test_a_finished_run_that_is_resumed_keeps_its_best_round(options, tmp_path, tokenizer, monkeypatch):
    first, watch = make_trainer(tmp_path, tokenizer, monkeypatch, **options)
    first.train()
    first.save_model()
    again, _ = make_trainer(tmp_path, tokenizer, monkeypatch, **options)
    again.train(resume_from_checkpoint=True)
    assert final(tmp_path) == 1
    assert weights_of(again.model) == watch.ended[0]


def test_a_best_round_without_pairs_has_the_weights_of_the_round_before(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setitem(SOLVED, 2, 3)
    trainer, watch = make_trainer(tmp_path, tokenizer, monkeypatch, rounds=3, save_strategy="steps")
    pair = trainer._pair
    nothing = TrainingPairs([], 0, 0, 0, 0)
    calls = iter(range(9))
    monkeypatch.setattr(trainer, "_pair", lambda *given: nothing if next(calls) == 1 else pair(*given))
    trainer.train()
    assert final(tmp_path) == 2
    assert weights_of(trainer.model) == watch.ended[0]


def test_an_adapter_with_a_name_of_its_own(tmp_path, tokenizer, monkeypatch):
    model = get_peft_model(make_model(tokenizer), LoraConfig(r=2, target_modules="all-linear"), adapter_name="code")
    trainer, watch = make_trainer(tmp_path, tokenizer, monkeypatch, model=model, save_strategy="steps")
    trainer.train()
    assert final(tmp_path) == 1
    assert weights_of(trainer.model) == watch.ended[0]


def test_the_card_and_the_commands_take_the_round_that_was_kept(tmp_path, tokenizer, monkeypatch):
    trainer, _ = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps")
    trainer.train()
    steps = sorted(int(path.name.partition("-")[2]) for path in tmp_path.glob("checkpoint-*"))
    assert f"checkpoint-{steps[0]}" in (tmp_path / "README.md").read_text()
    assert trained_model(tmp_path) == (str(tmp_path / f"checkpoint-{steps[0]}"), 1)


def test_a_saved_model_of_an_earlier_end_is_not_taken_for_the_new_one(tmp_path, tokenizer, monkeypatch):
    first, _ = make_trainer(tmp_path, tokenizer, monkeypatch, rounds=1, save_strategy="steps")
    first.train()
    first.save_model()
    assert trained_model(tmp_path) == (str(tmp_path), 1)
    monkeypatch.setitem(SOLVED, 1, 1)
    monkeypatch.setitem(SOLVED, 2, 3)
    longer, _ = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps")
    (tmp_path / "_gift/round-1/metrics.json").write_text(
        (tmp_path / "_gift/round-1/metrics.json").read_text().replace('"pass@1": 1.0', '"pass@1": 0.3')
    )
    longer.train(resume_from_checkpoint=True)
    assert final(tmp_path) == 2
    path, number = trained_model(tmp_path)
    assert (number, "checkpoint-" in path) == (2, True)
    longer.save_model()
    assert trained_model(tmp_path) == (str(tmp_path), 2)


def test_where_its_weights_are_gone_a_line_says_so(tmp_path, tokenizer, monkeypatch, capsys):
    first, watch = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps", save_total_limit=1)
    first.train()
    (tmp_path / "_gift/best_weights.pt").unlink()
    again, _ = make_trainer(tmp_path, tokenizer, monkeypatch, save_strategy="steps", save_total_limit=1)
    again.train(resume_from_checkpoint=True)
    assert weights_of(again.model) == watch.ended[1]
    assert final(tmp_path) == 2
    assert "round 1 was the best, but its weights are not on disk any more" in capsys.readouterr().err
