"""Trained models of each kind on the embedded model, made in seconds: adapters, and finished runs."""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.playground import model_path, playground_tasks

LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
HELD_OUT = 6


def make_adapter(folder, scale=0.5, base=None, **options):
    """An adapter that changes what the model writes; returns the model with it."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(base or model_path(), **options)
    adapted = get_peft_model(model, LORA)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=scale)
    adapted.save_pretrained(folder)
    return adapted.eval()


def playground():
    """The embedded model and its tokenizer."""
    return AutoModelForCausalLM.from_pretrained(model_path()).eval(), AutoTokenizer.from_pretrained(model_path())


def make_run(folder, peft_config=LORA, save=True, **changes):
    """A finished run of one round; returns its trainer."""
    options = {
        "num_rounds": 1, "num_steps": 1, "num_generations": 2, "max_completion_length": 64, "max_description_length": 48,
        "num_description_examples": 0, "prompt_tests": 0, "num_train_epochs": 2, "learning_rate": 1e-2, "use_cpu": True,
        "bf16": False, "report_to": "none", "disable_tqdm": True, "gradient_checkpointing": False, "sandbox_workers": 1,
    }  # fmt: skip
    trainer = GiFTTrainer(
        str(model_path()),
        GiFTConfig(str(folder), **options | changes),
        playground_tasks("train", 6, with_reference=True),
        playground_tasks("test", HELD_OUT),
        peft_config=peft_config,
    )
    trainer.train()
    if save:
        trainer.save_model()
    return trainer
