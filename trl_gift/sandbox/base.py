"""What all sandboxes share: `run` and `map` on top of `submit`, use as a context manager, and checks."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Self

from trl_gift.sandbox.cases import AssertTests, CallTests, StdioTests, Tests
from trl_gift.sandbox.outcome import Limits, Outcome, SandboxClosed


class BaseSandbox(ABC):
    """A sandbox on top of its `submit`.

    Attributes:
        limits: What each program may use, unless a call gives other limits.
        window: The number of programs that `map` keeps in flight.
    """

    limits: Limits
    window: int

    @property
    @abstractmethod
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""

    @abstractmethod
    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Queue one program and return its future at once; waits while the queue is full.

        Args:
            program: The source of the program.
            tests: Its tests.
            limits: What it may use; by default the sandbox's limits.
            stop_at_first_failure: Whether the program ends at its first failing test.
        """

    def submit_all(self, pairs: Sequence[tuple[str, Tests]]) -> list[Future[Outcome]]:
        """Queue many programs with their tests, as `submit` does."""
        return [self.submit(program, tests) for program, tests in pairs]

    @abstractmethod
    def close(self) -> None:
        """Cancel what is queued or running and release everything."""

    def run(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Outcome:
        """Run one program and wait for its outcome."""
        return self.submit(program, tests, limits=limits, stop_at_first_failure=stop_at_first_failure).result()

    def map(
        self,
        pairs: Iterable[tuple[str, Tests]],
        *,
        ordered: bool = True,
        stop_at_first_failure: bool = True,
        limits: Limits | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Run many programs. Leaving the loop early cancels the remaining ones.

        Args:
            pairs: Programs with their tests; read lazily, only as far as the workers need.
            ordered: Whether outcomes come in the order of `pairs` (the default) or as the programs complete.
            stop_at_first_failure: Whether each program ends at its first failing test.
            limits: What each program may use; by default the sandbox's limits.
            progress: Called with the number of finished programs.

        Yields:
            `(index, outcome)`, the index counted from 0 in `pairs`.
        """
        source = enumerate(pairs)
        in_flight: dict[int, Future[Outcome]] = {}
        finished: deque[int] = deque()
        changed = threading.Condition()
        done = 0

        def record(index: int) -> None:
            with changed:
                finished.append(index)
                changed.notify()

        def launch() -> None:
            while len(in_flight) < self.window and (pair := next(source, None)) is not None:
                index, (program, tests) = pair
                future = self.submit(program, tests, limits=limits, stop_at_first_failure=stop_at_first_failure)
                in_flight[index] = future
                future.add_done_callback(lambda _, index=index: record(index))  # type: ignore[misc]

        try:
            launch()
            while in_flight:
                if ordered:
                    index = min(in_flight)
                else:
                    with changed:
                        changed.wait_for(lambda: finished)
                        index = finished.popleft()
                outcome = in_flight[index].result()
                del in_flight[index]
                done += 1
                if progress is not None:
                    progress(done)
                launch()
                yield index, outcome
        finally:
            for future in in_flight.values():
                future.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_job(program: object, tests: object) -> None:
    """Raise `TypeError` for arguments that are not a program with tests, before they reach a worker."""
    if not isinstance(program, str) or not isinstance(tests, (AssertTests, CallTests, StdioTests)):
        raise TypeError(
            f"a program must be a str with AssertTests, CallTests or StdioTests, not a {type(program).__name__} with "
            f"{type(tests).__name__}; pass its source and its tests"
        )


def check_owner(owner: int) -> None:
    """Raise `SandboxClosed` in a fork of the process `owner`, which made the sandbox: its threads are not there."""
    if os.getpid() != owner:
        raise SandboxClosed(
            "this sandbox belongs to the process that made it, and threads do not survive a fork; make a new one here"
        )


def closed() -> SandboxClosed:
    """The error of a sandbox that was closed."""
    return SandboxClosed("this sandbox is closed; make a new one")


def settle(future: Future[Outcome], outcome: Outcome | Exception) -> None:
    """Set a future's outcome or error, unless it was cancelled meanwhile."""
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        return
