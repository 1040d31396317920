"""What all sandboxes share: `run` and `map` on top of `submit`, and use as a context."""

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
    """A sandbox by its `submit`; `window` is how many programs `map` keeps in flight."""

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
        """Queue one program and return at once; waits while the queue is full."""

    def submit_all(self, pairs: Sequence[tuple[str, Tests]]) -> list[Future[Outcome]]:
        """Queue many programs with their tests; as `submit` for each."""
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
        """Outcomes of many programs as `(index, outcome)`, in order or as they complete.

        `pairs` is read no further than the workers need. `stop_at_first_failure` ends each program at its first failing
        test. `progress` is called with the number of finished programs. Leaving the loop early cancels what is left.
        """
        source = enumerate(pairs)
        flying: dict[int, Future[Outcome]] = {}
        finished: deque[int] = deque()
        wake = threading.Condition()
        done = 0

        def landed(index: int) -> None:
            with wake:
                finished.append(index)
                wake.notify()

        def launch() -> None:
            while len(flying) < self.window and (pair := next(source, None)) is not None:
                index, (program, tests) = pair
                future = self.submit(program, tests, limits=limits, stop_at_first_failure=stop_at_first_failure)
                flying[index] = future
                future.add_done_callback(lambda _, index=index: landed(index))  # type: ignore[misc]

        try:
            launch()
            while flying:
                if ordered:
                    index = min(flying)
                else:
                    with wake:
                        wake.wait_for(lambda: finished)
                        index = finished.popleft()
                outcome = flying[index].result()
                del flying[index]
                done += 1
                if progress is not None:
                    progress(done)
                launch()
                yield index, outcome
        finally:
            for future in flying.values():
                future.cancel()

    def calibrate(self, reference: str, tests: Tests, factor: float = 10.0, floor_s: float = 1.0) -> Limits:
        """Limits for a task whose reference solution is known: `factor` times its own CPU time, within the sandbox's."""
        outcome = self.run(reference, tests)
        if not outcome.passed:
            raise ValueError(
                f"calibrate: the reference does not pass its own tests ({outcome.status}: {outcome.message}); mend it"
            )
        slowest = max((result.cpu_s for result in outcome.results if result.cpu_s is not None), default=outcome.cpu_s)
        return self.limits.calibrated(slowest, factor, floor_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_job(program: object, tests: object) -> None:
    """Refuse what is no program with tests, in one line, before it reaches a worker."""
    if not isinstance(program, str) or not isinstance(tests, (AssertTests, CallTests, StdioTests)):
        raise TypeError(
            f"a program comes as str with AssertTests, CallTests or StdioTests, not as {type(program).__name__} with "
            f"{type(tests).__name__}"
        )


def check_owner(owner: int) -> None:
    """Refuse use in a fork of the process that made a sandbox: its threads are not there."""
    if os.getpid() != owner:
        raise SandboxClosed(
            "this sandbox belongs to the process that made it, and threads do not survive a fork; make one here"
        )


def closed() -> SandboxClosed:
    """The error of a sandbox that was closed."""
    return SandboxClosed("this sandbox is closed; make a new one")


def settle(future: Future[Outcome], outcome: Outcome | Exception) -> None:
    """Give a future its outcome or its error, unless it was cancelled meanwhile."""
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        return
