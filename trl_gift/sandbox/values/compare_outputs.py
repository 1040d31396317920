"""Compares printed output with the expected output, by one of five rules (see `StdioTests`).

Comparing by `zip` over lines would never look at missing lines, so the numbers of lines are compared first.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation


def outputs_match(
    actual: str, expected: str, rule: str, abs_tol: float = 0.0, rel_tol: float = 0.0, decimals_only: bool = False
) -> bool:
    """Whether `actual` counts as `expected` by the rule `lines`, `exact`, `tokens`, `caseless` or `apps`.

    Args:
        actual: The printed output.
        expected: The expected output.
        rule: The rule.
        abs_tol: Absolute tolerance of numbers.
        rel_tol: Relative tolerance of numbers.
        decimals_only: Whether the tolerances hold only where the expected number has a decimal point or an exponent.
    """
    if rule == "exact":
        return actual == expected
    if rule == "apps":
        return _apps(actual, expected)
    return _Matcher(rule, abs_tol, rel_tol, decimals_only).difference(actual, expected) is None


def first_difference(
    actual: str, expected: str, rule: str, abs_tol: float = 0.0, rel_tol: float = 0.0, decimals_only: bool = False
) -> str:
    """The first difference between two outputs that do not match, as a message for people; arguments of `outputs_match`."""
    return _Matcher(rule, abs_tol, rel_tol, decimals_only).difference(actual, expected) or "spacing differs"


def _lines(text: str) -> list[str]:
    """The lines without trailing spaces, and without the empty lines at the end of the text."""
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


@dataclass(frozen=True, slots=True)
class _Matcher:
    """The rules that compare token by token; the others use that of `lines` to say where outputs differ."""

    rule: str
    abs_tol: float
    rel_tol: float
    decimals_only: bool

    def difference(self, actual: str, expected: str) -> str | None:
        """What differs first; None if nothing does."""
        if self.rule in ("tokens", "caseless"):
            ours, theirs, unit = actual.split(), expected.split(), "token"
        else:
            ours, theirs, unit = _lines(actual), _lines(expected), "line"
        for number, (a, e) in enumerate(zip(ours, theirs, strict=False), start=1):
            if a != e and not self.tokens(a.split(), e.split()):
                return f"{unit} {number} is {a[:100]!r}, not {e[:100]!r}"
        return f"{len(ours)} {unit}s, not {len(theirs)}" if len(ours) != len(theirs) else None

    def tokens(self, ours: list[str], theirs: list[str]) -> bool:
        if self.rule == "caseless":
            ours, theirs = [token.lower() for token in ours], [token.lower() for token in theirs]
        return len(ours) == len(theirs) and all(
            a == e or self.numbers(a, e) for a, e in zip(ours, theirs, strict=True)
        )

    def numbers(self, actual: str, expected: str) -> bool:
        """Decimals of equal value (`1.0` and `1.00`), or within the tolerances; `007` is not `7`."""
        if len(actual) > 400 or len(expected) > 400 or "_" in actual or not actual.isascii():
            return False
        tolerant = bool(self.abs_tol or self.rel_tol) and not (self.decimals_only and _is_whole(expected))
        if _is_whole(actual) and _is_whole(expected) and not tolerant:
            return False  # whole numbers that are written differently are most likely strings of digits
        try:
            a, e = Decimal(actual), Decimal(expected)
        except InvalidOperation:
            return False
        if not (a.is_finite() and e.is_finite()):
            return a.is_nan() == e.is_nan() and (a.is_nan() or a == e)
        if not tolerant or abs(a.adjusted()) > 400 or abs(e.adjusted()) > 400:
            return a == e
        return abs(a - e) <= max(Decimal(self.abs_tol), Decimal(self.rel_tol) * max(abs(a), abs(e)))


def _is_whole(token: str) -> bool:
    return token.lstrip("+-").isdigit()


def _apps(actual: str, expected: str) -> bool:
    """The loose rule of the APPS evaluation: the *sets* of tokens agree, if necessary rounded to three decimals."""
    ours, theirs = set(actual.split()), set(expected.split())
    if ours == theirs:
        return True
    try:
        return {round(float(token), 3) for token in ours} == {round(float(token), 3) for token in theirs}
    except ValueError:
        return False
