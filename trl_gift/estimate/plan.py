"""Peak memory of the two phases of a round, part by part.

What stays in a phase is added up; of what comes and goes (admitting prompts, drawing tokens, scoring; the backward
pass, the optimizer's step) the largest counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from trl_gift.config import GiFTConfig
from trl_gift.estimate import memory
from trl_gift.estimate.model import ModelShape, Quantization, Trainable
from trl_gift.estimate.work import PromptLengths
from trl_gift.generation.engine import DEFAULT_ROWS, REFILL_SHARE, most_kept_tokens


@dataclass(frozen=True, slots=True)
class Setting:
    """The options that memory depends on.

    Attributes:
        dtype_bytes: Bytes of a number in the type that the weights are loaded in.
        quantization: Kind of quantisation of the weights.
        compute_bytes: Bytes of a number in matrix products of the training (2 under autocast).
        autocast: Whether training runs under autocast.
        rows: Completions that are generated at once.
        engine: `generation_engine`.
        token_budget: `engine_token_budget`.
        admitted: Prompts that are admitted at once.
        first_prompt: Tokens of the longest prompt of the first step.
        longest_prompt: Tokens of the longest prompt of all.
        longest_row: Most tokens of a prompt with its completion.
        longest_code: Most tokens of a code.
        truncated: Whether some tokens are drawn with top-p.
        scored_rows: Completions that a scoring pass takes at once.
        max_length: Most tokens of a training example.
        train_batch: `per_device_train_batch_size`.
        accumulation: `gradient_accumulation_steps`.
        checkpointing: `gradient_checkpointing`.
        optim: `optim`.
        fused_head: Whether the loss is computed without materialising the logits (TRL from 1.16).
        processes: Number of processes, one device each.
        on_cpu: Whether the device is the CPU, where the copy of the base weights counts as well.
    """

    dtype_bytes: int
    quantization: Quantization
    compute_bytes: int
    autocast: bool
    rows: int
    engine: str
    token_budget: int | None
    admitted: int
    first_prompt: int
    longest_prompt: int
    longest_row: int
    longest_code: int
    truncated: bool
    scored_rows: int
    max_length: int
    train_batch: int
    accumulation: int
    checkpointing: bool
    optim: str
    fused_head: bool
    processes: int
    on_cpu: bool


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes of a phase, by part; the peak is their sum."""

    parts: Mapping[str, float]

    @property
    def peak(self) -> float:
        """Bytes at the fullest moment."""
        return sum(self.parts.values())


def sampling_plan(shape: ModelShape, trainable: Trainable, setting: Setting) -> MemoryPlan:
    """Peak of sampling and evaluation."""
    b, rows = setting.dtype_bytes, setting.rows
    drawing = memory.drawing_bytes(rows, shape.vocabulary, b, setting.truncated)
    prefill = memory.prefill_bytes(shape, setting.admitted, setting.longest_prompt, b)
    passing = {
        "admitting prompts": prefill + memory.drawing_bytes(rows, shape.vocabulary, b, False),
        "drawing tokens": drawing,
        "scoring": memory.scoring_bytes(
            shape, setting.scored_rows, setting.longest_row - setting.longest_code, setting.longest_code, b
        ),
    }
    if setting.engine == "generate":
        cache = memory.dynamic_cache_bytes(shape, rows, setting.longest_row, b)
    else:
        before, columns = memory.slot_cache_columns(setting.first_prompt, setting.longest_row)
        kept = most_kept_tokens(setting.on_cpu, setting.token_budget, rows * setting.longest_row)
        cache = memory.slot_cache_bytes(shape, rows, columns, b) + memory.prefix_cache_bytes(shape, kept, b)
        if columns > before:
            passing["growth of the cache"] = memory.slot_cache_growth_bytes(shape, rows, before, b)
    largest = max(passing, key=lambda name: passing[name])
    return MemoryPlan(
        {
            **_weights(shape, trainable, setting),
            "key-value cache": cache,
            f"working memory ({largest})": passing[largest],
        }
    )


def training_plan(shape: ModelShape, trainable: Trainable, setting: Setting) -> MemoryPlan:
    """Peak of fine-tuning.

    Two moments can be the fullest: the beginning of a backward pass, when all activations stand (with the gradients of
    the batches before it where these are accumulated), and its end, when all gradients do.
    """
    number = memory.adapter_number_bytes(trainable, setting.dtype_bytes, setting.quantization)
    # DDP keeps the gradients a second time, in the buckets that it reduces, from the first step on.
    buckets = memory.gradient_bytes(trainable, number) if setting.processes > 1 else 0
    states = memory.optimizer_states(setting.optim) or memory.OptimizerStates(2)
    optimizer = memory.optimizer_bytes(states, trainable.sizes, number)
    gradients = memory.gradient_bytes(trainable, number)
    begin, end = backward_bytes(shape, trainable, setting)
    moments = {
        "activations and logits": {"gradients": float(gradients if setting.accumulation > 1 else 0), "rest": begin},
        "last layer or step": {
            "gradients": float(gradients),
            "rest": max(end, step_bytes(trainable, number, setting)),
        },
    }
    fullest = max(moments, key=lambda name: sum(moments[name].values()))
    return MemoryPlan(
        {
            **_weights(shape, trainable, setting),
            "gradients": moments[fullest]["gradients"] + buckets,
            # The states exist from the first step on, so every later backward pass sees them.
            f"optimizer states ({setting.optim})": 0.0 if states.paged else optimizer,
            fullest: moments[fullest]["rest"],
        }
    )


def backward_bytes(shape: ModelShape, trainable: Trainable, setting: Setting) -> tuple[float, float]:
    """What stands besides gradients when the backward pass of the longest examples begins, and when it ends."""
    tokens = setting.train_batch * setting.max_length
    compute = setting.compute_bytes
    residual = setting.dtype_bytes
    number = memory.adapter_number_bytes(trainable, setting.dtype_bytes, setting.quantization)
    layer = memory.layer_activation_bytes(shape, tokens, compute, residual, not trainable.is_adapter)
    layer += memory.adapter_activation_bytes(
        shape, trainable, tokens, number, compute, residual, autocast=setting.autocast, on_cpu=setting.on_cpu
    )
    if shape.eager_attention:
        layer += shape.heads * tokens * setting.max_length * (2 * compute + memory.FLOAT32)
    gradients = memory.layer_gradient_bytes(shape, tokens, compute, residual)
    weights = memory.autocast_weight_bytes(
        shape, trainable, setting.dtype_bytes, compute, setting.checkpointing, setting.quantization
    )
    weights += memory.dequantized_bytes(shape, setting.quantization, compute)
    if setting.fused_head:
        head = memory.fused_head_bytes(
            shape, tokens, compute, residual, head_is_trained=not trainable.is_adapter, on_cpu=setting.on_cpu
        )
    else:
        head = memory.full_logits_bytes(shape, tokens, compute)
    end = float(weights + layer + gradients)
    if setting.checkpointing:
        # The output layer's memory is free again before the last layer is computed a second time.
        return weights + memory.checkpoint_bytes(shape, tokens, residual) + max(head, layer + gradients), end
    return weights + shape.layers * layer + max(head, gradients), end


def step_bytes(trainable: Trainable, number_bytes: int, setting: Setting) -> float:
    """Temporary memory of the optimizer's step: torch's AdamW over lists of tensors (a GPU's, not the fused one) takes
    the square roots of all second moments at once.
    """
    if setting.optim == "adamw_torch" and not setting.on_cpu:
        return float(trainable.parameters * number_bytes)
    return 0.0


def host_bytes(trainable: Trainable, setting: Setting) -> float:
    """RAM besides: the copy of the trained weights that every round starts from, and states that are paged out."""
    number = memory.adapter_number_bytes(trainable, setting.dtype_bytes, setting.quantization)
    states = memory.optimizer_states(setting.optim)
    paged = memory.optimizer_bytes(states, trainable.sizes, number) if states and states.paged else 0.0
    return trainable.parameters * number + paged


def setting_for(
    config: GiFTConfig,
    prompts: PromptLengths,
    dtype_bytes: int,
    quantization: Quantization,
    processes: int,
    on_cpu: bool,
    fused_head: bool,
) -> Setting:
    """The options of a run that memory depends on."""
    half = bool(config.bf16 or config.fp16)
    describes = config.sampler in ("gibbs", "rewrite")
    longest_code, longest_description = config.max_completion_length, config.max_description_length
    write, read = max(prompts.longest_seed, prompts.longest_hinted, prompts.longest_evaluation), 0
    if describes:
        write = max(write, math.ceil(prompts.frame) + longest_description)
        read = math.ceil(prompts.read_frame) + (0 if config.sampler == "rewrite" else longest_code)
    rows = config.engine_batch_size or DEFAULT_ROWS
    return Setting(
        dtype_bytes=dtype_bytes,
        quantization=quantization,
        compute_bytes=min(2, dtype_bytes) if half else dtype_bytes,
        autocast=half,
        rows=rows,
        engine=config.generation_engine,
        token_budget=config.engine_token_budget,
        admitted=admitted_prompts(rows, config.num_generations, config.generation_engine),
        first_prompt=max(prompts.longest_seed, prompts.longest_evaluation),
        longest_prompt=max(write, read),
        longest_row=max(write + longest_code, read + longest_description if describes else 0),
        longest_code=longest_code,
        truncated=config.top_p < 1.0 or (describes and config.description_top_p < 1.0),
        scored_rows=min(rows, config.num_generations),
        max_length=config.max_length or write + longest_code,
        train_batch=config.per_device_train_batch_size,
        accumulation=config.gradient_accumulation_steps,
        checkpointing=bool(config.gradient_checkpointing),
        optim=str(config.optim.value),
        fused_head=fused_head,
        processes=processes,
        on_cpu=on_cpu,
    )


def admitted_prompts(rows: int, num_generations: int, engine: str) -> int:
    """Prompts of one prefill: the compact engine shares one among the codes of a step and refills a third of its
    rows; `generate` has a prompt for each row.
    """
    return rows if engine == "generate" else math.ceil(rows * max(1 / num_generations, REFILL_SHARE))


def _weights(shape: ModelShape, trainable: Trainable, setting: Setting) -> dict[str, float]:
    parts = {"weights": memory.weight_bytes(shape, setting.dtype_bytes, setting.quantization)}
    number = memory.adapter_number_bytes(trainable, setting.dtype_bytes, setting.quantization)
    if trainable.is_adapter:
        parts["adapter"] = float(trainable.parameters * number)
    if setting.on_cpu:
        parts["copy of the base weights"] = float(trainable.parameters * number)
    return parts
