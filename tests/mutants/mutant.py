"""What a law is, and what a mutant is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Law:
    """What the package must do, whatever else changes.

    Attributes:
        name: A word or two, unique.
        statement: The law, with the symbols of its source.
        source: The section or equation that it comes from; empty for a law of our own.
        tests: The nodes of the tests that hold it.
        figure: A picture of it, relative to `docs`; empty if there is none.
    """

    name: str
    statement: str
    source: str
    tests: tuple[str, ...]
    figure: str = ""


@dataclass(frozen=True)
class Mutant:
    """A small wrong version of one file.

    Attributes:
        name: Unique.
        file: The file, relative to the repository.
        old: A text that occurs once in it.
        new: The text that replaces it.
        breaks: What goes wrong, in one sentence.
        law: The name of the law that it breaks.
        test: The node of a fast test that must fail.
        also: Further replacements in the same file, as pairs, where one alone would change nothing.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    law: str
    test: str
    also: tuple[tuple[str, str], ...] = ()

    @property
    def edits(self) -> tuple[tuple[str, str], ...]:
        """Every old text with the new one."""
        return ((self.old, self.new), *self.also)

    def applied(self, source: str) -> str:
        """The wrong version of a source text.

        Raises:
            ValueError: if an old text does not occur exactly once.
        """
        for old, new in self.edits:
            if (count := source.count(old)) != 1:
                raise ValueError(f"{self.name}: {old!r} occurs {count} times in {self.file}; it must occur once.")
            source = source.replace(old, new)
        return source
