"""What a run that continues starts from: its own checkpoints, its last weights and its own seeds; also in one process."""

from __future__ import annotations

import functools
import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import EarlyStoppingCallback, TrainerCallback

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, training_tasks, weights_of
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.training.rounds import RoundTrainer, last_checkpoint

SAVED = {"save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 8, "logging_steps": 1}


def make_trainer(tokenizer, folder, callbacks=(), peft_config=None, **options):
    return GiFTTrainer(
        model=make_model(tokenizer),
        args=GiFTConfig(str(folder), **SMALL | SAVED | options),
        train_dataset=training_tasks(),
        processing_class=tokenizer,
        callbacks=list(callbacks),
        peft_config=peft_config,
        sandbox=InstantSandbox(),
    )


@pytest.fixture
def make(tokenizer, tmp_path):
    """Makes a trainer of a tiny run that writes into `out`."""
    return lambda callbacks=(), **options: make_trainer(tokenizer, tmp_path / "out", callbacks, **options)


@dataclass(frozen=True)
class Finished:
    """What a run has left that was never interrupted."""

    folder: Path
    weights: str
    steps: list[int]
    global_step: int


@pytest.fixture(scope="module")
def finished(tokenizer, tmp_path_factory):
    """The finished run with these options, made when first asked for; only to be read."""

    @functools.cache
    def get(**options):
        folder = tmp_path_factory.mktemp("finished") / "out"
        trainer = make_trainer(tokenizer, folder, **options)
        trainer.train()
        return Finished(folder, weights_of(trainer.model), steps_of(trainer), trainer.state.global_step)

    return get


@pytest.fixture
def after(finished, tmp_path):
    """Puts the folder of a finished run where `make` goes on from; returns what it has left."""

    def place(name="out", **options):
        run = finished(**options)
        shutil.copytree(run.folder, tmp_path / name)
        return run

    return place


class Interrupt(TrainerCallback):
    """Stops the process's work, as Ctrl-C does, after this many steps."""

    def __init__(self, steps):
        self.left = steps

    def on_step_end(self, args, state, control, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def steps_of(trainer):
    return [entry["step"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "metric_for_best_model=None leaves EarlyStoppingCallback nothing to compare"),
        ({"metric_for_best_model": "eval_pass@1"}, "eval_strategy='no' gives EarlyStoppingCallback no evaluation"),
    ],
)
def test_early_stopping_without_what_it_needs_is_refused_at_once(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(callbacks=[EarlyStoppingCallback()], **options)


# In the same process -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart_from_base", [True, False])
@pytest.mark.parametrize("save_strategy", ["no", "steps"])
@pytest.mark.parametrize("steps", [2, 6])
def test_interrupted_and_resumed_in_one_process_is_as_never_interrupted(
    make, finished, restart_from_base, save_strategy, steps
):
    options = {"restart_from_base": restart_from_base, "save_strategy": save_strategy, "save_steps": 100}
    whole = finished(**options)
    trainer = make(callbacks=[Interrupt(steps)], **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.train(resume_from_checkpoint=True).global_step == whole.global_step
    assert weights_of(trainer.model) == whole.weights
    assert steps_of(trainer) == whole.steps == list(range(1, whole.global_step + 1))


def test_sampling_first_does_not_change_what_a_round_starts_from(make, finished):
    make(one_round_per_process=True).train()
    trainer = make(one_round_per_process=True)
    trainer.sample(resume_from_checkpoint=True)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.is_finished
    assert weights_of(trainer.model) == finished().weights


def test_sharded_weights_cannot_be_restored_in_one_process(make, monkeypatch):
    make().sample()
    monkeypatch.setattr(RoundTrainer, "is_sharded", True)
    monkeypatch.setattr("trl_gift.trainer.check_sharded", lambda *_: None)
    trainer = make(one_round_per_process=True, callbacks=[Interrupt(1)], save_steps=100)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(ResumeError, match="start a new process"):
        trainer.train(resume_from_checkpoint=True)


# A run that has finished, or of which rounds are left out -----------------------------------------------------------


@pytest.mark.parametrize("one_round_per_process", [False, True])
def test_a_finished_run_that_is_resumed_holds_the_weights_of_its_last_round(make, after, one_round_per_process):
    whole = after()
    again = make(one_round_per_process=one_round_per_process)
    assert again.train(resume_from_checkpoint=True).global_step == whole.global_step
    assert weights_of(again.model) == whole.weights


@pytest.mark.parametrize("one_round_per_process", [False, True])
@pytest.mark.parametrize("method", ["train", "sample"])
def test_fewer_rounds_than_are_trained_are_refused(make, after, one_round_per_process, method):
    after()
    fewer = make(num_rounds=1, one_round_per_process=one_round_per_process)
    with pytest.raises(ResumeError, match=r"num_rounds=1, but .* has trained 2 rounds; num_rounds may only grow"):
        getattr(fewer, method)(resume_from_checkpoint=True)


def test_fewer_rounds_than_are_begun_are_refused(make):
    with pytest.raises(KeyboardInterrupt):
        make(callbacks=[Interrupt(7)]).train()
    with pytest.raises(ResumeError, match=r"num_rounds=1, but .* has trained 2 rounds"):
        make(num_rounds=1).train(resume_from_checkpoint=True)
    assert len(make(num_rounds=3).train(resume_from_checkpoint=True).rounds) == 3


@pytest.mark.parametrize("method", ["train", "sample"])
def test_a_round_of_its_own_process_needs_the_weights_of_the_round_before(make, after, method):
    after(num_rounds=1, save_strategy="no")
    trainer = make(one_round_per_process=True)
    with pytest.raises(ResumeError, match=r"no checkpoint .* the weights of round 1.*one_round_per_process=False"):
        getattr(trainer, method)(resume_from_checkpoint=True)


# Checkpoints --------------------------------------------------------------------------------------------------------


def test_a_mark_names_its_run(finished):
    folder = finished(num_rounds=1).folder
    key = json.loads((folder / "_gift/run.json").read_text())["key"]
    marks = [json.loads(path.read_text()) for path in folder.glob("checkpoint-*/gift_state.json")]
    assert marks
    assert {mark["run"] for mark in marks} == {key}


@pytest.mark.parametrize("resume", [None, True])
def test_a_run_does_not_begin_beside_checkpoints_of_another(make, after, tmp_path, resume):
    after(num_rounds=1)
    shutil.rmtree(tmp_path / "out/_gift")
    with pytest.raises(
        ResumeError, match=r"out holds checkpoint-\d+ of another run; remove .* or give another output"
    ):
        make().train(resume_from_checkpoint=resume)
    assert not (tmp_path / "out/_gift").exists()


def test_checkpoints_of_another_run_are_not_taken(make, after, tmp_path):
    after("other", num_rounds=1)
    with pytest.raises(KeyboardInterrupt):
        make(num_rounds=1, save_strategy="no", callbacks=[Interrupt(2)]).train()
    for path in (tmp_path / "other").glob("checkpoint-*"):
        shutil.copytree(path, tmp_path / "out" / path.name)
    trainer = make(num_rounds=1, save_strategy="no")
    assert trainer._begin(True) is None
    with pytest.raises(ResumeError, match="is not a complete checkpoint of the run in"):
        trainer._begin(str(tmp_path / "out/checkpoint-1"))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_checkpoint_is_named_by_its_path(make, after, tmp_path, kind, monkeypatch):
    whole = after()
    assert make()._begin(kind(tmp_path / "out/checkpoint-3")).step == 3
    monkeypatch.chdir(tmp_path)
    assert make()._begin(kind("out/checkpoint-3")).step == 3
    trainer = make()
    trainer.train(resume_from_checkpoint=kind(tmp_path / "out/checkpoint-3"))
    assert weights_of(trainer.model) == whole.weights


@pytest.mark.parametrize("name", ["out/checkpoint-*", "out", "elsewhere/checkpoint-1", "checkpoint-1", "out/checkpoint-99",
                                  "out/_gift", ""])  # fmt: skip
def test_what_is_not_a_checkpoint_of_the_run_is_refused(make, after, tmp_path, monkeypatch, name):
    after(num_rounds=1)
    shutil.copytree(tmp_path / "out/checkpoint-1", tmp_path / "elsewhere/checkpoint-1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResumeError, match="is not a complete checkpoint of the run in"):
        make(num_rounds=1).train(resume_from_checkpoint=name)


def test_a_number_is_not_a_checkpoint(make):
    with pytest.raises(ConfigError, match="resume_from_checkpoint=3 is not a path; give True"):
        make().train(resume_from_checkpoint=3)


def test_a_process_of_one_round_does_not_go_back_to_an_earlier_round(make, after, tmp_path):
    after()
    trainer = make(num_rounds=3, one_round_per_process=True)
    with pytest.raises(ResumeError, match="checkpoint-2 does not hold the weights of round 2"):
        trainer.train(resume_from_checkpoint=tmp_path / "out/checkpoint-2")


WIDE = {"r": 4, "target_modules": "all-linear"}


@pytest.mark.parametrize(
    ("saved", "now", "message"),
    [
        (None, WIDE, "it trains whole weights and peft_config asks for an adapter now; leave that out"),
        (WIDE, None, "it trains an adapter and now there is none; give its peft_config"),
        (WIDE, WIDE | {"r": 2}, "r of its adapter was 4 and is now 2; put it back"),
        (WIDE, WIDE | {"lora_alpha": 3}, "lora_alpha of its adapter was 8 and is now 3; put it back"),
        (
            WIDE,
            WIDE | {"target_modules": ["q_proj"]},
            r"target_modules of its adapter was \[.*\] and is now \['q_proj'\]",
        ),
        (WIDE, WIDE | {"lora_dropout": 0.5}, None),
        (None, None, None),
    ],
)
def test_a_run_goes_on_with_its_own_kind_of_adapter(make, after, tmp_path, tokenizer, saved, now, message):
    after(num_rounds=1)
    if saved:
        checkpoint = last_checkpoint(tmp_path / "out").path
        get_peft_model(make_model(tokenizer), LoraConfig(**saved)).peft_config["default"].save_pretrained(checkpoint)
    trainer = make(peft_config=LoraConfig(**now) if now else None)
    refused = pytest.raises(ResumeError, match=f"cannot continue the run in .*out: {message}")
    with refused if message else nullcontext():
        trainer._begin(True)


# Options ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"seed": 5}, {"seed": 6}, "seed was 5 and is now 6"),
        ({"samples_seed": 5}, {"samples_seed": 6}, "samples_seed was 5 and is now 6"),
        ({"samples_seed": 5}, {"seed": 6, "samples_seed": 5}, "seed was 42 and is now 6"),
        ({}, {"samples_seed": 7}, "samples_seed was 42 and is now 7"),
    ],
)
def test_a_changed_seed_is_refused(make, before, after, message):
    make(**before).sample()
    with pytest.raises(ResumeError, match=message):
        make(**after).train(resume_from_checkpoint=True)


def test_the_same_seed_said_in_another_way_is_no_change(make):
    make(seed=5).sample()
    make(seed=5, samples_seed=5).sample(resume_from_checkpoint=True)


CHANGED = {"learning_rate": 5e-4, "max_length": 77, "per_device_train_batch_size": 2}


def test_a_changed_option_of_the_training_is_said_in_a_line(make, after, capfd):
    after(num_rounds=1)
    capfd.readouterr()
    make(num_rounds=2, **CHANGED).train(resume_from_checkpoint=True)
    said = capfd.readouterr().err
    for line in ("learning_rate was 0.001 and is now 0.0005", "max_length was 1024 and is now 77",
                 "per_device_train_batch_size was 8 and is now 2"):  # fmt: skip
        assert said.count(line) == 1


def test_it_is_refused_where_a_measured_round_would_be_trained_again(make, after):
    after(save_strategy="no")
    with pytest.raises(ResumeError, match=r"learning_rate was 0.001 and is now 0.0005, but round 1 .* trained again"):
        make(num_rounds=3, learning_rate=5e-4).train(resume_from_checkpoint=True)


def test_a_round_without_pairs_is_not_trained_again(make):
    trainer = make(num_rounds=1)
    trainer.train()
    for name in ("untrained", "metrics"):
        trainer.run.write(f"round-2/{name}.json", {})
    make(learning_rate=5e-4)._begin(True)


def test_other_options_may_change_silently(make, after, capfd):
    after(num_rounds=1)
    capfd.readouterr()
    make(num_rounds=2, logging_steps=3, save_steps=50, bf16=True, dataloader_num_workers=0, run_name="x",
         hub_model_id="x").train(resume_from_checkpoint=True)  # fmt: skip
    assert " is now " not in capfd.readouterr().err
