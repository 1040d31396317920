"""Token ids around prompts: the end token, special tokens, and a training target after its prompt."""

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


def target_ids(prompt: list[int], joint: list[int], tokenizer: PreTrainedTokenizerBase, target: str) -> list[int]:
    """Token ids of a target after its prompt.

    Tokenizers that mark word starts must see the target after its prompt. Where the joint text merges tokens across
    the border, the prompt keeps the tokens that it is sampled with, and the target is tokenised alone.

    Args:
        prompt: Token ids of the prompt, as it is sampled with.
        joint: Token ids of prompt and target as one text.
        tokenizer: The model's tokenizer.
        target: The completion to train on.
    """
    if joint[: len(prompt)] == prompt:
        return joint[len(prompt) :]
    return list(tokenizer(target, add_special_tokens=False)["input_ids"])
