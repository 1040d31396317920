"""How many tokens a model can take; read from its config, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def positions_of(config: PretrainedConfig) -> int | None:
    """The number of tokens that a model can take, its completion included; None where its config names none.

    Of a model with two sets of positions, for short and for long texts (Phi-4-mini's longrope), those of the short texts.
    """
    values = config.get_text_config().to_dict()
    positions = next((int(values[name]) for name in _NAMES if isinstance(values.get(name), int)), None)
    rotary = values.get("rope_parameters") or {}
    if positions is None or rotary.get("rope_type") != "longrope":
        return positions
    # A row that gets longer than this changes the positions of all rows of its batch, and of its own tokens so far.
    same = rotary.get("original_max_position_embeddings") or values.get("original_max_position_embeddings")
    return min(positions, int(same or positions))
