"""What a saved adapter says of itself: its settings, its base model, its tokenizer."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from peft import LoraConfig, PeftConfig, load_peft_weights
from transformers import AutoTokenizer

from trl_gift.errors import ConfigError

# peft refuses adapters on these modules of these models: their fused kernels read the weights.
_MAMBA = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
_FUSED = ("conv1d", "out_proj")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def check_adapter_folder(adapter: str) -> None:
    """Looks at a folder before the Hub is asked for a repository of that name.

    Raises:
        ConfigError: for a path that cannot be an adapter.
    """
    folder = Path(adapter)
    if folder.is_file():
        raise ConfigError(f"{adapter!r} is a file; give the folder that holds adapter_config.json.")
    if not folder.is_dir():
        if _HUB_NAME.fullmatch(adapter) is None:
            raise ConfigError(f"{adapter!r} does not exist; check the path, or give a name on the Hub (owner/name).")
        return
    if (folder / "adapter_config.json").is_file():
        return
    if (folder / "config.json").is_file():
        raise ConfigError(
            f"{adapter!r} holds a whole model, which needs no merge; use it as it is, or give an adapter."
        )
    raise ConfigError(
        f"{adapter!r} holds no adapter_config.json; give a folder with one, such as a checkpoint, or the folder that the "
        "trainer's save_model wrote with peft_config."
    )


def is_adapter(name: str, revision: str | None = None) -> bool:
    """Whether a folder or a name on the Hub is an adapter; what is neither is none.

    Args:
        name: A folder, or a name on the Hub.
        revision: Of a repository on the Hub.
    """
    if Path(name).exists():
        return (Path(name) / "adapter_config.json").is_file()
    if _HUB_NAME.fullmatch(name) is None:
        return False
    try:
        hf_hub_download(name, "adapter_config.json", revision=revision)
    except (OSError, HFValidationError):  # absent, private, or out of reach: loading it as a model says which
        return False
    return True


def read_adapter(adapter: str, revision: str | None = None) -> Any:
    """The `PeftConfig` of an adapter.

    Args:
        adapter: A folder, or a name on the Hub.
        revision: Of the adapter on the Hub.

    Raises:
        ConfigError: if there is none that can be read.
    """
    try:
        return PeftConfig.from_pretrained(adapter, revision=revision)
    except (OSError, ValueError, TypeError) as error:
        what = "is not an adapter" if Path(adapter).is_dir() else "is neither a folder here nor an adapter on the Hub"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"{adapter!r} {what} ({reason}); give a folder with adapter_config.json, such as one that the trainer's "
            "save_model wrote with peft_config."
        ) from error


def adapter_tokenizer(adapter: str, base: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The tokenizer that the adapter was saved with, or the base's.

    Args:
        adapter: A folder, or a name on the Hub.
        base: The base model.
        revision: Of the base.
        trust_remote_code: Whether code of the base's repository may run.
    """
    if (Path(adapter) / "tokenizer_config.json").exists():
        return AutoTokenizer.from_pretrained(adapter)
    return AutoTokenizer.from_pretrained(base, revision=revision, trust_remote_code=trust_remote_code)


def without_fused(adapter: PeftConfig | None, model_type: str) -> PeftConfig | None:
    """An adapter of all linear layers without those that peft refuses for this type of model; others are as they were."""
    if not isinstance(adapter, LoraConfig) or model_type not in _MAMBA:
        return adapter
    if adapter.target_modules != "all-linear" or adapter.exclude_modules:
        return adapter
    fitting = copy.copy(adapter)
    fitting.exclude_modules = list(_FUSED)
    return fitting


class Vocabulary:
    """What an adapter changes of the layers that have a row for each token.

    Args:
        adapter: A folder, or a name on the Hub.
        model: The base model, without the adapter.
        revision: Of the adapter on the Hub.

    Attributes:
        size: Rows that the adapter needs of these layers; None if it changes none of them.
    """

    def __init__(self, adapter: str, model: Any, revision: str | None = None) -> None:
        where = {"revision": revision} if revision else {}
        weights: Mapping[str, torch.Tensor] = load_peft_weights(adapter, device="cpu", **where)
        named = {id(module): name for name, module in model.named_modules()}
        self._model = model
        self._is_untied = False
        self._layers = [named[id(layer)] for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
        held = next(filter(None, map(self._rows, weights.items())), None)
        self._holds_layers = held is not None
        added = _added_rows(read_adapter(adapter, revision))
        self.size: int | None = held or added

    def fit(self) -> None:
        """Gives the base as many rows as the adapter needs: it was trained with a resized vocabulary."""
        rows = self._model.get_input_embeddings().weight.shape[0]
        if self.size is not None and (self.size > rows or (self._holds_layers and self.size != rows)):
            self._model.resize_token_embeddings(self.size, mean_resizing=False)

    def untie(self) -> None:
        """Gives the output layer weights of its own if they are those of the embedding and the adapter changes one of them.

        Merged into shared weights, what is meant for one layer would change both. Single tokens that an adapter trains are meant
        for both.
        """
        head, embedding = self._model.get_output_embeddings(), self._model.get_input_embeddings()
        if self._holds_layers and head.weight is embedding.weight:
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
            self._say_tied(False)
            self._is_untied = True

    def tie(self) -> None:
        """Shares the weights of both layers again if `untie` has parted them and the merged adapter left them alike."""
        head, embedding = self._model.get_output_embeddings(), self._model.get_input_embeddings()
        if self._is_untied and torch.equal(head.weight, embedding.weight):
            head.weight = embedding.weight
            self._say_tied(True)

    def _say_tied(self, tied: bool) -> None:
        for config in (self._model.config, self._model.config.get_text_config()):
            config.tie_word_embeddings = tied

    def _rows(self, item: tuple[str, torch.Tensor]) -> int | None:
        """Number of rows of the layer, if a weight of the adapter belongs to one of these layers."""
        key, weight = item
        for layer in self._layers:
            if key.endswith((f".{layer}.weight", f".{layer}.lora_B.weight")):
                return int(weight.shape[0])
            if key.endswith(f".{layer}.lora_embedding_A"):
                return int(weight.shape[1])
        return None


def _added_rows(settings: Any) -> int | None:
    """Rows that a layer needs for the single tokens that an adapter trains; None if it trains none."""
    indices = settings.trainable_token_indices if isinstance(settings, LoraConfig) else None
    lists = indices.values() if isinstance(indices, dict) else [indices or ()]
    return max((place + 1 for places in lists for place in places), default=None)
