"""What every sandbox offers, local or remote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

from trl_gift.sandbox.cases import Tests
from trl_gift.sandbox.outcome import Limits, Outcome


@runtime_checkable
class Sandbox(Protocol):
    """Runs programs against tests; see `LocalSandbox` for what each method promises."""

    limits: Limits

    @property
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""
        ...

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Queue one program."""
        ...

    def submit_all(self, pairs: Sequence[tuple[str, Tests]]) -> list[Future[Outcome]]:
        """Queue many programs."""
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
        """Outcomes of many programs."""
        ...

    def close(self) -> None:
        """End everything."""
        ...
