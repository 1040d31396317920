# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "trl-gift[bitsandbytes]",
#     "trl",
# ]
# ///
"""Self-training on verified code, as a script in the form of TRL's own.

On one GPU, with LoRA:

    accelerate launch examples/gift.py \
        --model_name_or_path Qwen/Qwen2.5-Coder-1.5B \
        --dataset_name google-research-datasets/mbpp \
        --use_peft --lora_r 32 --lora_target_modules all-linear \
        --learning_rate 2e-4 \
        --output_dir gift-mbpp

With uv, which installs what the header names, here or on a GPU of Hugging Face Jobs (both need the package on PyPI):

    uv run examples/gift.py --config examples/gift_mbpp_12gb.yaml
    hf jobs uv run --flavor a10g-small --secrets HF_TOKEN examples/gift.py \
        --model_name_or_path Qwen/Qwen2.5-Coder-1.5B \
        --dataset_name google-research-datasets/mbpp \
        --use_peft --lora_r 32 --lora_target_modules all-linear \
        --learning_rate 2e-4 \
        --output_dir gift-mbpp --push_to_hub

From a file, or with another method of the same pipeline:

    accelerate launch examples/gift.py --config examples/gift_mbpp_12gb.yaml
    python examples/gift.py --config examples/gift_mbpp_12gb.yaml --sampler conditional --perplexity_weight 0

Offline on a CPU, with the embedded model and tasks (35 s of CPU time):

    python examples/gift.py --model_name_or_path playground --dataset_name playground --output_dir gift-playground \
        --num_steps 5 --max_completion_length 64 --max_description_length 64 --num_description_examples 0 \
        --train_on_references false --learning_rate 5e-4 --max_length 256 --use_cpu --bf16 false
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import ModelConfig, ScriptArguments, TrlParser, get_peft_config, get_quantization_config

from trl_gift import GiFTConfig, GiFTTrainer, load_tasks
from trl_gift.playground import model_path, playground_tasks


@dataclass
class GiFTScriptArguments(ScriptArguments):
    """TRL's script arguments, and how much of the data to use."""

    limit: int | None = field(default=None, metadata={"help": "Learn from at most this many tasks."})
    eval_limit: int | None = field(default=None, metadata={"help": "Measure on at most this many tasks."})
    resume: bool = field(default=False, metadata={"help": "Continue the run in output_dir from where it stopped."})


def main(script_args: GiFTScriptArguments, training_args: GiFTConfig, model_args: ModelConfig) -> None:
    """Trains, saves, and pushes if asked."""
    model = model_args.model_name_or_path
    if script_args.dataset_name == "playground":
        train_tasks = playground_tasks("train", script_args.limit or 100)
        eval_tasks = playground_tasks("test", script_args.eval_limit or 200)
    else:
        train_tasks = load_tasks(
            script_args.dataset_name,
            script_args.dataset_train_split,
            script_args.dataset_config,
            script_args.limit,
            require_tests=training_args.verify,
        )
        eval_tasks = load_tasks(
            script_args.dataset_name,
            script_args.dataset_test_split,
            script_args.dataset_config,
            script_args.eval_limit,
        )
    training_args.model_init_kwargs = {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        **(training_args.model_init_kwargs or {}),
    }
    trainer = GiFTTrainer(
        model=str(model_path()) if model == "playground" else model,
        args=training_args,
        train_dataset=train_tasks,
        eval_dataset=eval_tasks,
        quantization_config=get_quantization_config(model_args),
        peft_config=get_peft_config(model_args),
    )
    trainer.train(resume_from_checkpoint=script_args.resume)
    trainer.save_model(training_args.output_dir)
    if training_args.push_to_hub:
        trainer.push_to_hub(dataset_name=script_args.dataset_name)
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(*TrlParser((GiFTScriptArguments, GiFTConfig, ModelConfig)).parse_args_and_config())
