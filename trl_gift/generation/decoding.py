"""From logits to tokens: the one place where a token is drawn, shared by all engines.

A token is drawn by inverting the cumulative distribution at a given uniform number, which makes it a function of the
logits and that number alone. The distribution may be tempered and truncated; the log-probability that is returned is
always the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from trl_gift.generation.engine import Completion, FinishReason, SamplingParams
from trl_gift.generation.stops import text_end

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The largest number below one that survives a product in double precision with room to spare.
_ALMOST_ONE = 1.0 - 2.0**-40
# This many tokens contain the nucleus almost always.
_LIKELY_TOKENS = 64
# Enough prompt tokens for a tokenizer that joins tokens to see what a completion follows.
_CONTEXT_TOKENS = 8


class Draws(NamedTuple):
    """Tokens that were drawn, each field `(rows, draws)`.

    Attributes:
        tokens: Token ids, int64.
        logprobs: Their log-probabilities under the untouched model, in the precision that was drawn in.
        low: The smallest number in [0, 1) that draws the token.
        high: The number from which on the next token is drawn instead.
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def draw_tokens(
    logits: torch.Tensor, uniforms: torch.Tensor, params: SamplingParams, contexts: Sequence[Sequence[int]] = ()
) -> Draws:
    """Draws tokens for each row, one for each of its numbers.

    Args:
        logits: `(rows, vocabulary)`, any floating type.
        uniforms: `(rows, draws)`, numbers in [0, 1); on any device.
        params: Penalty, temperature and truncation.
        contexts: For each row the token ids of its prompt and of its completion so far; only needed with a repetition
            penalty.
    """
    logits = logits.float()
    penalised = logits
    if params.repetition_penalty != 1.0:
        penalised = penalise(logits, contexts, params.repetition_penalty)
    if params.temperature == 0.0:
        tokens = penalised.argmax(dim=-1, keepdim=True).expand(-1, uniforms.shape[1])
        logprobs = logits.gather(-1, tokens) - logits.logsumexp(dim=-1, keepdim=True)
        return Draws(tokens, logprobs, torch.zeros_like(logprobs), torch.ones_like(logprobs))
    # Double precision keeps the boundaries between tokens still when a batch's composition moves the last bits.
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    own = torch.softmax(logits.to(wide), dim=-1)
    is_own = penalised is logits and params.temperature == 1.0
    tempered = own if is_own else torch.softmax(penalised.to(wide) / params.temperature, dim=-1)
    cumulative = truncate(tempered, params).cumsum(dim=-1)
    numbers = uniforms.to(cumulative.dtype).to(cumulative.device).clamp(max=_ALMOST_ONE)
    mass = cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, numbers * mass, right=True)
    before = cumulative.gather(-1, (tokens - 1).clamp(min=0)).masked_fill(tokens == 0, 0.0)
    high = cumulative.gather(-1, tokens) / mass
    # Larger numbers draw as this one does, so the token that it draws has no end below one.
    high = high.masked_fill(high > _ALMOST_ONE, 1.0)
    return Draws(tokens, own.gather(-1, tokens).log(), before / mass, high)


def penalise(logits: torch.Tensor, contexts: Sequence[Sequence[int]], penalty: float) -> torch.Tensor:
    """Makes tokens of the contexts less likely, as transformers' `repetition_penalty` does; `(rows, vocabulary)`.

    A positive logit of a token in the row's context is divided by the penalty, a negative one is multiplied by it.
    """
    rows, vocabulary = logits.shape
    longest = max(map(len, contexts))
    # One column more than the vocabulary: it takes the padding, and ids beyond the logits' width.
    padded = [[*context, *[vocabulary] * (longest - len(context))] for context in contexts]
    ids = torch.tensor(padded, device=logits.device).clamp(max=vocabulary)
    seen = torch.zeros(rows, vocabulary + 1, dtype=torch.bool, device=logits.device).scatter_(1, ids, True)
    weaker = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen[:, :vocabulary], weaker, logits)


def truncate(probabilities: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Zeroes the tokens that top-k, then top-p, then min-p exclude; rows `(rows, vocabulary)` are not renormalised."""
    vocabulary = probabilities.shape[-1]
    if 0 < params.top_k < vocabulary:
        threshold = probabilities.topk(params.top_k, dim=-1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < threshold, 0.0)
    if params.top_p < 1.0:
        threshold = _nucleus_threshold(probabilities, params.top_p)
        probabilities = probabilities.masked_fill(probabilities < threshold, 0.0)
    if params.min_p > 0.0:
        threshold = params.min_p * probabilities.max(dim=-1, keepdim=True).values
        probabilities = probabilities.masked_fill(probabilities < threshold, 0.0)
    return probabilities


def _nucleus_threshold(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest probability in the smallest set of most likely tokens whose mass reaches `top_p`, `(rows, 1)`.

    A nucleus has few tokens almost always: a search among the likeliest tokens avoids sorting the vocabulary.
    """
    vocabulary = probabilities.shape[-1]
    mass = top_p * probabilities.sum(dim=-1, keepdim=True)
    count = min(_LIKELY_TOKENS, vocabulary)
    while True:
        ordered = probabilities.topk(count, dim=-1).values
        cumulative = ordered.cumsum(dim=-1)
        if count == vocabulary or bool((cumulative[:, -1:] >= mass).all()):
            break
        count = min(16 * count, vocabulary)
    # The most likely token always stays, because the mass before it is zero.
    last = ((cumulative - ordered) < mass).sum(dim=-1, keepdim=True) - 1
    return ordered.gather(-1, last.clamp(min=0))


def decode(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> str:
    """The text that `token_ids` add after a prompt.

    Decoded together with the end of the prompt: some tokenizers drop the white space at the start of a text, and in
    Python that space is code.
    """
    context = list(prompt_ids[-_CONTEXT_TOKENS:])
    before = _plain(tokenizer, context)
    whole = _plain(tokenizer, [*context, *token_ids])
    return whole[len(before) :] if whole.startswith(before) else _plain(tokenizer, list(token_ids))


def completion_from(
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[int],
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    end_ids: frozenset[int],
    params: SamplingParams,
) -> Completion:
    """A finished completion from its sampled tokens."""
    ended = bool(token_ids) and token_ids[-1] in end_ids
    text = decode(tokenizer, prompt_ids, token_ids[:-1] if ended else token_ids)
    cut = text_end(text, params)
    reason: FinishReason = "stop" if cut is not None else "eos" if ended else "length"
    return Completion(
        text=text if cut is None else text[:cut],
        token_ids=tuple(token_ids),
        logprobs=tuple(logprobs),
        finish_reason=reason,
    )


def _plain(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text
