"""The names of the rules by which printed output is compared; `StdioTests` says what each of them means."""

from __future__ import annotations

from typing import Literal, TypeGuard, get_args

Compare = Literal["lines", "exact", "tokens", "caseless", "apps"]
COMPARISONS: tuple[Compare, ...] = get_args(Compare)


def is_rule(name: str) -> TypeGuard[Compare]:
    """Whether this is the name of a rule."""
    return name in COMPARISONS
