"""Peak memory of a run, on one page: what a person would add up from the model's config and the run's options.

Sampling and training never overlap: the optimizer is gone while a round samples, and the keys and values are gone while
it trains. The peak of a stage is the sum of its items. Symbols: `b` is the size of a weight in bytes (4 in float32, 2 in
bfloat16); `c` is the size of a number in the products of training (2 with bf16 or fp16, else `b`); `t` is the size of a
trained number (`b` in full fine-tuning; an adapter's is 4, on a quantized model 2).

Both stages
    weights           parameters × b; quantized linear layers: 0.53 (nested nf4), 0.56 (nf4) or 1 (int8) instead of b
    adapter           its parameters × t
    base weights      trained parameters × t, the copy that each round starts from; in the RAM, so counted on a CPU

Sampling
    weights with the adapter  adapted weights × b, with LoRA over float32 weights on a CPU, if a quarter of the rest holds them
    keys and values   (rows × row × reserve + kept prompts) × 2 × attending layers × keys × b
                      row: the longest prompt with the longest completion. reserve: 1.5 for `compact` on a GPU, which takes
                      columns ahead; 1 for `generate`, and on a CPU, where what is not written takes no memory.
                      A token budget limits rows × row; on a GPU `compact` has one by default: the tokens
                      whose keys and values take half of what the weights leave free.
    logits            rows × vocabulary × (b + 28), with top-p × (b + 62): the distribution that tokens are drawn from
  or activations      prompts × longest prompt × ((2 hidden + 3 intermediate) × b + keys and values): reading prompts
                      The larger of the two counts. prompts: those that are read at once; `compact` copies their keys
                      and values, `generate` keeps them in place.

Training, with tokens = per_device_train_batch_size × max_length
    optimizer         trained parameters × states × t; × 1 in 8 bits; 0 if paged (RAM)
    activations       tokens × layers × (2 hidden × (4 + b) + (4 attention + 3 intermediate) × c + inputs)
                      inputs of linear layers: 2 hidden × b + (attention + intermediate) × c; an adapter keeps one of its
                      own for each adapted layer, of t bytes (c under autocast), and with dropout a mask of 1 byte
                      (on a CPU of as many bytes).
                      Gradient checkpointing: tokens × layers × hidden × b instead.
                      float32 weights under autocast are copied: linear weights × c.
    logits            of one tile of the loss (TRL >= 1.16), else tokens × vocabulary × (2 c + 12)
  or one layer        gradient checkpointing computes one layer again, with its gradients: 2 × its activations
    gradients         trained parameters × t. Activations go as gradients come, so the larger of the two counts, but
                      both with gradient accumulation or several processes.

How far this is off: in the 14 cases of `tests/estimate/test_peaks.py` (small Llamas and the playground model, on a CPU)
the page gives 0.81 to 1.17 times the measured peak; `UNCERTAINTY` states 20 %. Not measured on a GPU. The page counts
tensors; `trl_gift.estimate.device` keeps a reserve for the CUDA context and fragmentation.

Not covered: eager attention, the states of linear attention and Mamba, windows of attention shorter than a row, activations
of layers with dropout (GPT-2 keeps about twice as much), DeepSpeed and FSDP, mixtures of experts. Engines other than
`compact` and `generate` are counted like `compact`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from packaging.version import Version

from trl_gift.config import GiFTConfig
from trl_gift.estimate.device import Device
from trl_gift.estimate.model import ModelShape, Quantization, Trained
from trl_gift.estimate.work import PromptLengths
from trl_gift.generation import MERGED_SHARE
from trl_gift.generation.compact import DEFAULT_ROWS, REFILL_SHARE, affordable_tokens, most_kept_tokens

# A predicted peak may be off by this share, in both directions.
UNCERTAINTY = 0.2

_FLOAT32 = 4
# Columns that `compact` takes, as a multiple of those that are written, at most.
_RESERVE = 1.5
_QUANTIZED_BYTES = {"4bit-nested": 0.53, "4bit": 0.5625, "8bit": 1.0}
# TRL from 1.16 computes the loss from one tile of logits after the other; a tile has at most these sizes.
_TILED_LOSS_SINCE, _TILE_TOKENS, _TILE_COLUMNS = "1.16", 4096, 32768


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """The options that memory depends on.

    Attributes:
        weight_bytes: Bytes of a weight as loaded (`b`).
        quantization: Kind of quantization of the weights.
        autocast: Whether training runs under bf16 or fp16 autocast.
        engine: `generation_engine`.
        rows: Completions that are generated at once.
        token_budget: `engine_token_budget`.
        num_generations: Completions of a step, which share a prompt.
        longest_prompt: Tokens of the longest prompt.
        longest_row: Tokens of the longest prompt with its longest completion.
        truncated: Whether some tokens are drawn with top-p.
        max_length: Most tokens of a training example: of the longest prompt and completion, or `max_length` if that is less.
        train_batch: `per_device_train_batch_size`.
        accumulation: `gradient_accumulation_steps`.
        checkpointing: `gradient_checkpointing`.
        optim: `optim`.
        tiled_loss: Whether the loss is computed without all logits at once.
        processes: Number of processes, one device each.
        on_cpu: Whether the device is the CPU.
        usable: Bytes of a GPU that tensors can take; None if they are not known.
        ram: Bytes of a CPU's memory; None for a GPU.
    """

    weight_bytes: int
    quantization: Quantization
    autocast: bool
    engine: str
    rows: int
    token_budget: int | None
    num_generations: int
    longest_prompt: int
    longest_row: int
    truncated: bool
    max_length: int
    train_batch: int
    accumulation: int
    checkpointing: bool
    optim: str
    tiled_loss: bool
    processes: int
    on_cpu: bool
    usable: float | None = None
    ram: float | None = None

    @property
    def product_bytes(self) -> int:
        """Bytes of a number in the matrix products of training (`c`)."""
        return 2 if self.autocast else self.weight_bytes


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes of a stage by item; the peak is their sum."""

    items: Mapping[str, float]

    @property
    def peak(self) -> float:
        """Bytes at the fullest moment."""
        return sum(self.items.values())


def sampling_memory(shape: ModelShape, trained: Trained, options: MemoryOptions) -> StageMemory:
    """Peak of sampling and evaluation."""
    size, tokens = options.weight_bytes, options.rows * options.longest_row
    token = _token_bytes(shape, options)
    prompt_token = _forward_numbers(shape) * size
    if options.engine == "generate":
        held, prompts = float(tokens), options.rows
    else:
        budget = token_budget(shape, trained, options)
        kept = most_kept_tokens(options.on_cpu, budget, tokens)
        held = (1.0 if options.on_cpu else _RESERVE) * min(tokens, budget or tokens) + kept
        prompts = math.ceil(options.rows * max(1 / options.num_generations, REFILL_SHARE))
        prompt_token += token
    passing = {
        "logits": options.rows * shape.vocabulary * (size + (62 if options.truncated else 28)),
        "activations": prompts * options.longest_prompt * prompt_token,
    }
    larger = max(passing, key=lambda item: passing[item])
    items = _weights(shape, trained, options)
    # `merged_adapter` keeps the weights from before.
    adapted = float(trained.adapted_weights * size)
    if options.ram and size == _FLOAT32 and 0 < adapted <= (options.ram - sum(items.values())) / MERGED_SHARE:
        items["weights with the adapter"] = adapted
    return StageMemory({**items, "keys and values": held * token, larger: float(passing[larger])})


def token_budget(shape: ModelShape, trained: Trained, options: MemoryOptions) -> int | None:
    """Most tokens in flight: `engine_token_budget`, or what `compact` computes; None for no limit."""
    if options.token_budget or options.engine != "compact" or options.usable is None:
        return options.token_budget
    free = options.usable - sum(_weights(shape, trained, options).values())
    token = _token_bytes(shape, options)
    # One completion is always let in. Tokens of a model of states alone, such as Mamba, have no size.
    return max(options.longest_row, affordable_tokens(free, token)) if token else None


def beside(stage: StageMemory, name: str, shape: ModelShape, options: MemoryOptions) -> StageMemory:
    """A stage with the weights of another model that is loaded for its time."""
    return StageMemory({**stage.items, name: float(shape.parameters * options.weight_bytes)})


def training_memory(shape: ModelShape, trained: Trained, options: MemoryOptions) -> StageMemory:
    """Peak of fine-tuning on batches of the longest examples."""
    tokens = options.train_batch * options.max_length
    layer = tokens * _layer_numbers(shape, trained, options)
    activations = float(shape.layers * layer)
    passing = {"logits": _loss_bytes(shape, trained, options, tokens)}
    if options.checkpointing:
        activations = float(shape.layers * tokens * shape.hidden * options.weight_bytes)
        passing["one layer, computed again"] = 2.0 * layer
    elif options.weight_bytes > options.product_bytes and options.quantization == "none":
        activations += shape.linear_parameters * options.product_bytes
    larger = max(passing, key=lambda item: passing[item])
    moment = {"activations": activations, larger: passing[larger]}
    gradients = {"gradients": float(trained.parameters * trained_bytes(trained, options))}
    if options.accumulation > 1 or options.processes > 1:
        moment |= gradients
    else:
        moment = max(moment, gradients, key=lambda items: sum(items.values()))
    states, paged = optimizer_bytes(trained, options)
    return StageMemory(
        {**_weights(shape, trained, options), f"optimizer ({options.optim})": 0.0 if paged else states, **moment}
    )


def host_bytes(trained: Trained, options: MemoryOptions) -> float:
    """RAM beside a GPU: the copy of the weights that each round starts from, and optimizer states that are paged out."""
    states, paged = optimizer_bytes(trained, options)
    return trained.parameters * trained_bytes(trained, options) + (states if paged else 0.0)


def trained_bytes(trained: Trained, options: MemoryOptions) -> int:
    """Bytes of a trained number (`t`)."""
    if not trained.is_adapter:
        return options.weight_bytes
    return 2 if options.quantization != "none" else max(_FLOAT32, options.weight_bytes)


def optimizer_bytes(trained: Trained, options: MemoryOptions) -> tuple[float, bool]:
    """Bytes of the optimizer's states, and whether they are paged: the driver then moves them to the RAM."""
    optim = options.optim
    # An optimizer that is none of these is counted like AdamW: two moments.
    fewer = {"sgd": 0, "lion": 1, "rmsprop": 1, "adagrad": 1, "ademamix": 3}
    states = next((number for name, number in fewer.items() if name in optim), 2)
    size = 1 if "8bit" in optim else trained_bytes(trained, options)
    return float(trained.parameters * states * size), optim.startswith("paged")


def memory_options(
    config: GiFTConfig,
    prompts: PromptLengths,
    weight_bytes: int,
    quantization: Quantization,
    device: Device,
    num_tasks: int,
    num_eval_tasks: int = 0,
) -> MemoryOptions:
    """The options of a run that memory depends on.

    Args:
        config: The run's options.
        prompts: Lengths of its prompts.
        weight_bytes: Bytes of a weight as loaded.
        quantization: Kind of quantization of the weights.
        device: The device that it has to fit on.
        num_tasks: Number of tasks to sample for.
        num_eval_tasks: Number of evaluation tasks.
    """
    # A small run never has as many completions at once as the engine would take.
    asked = max(num_tasks * config.num_generations, num_eval_tasks * (1 + config.eval_num_generations))
    asked = math.ceil(asked / config.world_size)
    describes = config.sampler in ("gibbs", "rewrite")
    write, read = max(prompts.longest_write, prompts.longest_hinted, prompts.longest_evaluation), 0
    if describes:
        write = max(write, math.ceil(prompts.write_frame) + config.max_description_length)
        shown = 0 if config.sampler == "rewrite" else config.completion_length
        read = math.ceil(prompts.read_frame) + shown
    if prompts.longest_repair:
        write = max(write, prompts.longest_repair + config.completion_length)
    longest_row = max(write + config.completion_length, read + config.max_description_length if describes else 0)
    longest_example = prompts.longest_write + max(config.completion_length, prompts.longest_reference)
    tiled = Version(version("trl")) >= Version(_TILED_LOSS_SINCE) and config.label_smoothing_factor == 0
    return MemoryOptions(
        weight_bytes=weight_bytes,
        quantization=quantization,
        autocast=bool(config.bf16 or config.fp16),
        # Which of them it takes depends on the model; `compact` needs more memory.
        engine="compact" if config.generation_engine == "auto" else config.generation_engine,
        rows=min(config.engine_batch_size or DEFAULT_ROWS, max(1, asked)),
        token_budget=config.engine_token_budget,
        num_generations=config.num_generations,
        longest_prompt=max(write, read),
        longest_row=longest_row,
        truncated=config.top_p < 1.0 or (describes and config.description_top_p < 1.0),
        max_length=min(config.max_length or longest_example, longest_example),
        train_batch=config.per_device_train_batch_size,
        accumulation=config.gradient_accumulation_steps,
        checkpointing=bool(config.gradient_checkpointing),
        optim=str(config.optim.value),
        tiled_loss=tiled,
        processes=config.world_size,
        on_cpu=device.kind == "cpu",
        usable=None if device.kind == "cpu" else device.usable,
        ram=device.memory if device.kind == "cpu" else None,
    )


def _token_bytes(shape: ModelShape, options: MemoryOptions) -> int:
    """Bytes of the keys and values of a token."""
    return 2 * shape.attending * shape.keys * options.weight_bytes


def _weights(shape: ModelShape, trained: Trained, options: MemoryOptions) -> dict[str, float]:
    size = options.weight_bytes
    linear = shape.linear_parameters * _QUANTIZED_BYTES.get(options.quantization, size)
    items = {"weights": (shape.parameters - shape.linear_parameters) * size + linear}
    copied = float(trained.parameters * trained_bytes(trained, options))
    if trained.is_adapter:
        items["adapter"] = copied
    if options.on_cpu:
        items["base weights"] = copied
    return items


def _forward_numbers(shape: ModelShape) -> int:
    """Numbers of a token that exist at once in a forward pass: the residual stream and the inside of the MLP."""
    return 2 * shape.hidden + (3 if shape.gated else 2) * shape.intermediate


def _layer_numbers(shape: ModelShape, trained: Trained, options: MemoryOptions) -> float:
    """Bytes of a token that one layer keeps for the backward pass."""
    size, product, own = options.weight_bytes, options.product_bytes, trained_bytes(trained, options)
    inputs = 2 * shape.hidden * size + (shape.attention + shape.intermediate) * product
    if trained.is_adapter and (trained.dropout or options.autocast or own != size):
        number = product if options.autocast else own
        if trained.dropout:
            number += number if options.on_cpu else 1
        # Also with an adapter, layers without one share their inputs.
        inputs = max(inputs, trained.adapted_inputs // shape.layers * number)
    mlp = 3 if shape.gated else 1
    return 2 * shape.hidden * (_FLOAT32 + size) + (4 * shape.attention + mlp * shape.intermediate) * product + inputs


def _loss_bytes(shape: ModelShape, trained: Trained, options: MemoryOptions, tokens: int) -> float:
    """Bytes of the logits and what is computed from them."""
    product = options.product_bytes
    if not options.tiled_loss:
        return tokens * shape.vocabulary * (2.0 * product + 3 * _FLOAT32)
    tile = min(tokens, _TILE_TOKENS)
    # On a CPU, eight float32 arrays stand beside the tile; on a GPU one kernel computes the same in place.
    arrays = 8 * tile * min(shape.vocabulary, _TILE_COLUMNS) * _FLOAT32 if options.on_cpu else 0
    gradient = 0 if trained.is_adapter else shape.vocabulary * shape.hidden * _FLOAT32
    return float(
        tile * _TILE_COLUMNS * product + arrays + gradient + tokens * shape.hidden * (_FLOAT32 + options.weight_bytes)
    )
