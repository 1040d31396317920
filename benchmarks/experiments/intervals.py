"""Means of repeats, paired differences with their t-intervals, and the finding in words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trl_gift.run.compared import t_interval


@dataclass(frozen=True)
class Difference:
    """The mean difference of two arms over the seeds that both have.

    Attributes:
        mean: The mean.
        low: Lower bound of its 95 % t-interval.
        high: Upper bound.
        seeds: Number of seeds.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def finding(self) -> str:
        """What the interval says: `"helps"`, `"harms"` or `"no difference seen"`."""
        if self.low > 0:
            return "helps"
        return "harms" if self.high < 0 else "no difference seen"

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """As in a table, such as `+1.7 [−0.1, +3.4]`."""
        mean, low, high = (signed(scale * value, digits) for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def difference(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """First less second, paired; None for fewer than two pairs.

    Args:
        first: A figure of one arm, a value for each seed.
        second: The same figure of the other arm, in the same order.
    """
    values = [one - other for one, other in zip(first, second, strict=True)]
    interval = t_interval(values)
    return None if interval is None else Difference(statistics.fmean(values), *interval, len(values))


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, a true minus; zero has a plus."""
    rounded = round(value, digits) + 0.0  # no negative zero
    return f"{rounded:+.{digits}f}".replace("-", "−")
