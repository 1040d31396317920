"""The interface of engines: prompts go in; completions with texts, token ids and log-probabilities come out.

Chains submit requests whenever they need text, and engines batch the requests that are waiting, so an engine has no
notion of steps or tasks. `step` does a bounded piece of work and returns what is finished; between steps the caller
executes programs and advances chains.

Reproducibility: each completion has its own stream key. `compact` and `generate` draw the token at position t with the
t-th number of that stream, by inversion of the cumulative distribution (`trl_gift.generation.decoding`). So neither the
batch, nor the order of requests, nor a crash changes a sample. `server` sends the key as a seed and is as reproducible
as the server is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["eos", "stop", "length", "context"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are drawn.

    The options mean what they mean in transformers, and apply in its order: repetition penalty, temperature, top-k,
    top-p, min-p. Greedy decoding knows the repetition penalty alone.

    Attributes:
        max_new_tokens: Most tokens of a completion, the end token included.
        temperature: Softmax temperature; 0 means greedy.
        top_p: Nucleus mass in (0, 1]; 1 disables.
        top_k: Number of most likely tokens kept; 0 disables.
        stop: Texts that end a completion. The completion's text is cut where the first of them begins.
        min_p: Tokens less likely than this share of the likeliest token's probability are excluded; in [0, 1], 0
            disables.
        repetition_penalty: Logits of tokens that occur in the prompt or in the completion so far are divided by it
            where they are positive and multiplied by it where they are negative; above 0, 1 disables.
        fence: If not None, a completion ends after the first closed Python code fence that holds this text. The fence
            belongs to the completion's text, and what follows it does not.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    fence: str | None = None

    @property
    def is_untouched(self) -> bool:
        """Whether tokens follow the model's own distribution, so that sampling log-probabilities give perplexity."""
        return (
            self.temperature == 1.0
            and self.top_p >= 1.0
            and self.top_k == 0
            and self.min_p <= 0.0
            and self.repetition_penalty == 1.0
        )


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, and one stream key for each completion wanted.

    Attributes:
        key: Identifies the result; unique among the requests that an engine holds.
        prompt_ids: Token ids of the prompt, not empty.
        params: How tokens are drawn.
        stream_keys: One for each completion.
        priority: Waiting requests are served in the order of falling priority. The chains with the most steps left
            come first, so that batches stay full to the end.
    """

    key: Hashable
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    stream_keys: tuple[int, ...]
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation of a prompt.

    Attributes:
        text: The decoded text, without the end token and without what a stop text cut off.
        token_ids: The tokens as sampled, the end token included if there is one.
        logprobs: Natural log-probability of each token under the model itself: before penalty, temperature and
            truncation.
        finish_reason: `"eos"`, `"stop"` (a stop text or a closed fence), `"length"`, or `"context"`: a server's context ended
            before the longest length.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """The completions of one request.

    Attributes:
        key: The request's key.
        completions: In the order of the request's stream keys.
    """

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
        """Log-probability of each completion token after its prompt, for pairs `(prompt_ids, completion_ids)`."""
        ...
