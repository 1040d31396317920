"""Which models `compact` can decode, and what each of their layers keeps of the tokens so far.

A layer keeps keys and values and attends to all tokens or to the last few; or it keeps states of a fixed size that every
token changes (linear attention, Mamba, short convolutions); or both, or nothing. The model's config and transformers' cache
say which, so that a model is refused before its first token.

Not covered: layers that attend in chunks or to chosen tokens, models with a cache class of their own, models that keep
states in their modules, and models whose positions are biases on the attention (ALiBi).
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import transformers
from packaging.version import Version
from peft import PeftModel
from transformers import DynamicCache, DynamicLayer, PretrainedConfig, PreTrainedModel

from trl_gift.errors import ConfigError

# What transformers' models call the kinds of layers whose masks differ.
FULL, SLIDING = "full_attention", "sliding_attention"
RECURRENT = ("linear_attention", "conv")
_CHUNKED = "chunked_attention"
# What a layer keeps, by the class of its cache: keys and values, and states. By name, because older releases lack some.
_WINDOWED = "DynamicSlidingWindowLayer"
_KEPT = {
    "DynamicLayer": (True, False),
    _WINDOWED: (True, False),
    "LinearAttentionLayer": (False, True),
    "LinearAttentionAndFullAttentionLayer": (True, True),
    "DummyLayer": (False, False),
}
# Models that keep states in their modules, although their config gives them layers of a cache for these.
_OUTSIDE = ("recurrent_gemma",)
# Since this release models ask a cache for their states, and use the keys and values of another layer, as they do here.
_STATES_SINCE = "5.21"
# Implementations of attention that take the mask as a tensor.
_MASKED = ("sdpa", "eager")


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer keeps.

    Attributes:
        attends: Whether it keeps keys and values.
        window: Number of tokens that it attends to, the last one included; None for all.
        recurs: Whether it keeps states that every token changes.
    """

    attends: bool = True
    window: int | None = None
    recurs: bool = False


@dataclass(frozen=True, slots=True)
class Decoder:
    """How a model is called token by token.

    Attributes:
        layers: What each layer keeps.
        cache: The argument of the forward pass that takes the cache.
        takes_positions: Whether the forward pass takes positions.
        routes: Whether the forward pass computes a loss of its experts' routing unless it is told not to.
    """

    layers: tuple[Layer, ...]
    cache: str
    takes_positions: bool
    routes: bool

    @property
    def attends(self) -> bool:
        """Whether some layer keeps keys and values."""
        return any(layer.attends for layer in self.layers)

    @property
    def recurs(self) -> bool:
        """Whether some layer keeps states that every token changes."""
        return any(layer.recurs for layer in self.layers)


def fresh_cache(config: PretrainedConfig) -> DynamicCache:
    """An empty cache of transformers for a model's layers; those with a sliding window keep all tokens in it."""
    cache = DynamicCache(config=config)
    cache.layers = [DynamicLayer() if _class(layer) == _WINDOWED else layer for layer in cache.layers]
    return cache


def attending_layers(config: PretrainedConfig) -> int:
    """How many layers of a model keep keys and values of all tokens or of the last few; layers of unknown kinds count."""
    return sum(_KEPT.get(_class(layer), (True, False))[0] for layer in DynamicCache(config=config).layers)


def keeps_keys(layer: object) -> bool:
    """Whether a layer of transformers' cache holds keys and values of a prompt."""
    return isinstance(layer, DynamicLayer) and bool(layer.is_initialized)


def check_layers(model: PreTrainedModel) -> None:
    """Checks that `compact` can decode a model.

    Raises:
        ConfigError: for a model that keeps what `compact` does not know, or that takes no positions or no mask.
    """
    decoder_of(model)


def refusal(model: PreTrainedModel) -> str:
    """Why `compact` cannot decode a model, in words; empty if it can."""
    return _read(_without_adapter(model))[0]


def decoder_of(model: PreTrainedModel) -> Decoder:
    """How `compact` decodes a model.

    Raises:
        ConfigError: as `check_layers`.
    """
    inner = _without_adapter(model)
    reason, found = _read(inner)
    if found is None:
        raise ConfigError(
            f"generation_engine='compact' cannot decode this model ({inner.config.model_type}): {reason}; use "
            "generation_engine='generate'."
        )
    return found


def _without_adapter(model: PreTrainedModel) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _read(model: Any) -> tuple[str, Decoder | None]:
    """How the model is decoded; or why it is not."""
    config = model.config.get_text_config()
    settings = config.to_dict()
    parameters = inspect.signature(model.forward).parameters
    cache = next((name for name in ("past_key_values", "cache_params") if name in parameters), None)
    kinds = settings.get("layer_types") or ()
    if cache is None:
        return "its forward pass takes no cache", None
    recurs = model._is_stateful or not set(RECURRENT).isdisjoint(kinds)
    older = Version(transformers.__version__) < Version(_STATES_SINCE)
    if older and recurs:
        return f"its states need transformers {_STATES_SINCE} or newer", None
    if older and settings.get("num_kv_shared_layers"):
        return f"its shared keys and values need transformers {_STATES_SINCE} or newer", None
    if not model._supports_default_dynamic_cache():
        return "it needs a cache of its own class", None
    if _CHUNKED in kinds or (not kinds and settings.get("attention_chunk_size") is not None):
        return "it attends in chunks", None
    kept = DynamicCache(config=config).layers
    unknown = next((_class(layer) for layer in kept if _class(layer) not in _KEPT), None)
    if unknown is not None:
        return f"it has layers with a cache of the kind {unknown}", None
    found = Decoder(
        tuple(map(_layer, kept)), cache, "position_ids" in parameters, "output_router_logits" in parameters
    )
    if config.model_type in _OUTSIDE or (model._is_stateful and not found.recurs):
        return "it keeps its states outside of the cache", None
    if found.attends and not found.takes_positions:
        return "its forward pass takes no position_ids", None
    if found.attends and settings.get("alibi"):
        return "its positions are biases on the attention (alibi=True)", None
    if found.attends and config._attn_implementation not in _MASKED:
        return f"attn_implementation={config._attn_implementation!r} takes no mask ('sdpa' does)", None
    return "", found


def _layer(cache: Any) -> Layer:
    attends, recurs = _KEPT[_class(cache)]
    # Asked of the cache, because a window can be a layer's own.
    return Layer(attends, cache.sliding_window if _class(cache) == _WINDOWED else None, recurs)


def _class(cache: object) -> str:
    return type(cache).__name__
