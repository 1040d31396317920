"""The token budget of a round: who may draw a next step, so that the round ends at a given number of sampled tokens.

All steps of all chains have one order, drawn at random once for a round: the first step of every chain, then the second
of every chain, and so on. What a round draws is a beginning of this order. It grows in waves. A wave begins when the wave
before has ended, in all processes. It takes as many steps as half of the tokens that are left should pay for, at the mean
cost of the steps so far, and at least one. Half, because later steps may cost more than earlier ones. When the tokens have
reached the limit, no wave follows. So a wave is a function of what the waves before it have cost, and which steps are drawn
depends neither on the order in which chains end nor on the number of processes, nor on a crash.

The last waves are single steps: the tokens exceed the limit by less than one step of one chain, unless a single step
costs four times as many as the mean.

A wave is a barrier; there are about as many as a round has binary digits in its number of steps. Without a limit there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trl_gift.common.randomness import generator, stream_key
from trl_gift.sampling.context import ChainSettings
from trl_gift.tasks import Task

_SHARE_OF_REST = 0.5

Turn = tuple[str, int]
"""A task's id and a step of its chain."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens of a wave.

    Attributes:
        first: Tokens of first steps.
        later: Tokens of all other steps.
    """

    first: int = 0
    later: int = 0


class TokenBudget:
    """Grants the steps of one round.

    Args:
        limit: Tokens that the round samples, programs and descriptions together.
        turns: All steps that the round could draw, in the order in which they are granted.
        step_cost: Most tokens of the programs of a step.
        description_cost: Most tokens of a step's description, rejected ones included; 0 if the sampler draws none.
        exchange: Given the number of a wave and what it has cost in this process, returns what it has cost in each
            process, once it has ended in all.

    Attributes:
        expected_turns: Number of steps that the whole round should come to, by the mean cost of the steps so far.
        is_over: Whether no wave follows.
    """

    def __init__(
        self,
        limit: int,
        turns: Sequence[Turn],
        step_cost: int,
        description_cost: int,
        exchange: Callable[[int, Spent], Sequence[Spent]],
    ) -> None:
        self._limit = limit
        self._turns = turns
        self._description_cost = description_cost
        self._exchange = exchange
        self._granted: dict[str, int] = {}
        self._place = 0
        self._wave = 0
        self._mine = Spent()
        self._total = Spent()
        self._first_turns = 0
        self.is_over = not turns
        self.expected_turns = 0
        self._grant(limit, step_cost + description_cost, share=1.0)

    def grants(self, task_id: str, step: int) -> bool:
        """Whether the chain of a task may draw a step now."""
        return step < self._granted.get(task_id, 0)

    def spend(self, step: int, tokens: int) -> None:
        """Counts the tokens of a step of this process's share: its programs and its descriptions."""
        first, later = (tokens, 0) if step == 0 else (0, tokens)
        self._mine = Spent(self._mine.first + first, self._mine.later + later)

    def next_wave(self) -> None:
        """Ends a wave, once all its steps of this process are drawn, and grants the next one, if there are tokens left."""
        costs = self._exchange(self._wave, self._mine)
        self._mine = Spent()
        self._wave += 1
        self._total = Spent(
            self._total.first + sum(cost.first for cost in costs),
            self._total.later + sum(cost.later for cost in costs),
        )
        left = self._limit - self._total.first - self._total.later
        if left <= 0 or self._place == len(self._turns):
            self.is_over, self.expected_turns = True, self._place
        else:
            self._grant(left, self._mean_cost(), _SHARE_OF_REST)

    def _grant(self, left: int, cost: float, share: float) -> None:
        """Grants as many steps of a given cost as a share of the tokens that are left pays for, and at least one."""
        end = min(self._place + max(int(share * left / cost), 1), len(self._turns))
        # One more step is granted even where the tokens that are left pay for less than one.
        self.expected_turns = max(end, min(self._place + int(left / cost), len(self._turns)))
        for task_id, step in self._turns[self._place : end]:
            self._granted[task_id] = step + 1
            self._first_turns += step == 0
        self._place = end

    def _mean_cost(self) -> float:
        """Tokens that a further step should cost: the mean of the steps after the first, which have a description."""
        later = self._place - self._first_turns
        if later:
            return self._total.later / later
        return self._total.first / self._first_turns + self._description_cost


def turns_of(tasks: Sequence[Task], settings: ChainSettings) -> list[Turn]:
    """All steps of all chains, in the order in which a budget grants them.

    Chains of different lengths advance by equal shares of their lengths.

    Args:
        tasks: The tasks of all processes.
        settings: What is sampled.
    """
    keyed = []
    for task in tasks:
        offset = generator(stream_key(settings.seed, settings.round, task.task_id, "turn")).random()
        steps = settings.steps_of(task)
        keyed += [((step + offset) / steps, task.task_id, step) for step in range(steps)]
    return [(task_id, step) for _, task_id, step in sorted(keyed)]


def token_budget(
    tasks: Sequence[Task], settings: ChainSettings, exchange: Callable[[int, Spent], Sequence[Spent]]
) -> TokenBudget | None:
    """The budget of a round; None if its tokens are not limited.

    Args:
        tasks: The tasks of all processes.
        settings: What is sampled.
        exchange: As for `TokenBudget`.
    """
    if settings.max_tokens is None:
        return None
    describes = settings.sampler in ("gibbs", "rewrite")
    return TokenBudget(
        settings.max_tokens,
        turns_of(tasks, settings),
        settings.num_generations * settings.code_params.max_new_tokens,
        describes * settings.max_description_tries * settings.description_params.max_new_tokens,
        exchange,
    )


def unspent_line(max_tokens: int | None, tokens: int, num_steps: int) -> str:
    """That a round's chains ended before its tokens were spent, in one line; empty if they did not.

    Args:
        max_tokens: The limit; None for none.
        tokens: What the round has sampled.
        num_steps: Steps of a chain, at most.
    """
    if max_tokens is None or tokens >= max_tokens:
        return ""
    return (
        f"{tokens:,} of max_tokens_per_round={max_tokens} tokens were sampled: no chain has more than num_steps={num_steps} "
        "steps; a larger num_steps spends the rest."
    )
