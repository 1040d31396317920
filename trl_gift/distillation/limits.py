"""Limits of what is asked of an endpoint: requests a minute, and money."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


class Pace:
    """Lets requests go at most so often, evenly spaced.

    Args:
        per_minute: Requests a minute; None for any number.
        clock: Seconds that have passed.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Waits until the next request may go."""
        if not self._interval:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._interval
        if start > now:
            self._sleep(start - now)


@dataclass(frozen=True, slots=True)
class Prices:
    """What tokens cost.

    Attributes:
        prompt: Price of a million tokens of a question.
        completion: Price of a million tokens of an answer.
    """

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a request costs."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


class Purse:
    """Money that may be spent. What a request may cost at most is set aside before it goes, so the limit holds.

    Args:
        most: The limit; None for none.
        spent: What has been spent already.
    """

    def __init__(self, most: float | None, spent: float = 0.0) -> None:
        self._most = most
        self._spent = spent
        self._aside = 0.0
        self._changed = threading.Condition()

    def take(self, amount: float) -> bool:
        """Sets an amount aside, once that is possible; False if it never will be, because the money is spent."""
        if self._most is None:
            return True
        with self._changed:
            # What others have set aside may come back in part.
            while self._spent + self._aside + amount > self._most:
                if not self._aside:
                    return False
                self._changed.wait()
            self._aside += amount
        return True

    def settle(self, amount: float, cost: float) -> None:
        """Replaces an amount that was set aside by what was spent of it."""
        if self._most is None:
            return
        with self._changed:
            self._aside -= amount
            if self._aside < 1e-12:  # rounding must not look like a request under way
                self._aside = 0.0
            self._spent += cost
            self._changed.notify_all()
