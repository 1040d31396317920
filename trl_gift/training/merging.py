"""Merging a LoRA adapter into its base model.

Only into unquantised weights: added to 4-bit or 8-bit weights, an adapter is rounded to their grid, which spoils it
(transformers issue 31293). An adapter that was trained over a 4-bit model is merged into the original weights too.

Where embedding and output layer share their weights and the adapter changes one of them, the merged model has weights for
each. What was saved is loaded again and compared with base and adapter before it gets its name.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig

from trl_gift.common.files import whole_file
from trl_gift.errors import ConfigError
from trl_gift.lintseq import DIFF_TOKEN
from trl_gift.prompts.edits import writes_edits
from trl_gift.training.adapters import Vocabulary, adapter_tokenizer, check_adapter_folder, read_adapter
from trl_gift.training.modalities import auto_class

# Text whose logits are compared before and after.
_PROBE = "def add(a, b):\n    return a + b\n"
# What rounding of the merged weights changes of the logits, at most, as a share of their spread.
_ROUNDING = {"float64": 1e-3, "float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
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
        ConfigError: for a folder that is not an adapter, a base that is quantised or cannot be read, an output that exists, or
            a merged model whose logits are not those of base and adapter.
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
    config = _base_config(name, revision, trust_remote_code)
    kind: Any = dtype if dtype == "auto" else getattr(torch, dtype)
    model = auto_class(config).from_pretrained(
        name, revision=revision, dtype=kind, trust_remote_code=trust_remote_code
    )
    tokenizer = adapter_tokenizer(adapter, name, revision, trust_remote_code)
    vocabulary = Vocabulary(adapter, model)
    vocabulary.fit()
    vocabulary.untie()
    adapted = PeftModel.from_pretrained(model, adapter).eval()
    probe = f"{_PROBE}{DIFF_TOKEN}" if writes_edits(tokenizer) else _PROBE
    ids = torch.tensor([tokenizer(probe)["input_ids"]]).clamp(max=model.get_input_embeddings().weight.shape[0] - 1)
    wanted = _logits(adapted, ids)
    merged = adapted.merge_and_unload(safe_merge=True)
    vocabulary.tie()
    written, parameters = str(merged.dtype).removeprefix("torch."), merged.num_parameters()
    with whole_file(target) as temporary:
        shutil.rmtree(temporary, ignore_errors=True)
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        del merged, adapted, model, vocabulary  # only one copy of a large model fits
        saved = auto_class(config).from_pretrained(temporary, dtype=kind, trust_remote_code=trust_remote_code)
        share = _share(_logits(saved.eval(), ids), wanted)
        if not share <= _ROUNDING[written]:
            shutil.rmtree(temporary)
            raise ConfigError(
                f"merging {adapter!r} would change the model: its logits differ by {share:.1%} from those of base and adapter, "
                f"and rounding to {written} explains {_ROUNDING[written]:.1%}; nothing was written. Use base and adapter side "
                "by side."
            )
    return Merged(str(target), str(name), adapter, written, parameters)


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return logits.double()


def _share(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """How far logits are from those that are wanted, as a share of the spread of these."""
    width = min(wanted.shape[-1], found.shape[-1])
    wanted, found = wanted[..., :width], found[..., :width]
    return float((found - wanted).norm() / (wanted - wanted.mean(dim=-1, keepdim=True)).norm())


def _base_config(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The config of the base, which must be unquantised."""
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
    return config


_BITS = {"load_in_4bit": "4-bit", "_load_in_4bit": "4-bit", "load_in_8bit": "8-bit", "_load_in_8bit": "8-bit"}
