# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "trl-gift",
#     "trl",
# ]
# ///
"""DPO on the passing and failing programs of a run, in the form of TRL's own scripts.

    accelerate launch examples/dpo_from_run.py \
        --run out --model_name_or_path Qwen/Qwen2.5-Coder-1.5B \
        --use_peft --lora_target_modules all-linear --learning_rate 5e-6 \
        --output_dir dpo-from-out

The model is that of the run, or the one that it began with. Nothing is sampled and nothing is executed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import DPOConfig, DPOTrainer, ModelConfig, TrlParser, get_peft_config

from trl_gift.export import export_run


@dataclass
class RunArguments:
    """What the pairs are made of."""

    run: str = field(metadata={"help": "output_dir of a run of GiFTTrainer."})
    pairs_per_task: int = field(default=8, metadata={"help": "The most pairs of a task."})


def main(run_args: RunArguments, training_args: DPOConfig, model_args: ModelConfig) -> None:
    """Trains with DPO on pairs of programs that differ in little, of which one passed its tests."""
    exported = export_run(run_args.run, "dpo", pairs_per_task=run_args.pairs_per_task)
    trainer = DPOTrainer(
        model=model_args.model_name_or_path,
        args=training_args,
        train_dataset=exported.dataset,
        peft_config=get_peft_config(model_args),
    )
    trainer.train()
    trainer.save_model(training_args.output_dir)


if __name__ == "__main__":
    main(*TrlParser((RunArguments, DPOConfig, ModelConfig)).parse_args_and_config())
