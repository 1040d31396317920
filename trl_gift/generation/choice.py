"""Which engine samples where the user leaves the choice to us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from transformers import PreTrainedModel

from trl_gift.generation.compact import check_layers, refusal

EngineName: TypeAlias = Literal["compact", "generate", "server"]


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """The engine that samples.

    Attributes:
        name: `"compact"`, `"generate"` or `"server"`.
        reason: Why `"auto"` did not take `"compact"`; empty if it did, or if the engine was named.
    """

    name: EngineName
    reason: str = ""

    @property
    def line(self) -> str:
        """The choice in words, where it needs some; else empty."""
        return f"generation_engine='auto' takes 'generate': {self.reason}." if self.reason else ""


def choose_engine(name: EngineName | Literal["auto"], model: PreTrainedModel) -> ChosenEngine:
    """Takes `compact` for `"auto"` if it can decode the model, else `generate`.

    Args:
        name: `generation_engine`.
        model: The model, with or without an adapter.

    Raises:
        ConfigError: if `"compact"` is named and cannot decode the model.
    """
    if name == "compact":
        check_layers(model)
    if name != "auto":
        return ChosenEngine(name)
    reason = refusal(model)
    return (
        ChosenEngine("generate", f"compact cannot decode this model ({reason})") if reason else ChosenEngine("compact")
    )
