"""What a completion server is: its kind, its models, and how many tokens it takes.

Servers of a kind that cannot work here are refused by name at the start, with what they lack. Kinds are told by the list
of models, which every server has, and by the routes that a server documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trl_gift.errors import ConfigError
from trl_gift.generation.server.client import CompletionClient

# A scoring request draws one token, and a target may hold an end token that was not sampled.
RESERVED = 2
_TRANSFORMERS_ROUTES = frozenset({"/load_model", "/reset"})


class Kind(StrEnum):
    """A kind of server."""

    VLLM = "vLLM"
    LLAMA_CPP = "llama.cpp"
    OTHER = "an unknown server"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server says about the model that it serves.

    Attributes:
        kind: The kind of the server.
        name: Name of the base model.
        context: Most tokens of a prompt and its completion together; None if the server does not say.
    """

    kind: Kind
    name: str
    context: int | None

    @property
    def positions(self) -> int | None:
        """Most tokens of a prompt and its completion, so that the completion can still be scored."""
        return None if self.context is None else self.context - RESERVED

    @property
    def lacks(self) -> str:
        """What the server cannot do, in one line; empty if nothing is known to be missing."""
        if self.kind is not Kind.LLAMA_CPP:
            return ""
        return (
            "llama.cpp's server loads no adapters while it runs and scores no given tokens, and its samples can differ from run to "
            "run where several requests share a batch."
        )


def identify(client: CompletionClient, name: str | None = None) -> ServedModel:
    """Asks a server what it is.

    Args:
        client: Talks to the server.
        name: The base model's name there; the first that the server lists if not given.

    Raises:
        ConfigError: for a server without models, or of a kind that cannot work here.
        GenerationUnavailable: if the server does not answer.
    """
    cards = client.cards()
    owners = {str(card.get("owned_by", "")) for card in cards}
    if "vllm" in owners:
        kind = Kind.VLLM
    elif "llamacpp" in owners:
        kind = Kind.LLAMA_CPP
    else:
        _refuse_unusable(client, cards)
        kind = Kind.OTHER
    if not cards:
        raise ConfigError(f"{client.url} serves no model; start it with one, or set server_model.")
    card = next((card for card in cards if card["id"] == name), cards[0])
    return ServedModel(kind, name or str(card["id"]), _context(card))


def _refuse_unusable(client: CompletionClient, cards: Sequence[Mapping[str, Any]]) -> None:
    cure = "use a vLLM server, or generation_engine='compact'."
    if cards and all(card.get("owned_by") == "me" and "permissions" in card for card in cards):
        raise ConfigError(
            f"{client.url} is llama-cpp-python's server, which takes no prompts of token ids and returns no token ids; {cure[:-1]} "
            "(llama.cpp's own server works for evaluation)."
        )
    if client.routes() >= _TRANSFORMERS_ROUTES:
        raise ConfigError(
            f"{client.url} is `transformers serve`, which takes no prompts of token ids and returns neither token ids nor "
            f"log-probabilities; {cure}"
        )


def _context(card: Mapping[str, Any]) -> int | None:
    meta = card.get("meta") or {}
    # vLLM's field, and llama.cpp's, which is the context of one slot.
    value = card.get("max_model_len") or meta.get("n_ctx")
    return int(value) if value else None
