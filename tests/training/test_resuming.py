"""What a run that continues starts from: its own checkpoints, its last weights and its own seeds; also in one process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import TrainerCallback

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, training_tasks, weights_of
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.training.rounds import RoundTrainer

SAVED = {"save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 8, "logging_steps": 1}


@pytest.fixture
def make(tokenizer, tmp_path):
    """Makes a trainer of a tiny run that writes into `out`."""

    def trainer(folder="out", callbacks=(), **options):
        return GiFTTrainer(
            model=make_model(tokenizer),
            args=GiFTConfig(str(tmp_path / folder), **SMALL | SAVED | options),
            train_dataset=training_tasks(),
            processing_class=tokenizer,
            callbacks=list(callbacks),
            sandbox=InstantSandbox(),
        )

    return trainer


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


# In the same process -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart_from_base", [True, False])
@pytest.mark.parametrize("save_strategy", ["no", "steps"])
@pytest.mark.parametrize("steps", [2, 6])
def test_interrupted_and_resumed_in_one_process_is_as_never_interrupted(make, restart_from_base, save_strategy, steps):
    options = {"restart_from_base": restart_from_base, "save_strategy": save_strategy, "save_steps": 100}
    whole = make("whole", **options)
    expected = whole.train()
    trainer = make(callbacks=[Interrupt(steps)], **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.train(resume_from_checkpoint=True).global_step == expected.global_step
    assert weights_of(trainer.model) == weights_of(whole.model)
    assert steps_of(trainer) == steps_of(whole) == list(range(1, expected.global_step + 1))


def test_sampling_first_does_not_change_what_a_round_starts_from(make):
    whole = make("whole")
    whole.train()
    make(one_round_per_process=True).train()
    trainer = make(one_round_per_process=True)
    trainer.sample(resume_from_checkpoint=True)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.is_finished
    assert weights_of(trainer.model) == weights_of(whole.model)


def test_sharded_weights_cannot_be_restored_in_one_process(make, monkeypatch):
    make().sample()
    monkeypatch.setattr(RoundTrainer, "is_sharded", True)
    monkeypatch.setattr("trl_gift.trainer.check_sharded", lambda *_: None)
    trainer = make(one_round_per_process=True, callbacks=[Interrupt(1)], save_steps=100)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(ResumeError, match="start a new process"):
        trainer.train(resume_from_checkpoint=True)
