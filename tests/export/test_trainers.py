"""TRL's trainers take what is exported as it is: two steps with each, with text and with turns of a chat."""

from __future__ import annotations

import math

import pytest
import trl

from tests.support.models import make_model
from trl_gift.export import export_run

SMALL = {
    "max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
    "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1,
}  # fmt: skip


@pytest.mark.parametrize("of", ["base", "chat"])
@pytest.mark.parametrize("kind", ["dpo", "kto", "reward", "sft"])
def test_a_trainer_takes_two_steps(run_of, prompts_of, tmp_path, kind, of):
    exported = export_run(run_of(of), kind)
    tokenizer = prompts_of[of].tokenizer
    make_model(tokenizer).save_pretrained(tmp_path / "model")  # a reference model is loaded from where the model is
    prefix = {"dpo": "DPO", "kto": "KTO", "reward": "Reward", "sft": "SFT"}[kind]
    assert exported.facts.trainer == f"{prefix}Trainer"
    trainer = getattr(trl, f"{prefix}Trainer")(
        model=str(tmp_path / "model"),
        args=getattr(trl, f"{prefix}Config")(str(tmp_path / "out"), **SMALL),
        train_dataset=exported.dataset,
        processing_class=tokenizer,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
