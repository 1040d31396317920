"""Formulas of memory, each a small pure function; sizes in bytes unless the name says otherwise.

Two phases of a round never overlap: sampling (the optimizer is gone) and training (the cache is gone). The peak of a
phase is what stays plus the largest of what comes and goes; `trl_gift.estimate.plan` puts these together.

The formulas count tensors. They know nothing of the CUDA context, of libraries' workspaces and of fragmentation;
`trl_gift.estimate.device` keeps a reserve for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trl_gift.estimate.model import ModelShape, Quantization, Trainable

FLOAT32, FLOAT64, INT64 = 4, 8, 8
DTYPE_HALF = 2
# bitsandbytes: an absolute maximum for each block of weights (4-bit) and of optimizer states (8-bit).
_WEIGHT_BLOCK, _NESTED_BLOCK, _STATE_BLOCK = 64, 256, 256
_SMALLEST_8BIT_TENSOR = 4096
# SlotCache: columns added at least, and the share by which it grows.
_COLUMN_STEP = 64
# TRL's fused output layer (1.16): rows (at most) and columns of the one tile of logits that exists at a time.
_TILE_ROWS, _TILE_COLUMNS, _FOLDED_ARRAYS = 4096, 32768, 8


@dataclass(frozen=True, slots=True)
class OptimizerStates:
    """What an optimizer keeps for each trained parameter.

    Attributes:
        copies: Numbers kept for a parameter.
        eight_bit: Whether these are bytes (with a scale for each block) instead of the parameter's own type.
        paged: Whether they live in memory that the driver moves to the RAM when the device is short.
    """

    copies: int
    eight_bit: bool = False
    paged: bool = False


_STATES = {
    "adamw_torch": OptimizerStates(2),
    "adamw_torch_fused": OptimizerStates(2),
    "adamw_anyprecision": OptimizerStates(2),
    "adamw_torch_8bit": OptimizerStates(2, eight_bit=True),
    "adamw_bnb_8bit": OptimizerStates(2, eight_bit=True),
    "adamw_8bit": OptimizerStates(2, eight_bit=True),
    "paged_adamw_32bit": OptimizerStates(2, paged=True),
    "paged_adamw_8bit": OptimizerStates(2, eight_bit=True, paged=True),
    "ademamix": OptimizerStates(3),
    "ademamix_8bit": OptimizerStates(3, eight_bit=True),
    "paged_ademamix_32bit": OptimizerStates(3, paged=True),
    "paged_ademamix_8bit": OptimizerStates(3, eight_bit=True, paged=True),
    "lion_32bit": OptimizerStates(1),
    "lion_8bit": OptimizerStates(1, eight_bit=True),
    "paged_lion_32bit": OptimizerStates(1, paged=True),
    "paged_lion_8bit": OptimizerStates(1, eight_bit=True, paged=True),
    "rmsprop": OptimizerStates(1),
    "rmsprop_bnb": OptimizerStates(1),
    "rmsprop_bnb_8bit": OptimizerStates(1, eight_bit=True),
    "adagrad": OptimizerStates(1),
    "sgd": OptimizerStates(0),
}


def optimizer_states(optim: str) -> OptimizerStates | None:
    """What the optimizer of this name (`optim` of the training arguments) keeps; None for one that is not known."""
    return _STATES.get(optim)


def weight_bytes(shape: ModelShape, dtype_bytes: int, quantization: Quantization) -> float:
    """The model's weights as loaded.

    Quantisation replaces the weights of linear layers, the output layer left out; embeddings, norms and biases keep
    their type.

    Args:
        shape: The model.
        dtype_bytes: Bytes of a number in the type that it is loaded in.
        quantization: The kind of quantisation.
    """
    if quantization == "none":
        return shape.parameters * dtype_bytes
    rest = shape.parameters - shape.linear_parameters
    return rest * dtype_bytes + shape.linear_parameters * bytes_per_quantized_weight(quantization)


def bytes_per_quantized_weight(quantization: Quantization) -> float:
    """Bytes for one weight with its share of the scales (a float32 for each block; nested: a byte for each)."""
    if quantization == "8bit":
        return 1.0
    if quantization == "4bit-nested":
        return 0.5 + 1 / _WEIGHT_BLOCK + FLOAT32 / (_WEIGHT_BLOCK * _NESTED_BLOCK)
    return 0.5 + FLOAT32 / _WEIGHT_BLOCK


def adapter_number_bytes(trainable: Trainable, dtype_bytes: int, quantization: Quantization) -> int:
    """Bytes of one trained number: an adapter is kept in float32, on a quantised model in bfloat16 (TRL, PEFT)."""
    if not trainable.is_adapter:
        return dtype_bytes
    return 2 if quantization != "none" else max(FLOAT32, dtype_bytes)


# Sampling -----------------------------------------------------------------------------------------------------------


def kv_bytes_per_token(shape: ModelShape, dtype_bytes: int) -> int:
    """Keys and values of one token in all layers: `2 * layers * kv_heads * head_dim * bytes`."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * dtype_bytes


def slot_cache_columns(first_prompt: int, longest_row: int) -> tuple[int, int]:
    """Columns that the compact engine's cache comes to have, at most: before its last growth, and in the end.

    It begins with room for the first prompts and grows by half while a row in flight needs three quarters of it.
    """
    before = columns = first_prompt + _COLUMN_STEP
    while 3 * columns < 4 * longest_row:
        before, columns = columns, columns + max(columns // 2, _COLUMN_STEP)
    return before, columns


def slot_cache_bytes(shape: ModelShape, rows: int, columns: int, dtype_bytes: int) -> int:
    """The compact engine's cache: keys and values for all rows and columns, and the attention mask."""
    return rows * columns * (kv_bytes_per_token(shape, dtype_bytes) + dtype_bytes)


def slot_cache_growth_bytes(shape: ModelShape, rows: int, columns_before: int, dtype_bytes: int) -> int:
    """What the last growth of that cache needs besides its new size: the old half (keys or values) still in use."""
    return rows * columns_before * kv_bytes_per_token(shape, dtype_bytes) // 2


def prefix_cache_bytes(shape: ModelShape, tokens: int, dtype_bytes: int) -> int:
    """Keys and values of earlier prompts that the compact engine keeps."""
    return tokens * kv_bytes_per_token(shape, dtype_bytes)


def dynamic_cache_bytes(shape: ModelShape, rows: int, columns: int, dtype_bytes: int) -> int:
    """The cache of transformers' `generate`: it is copied layer by layer for each new token, so one layer counts twice."""
    return rows * columns * kv_bytes_per_token(shape, dtype_bytes) * (shape.layers + 1) // shape.layers


def drawing_bytes(rows: int, vocabulary: int, logits_bytes: int, truncated: bool) -> int:
    """Drawing one token a row: logits, float32 copy, three float64 distributions; sorted ones for top-p on top."""
    per_number = logits_bytes + FLOAT32 + 3 * FLOAT64
    if truncated:
        per_number += 3 * FLOAT64 + INT64 + 2
    return rows * vocabulary * per_number


def prefill_bytes(shape: ModelShape, prompts: int, length: int, dtype_bytes: int) -> int:
    """A forward pass over prompts padded to `length`: their own cache, and the widest layer's activations."""
    tokens = prompts * length
    cache = tokens * kv_bytes_per_token(shape, dtype_bytes)
    return cache + tokens * _widest_layer(shape) * dtype_bytes + _attention_bytes(shape, prompts, length, dtype_bytes)


def scoring_bytes(shape: ModelShape, rows: int, prompt: int, completion: int, dtype_bytes: int) -> int:
    """A scoring pass: logits of all positions of the completions in the model's type and in float32, and their
    softmax's exponentials; the widest layer comes before them and is smaller for usual vocabularies.
    """
    logits = rows * (completion + 1) * shape.vocabulary * (dtype_bytes + 2 * FLOAT32)
    layer = rows * (prompt + completion) * _widest_layer(shape) * dtype_bytes
    return max(logits, layer)


def _widest_layer(shape: ModelShape) -> int:
    """Numbers a token that stand at once in a forward pass without gradients: the residual and the MLP's inside."""
    return 2 * shape.hidden + (3 if shape.gated else 2) * shape.intermediate


def _attention_bytes(shape: ModelShape, rows: int, length: int, dtype_bytes: int) -> int:
    """The attention mask, and with eager attention the scores and their softmax in float32."""
    mask = rows * length * length * dtype_bytes
    return mask + (shape.heads * rows * length * length * (dtype_bytes + FLOAT32) if shape.eager_attention else 0)


# Training -----------------------------------------------------------------------------------------------------------


def gradient_bytes(trainable: Trainable, number_bytes: int) -> int:
    """Gradients: one number for each trained parameter, in its own type."""
    return trainable.parameters * number_bytes


def optimizer_bytes(states: OptimizerStates, sizes: Sequence[int], number_bytes: int) -> float:
    """States of the optimizer for trained tensors of these sizes.

    Args:
        states: What it keeps.
        sizes: Elements of each trained tensor.
        number_bytes: Bytes of a trained number; states that are not 8-bit have the same type.
    """
    total = 0.0
    for size in sizes:
        # bitsandbytes keeps small tensors in float32.
        if states.eight_bit and size >= _SMALLEST_8BIT_TENSOR:
            total += states.copies * (size + FLOAT32 * size / _STATE_BLOCK)
        else:
            total += states.copies * size * (FLOAT32 if states.eight_bit else number_bytes)
    return total


def layer_activation_bytes(
    shape: ModelShape, tokens: int, compute_bytes: int, residual_bytes: int, weights_are_trained: bool
) -> int:
    """What one decoder layer keeps for the backward pass, without an adapter.

    Twice (attention, MLP) a normalisation: its input in float32, the normalised values if its weight is trained, its
    output (and that once more in the products' type under autocast). Attention: queries, keys, values (heads repeated
    for grouped queries), its output and that output laid out for the next product. MLP, gated: gate, activation, up,
    product; else: input and output of the activation.

    Measured on Llama and Qwen2 layers on a CPU, within 5 %; layers with dropout or an activation that is written in
    Python (GPT-2's) keep more.

    Args:
        shape: The model.
        tokens: Tokens in the batch, padding included.
        compute_bytes: Bytes of a number in matrix products (2 under bf16 or fp16 autocast).
        residual_bytes: Bytes of a number in the residual stream (the type of the weights).
        weights_are_trained: Whether the model's own weights are.
    """
    norm = FLOAT32 + residual_bytes + (residual_bytes if weights_are_trained else 0)
    if compute_bytes != residual_bytes:
        norm += compute_bytes
    attention = 5 * shape.heads * shape.head_dim * compute_bytes
    mlp = (4 if shape.gated else 2) * shape.intermediate * compute_bytes
    return tokens * (2 * shape.hidden * norm + attention + mlp)


def adapter_activation_bytes(
    shape: ModelShape,
    trainable: Trainable,
    tokens: int,
    number_bytes: int,
    compute_bytes: int,
    residual_bytes: int,
    autocast: bool,
    on_cpu: bool,
) -> int:
    """What LoRA adds to that in one layer.

    Every adapted layer keeps a copy of its input of its own, in the adapter's type (in the products' under autocast),
    dropped out where there is dropout, with a mask of a byte a number (of a whole number on a CPU). The frozen layer
    then does not keep its input. Where no type changes and nothing is dropped out, it is one tensor and nothing is
    added.

    Args:
        shape: The model.
        trainable: What is trained.
        tokens: Tokens in the batch.
        number_bytes: Bytes of a trained number.
        compute_bytes: Bytes of a number in matrix products.
        residual_bytes: Bytes of a number in the residual stream.
        autocast: Whether products run under autocast.
        on_cpu: Whether the device is a CPU.
    """
    if not trainable.is_adapter or (number_bytes == residual_bytes and not autocast and not trainable.dropout):
        return 0
    own = compute_bytes if autocast else number_bytes
    mask = (number_bytes if on_cpu else 1) if trainable.dropout else 0
    norm_output = residual_bytes + (compute_bytes if compute_bytes != residual_bytes else 0)
    shared = 2 * shape.hidden * norm_output + (shape.heads * shape.head_dim + shape.intermediate) * compute_bytes
    return max(0, tokens * (trainable.adapted_inputs // shape.layers * (own + mask) - shared))


def layer_gradient_bytes(shape: ModelShape, tokens: int, compute_bytes: int, residual_bytes: int) -> int:
    """Gradients that stand at once in the backward pass of one layer: of the residual and of the MLP's inside."""
    return tokens * (
        2 * shape.hidden * residual_bytes + (3 if shape.gated else 2) * shape.intermediate * compute_bytes
    )


def checkpoint_bytes(shape: ModelShape, tokens: int, residual_bytes: int) -> int:
    """Gradient checkpointing: the input of every layer is kept, the rest computed again layer by layer."""
    return shape.layers * tokens * shape.hidden * residual_bytes


def autocast_weight_bytes(
    shape: ModelShape,
    trainable: Trainable,
    weights: int,
    compute_bytes: int,
    checkpointing: bool,
    quantization: Quantization,
) -> int:
    """Copies of float32 weights in the type of the products under autocast.

    Weights that are trained are cast once and kept for the forward pass; frozen ones are cast at each use and kept for
    the backward pass of their layer only if gradient checkpointing cuts the graph there.

    Args:
        shape: The model.
        trainable: What is trained.
        weights: Bytes of a weight as loaded.
        compute_bytes: Bytes of a number in matrix products.
        checkpointing: Whether gradient checkpointing is on.
        quantization: Quantised weights are unpacked instead (`dequantized_bytes`).
    """
    if weights <= compute_bytes or quantization != "none":
        return 0
    linear = shape.linear_parameters
    if trainable.is_adapter and checkpointing:
        linear //= shape.layers
    return linear * compute_bytes


def fused_head_bytes(
    shape: ModelShape, tokens: int, compute_bytes: int, residual_bytes: int, head_is_trained: bool, on_cpu: bool
) -> int:
    """TRL's fused output layer: one tile of logits, float32 gradients of its input, and of its weight if trained.

    The tile has its full width whatever the vocabulary. Without Triton, on a CPU, what is computed from a tile stands
    beside it: eight float32 arrays.
    """
    rows, columns = min(tokens, _TILE_ROWS), min(shape.vocabulary, _TILE_COLUMNS)
    tile = rows * _TILE_COLUMNS * compute_bytes
    folded = _FOLDED_ARRAYS * rows * columns * FLOAT32 if on_cpu else 0
    inputs = tokens * shape.hidden * (FLOAT32 + residual_bytes)
    weight = shape.vocabulary * shape.hidden * FLOAT32 if head_is_trained else 0
    weight_chunk = columns * shape.hidden * FLOAT32
    return tile + folded + inputs + weight + weight_chunk


def full_logits_bytes(shape: ModelShape, tokens: int, compute_bytes: int) -> int:
    """Logits of the whole batch: as computed, in float32, log-softmax, and both gradients."""
    return tokens * shape.vocabulary * (2 * compute_bytes + 3 * FLOAT32)


def dequantized_bytes(shape: ModelShape, quantization: Quantization, compute_bytes: int) -> int:
    """The largest quantised layer, unpacked for its product."""
    return 0 if quantization == "none" else shape.largest_linear * compute_bytes
