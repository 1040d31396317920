"""How much `compact` keeps in flight and in memory where the user does not say; needs no torch."""

from __future__ import annotations

# Most completions in flight.
DEFAULT_ROWS = 256
# A prefill of few prompts costs as much as a decoding step, so requests wait until this share of the places is free.
REFILL_SHARE = 0.33
# Tokens of earlier prompts that are kept. On a CPU they hold the prompts of hundreds of chains. On a GPU memory is
# scarce and a prefill cheap: they hold long instructions, in an eighth of what the completions in flight take.
_KEPT_TOKENS_CPU = 16_384
_KEPT_TOKENS_GPU = 4_096
_KEPT_SHARE = 8


def affordable_tokens(free: float, token_bytes: float) -> int:
    """Most tokens in flight where the user does not say: as many as half of the free memory holds.

    Args:
        free: Free memory in bytes, with the weights loaded and nothing in flight. On a CPU all but the weights counts as
            free, so that a sample does not depend on what else runs on the machine.
        token_bytes: Bytes of the keys and values of a token.
    """
    return int(free // (2 * token_bytes))


def most_kept_tokens(on_cpu: bool, token_budget: int | None, in_flight: int) -> int:
    """Most tokens of earlier prompts whose keys and values `compact` keeps.

    Args:
        on_cpu: Whether the model is on the CPU.
        token_budget: The engine's token budget; None if there is none.
        in_flight: Tokens of all completions in flight together at their longest.
    """
    most = _KEPT_TOKENS_CPU if on_cpu else min(_KEPT_TOKENS_GPU, in_flight // _KEPT_SHARE)
    return most if token_budget is None else min(most, token_budget // _KEPT_SHARE)
