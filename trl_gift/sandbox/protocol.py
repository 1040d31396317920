"""`Sandbox`: the interface of every sandbox, local or remote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

from trl_gift.sandbox.cases import Tests
from trl_gift.sandbox.outcome import Limits, Outcome


@runtime_checkable
class Sandbox(Protocol):
    """Runs programs against tests; `LocalSandbox` documents what each method promises.

    Attributes:
        limits: What each program may use, unless a call gives other limits.
    """

    limits: Limits

    @property
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""
        ...

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Queue one program and return its future."""
        ...

    def submit_all(self, pairs: Sequence[tuple[str, Tests]]) -> list[Future[Outcome]]:
        """Queue many programs with their tests."""
        ...

    def run(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Outcome:
        """Run one program and wait for it."""
        ...

    def map(
        self,
        pairs: Iterable[tuple[str, Tests]],
        *,
        ordered: bool = True,
        stop_at_first_failure: bool = True,
        limits: Limits | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Run many programs and yield `(index, outcome)`."""
        ...

    def close(self) -> None:
        """Cancel what is queued or running and release everything."""
        ...
