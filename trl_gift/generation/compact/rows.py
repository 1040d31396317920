"""Rows of `compact`: completions in flight whose prompt and tokens so far are equal, until their draws differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch

from trl_gift.common.randomness import uniforms
from trl_gift.generation.compact.replay import Trace
from trl_gift.generation.engine import Completion, GenerationRequest, SamplingParams
from trl_gift.generation.stops import StopFinder

# A token's id, its log-probability and its bounds.
Draw: TypeAlias = Sequence[float]


@dataclass(slots=True)
class Flight:
    """A request, the indices of its completions that wait, and those that are finished."""

    request: GenerationRequest
    waiting: list[int]
    finished: dict[int, Completion] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Strand:
    """One completion in flight.

    Attributes:
        flight: The request that it belongs to.
        index: Its index among the request's completions.
        uniforms: The numbers that it draws its tokens with, `(max_new_tokens,)`.
    """

    flight: Flight
    index: int
    uniforms: np.ndarray

    @classmethod
    def next_of(cls, flight: Flight) -> Strand:
        """The flight's first waiting completion; it stays among those that wait."""
        index, request = flight.waiting[0], flight.request
        return cls(flight, index, uniforms(request.stream_keys[index], request.params.max_new_tokens))

    @property
    def budget(self) -> int:
        """Most tokens that it can reach, its prompt included."""
        request = self.flight.request
        return len(request.prompt_ids) + request.params.max_new_tokens


@dataclass(slots=True)
class Row:
    """Completions in flight that are the same text so far.

    Attributes:
        prompt_ids: The prompt that they share.
        params: The sampling parameters that they share.
        finder: Looks for stop texts in the tokens so far.
        strands: The completions.
        token_ids: The tokens so far.
        logprobs: For each token its log-probability under the untouched model.
        low: For each token the smallest number that draws it.
        high: For each token the number from which on the next token is drawn instead.
        stopped: Whether the tokens contain a stop text.
    """

    prompt_ids: tuple[int, ...]
    params: SamplingParams
    finder: StopFinder
    strands: list[Strand]
    token_ids: list[int]
    logprobs: list[float]
    low: list[float]
    high: list[float]
    stopped: bool = False

    @classmethod
    def after(cls, known: Trace, strands: list[Strand], finder: StopFinder) -> Row:
        """The row of strands that all begin with the tokens of a trace."""
        for token in known.token_ids:
            finder.add(token)
        request = strands[0].flight.request
        drawn = list(known.token_ids), list(known.logprobs), known.low.tolist(), known.high.tolist()
        return cls(request.prompt_ids, request.params, finder, strands, *drawn)

    @property
    def ids(self) -> tuple[int, ...]:
        """The prompt and the tokens so far."""
        return (*self.prompt_ids, *self.token_ids)

    @property
    def last_id(self) -> int:
        """The last token so far."""
        return self.token_ids[-1] if self.token_ids else self.prompt_ids[-1]

    @property
    def length(self) -> int:
        """Number of tokens so far, those of the prompt included."""
        return len(self.prompt_ids) + len(self.token_ids)

    def extended(self, draws: Sequence[Draw]) -> list[Row]:
        """This row one token further, as one row for each different token that its strands drew."""
        if len(draws) == 1 or all(draw[0] == draws[0][0] for draw in draws):
            self._append(draws[0])
            return [self]
        parting: dict[float, list[int]] = {}
        for place, draw in enumerate(draws):
            parting.setdefault(draw[0], []).append(place)
        rows = []
        for places in parting.values():
            rows.append(self._copy([self.strands[place] for place in places]))
            rows[-1]._append(draws[places[0]])
        return rows

    def trace(self, completion: Completion | None = None) -> Trace:
        """The tokens so far with their bounds, for later completions."""
        return Trace(tuple(self.token_ids), tuple(self.logprobs), np.array(self.low), np.array(self.high), completion)

    def _append(self, draw: Draw) -> None:
        token, logprob, low, high = draw
        self.token_ids.append(int(token))
        self.logprobs.append(logprob)
        self.low.append(low)
        self.high.append(high)
        self.stopped = self.finder.add(int(token))

    def _copy(self, strands: list[Strand]) -> Row:
        drawn = self.token_ids.copy(), self.logprobs.copy(), self.low.copy(), self.high.copy()
        return Row(self.prompt_ids, self.params, self.finder.copy(), strands, *drawn)


def next_numbers(rows: Sequence[Row]) -> torch.Tensor:
    """The numbers that the strands of each row draw their next token with, `(rows, most strands)`, padded with zeros."""
    most = max(len(row.strands) for row in rows)
    numbers = [[strand.uniforms[len(row.token_ids)] for strand in row.strands] for row in rows]
    filled = [line + [0.0] * (most - len(line)) for line in numbers]
    return torch.from_numpy(np.array(filled))
