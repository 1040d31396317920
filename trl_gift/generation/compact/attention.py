"""Which models `compact` can decode: those whose state is the keys and values of all tokens."""

from __future__ import annotations

import inspect

from peft import PeftModel
from transformers import PreTrainedModel

from trl_gift.errors import ConfigError


def check_attention(model: PreTrainedModel) -> None:
    """Checks that a model can be decoded over a cache of keys and values at explicit positions.

    Raises:
        ConfigError: for layers without full attention, and for models that do not take positions (ALiBi).
    """
    config = model.config.get_text_config().to_dict()
    kinds = set(config.get("layer_types") or ())
    window = config.get("sliding_window") if not kinds else None
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    missing = {"past_key_values", "position_ids"} - set(inspect.signature(inner.forward).parameters)
    if kinds - {"full_attention"}:
        seen = ", ".join(sorted(kinds))
    elif window is not None:
        seen = f"sliding_window={window}"
    elif missing:
        seen = f"no {min(missing)} in its forward pass"
    elif config.get("alibi"):
        seen = "alibi=True"
    else:
        return
    raise ConfigError(
        f"generation_engine='compact' needs full attention in every layer and this model ({model.config.model_type}) has "
        f"{seen}; use generation_engine='generate'."
    )
