"""The command that starts vLLM, and what of it depends on the model and on the machine.

Facts about vLLM that the options answer to, seen with 0.32 on a CPU (`tests/test_vllm.py`):

- `--enable-lora` wraps every layer that could have an adapter, the output layer too, and two requests with
  `prompt_logprobs` at once then end the engine. `--lora-target-modules` restricts it to the adapter's own layers.
- A checkpoint in float32 is served in bfloat16 unless `--dtype` says otherwise, which is not the model that is trained.
- On a CPU a seed with chunked prefill ends the engine, and the memory for keys and values would be 85 % of the machine.
- A request may have four stop texts unless `VLLM_MAX_STOP_STRINGS` says otherwise.

Not covered: adapters of the output layer, whose part in prompt log-probabilities vLLM drops without a word.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_layer_status
from transformers import PreTrainedModel

from trl_gift.errors import ConfigError
from trl_gift.generation.positions import positions_of
from trl_gift.generation.server.kinds import RESERVED

OPTIONS = "{vllm_options}"
"""Stands in a command for the options that are filled in."""

COMMAND = f"vllm serve {{model}} {OPTIONS}"
"""Starts vLLM where it is installed beside this package."""

MOST_STOP_TEXTS = 64
# The most tokens of a prompt and its completion on a CPU, which have to fit into one batch.
_CPU_CONTEXT = 4096
_CPU_CACHE_GIB = 4
_CONTEXT_OPTION = re.compile(r"--max[-_]model[-_]len[ =](\d+)(?!\S)")
# The ranks that vLLM lets one choose from.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """How vLLM serves a model.

    Attributes:
        dtype: Type of the weights, as `--dtype` names it.
        rank: Largest rank of the adapters to come, one that vLLM knows; None without adapters.
        target_modules: Names of the layers that have adapters.
        on_cpu: Whether vLLM runs on a CPU.
        context: Most tokens of a prompt and its completion; None for vLLM's own choice.
    """

    dtype: str
    rank: int | None
    target_modules: tuple[str, ...]
    on_cpu: bool
    context: int | None

    @classmethod
    def of(cls, model: PreTrainedModel, on_cpu: bool | None = None) -> VllmSettings:
        """The settings for a model.

        Args:
            model: The trainer's model.
            on_cpu: Whether vLLM runs on a CPU; if not given, where torch finds no accelerator here.

        Raises:
            ConfigError: for an adapter that vLLM cannot serve.
        """
        if on_cpu is None:
            on_cpu = not torch.accelerator.is_available()
        dtype = str(model.dtype).removeprefix("torch.")
        if dtype == "float32" and not on_cpu:
            dtype = "auto"  # on a GPU twice as fast, and what TRL does
        rank: int | None = None
        names: tuple[str, ...] = ()
        if isinstance(model, PeftModel):
            config = lora_config(model)
            highest = max([int(config.r), *map(int, (config.rank_pattern or {}).values())])
            rank = known_rank(highest)
            names = adapted_layers(model)
        return cls(
            dtype,
            rank,
            names,
            on_cpu,
            min(_CPU_CONTEXT, positions_of(model.config) or _CPU_CONTEXT) if on_cpu else None,
        )

    @property
    def positions(self) -> int | None:
        """Most tokens of a prompt and its completion, so that the completion can still be scored."""
        return None if self.context is None else self.context - RESERVED

    def options(self) -> list[str]:
        """The words that `{vllm_options}` stands for; `{host}`, `{port}` and `{gpu_memory_utilization}` are filled in later."""
        words = [
            "--host",
            "{host}",
            "--port",
            "{port}",
            "--generation-config",
            "vllm",
            "--logprobs-mode",
            "raw_logprobs",
        ]
        words += ["--dtype", self.dtype]
        if self.rank is not None:
            words += ["--enable-lora", "--max-lora-rank", str(self.rank)]
            words += ["--lora-target-modules", *self.target_modules]
        if not self.on_cpu:
            return [*words, "--gpu-memory-utilization", "{gpu_memory_utilization}"]
        return [
            *words, "--max-model-len", str(self.context), "--no-enable-chunked-prefill", "--max-num-batched-tokens",
            str(_CPU_CONTEXT), "--enforce-eager",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """What vLLM reads from its environment; the size of the cache on a CPU only where the user has not set it."""
        found = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_MAX_STOP_STRINGS": str(MOST_STOP_TEXTS)}
        if self.on_cpu:
            name = "VLLM_CPU_KVCACHE_SPACE"
            found[name] = os.environ.get(name, str(_CPU_CACHE_GIB))
        return found


def named_positions(command: str) -> int | None:
    """The positions that a command's own `--max-model-len` leaves, of which vLLM takes the last; None without one."""
    found = _CONTEXT_OPTION.findall(command)
    return int(found[-1]) - RESERVED if found else None


def known_rank(rank: int) -> int:
    """The smallest rank that vLLM knows and that is not below `rank`."""
    return next((known for known in _RANKS if known >= rank), rank)


def adapted_layers(model: PeftModel) -> tuple[str, ...]:
    """Names of the layers that have a LoRA adapter, such as `q_proj`.

    Raises:
        ConfigError: if the output layer has one.
    """
    base = model.get_base_model()
    head = base.get_output_embeddings()
    layers = {status.name for status in get_layer_status(model)}
    for name, module in base.named_modules():
        if module is head and any(layer.endswith(name) for layer in layers):
            raise ConfigError(
                f"the adapter changes the output layer ({name}), whose part vLLM leaves out of the log-probabilities that it "
                "scores; leave it out of target_modules, or use generation_engine='compact'."
            )
    return tuple(sorted({layer.rpartition(".")[2] for layer in layers}))


def lora_config(model: PeftModel) -> LoraConfig:
    """The config of the active adapter.

    Raises:
        ConfigError: for another kind of adapter, or a LoRA with parts that vLLM does not know.
    """
    config = model.peft_config[model.active_adapter]
    if not isinstance(config, LoraConfig):
        raise ConfigError(
            f"generation_engine='server' serves LoRA adapters and this one is {type(config).__name__}; use a "
            "LoraConfig, or generation_engine='compact'."
        )
    parts = {
        "modules_to_save": config.modules_to_save,
        "use_dora": config.use_dora,
        "lora_bias": config.lora_bias,
        "trainable_token_indices": config.trainable_token_indices,
    }
    for name, value in parts.items():
        if value:
            source = (
                "target_format='edits' adds it" if name == "trainable_token_indices" else "it is in the LoraConfig"
            )
            raise ConfigError(
                f"{name}={value!r} is a part of the adapter that vLLM does not serve ({source}); leave it out, or use "
                "generation_engine='compact'."
            )
    return config
