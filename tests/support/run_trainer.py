"""A training script as a user would write it, which a test can have killed at a chosen moment.

    python -m tests.support.run_trainer MODEL OUTPUT [--lora] [--four-bit] [--resume] [--kill STAGE:N] [option=value ...]

STAGE is sample (after the N-th recorded sample), step (after optimizer step N), save (once checkpoint number N is
written but not yet marked as complete), select (before the selection of round N is written) or evaluate (after the
N-th evaluated code).
"""

from __future__ import annotations

import argparse
import ast
import os
import signal

import torch
from peft import LoraConfig
from transformers import BitsAndBytesConfig, TrainerCallback

import trl_gift.trainer
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.playground import playground_tasks
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.store import SampleStore

torch.set_num_threads(1)
FOUR_BIT = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)

OPTIONS = {
    "num_rounds": 2,
    "num_steps": 2,
    "num_generations": 2,
    "num_selected": 2,
    "max_completion_length": 80,
    "max_description_length": 48,
    "num_description_examples": 0,
    "train_on_references": True,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "num_train_epochs": 1,
    "save_steps": 2,
    "logging_steps": 1,
    "seed": 5,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
    "sandbox_workers": 1,
}


def make_trainer(model, output, lora=False, four_bit=False, callbacks=None, **options):
    """A small run on the playground, of two rounds if not said otherwise."""
    return GiFTTrainer(
        model=model,
        args=GiFTConfig(output_dir=output, **{**OPTIONS, **options}),
        train_dataset=playground_tasks("train", 8, with_reference=True),
        eval_dataset=playground_tasks("validation", 4),
        peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None,
        quantization_config=FOUR_BIT if four_bit else None,
        callbacks=callbacks,
    )


def finish(trainer):
    trainer.save_model(os.path.join(trainer.args.output_dir, "final"))


class Killer(TrainerCallback):
    """Kills this process, without any chance to clean up, when a stage has been reached for the N-th time."""

    def __init__(self, plan):
        self.stage, _, number = plan.partition(":")
        self.left = int(number or 0)

    def reached(self, stage):
        if stage == self.stage:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def on_step_end(self, args, state, control, **kwargs):
        self.reached("step")

    def on_save(self, args, state, control, **kwargs):
        self.reached("save")


def after(function, act):
    def wrapped(*args, **kwargs):
        result = function(*args, **kwargs)
        act()
        return result

    return wrapped


def before(function, act):
    def wrapped(*args, **kwargs):
        act()
        return function(*args, **kwargs)

    return wrapped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("output")
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--four-bit", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill", default="")
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_intermixed_args()
    killer = Killer(arguments.kill)
    SampleStore.append = after(SampleStore.append, lambda: killer.reached("sample"))
    trl_gift.trainer.write_selection = before(trl_gift.trainer.write_selection, lambda: killer.reached("select"))
    SamplingProgress.add = after(SamplingProgress.add, lambda: killer.reached("evaluate"))
    options = {}
    for option in arguments.options:
        name, _, value = option.partition("=")
        options[name] = ast.literal_eval(value)
    trainer = make_trainer(arguments.model, arguments.output, arguments.lora, arguments.four_bit, [killer], **options)
    trainer.train(resume_from_checkpoint=arguments.resume)
    finish(trainer)
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
