"""How a run has loaded the weights that it trains on: their type and their quantisation, for whoever loads them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trl_gift.run.folder import SAVED_MARK, RunFolder


@dataclass(frozen=True, slots=True)
class LoadedAs:
    """How weights are loaded.

    Attributes:
        dtype: Type of the weights that are not quantised, such as `"bfloat16"`; None if it is not known.
        quantization: The quantisation in words, such as `"4-bit nf4, computed in bfloat16"`; None for unquantised weights.
        quantization_config: The same as the dictionary of transformers' config.
    """

    dtype: str | None = None
    quantization: str | None = None
    quantization_config: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, model: Any) -> LoadedAs:
        """How a model was loaded; of one with an adapter, its base."""
        config = model.config.to_dict().get("quantization_config")
        return cls(
            str(model.get_input_embeddings().weight.dtype).removeprefix("torch."),
            quantization_in_words(config),
            json.loads(json.dumps(config, default=str)) if config else None,
        )

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def loaded_as(folder: Path, run: RunFolder | None) -> LoadedAs:
    """How the weights beneath a saved adapter were loaded in its training; nothing is known of an adapter from elsewhere.

    Args:
        folder: The folder of the adapter.
        run: The run that trained it, if it is known.
    """
    if run is None and folder.name.startswith("checkpoint-"):
        run = RunFolder(folder.parent)
    if run is not None and run.exists:
        return _recorded(run.read("run.json"))
    mark = folder / SAVED_MARK
    return _recorded(json.loads(mark.read_text(encoding="utf-8"))) if mark.is_file() else LoadedAs()


def quantization_in_words(config: Mapping[str, Any] | None) -> str | None:
    """A quantisation such as `"4-bit nf4, computed in bfloat16"`; None for none.

    Args:
        config: The `quantization_config` of a model's config, as a dictionary.
    """
    if not config:
        return None
    if config.get("load_in_4bit") or config.get("_load_in_4bit"):
        compute = str(config.get("bnb_4bit_compute_dtype")).removeprefix("torch.")
        return f"4-bit {config.get('bnb_4bit_quant_type')}, computed in {compute}"
    if config.get("load_in_8bit") or config.get("_load_in_8bit"):
        return "8-bit"
    return f"quantised ({config.get('quant_method', 'unknown')})"


def _recorded(content: Mapping[str, Any]) -> LoadedAs:
    """From `run.json` or the file beside a saved model; older ones do not say."""
    return LoadedAs(**content["weights"]) if "weights" in content else LoadedAs()
