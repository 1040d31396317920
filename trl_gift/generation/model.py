"""What is asked of a local model before it generates: its end tokens, its mode, the type of its weights."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.utils import is_bf16_available
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from trl_gift.common.memory import machine_memory


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a completion: the tokenizer's end token and those of the model's generation config."""
    configured = model.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*several, tokenizer.eos_token_id) if token is not None)


def bears_padding(model: PreTrainedModel) -> bool:
    """Whether padding on the left changes nothing: an attention mask hides it.

    Of models with states not all keep it out of these.
    """
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    return not whole._is_stateful and bool(whole._supports_default_dynamic_cache())


@contextmanager
def evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    """Puts the model into evaluation mode for the block, and then each of its parts back into the mode that it was in."""
    training = [part for part in model.modules() if part.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def free_bytes(model: PreTrainedModel) -> float | None:
    """The free memory of the model's device with its weights loaded and nothing in flight; None where it is not known.

    On a CPU all but the weights counts as free, so that a sample does not depend on what else runs on the machine.
    """
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        return float(free)
    if model.device.type == "cpu":
        return float(machine_memory() - model.get_memory_footprint())
    return None


@contextmanager
def without_own_settings(model: PreTrainedModel) -> Iterator[None]:
    """Gives the model an empty generation config for the block.

    `generate` fills whatever a call leaves open from the model's own config: suppressed tokens, a minimum length, several
    sequences per prompt. Then the samples would not be those of the sampling parameters.
    """
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    kept = whole.generation_config
    whole.generation_config = GenerationConfig()
    try:
        yield
    finally:
        whole.generation_config = kept


@contextmanager
def parked(model: PreTrainedModel) -> Iterator[None]:
    """The model in the memory of the CPU within the block; its device's memory is free for others."""
    device = model.device
    if device.type in ("cpu", "meta"):  # a model without weights takes no memory
        yield
        return
    model.to("cpu")
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        yield
    finally:
        model.to(device)


def default_dtype(trains_weights: bool, on_gpu: bool | None = None) -> str:
    """The type that weights are loaded in where the user names none: bfloat16 on a GPU that has it, else float32.

    Sampling is bound by the memory that the weights are read from, so half the bytes are nearly twice the speed. Weights
    that are trained themselves stay float32, as in TRL, because bfloat16 loses small updates.

    Args:
        trains_weights: Whether the weights themselves are trained, and not an adapter.
        on_gpu: Whether the model runs on a GPU with bfloat16; if not given, this machine is asked.
    """
    if trains_weights:
        return "float32"
    if on_gpu is None:
        device = torch.accelerator.current_accelerator()
        on_gpu = device is not None and device.type in ("cuda", "xpu") and is_bf16_available()
    return "bfloat16" if on_gpu else "float32"
