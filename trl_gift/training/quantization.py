"""What 4-bit models need before they sample and train in turn."""

from __future__ import annotations

import sys

import torch


def keep_trainable_after_sampling(model: torch.nn.Module) -> None:
    """Keeps bitsandbytes from repacking 4-bit layers for inference.

    On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a `Linear4bit` in its first forward pass in evaluation mode into
    a layout that has no backward pass: training after sampling then fails, or learns from wrong gradients without a
    word. Sampling before training is what a self-training round does. Must come before the first forward pass; can go
    once bitsandbytes unpacks for training.
    """
    # A model with such layers has had the library imported; any other need not wait for its import.
    bitsandbytes = sys.modules.get("bitsandbytes")
    if bitsandbytes is None:
        return
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def ready_for_loss_scaling(model: torch.nn.Module) -> None:
    """Puts what is trained in bfloat16 into float32, for training in float16.

    TRL keeps the adapters of quantised models in bfloat16, and the loss scaling of float16, which cards without bfloat16
    need, takes no gradients in that type (trl issue 4901). Must come before the optimizer takes the parameters.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype is torch.bfloat16:
            parameter.data = parameter.data.float()
