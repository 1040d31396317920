"""Checks of a model before its weights are read: one line for each mistake that loading would run into.

TRL loads the model itself: `SFTTrainer` makes a model from a name, with `model_init_kwargs` and, if the user allows it, with
the model's own code. Not covered: mistakes that only the weights show.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, Trainer

from trl_gift.common.models import why_unreachable
from trl_gift.errors import ConfigError
from trl_gift.playground import PLAYGROUND

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import (
        BitsAndBytesConfig,
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        TrainingArguments,
    )

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MEASURED = re.compile(r"(sampled_pass@\d+|pass@1)(_low|_high)?")
_WEIGHTS = ("*.safetensors", "*.bin")
_TOKENIZERS = ("tokenizer*", "vocab*", "spiece.model", "tekken.json")


def load_config(name: str, revision: str | None = None, trust_remote_code: bool = False) -> PretrainedConfig:
    """A model's config from the Hub or a folder; no weights are read.

    Raises:
        ConfigError: if there is none.
    """
    if name == PLAYGROUND and not Path(name).exists():
        raise ConfigError(
            f"model={name!r} is a name of the command line; in Python, str(trl_gift.playground.model_path()) is its folder."
        )
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        if not Path(name).exists() and (why := why_unreachable(error)):
            raise ConfigError(
                f"model_name_or_path={name!r} is no folder here, is not in the cache, and {why}; check the name and the network, "
                "or give a local folder."
            ) from error
        cure = "check the name, log in with `hf auth login` if it is private, or give a local folder"
        if "trust_remote_code" in str(error):
            reason, cure = "it runs code of its own", "read that code and set trust_remote_code=True if you trust it"
        raise ConfigError(f"model_name_or_path={name!r}: its config cannot be read ({reason}); {cure}.") from error


def load_dtype(config: PretrainedConfig, dtype: str | torch.dtype | None) -> torch.dtype:
    """The type that the weights are loaded in; float32 where none is named, as TRL does.

    Raises:
        ConfigError: for a name that TRL does not take.
    """
    if dtype == "auto":
        dtype = config.get_text_config().dtype
    if dtype is None:
        return torch.float32
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found is None:
        raise ConfigError(f"dtype={dtype!r} is unknown; use 'float32', 'bfloat16', 'float16' or 'auto'.")
    return found


def check_model(
    name: str,
    options: Mapping[str, Any],
    trust_remote_code: bool = False,
    with_tokenizer: bool = True,
) -> None:
    """Looks at what `from_pretrained` would load.

    Args:
        name: A name on the Hub, or a folder.
        options: The `model_init_kwargs`.
        trust_remote_code: Whether the model may run code of its own.
        with_tokenizer: Whether its tokenizer is loaded from there, too.

    Raises:
        ConfigError: for what cannot be loaded as a causal language model.
    """
    what = f"model_name_or_path={name!r}"
    folder = Path(name)
    if not folder.exists() and (folder.is_absolute() or name.startswith((".", "~"))):
        raise ConfigError(f"{what} does not exist; check the path.")
    if folder.is_file():
        raise ConfigError(f"{what} is a file; give the folder that holds the model.")
    if folder.is_dir():
        _check_folder(folder, what, with_tokenizer)
    config = load_config(name, options.get("revision"), bool(options.get("trust_remote_code", trust_remote_code)))
    load_dtype(config, options.get("dtype"))
    architectures = list(config.architectures or ())
    if not any("CausalLM" in item or "LMHead" in item or "ConditionalGeneration" in item for item in architectures):
        seen = architectures[0] if architectures else "no architecture"
        raise ConfigError(f"{what}: its config names {seen}, which is not a causal language model; give one.")


def check_trainable(quantization: BitsAndBytesConfig | None, peft_config: PeftConfig | None) -> None:
    """Checks that a model can be trained as it is loaded.

    Raises:
        ConfigError: for a quantised model without an adapter, or without bitsandbytes.
    """
    if quantization is None:
        return
    if peft_config is None:
        raise ConfigError(
            "a quantised model (load_in_4bit, load_in_8bit) cannot be trained itself; train an adapter on it "
            "(peft_config)."
        )
    check_quantization(quantization)


def check_early_stopping(args: TrainingArguments) -> None:
    """Checks that an `EarlyStoppingCallback` has what it compares; it would fail only once a round is sampled.

    Raises:
        ConfigError: without a metric, or without evaluations during the training.
    """
    if args.metric_for_best_model is None:
        raise ConfigError(
            "metric_for_best_model=None leaves EarlyStoppingCallback nothing to compare; set "
            "metric_for_best_model='eval_pass@1' and greater_is_better=True, or leave the callback out."
        )
    if args.eval_strategy == "no":
        raise ConfigError(
            "eval_strategy='no' gives EarlyStoppingCallback no evaluation during a round; set eval_strategy='steps' or "
            "'epoch', or leave the callback out."
        )


def check_evaluations(args: TrainingArguments, sets: Sequence[str]) -> None:
    """Checks that evaluations within training have tasks to measure on, and give what the options compare.

    Args:
        args: The run's options.
        sets: Names of the sets of evaluation tasks; an only set may have an empty name.

    Raises:
        ConfigError: without tasks, or for a `metric_for_best_model` of none of these sets.
    """
    asked = {"eval_strategy": args.eval_strategy.value != "no", "eval_on_start": args.eval_on_start}
    for name, is_asked in asked.items():
        if is_asked and not sets:
            value = args.eval_strategy.value if name == "eval_strategy" else True
            raise ConfigError(
                f"{name}={value!r} evaluates within training, and there is no eval_dataset; give one, or leave it out."
            )
    metric = args.metric_for_best_model
    starts = [f"{name}_" if name else "" for name in sets]
    plain = (metric or "").removeprefix("eval_")
    if (
        metric
        and sets
        and not any(plain.startswith(start) and _MEASURED.fullmatch(plain[len(start) :]) for start in starts)
    ):
        raise ConfigError(
            f"metric_for_best_model={metric!r} is not measured by the sets of eval_dataset; set metric_for_best_model="
            f"'eval_{starts[0]}pass@1', or leave it out."
        )


def check_fills_a_batch(args: TrainingArguments, examples: int, processes: int, what: str) -> None:
    """Checks that `dataloader_drop_last` leaves something to train on.

    Args:
        args: The run's options.
        examples: Number of examples (rows, if they are packed), or the most that there can be.
        processes: Number of processes.
        what: The examples in words, such as `"round 1 has"`.

    Raises:
        ConfigError: if there are fewer examples than one step of all processes takes.
    """
    split = args.accelerator_config.split_batches
    needed = args.train_batch_size * (1 if split else processes)
    if args.dataloader_drop_last and examples < needed:
        counted = (
            f"{needed} (per_device_train_batch_size{'' if processes == 1 or split else f' on {processes} processes'})"
        )
        raise ConfigError(
            f"dataloader_drop_last=True would leave nothing to train on: {what} {examples} examples, fewer than the "
            f"{counted} of a batch; set dataloader_drop_last=False."
        )


def check_can_be_saved(model: PreTrainedModel) -> None:
    """Checks the model's generation config, which `save_pretrained` refuses only after the first round if it is not valid.

    Raises:
        ConfigError: for settings that contradict each other.
    """
    try:
        model.generation_config.validate(strict=True)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"the model's generation config is not valid, so the trained model could not be saved: {reason} Change "
            f"model.generation_config, or generation_config.json in the model's folder."
        ) from error


def check_router(model: PreTrainedModel) -> None:
    """Checks that TRL can compute the loss of the experts' routing, which it does from a name that some configs lack.

    Args:
        model: The model as TRL has prepared it.

    Raises:
        ConfigError: if the first training step would fail.
    """
    config = model.config.get_text_config()
    settings = config.to_dict()
    if settings.get("output_router_logits") and "num_experts" not in {*settings, *config.attribute_map}:
        raise ConfigError(
            f"router_aux_loss_coef: TRL cannot compute the loss of the routing of this model ({config.model_type}), whose config "
            "names no num_experts; set router_aux_loss_coef=0."
        )


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int]) -> None:
    """Checks that the model has an embedding for every token that its texts are made of.

    Some tokenizers have marks for images beyond the embedding of a model of text; these do no harm.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        prompt_ids: A prompt, with the marks of the chat template; empty where there is none yet.

    Raises:
        ConfigError: if tokens of texts lie beyond the embedding.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if rows == 0:  # sharded: each process holds a part of a flat parameter
        return
    special = {place for place, token in tokenizer.added_tokens_decoder.items() if token.special}
    beyond = {token: place for token, place in tokenizer.get_vocab().items() if place >= rows}
    used = {*prompt_ids, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id}
    needed = [token for token, place in beyond.items() if place not in special or place in used]
    if needed:
        raise ConfigError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {rows} embeddings, so {min(needed)!r} has none; call "
            "model.resize_token_embeddings(len(tokenizer)) and save the model, or give its own tokenizer."
        )


def check_optimizer(args: TrainingArguments, model: PreTrainedModel) -> None:
    """Makes the optimizer's class and arguments, which transformers does only once a round is sampled.

    Raises:
        ConfigError: for an optimizer whose library is not installed, or with arguments that it does not take.
    """
    try:
        Trainer.get_optimizer_cls_and_kwargs(args, model)
    except (ImportError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"optim={args.optim.value!r} cannot be made ({reason}); choose another, or fix this."
        ) from error


def check_quantization(quantization: BitsAndBytesConfig) -> None:
    """Checks that a model can be loaded quantised.

    Raises:
        ConfigError: if bitsandbytes is not installed.
    """
    if quantization.quant_method == "bitsandbytes" and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "load_in_4bit and load_in_8bit need bitsandbytes, which is not installed; run `pip install "
            "'trl-gift[bitsandbytes]'`, or load the model unquantised."
        )


def _check_folder(folder: Path, what: str, with_tokenizer: bool) -> None:
    if not (folder / "config.json").exists():
        if (folder / "adapter_config.json").exists():
            command = shlex.join(["trl-gift", "merge", str(folder), "--output", f"{folder}-merged"])
            raise ConfigError(
                f"{what} is an adapter and not a whole model; merge it into its base model first (`{command}`)."
            )
        raise ConfigError(f"{what} holds no config.json, so it is not a model; give a folder of save_pretrained.")
    if not _holds(folder, _WEIGHTS):
        raise ConfigError(f"{what} holds no weights ({', '.join(_WEIGHTS)}); save the model there again.")
    if with_tokenizer and not _holds(folder, _TOKENIZERS):
        raise ConfigError(
            f"{what} holds no tokenizer; save it there with `tokenizer.save_pretrained({str(folder)!r})`."
        )


def _holds(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)
