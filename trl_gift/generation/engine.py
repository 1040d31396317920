"""What an engine is: prompts in; texts, token ids and log-probabilities out.

Chains submit requests whenever they need text and engines batch whatever is waiting, so an engine has no notion of
steps or tasks. `step` does a bounded piece of work and returns what is finished; the caller runs its own business
(executing programs, advancing chains) between steps.

Reproducibility: each completion brings its own stream key. `compact` and `generate` draw the token at position t with
the t-th number of that stream, by inversion of the cumulative distribution (`trl_gift.generation.decoding`), so that no
batch, order or crash changes a sample. `server` hands the key over as a seed and is as reproducible as the server is;
`continuous` cannot be told which numbers to draw with.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

# A prefill of few prompts costs as much as a decoding step: `compact` waits until so much of its places is free.
REFILL_SHARE = 0.33
# Most completions that `compact` keeps in flight where nobody says.
DEFAULT_ROWS = 256
# Tokens of earlier prompts that `compact` keeps: on a CPU those of hundreds of chains; on a GPU, where memory is dear and
# a prefill cheap, long instructions, in an eighth of what the completions in flight take.
_KEPT_TOKENS_CPU = 16_384
_KEPT_TOKENS_GPU = 4_096
_KEPT_SHARE = 8

FinishReason = Literal["eos", "stop", "length"]


def most_kept_tokens(on_cpu: bool, token_budget: int | None, in_flight: int) -> int:
    """Tokens of earlier prompts whose keys and values `compact` keeps at most.

    Args:
        on_cpu: Whether the model is on the CPU.
        token_budget: The engine's token budget.
        in_flight: Tokens of all completions in flight together at their longest.
    """
    most = _KEPT_TOKENS_CPU if on_cpu else min(_KEPT_TOKENS_GPU, in_flight // _KEPT_SHARE)
    return most if token_budget is None else min(most, token_budget // _KEPT_SHARE)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are drawn.

    Attributes:
        max_new_tokens: Most tokens of a completion, the end token included.
        temperature: Softmax temperature; 0 means greedy.
        top_p: Nucleus mass; 1 disables.
        top_k: Number of most likely tokens kept; 0 disables.
        stop: Texts that end a completion; the first one found and all behind it are cut from its text.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()

    @property
    def is_untouched(self) -> bool:
        """Whether tokens follow the model's own distribution, so that sampling log-probabilities give perplexity."""
        return self.temperature == 1.0 and self.top_p >= 1.0 and self.top_k == 0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt and one stream key for each completion wanted.

    Attributes:
        key: What the result is known by; unique among the requests that an engine holds.
        prompt_ids: Token ids of the prompt, not empty.
        params: How tokens are drawn.
        stream_keys: One for each completion.
        priority: Work that is waiting goes in the order of falling priority; chains that have the longest way to go
            come first, so that batches stay full to the end.
    """

    key: Hashable
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    stream_keys: tuple[int, ...]
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation.

    Attributes:
        text: Decoded, without the end token and without what a stop text cut off.
        token_ids: As sampled, the end token included when there is one.
        logprobs: Natural log-probability of each token under the model itself: untempered, unfiltered.
        finish_reason: `"eos"`, `"stop"` (a stop text) or `"length"`.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """The completions of one request, in the order of its stream keys."""

    key: Hashable
    completions: tuple[Completion, ...]


class Engine(Protocol):
    """The interface of all engines."""

    @property
    def pending(self) -> int:
        """Number of requests submitted and not yet returned."""
        ...

    @property
    def tokens_generated(self) -> int:
        """Number of tokens sampled so far."""
        ...

    def submit(self, request: GenerationRequest) -> None:
        """Queues a request."""
        ...

    def step(self) -> list[GenerationResult]:
        """Works on waiting requests and returns those that are finished, possibly none."""
        ...

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, ...]]:
        """Log-probability of each completion token behind its prompt, for pairs `(prompt_ids, completion_ids)`."""
        ...
