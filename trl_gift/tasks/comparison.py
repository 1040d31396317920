"""How printed output is compared: the rule of each data set, and the option `output_comparison` that replaces it.

| rule | sets | source |
| --- | --- | --- |
| `CONTEST`: tokens in order, the case of letters ignored, numbers within 1e-5 | CodeContests | its own tester, `OutputsMatch` in `execution/tester_sandboxer.cc` |
| `DECIMALS`: lines, and numbers within 1e-6 where the expected one has a decimal point | APPS, TACO, LiveCodeBench and others | ours: their outputs were printed by one solution, and another one rounds differently |
| `LINES`: lines, numbers as decimals | your own rows | ours |

The tester of CodeContests compares numbers as binary floats, for which 10**17 equals 10**17 + 1; here they differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from trl_gift.errors import ConfigError
from trl_gift.sandbox import StdioTests, Tests
from trl_gift.sandbox.comparisons import COMPARISONS, Compare, is_rule


@dataclass(frozen=True, slots=True)
class Comparison:
    """When a printed output counts as the expected one; the fields are those of `StdioTests`."""

    compare: Compare = "lines"
    abs_tol: float = 0.0
    rel_tol: float = 0.0
    decimals_only: bool = False

    def fields(self) -> dict[str, Any]:
        """The arguments of `StdioTests`."""
        return {name: getattr(self, name) for name in self.__slots__}

    def of_values(self) -> dict[str, Any]:
        """The arguments of `CallTests`: the tolerances."""
        return {name: value for name, value in self.fields().items() if name != "compare"}


LINES = Comparison()
DECIMALS = Comparison("lines", abs_tol=1e-6, rel_tol=1e-6, decimals_only=True)
CONTEST = Comparison("caseless", abs_tol=1e-5)


def parse_comparison(text: str) -> Comparison:
    """The comparison that an option names: a rule of `StdioTests`, with a tolerance for decimal numbers after a colon.

    Args:
        text: Such as `"tokens"` or `"lines:1e-6"`.

    Raises:
        ConfigError: for an unknown rule or a tolerance that is not a number from 0 to below 1.
    """
    rule, _, tolerance = text.partition(":")
    try:
        number = float(tolerance or 0)
    except ValueError:
        number = -1.0
    if not is_rule(rule) or not 0 <= number < 1 or (number and rule in ("exact", "apps")):
        raise ConfigError(
            f"output_comparison={text!r}: give one of {', '.join(COMPARISONS)}; lines, tokens and caseless also take a "
            "tolerance, such as 'lines:1e-6'."
        )
    return Comparison(rule, number, number, decimals_only=bool(number))


def compared_by(tests: Tests | None, comparison: Comparison) -> Tests | None:
    """The tests with another comparison of outputs; other kinds of tests, and tests with a checker, as they are."""
    if not isinstance(tests, StdioTests) or tests.checker:
        return tests
    return replace(tests, **comparison.fields())
