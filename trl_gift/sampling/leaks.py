"""Descriptions that give their program away, and programs that were copied.

A description should say what a program does. Models that are asked to describe a program often quote it instead: then the
next program of the chain is a copy, and a reference that was read comes back as if the model had written it.

A description gives a program away if it holds one of the program's lines, or a long run of its tokens. It may quote the
pinned signature, because every prompt shows the signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from trl_gift import codetext

# Shorter lines, such as `return total` or `for x in xs:`, are what any program of the task may hold.
MIN_LINE_LENGTH = 12
# A run of this many tokens is longer than an expression that an exact description may need to name.
MIN_RUN_TOKENS = 12
_TOKEN = re.compile(r"\w+|[^\w\s]")


def gives_away(description: str, programs: Iterable[str | None], signature: str | None = None) -> bool:
    """Whether a description quotes one of the programs that it must not show.

    Args:
        description: The description.
        programs: The program that was read, and the task's reference; None for none.
        signature: The pinned signature, which may be quoted.
    """
    told = _squeezed(description)
    told_runs = _runs(_tokens(description))
    public = {_squeezed(line) for line in codetext.lines_of(signature or "")}
    for program in programs:
        if program is None:
            continue
        # A reader sees no docstring, and a reference's is often the task's description.
        lines = [
            line for line in codetext.lines_of(codetext.strip_docstrings(program)) if _squeezed(line) not in public
        ]
        if any(len(_squeezed(line)) >= MIN_LINE_LENGTH and _squeezed(line) in told for line in lines):
            return True
        if told_runs & _runs(_tokens("\n".join(lines))):
            return True
    return False


def is_copy(program: str, reference: str) -> bool:
    """Whether two programs differ at most in layout, comments, docstrings and the names of local variables."""
    return codetext.normalise(program) == codetext.normalise(reference)


def _squeezed(text: str) -> str:
    """`text` without white space, in which two writings of a line may differ."""
    return re.sub(r"\s+", "", text)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _runs(tokens: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(tokens[place : place + MIN_RUN_TOKENS]) for place in range(len(tokens) - MIN_RUN_TOKENS + 1)}
