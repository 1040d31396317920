"""The `compact` engine: our own decoding loop that computes nothing twice and never pays for a finished row.

Modules: `engine` (the loop), `rows` (completions that are equal so far), `slot_cache` (keys and values of what is in
flight), `prefix_cache` (keys and values of earlier prompts), `replay` (tokens drawn earlier), `sizes` (how much is in
flight), `layers` (which models it can decode), `states` (of linear attention, Mamba and short convolutions).

Public names:

- `CompactEngine`: the engine.
- `check_layers`: raises for a model that the engine cannot decode.
- `refusal`: why the engine cannot decode a model, in words.
- `attending_layers`: how many layers keep keys and values, for estimates of memory.
- `SlotCache`: the key-value cache of one batch, for benchmarks of the decoding step alone.
- `DEFAULT_ROWS`, `REFILL_SHARE`, `affordable_tokens`, `most_kept_tokens`: the engine's sizes, for estimates of time and memory.

What needs torch is loaded on first use.
"""

from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names
from trl_gift.generation.compact.sizes import DEFAULT_ROWS, REFILL_SHARE, affordable_tokens, most_kept_tokens

if TYPE_CHECKING:
    from trl_gift.generation.compact.engine import CompactEngine
    from trl_gift.generation.compact.layers import attending_layers, check_layers, refusal
    from trl_gift.generation.compact.slot_cache import SlotCache
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "CompactEngine": "engine",
            "SlotCache": "slot_cache",
            "attending_layers": "layers",
            "check_layers": "layers",
            "refusal": "layers",
        },
    )

__all__ = [
    "DEFAULT_ROWS",
    "REFILL_SHARE",
    "CompactEngine",
    "SlotCache",
    "affordable_tokens",
    "attending_layers",
    "check_layers",
    "most_kept_tokens",
    "refusal",
]
