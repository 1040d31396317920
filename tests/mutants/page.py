"""Writes `docs/laws.md` from the laws and the mutants: `python -m tests.mutants.page`."""

from __future__ import annotations

from collections import defaultdict

from tests.mutants.catalogue import MUTANTS
from tests.mutants.laws import LAWS
from tests.mutants.mutant import REPOSITORY, Law, Mutant

PAGE = REPOSITORY / "docs/laws.md"

_INTRODUCTION = """# Laws

What the package must do, whatever else changes: each law with its source, the tests that hold it, and small wrong versions of
the package (mutants) that break it. A fast test notices each of the {count} mutants. `make test-mutants` applies them one by one
to a copy of the package and fails if one survives; `ARGS="-k perplexity"` chooses some, and `ARGS="--jobs 2"` tries two at once.

The symbols are those of [the chain](concepts.md): `d_i` is the description of a task, `c` a program, `d` a description that
the model has read from a program. The statements hold for tables of probabilities exactly. For a real model the pass filter
and the pinned signature make the chain Gibbs-*inspired*.

`python -m tests.mutants.page` writes this page from `tests/mutants/laws.py` and the lists of mutants beside it.
"""


def page() -> str:
    """The text of the page."""
    by_law: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in MUTANTS:
        by_law[mutant.law].append(mutant)
    return "\n".join([_INTRODUCTION.format(count=len(MUTANTS)), *(_section(law, by_law[law.name]) for law in LAWS)])


def _section(law: Law, mutants: list[Mutant]) -> str:
    lines = [f"## {law.name[0].upper()}{law.name[1:]}", "", law.statement, ""]
    if law.source:
        lines += [f"Source: {law.source}.", ""]
    if law.figure:
        lines += [f"Figure: [the chain]({law.figure}).", ""]
    lines += ["Tests:", "", *(f"- {_named(test)}" for test in law.tests), ""]
    lines += ["| mutant | what goes wrong | noticed by |", "| --- | --- | --- |"]
    lines += [f"| {one.name} | {one.breaks} | {_named(one.test)} |" for one in mutants]
    return "\n".join([*lines, ""])


def _named(node: str) -> str:
    """A test by its function, and the file that holds it."""
    file, _, function = node.partition("::")
    return f"`{function.partition('[')[0]}` in `{file}`"


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
