"""What was drawn before, for completions that would draw the same again.

A token is drawn by inverting a cumulative distribution at a number of the completion's own stream
(`trl_gift.generation.decoding`). Whoever knows between which two numbers a token is drawn need not know the distribution:
another completion of the same prompt, whose number lies there too, draws that token. So each completion leaves a trace
of its tokens with their bounds, and a later one follows it without the model as far as its own numbers lie within.

Chains that start again from the seed description, and samplers that draw every code from it, meet the same prompts over
and over, and a model that has learned a task writes much the same each time.

Not covered: weights that change. A record of traces lives as long as an engine, and an engine as long as its weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trl_gift.generation.engine import Completion, SamplingParams

# A token takes about a hundred bytes in the record.
_MOST_TOKENS = 2**21


@dataclass(frozen=True, slots=True)
class Trace:
    """Tokens that were drawn after a prompt.

    Attributes:
        token_ids: The tokens.
        logprobs: Their log-probabilities under the untouched model.
        low: The smallest number that draws each of them, `(tokens,)`.
        high: The number from which on the next token is drawn instead, `(tokens,)`.
        completion: What became of them; None if they were left in the middle.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    low: np.ndarray
    high: np.ndarray
    completion: Completion | None = None

    def shared(self, uniforms: np.ndarray) -> int:
        """How many tokens a completion with these numbers begins with that are those of the trace."""
        numbers = uniforms[: len(self.token_ids)]
        other = np.flatnonzero((numbers < self.low) | (numbers >= self.high))
        return int(other[0]) if len(other) else len(self.token_ids)

    def first(self, count: int) -> Trace:
        """The first `count` tokens."""
        return Trace(self.token_ids[:count], self.logprobs[:count], self.low[:count], self.high[:count])


NOTHING = Trace((), (), np.empty(0), np.empty(0))


class Traces:
    """The traces of an engine, by prompt and parameters; bounded, the prompts that were not seen longest go first."""

    def __init__(self, most_tokens: int = _MOST_TOKENS) -> None:
        self._most_tokens = most_tokens
        self._tokens = 0
        self._traces: OrderedDict[tuple[tuple[int, ...], SamplingParams], list[Trace]] = OrderedDict()

    def follow(self, prompt_ids: tuple[int, ...], params: SamplingParams, uniforms: np.ndarray) -> Trace:
        """As much of a completion as is known beforehand: all of it, its beginning, or nothing."""
        traces = self._traces.get((prompt_ids, params))
        if traces is None:
            return NOTHING
        self._traces.move_to_end((prompt_ids, params))
        count, place = max((trace.shared(uniforms), place) for place, trace in enumerate(traces))
        whole = count == len(traces[place].token_ids)
        return traces[place] if whole else traces[place].first(count)

    def add(self, prompt_ids: tuple[int, ...], params: SamplingParams, trace: Trace) -> None:
        """Notes a trace, unless it is known."""
        key = (prompt_ids, params)
        traces = self._traces.setdefault(key, [])
        self._traces.move_to_end(key)
        if any(known.token_ids == trace.token_ids for known in traces):
            return
        traces.append(trace)
        self._tokens += len(trace.token_ids)
        while self._tokens > self._most_tokens:
            _, forgotten = self._traces.popitem(last=False)
            self._tokens -= sum(len(trace.token_ids) for trace in forgotten)


def in_common(traces: Sequence[Trace]) -> Trace:
    """The tokens that all traces begin with."""
    shortest = min(traces, key=lambda trace: len(trace.token_ids))
    count = 0
    for tokens in zip(*(trace.token_ids for trace in traces), strict=False):
        if any(token != tokens[0] for token in tokens):
            break
        count += 1
    return shortest.first(count)
