"""LoRA added to the weights for the time of sampling.

Each adapted layer computes two more products and a sum in every forward pass. Added to the weights for a while, the adapter
costs nothing. Only float32 weights are changed: in a narrower type the sum would be rounded to other log-probabilities. The
weights from before are kept and put back as they were, bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel

from trl_gift.generation.model import free_bytes

# The adapted weights exist twice, which takes at most one part in so many of the free memory.
MERGED_SHARE = 4


@contextmanager
def merged_adapter(model: PreTrainedModel) -> Iterator[None]:
    """Adds a LoRA adapter to the model's weights for the block, where that is exact and memory suffices; else does nothing.

    Args:
        model: With or without an adapter.
    """
    weights = _mergeable(model)
    free = free_bytes(model) if weights else None
    if free is None or sum(weight.numel() * weight.element_size() for weight in weights) > free / MERGED_SHARE:
        yield
        return
    tuner: Any = model.base_model
    own = [weight.data for weight in weights]
    try:
        for weight in weights:
            weight.data = weight.data.clone()
        tuner.merge_adapter()
        yield
    finally:
        tuner.unmerge_adapter()
        for weight, data in zip(weights, own, strict=True):
            weight.data = data


def _mergeable(model: Any) -> list[torch.nn.Parameter]:
    """The weights that the adapter changes; none if it cannot be merged exactly and taken out again."""
    if not isinstance(model, PeftModel):
        return []
    layers = model.get_layer_status()
    configs = [config for config in model.peft_config.values() if isinstance(config, LoraConfig)]
    if not layers or any(not layer.module_type.startswith("lora.") or layer.merged_adapters for layer in layers):
        return []
    # PEFT does not merge an adapter's bias into a layer that has none.
    if any(config.lora_bias for config in configs):
        return []
    bases = [model.base_model.get_submodule(f"{layer.name}.base_layer") for layer in layers]
    # Adapters of single parameters, such as those of experts, wrap each other.
    if not all("weight" in base._parameters for base in bases):
        return []
    # A weight that another module shares, such as that of tied embeddings, is not the adapted layer's alone.
    owners = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    weights = [weight for base in bases for weight in base.parameters(recurse=False)]
    # Quantised weights have a type of their own, and sharded ones are flat or empty.
    plain = all(type(weight.data) is torch.Tensor and weight.dtype is torch.float32 for weight in weights)
    whole = all(weight.numel() and owners[id(weight)] == 1 for weight in weights)
    return weights if plain and whole and all(base.weight.dim() > 1 for base in bases) else []
