"""The special tokens of a tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl_gift.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end token.

    Raises:
        ConfigError: if the tokenizer has none; a completion could never end.
    """
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"the tokenizer {tokenizer.name_or_path!r} has no end token; set `tokenizer.eos_token`.")
    return int(tokenizer.eos_token_id)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, Any]:
    """The added tokens that decoding drops, by their ids."""
    return {number: token for number, token in tokenizer.added_tokens_decoder.items() if token.special}
