"""A trainer's model, options and tasks in the words of a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peft import LoraConfig, PeftModel

from trl_gift.common.words import plural
from trl_gift.config import GiFTConfig
from trl_gift.playground import is_playground_model
from trl_gift.sandbox import AssertTests, Case, StdioTests
from trl_gift.sandbox.languages import naming
from trl_gift.tasks import Task

# A card that is published shows the model's prompt with one of these; the descriptions of the user's tasks may not be ours
# to publish.
_FUNCTION = Task("example", "Return the sum of a and b.", AssertTests("assert add(1, 2) == 3"), "def add(a, b):")
_PROGRAM = Task("example", "Read two integers and print their sum.", StdioTests((Case(stdin="1 2", stdout="3"),)))


def plain_model(model: Any) -> Any:
    """The model without its adapter."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def num_embeddings(model: Any) -> int:
    """Number of rows of a model's embedding."""
    return int(plain_model(model).get_input_embeddings().weight.shape[0])


def base_in_words(model: Any, name: str) -> str:
    """A base model that is not on the Hub.

    Args:
        model: The model, with or without an adapter.
        name: The folder that it was loaded from.
    """
    if is_playground_model(name):
        return "the playground's model, a tiny one that comes with `trl_gift`"
    return f"a `{type(plain_model(model)).__name__}` that has no name on the Hub"


def adapter_in_words(model: Any) -> str | None:
    """The model's adapter, such as "LoRA, r = 8, alpha = 16, dropout 0, on q_proj, v_proj"; None if it has none."""
    if not isinstance(model, PeftModel):
        return None
    config = model.active_peft_config
    if not isinstance(config, LoraConfig):
        return str(config.peft_type.value)
    kind = "".join([" (rank-stabilised)" * config.use_rslora, " (DoRA)" * config.use_dora])
    modules = config.target_modules or []
    named = modules if isinstance(modules, str) else ", ".join(sorted(modules))
    return f"LoRA{kind}, r = {config.r}, alpha = {config.lora_alpha}, dropout {config.lora_dropout:g}, on {named}"


def quantization_in_words(model: Any) -> str | None:
    """How the model's weights are quantised, such as "quantised to 4 bits (nf4)"; None if they are not."""
    match model.config.to_dict().get("quantization_config"):
        case None:
            return None
        case {"load_in_4bit": True, "bnb_4bit_quant_type": kind}:
            return f"quantised to 4 bits ({kind})"
        case {"load_in_8bit": True}:
            return "quantised to 8 bits"
        case config:
            return f"quantised ({config.get('quant_method', 'unknown')})"


def example_task(tasks: Sequence[Task]) -> Task:
    """A task of the same kind as the given ones: a function to complete, or a whole program."""
    return _FUNCTION if any(task.signature for task in tasks) else _PROGRAM


def language_of(tasks: Sequence[Task]) -> str | None:
    """The programming language of the tasks; None if they have several."""
    languages = {task.language for task in tasks}
    if len(languages) != 1:
        return None
    language = languages.pop()
    return naming(language).title


def training_line(args: GiFTConfig, model: Any) -> str:
    """What each round trains, and how, in one line."""
    return f"{adapter_in_words(model) or 'all weights'}: learning rate {args.learning_rate:g}, {_length(args)}"


def _length(args: GiFTConfig) -> str:
    """How long a round's training is, such as "2 epochs, 8 pairs per step"."""
    if args.max_steps > 0:
        passes = plural(args.max_steps, "step")
    else:
        passes = "1 epoch" if args.num_train_epochs == 1 else f"{args.num_train_epochs:g} epochs"
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    return f"{passes}, {plural(batch, 'pair')} per step"


def training_in_words(args: GiFTConfig) -> dict[str, str]:
    """The settings of each round's training, by name."""
    plain = args.to_dict()  # enumerations by their values
    warmup = f"{args.warmup_steps:g}" + (" of the steps" if 0 < args.warmup_steps < 1 else " steps")
    return {
        "Each round's training": f"{_length(args)}, at most {args.max_length} tokens per pair",
        "Optimizer": f"`{plain['optim']}`, weight decay {args.weight_decay:g}, gradients clipped at "
        f"{args.max_grad_norm:g}",
        "Learning rate": f"{args.learning_rate:g}, schedule `{plain['lr_scheduler_type']}`, warm-up {warmup}",
        "Precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        "Random seed": str(args.seed)
        + ("" if args.sampling_seed == args.seed else f", {args.sampling_seed} for sampling"),
    }
