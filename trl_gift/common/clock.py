"""Where the time of a round goes, by stage."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, Protocol, TypeVar


class StageClock:
    """Adds up the seconds of named stages."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - started

    def take(self) -> dict[str, float]:
        """The seconds of each stage since the last time they were taken."""
        seconds, self._seconds = self._seconds, {}
        return seconds


class Clocked(Protocol):
    """An object whose methods are timed."""

    clock: StageClock


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Clocked)


def timed(stage: str) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Adds the time of a method's calls to a stage of its object's `clock`."""

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(method)
        def measured(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with self.clock.stage(stage):
                return method(self, *args, **kwargs)

        return measured

    return decorate
