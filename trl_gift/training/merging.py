"""Merging a LoRA adapter into its base model.

Only into unquantised weights: added to 4-bit or 8-bit weights, an adapter is rounded to their grid, which spoils it
(transformers issue 31293). An adapter that was trained over a 4-bit model is merged into the original weights too.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from trl_gift.common.files import whole_file
from trl_gift.errors import ConfigError
from trl_gift.training.adapters import adapter_tokenizer, check_adapter_folder, read_adapter

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge_adapter` wrote.

    Attributes:
        output: The folder of the model.
        base: The base model.
        adapter: The folder or name of the adapter.
        dtype: The dtype of the weights.
        parameters: Their number.
    """

    output: str
    base: str
    adapter: str
    dtype: str
    parameters: int


def merge_adapter(
    adapter: str, output: str | Path, base: str | None = None, dtype: str = "auto", trust_remote_code: bool = False
) -> Merged:
    """Adds an adapter to its base model and saves the result with its tokenizer, whole or not at all.

    Args:
        adapter: A folder that `save_model` wrote, a checkpoint of a run, or a name on the Hub.
        output: A folder that does not exist yet.
        base: The base model; the one that the adapter names if not given.
        dtype: Of the merged weights; "auto" for that of the base.
        trust_remote_code: Whether code of the base's repository may run.

    Raises:
        ConfigError: for a folder that is not an adapter, a base that is quantised or cannot be read, or an output that exists.
    """
    target = Path(output)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}.")
    if target.exists():
        raise ConfigError(f"output {output} exists already; give the path of a new folder.")
    check_adapter_folder(adapter)
    settings = read_adapter(adapter)
    if settings.is_prompt_learning:
        raise ConfigError(f"{adapter!r} is a {settings.peft_type.value} adapter, which has no weights to merge.")
    name = base or settings.base_model_name_or_path
    if not name:
        raise ConfigError(f"{adapter} does not name its base model; give it with --base.")
    # A base that is given is another copy; the recorded revision need not exist there.
    revision = None if base else settings.revision
    _check_base(name, revision, trust_remote_code)
    kind: Any = dtype if dtype == "auto" else getattr(torch, dtype)
    model = AutoModelForCausalLM.from_pretrained(
        name, revision=revision, dtype=kind, trust_remote_code=trust_remote_code
    )
    tokenizer = adapter_tokenizer(adapter, name, revision, trust_remote_code)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    with whole_file(target) as temporary:
        shutil.rmtree(temporary, ignore_errors=True)
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    written = str(merged.dtype).removeprefix("torch.")
    return Merged(str(target), str(name), adapter, written, merged.num_parameters())


def _check_base(name: str, revision: str | None, trust_remote_code: bool) -> None:
    try:
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the base model {name!r} cannot be read ({error}); give another with --base.") from error
    quantization = config.to_dict().get("quantization_config")
    if quantization:
        method = quantization.get("quant_method", "unknown")
        bits = next((text for key, text in _BITS.items() if quantization.get(key)), f"quantised ({method})")
        raise ConfigError(
            f"the base model {name!r} is {bits}; merged into such weights an adapter is rounded to their grid and "
            "spoiled. Give the unquantised model with --base, or serve base and adapter side by side."
        )


_BITS = {"load_in_4bit": "4-bit", "_load_in_4bit": "4-bit", "load_in_8bit": "8-bit", "_load_in_8bit": "8-bit"}
