"""States that every token changes, one for each row, in the layers of transformers' cache that hold them.

Linear attention and Mamba keep a recurrent state and the last inputs of a convolution, short convolutions only the latter.
A state stands for all tokens so far: it is copied and dropped with its row, and never cut to a part of them.
"""

from __future__ import annotations

from typing import Any

import torch


def take_states(layer: Any, rows: torch.Tensor) -> None:
    """Replaces the states of a layer by those of some rows, `(rows,)`, on the layer's device."""
    for states in (layer.conv_states, layer.recurrent_states):
        for place, state in states.items():
            if state is not None:
                states[place] = state.index_select(0, rows)


def append_states(layer: Any, new: Any) -> None:
    """Adds the states of another layer's rows after those of a layer."""
    for states, others in ((layer.conv_states, new.conv_states), (layer.recurrent_states, new.recurrent_states)):
        for place, state in states.items():
            if state is not None:
                states[place] = torch.cat([state, others[place]])


def state_bytes(layer: Any) -> int:
    """Bytes of the states of one row."""
    states = [*layer.conv_states.values(), *layer.recurrent_states.values()]
    return sum(state[0].numel() * state.element_size() for state in states if state is not None)
