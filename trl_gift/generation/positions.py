"""How many tokens a model can take; read from its config, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def positions_of(config: PretrainedConfig) -> int | None:
    """The number of tokens that a model can take, its completion included; None where its config names none."""
    values = config.get_text_config().to_dict()
    return next((int(values[name]) for name in _NAMES if isinstance(values.get(name), int)), None)
