# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "trl-gift",
#     "trl",
# ]
# ///
"""GRPO with verified programs as the reward, in the form of TRL's own scripts.

    accelerate launch examples/grpo.py \
        --model_name_or_path Qwen/Qwen2.5-Coder-1.5B-Instruct \
        --dataset_name google-research-datasets/mbpp \
        --use_peft --lora_target_modules all-linear \
        --num_generations 8 --max_completion_length 512 \
        --output_dir grpo-mbpp

Each program runs in the sandbox of trl_gift against the tests of its task.
"""

from __future__ import annotations

from trl import GRPOConfig, GRPOTrainer, ModelConfig, ScriptArguments, TrlParser, get_peft_config

from trl_gift import load_tasks
from trl_gift.rewards import as_dataset, code_reward


def main(script_args: ScriptArguments, training_args: GRPOConfig, model_args: ModelConfig) -> None:
    """Trains with GRPO on the tasks of a dataset; the reward is whether a program passes its tests."""
    tasks = load_tasks(script_args.dataset_name, script_args.dataset_train_split)
    trainer = GRPOTrainer(
        model=model_args.model_name_or_path,
        reward_funcs=code_reward,
        args=training_args,
        train_dataset=as_dataset(tasks),
        peft_config=get_peft_config(model_args),
    )
    trainer.train()
    trainer.save_model(training_args.output_dir)


if __name__ == "__main__":
    main(*TrlParser((ScriptArguments, GRPOConfig, ModelConfig)).parse_args_and_config())
