"""Progress, as bars of the ecosystem or as lines of a log: count, time left, tokens a second, pass rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from trl_gift.common.bars import progress_bar

_REDRAW_S = 1.0


@contextmanager
def no_dataset_bars() -> Iterator[None]:
    """Disables the progress bars of the datasets library for the block."""
    import datasets

    was_disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not was_disabled:
            datasets.enable_progress_bars()


class SamplingProgress:
    """A bar over programs; shows the share that passed (unless they are not run) and the tokens, which move before a program ends.

    Args:
        description: What the bar is headed.
        total: Programs to come, those already on record included.
        disable: Draw nothing, as `disable_tqdm` asks.
        verified: Whether the programs are run.
    """

    def __init__(self, description: str, total: int, disable: bool, verified: bool = True) -> None:
        self._bar = progress_bar(total, description, "sample", disable, smoothing=0.05)
        self._verified = verified
        self._started = time.monotonic()
        self._tokens = 0
        self._count = 0
        self._skipped = 0
        self._passed = 0
        self._drawn = self._started

    def __enter__(self) -> SamplingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def expect(self, total: int) -> None:
        """Changes the number of programs to come, which is an estimate: never below what has come."""
        self._bar.total = max(total, self._bar.n)

    def skip(self, count: int) -> None:
        """Counts what an earlier run has done, or another process."""
        if count:
            self._skipped += count
            self._advance(count)

    def add(self, passed: bool, tokens: int) -> None:
        """Counts one program; `tokens` is the engine's total so far."""
        self._count += 1
        self._passed += passed
        self._show(tokens)
        self._advance(1)

    def tick(self, tokens: int) -> bool:
        """Shows the tokens so far, though no program may have ended; at most once a second. Returns whether it did."""
        due = not self._bar.disable and time.monotonic() - self._drawn > _REDRAW_S
        if due:
            self._drawn = time.monotonic()
            self._show(tokens)
            self._bar.refresh()
        return due

    def _advance(self, count: int) -> None:
        self._bar.total = max(self._bar.total, self._bar.n + count)
        self._bar.update(count)

    def _show(self, tokens: int) -> None:
        self._tokens = tokens
        seconds = max(time.monotonic() - self._started, 1e-9)
        of = f" of {self._count:,}" if self._skipped else ""  # whether the others passed is not known here
        passed = f"{self._passed / self._count:.0%}{of} passed" if self._count else "none finished"
        verdicts = passed if self._verified else "unverified"
        rate = f"{self._tokens:,} tokens, {self._tokens / seconds:.0f}/s"
        self._bar.set_postfix_str(f"{verdicts}, {rate}", refresh=False)
