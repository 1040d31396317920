"""`Match`: what a `re.Match` becomes when it crosses: its text and spans, without the pattern.

Many programs return the result of `re.search` where their tests only check whether there is a match.
"""

from __future__ import annotations

from typing import Any


class Match:
    """The groups of a match. Like the original, it is true and equal only to itself."""

    def __init__(self, string: str, regs: tuple[tuple[int, int], ...], names: dict[str, int]) -> None:
        if type(string) is not str or not regs or type(names) is not dict:
            raise TypeError("a match needs a text and spans")
        for start, end in regs:
            if not -1 <= start <= end <= len(string):
                raise ValueError(f"a span from {start} to {end}")
        self.string = string
        self.regs = regs
        self._names = names

    def span(self, group: int | str = 0) -> tuple[int, int]:
        """Where a group begins and ends; (-1, -1) if it did not take part in the match."""
        return self.regs[self._names[group] if isinstance(group, str) else group]

    def start(self, group: int | str = 0) -> int:
        """Where a group begins."""
        return self.span(group)[0]

    def end(self, group: int | str = 0) -> int:
        """Where a group ends."""
        return self.span(group)[1]

    def __getitem__(self, group: int | str) -> str | None:
        start, end = self.span(group)
        return None if start < 0 else self.string[start:end]

    def group(self, *groups: int | str) -> Any:
        """The text of one group, or of several as a tuple."""
        found = tuple(self[group] for group in groups or (0,))
        return found[0] if len(found) == 1 else found

    def groups(self, default: str | None = None) -> tuple[str | None, ...]:
        """The texts of all groups except the whole match."""
        return tuple(default if self[i] is None else self[i] for i in range(1, len(self.regs)))

    def groupdict(self, default: str | None = None) -> dict[str, str | None]:
        """The texts of the named groups."""
        return {name: default if self[name] is None else self[name] for name in self._names}

    def __repr__(self) -> str:
        return f"<match {self.span()} of {self[0]!r:.80}>"
