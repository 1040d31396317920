"""How long a round's sampling takes: the chains of a run played through without a model.

A forward pass that draws a token for each completion in flight costs about the same for few completions as for one, because
it reads all weights. A chain waits for the last of its completions before it goes on. So the time is neither tokens over
speed, nor passes times a constant: `sampling_seconds` plays the chains with lengths that were measured and adds up the
cost of the passes (`PassCost`).
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

# Kinds of requests: programs of the first step and of later ones, descriptions.
KINDS = FIRST, LATER, DESCRIBE = "first", "later", "describe"
# A larger run is played with so many completions, and the rest takes as long in proportion.
_MOST_COMPLETIONS = 20_000


@dataclass(frozen=True, slots=True)
class PassCost:
    """Seconds of a forward pass, as a line.

    Attributes:
        whole: Seconds of any pass that draws tokens.
        completion: Seconds more for each completion in flight.
        prompt_token: Seconds for each token of a prompt, what earlier prompts save included.
    """

    whole: float
    completion: float
    prompt_token: float

    @classmethod
    def fitted(cls, passes: Sequence[tuple[float, float]], prompt_token: float) -> PassCost:
        """The line through measured passes by least squares; neither part is negative.

        Args:
            passes: Of each pass, the completions in flight and the seconds. At least one.
            prompt_token: Seconds for each token of a prompt.
        """
        mean_rows = fmean(rows for rows, _ in passes)
        mean_seconds = fmean(seconds for _, seconds in passes)
        spread = sum((rows - mean_rows) ** 2 for rows, _ in passes)
        # Passes over equally many completions say nothing of others; then all of it counts for each completion.
        slope = mean_seconds / mean_rows
        if spread > 0:
            slope = sum((rows - mean_rows) * (seconds - mean_seconds) for rows, seconds in passes) / spread
        slope = min(max(slope, 0.0), mean_seconds / mean_rows)
        return cls(mean_seconds - slope * mean_rows, slope, prompt_token)


@dataclass(frozen=True, slots=True)
class ChainShape:
    """What a chain asks for, in turn: a step's completions after a description, and so on.

    Attributes:
        steps: Steps of a chain.
        completions: Completions of a step.
        first_describes: Whether the first step, too, begins with a description.
        describes: Whether the later steps do.
    """

    steps: int
    completions: int
    first_describes: bool = False
    describes: bool = False

    def requests(self) -> list[str]:
        """The kinds of the chain's requests, in their order."""
        order: list[str] = []
        for step in range(self.steps):
            if self.describes if step else self.first_describes:
                order.append(DESCRIBE)
            order.append(LATER if step else FIRST)
        return order


def sampling_seconds(
    chains: int, shape: ChainShape, rows: int, lengths: dict[str, Sequence[int]], cost: PassCost, refills: bool = True
) -> float:
    """Seconds of the passes that draw tokens; prompts are not counted.

    Args:
        chains: Number of chains, which run at the same time.
        shape: What each of them asks for.
        rows: Completions in flight, at most.
        lengths: Tokens of some completions of each kind of request; each length drawn is one of them.
        cost: Of a pass.
        refills: Whether waiting completions take the places of those that have ended, or wait until all have.
    """
    order = shape.requests()
    each = sum(1 if kind == DESCRIBE else shape.completions for kind in order)
    played = min(chains, max(2 * rows // shape.completions, _MOST_COMPLETIONS // each, 1))
    draws = random.Random(0)
    # A chain that is further on goes first, as in the engine.
    waiting: list[tuple[int, int]] = [(0, chain) for chain in range(played)]
    ready: deque[tuple[int, int]] = deque()
    ends: list[tuple[int, int, int]] = []
    left: dict[int, int] = {}
    now, seconds = 0, 0.0
    while waiting or ready or ends:
        if refills or not ends:
            while len(ends) < rows and (ready or waiting):
                if not ready:
                    place, chain = heapq.heappop(waiting)
                    left[chain] = 1 if order[-place] == DESCRIBE else shape.completions
                    ready.extend([(chain, place)] * left[chain])
                chain, place = ready.popleft()
                heapq.heappush(ends, (now + draws.choice(lengths[order[-place]]), chain, place))
        end = ends[0][0]
        seconds += (end - now) * (cost.whole + cost.completion * len(ends))
        now = end
        while ends and ends[0][0] == now:
            _, chain, place = heapq.heappop(ends)
            left[chain] -= 1
            if not left[chain] and -place + 1 < len(order):
                heapq.heappush(waiting, (place - 1, chain))
    return seconds * chains / played


def extrapolated_lengths(ended: Sequence[int], open_ends: Sequence[tuple[int, int]]) -> list[int]:
    """Lengths of completions of which some have not ended.

    A completion is taken to end with the same probability at every token: that of the completions that have ended, among all
    tokens drawn (the maximum likelihood of censored geometric lengths). Where none has ended, the most tokens allowed count.

    Args:
        ended: Tokens of each completion that has ended.
        open_ends: Of each completion that has not, its tokens until now and the most that it can have.
    """
    drawn = sum(ended) + sum(so_far for so_far, _ in open_ends)
    rate = len(ended) / drawn if drawn else 0.0
    rest = [(1 - math.exp(-rate * (most - so_far))) / rate if rate else most - so_far for so_far, most in open_ends]
    return [*ended, *(round(so_far + more) for (so_far, _), more in zip(open_ends, rest, strict=True))]
