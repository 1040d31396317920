"""Progress: a bar in a terminal or a notebook, and a plain line now and then where a log is written.

A bar that is redrawn fills a log with hundreds of lines.
"""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tqdm.auto import tqdm

LINES = 10
"""Number of lines of a log in place of one bar, at most."""
_PAUSE_S = 2.0


def draws_bars(file: TextIO | None = None) -> bool:
    """Whether bars can be redrawn where a process reports: in a terminal, or in a notebook.

    Args:
        file: What it writes to; standard error if not given.
    """
    return (file or sys.stderr).isatty() or "ipykernel" in sys.modules


class PlainBar:
    """What a bar of tqdm says, as a line at every tenth of the way, if the last is some time ago, and at the end.

    Args:
        total: Number of items to come.
        desc: What the lines are headed.
        unit: What the items are.
        disable: Whether to say nothing.
        smoothing: As for tqdm; a line has no rate.
        pause_s: Seconds between two lines, at least; the last may come earlier.

    Attributes:
        n: Number of items so far.
        total: Number of items to come.
        disable: Whether to say nothing.
    """

    def __init__(
        self,
        total: int,
        desc: str,
        unit: str,
        disable: bool = False,
        smoothing: float = 0.3,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self.n = 0
        self._pause_s = pause_s
        self._last = time.monotonic()
        self.disable = disable
        self.total = total
        self._heading = f"{desc}: "
        self._unit = unit
        self._postfix = ""
        self._said = 0

    def __enter__(self) -> PlainBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Counts items, and says so if another tenth is done."""
        self.n += count
        tenth = LINES * self.n // max(self.total, 1)
        waited = time.monotonic() - self._last >= self._pause_s or self.n >= self.total
        if tenth > self._said and waited:
            self._said, self._last = tenth, time.monotonic()
            self._say()

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Says more on the next line."""
        self._postfix = f", {text}" if text else ""

    def refresh(self) -> None:
        """Says nothing: only items make a line."""

    def close(self) -> None:
        """Ends."""

    def _say(self) -> None:
        if not self.disable:
            line = f"{self._heading}{self.n:,} of {self.total:,} {self._unit}s{self._postfix}"
            print(line, file=sys.stderr, flush=True)


def progress_bar(total: int, desc: str, unit: str, disable: bool = False, smoothing: float = 0.3) -> Any:
    """A bar of tqdm, or a `PlainBar` where none can be redrawn; the arguments are those of `PlainBar`."""
    kind = tqdm if draws_bars() else PlainBar
    return kind(total=total, desc=desc, unit=unit, disable=disable, smoothing=smoothing)
