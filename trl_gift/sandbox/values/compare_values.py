"""Compares returned values with expected values: by `==`, with tolerances for numbers at any depth."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from typing import Any

from trl_gift.sandbox.values import tables


def values_match(
    actual: Any, expected: Any, rule: str, abs_tol: float, rel_tol: float, decimals_only: bool = False
) -> bool:
    """Whether `actual` counts as `expected` by the rule `equal`, `json` or `apps` (see `CallTests`)."""
    if same(actual, expected, abs_tol, rel_tol, json=rule != "equal", decimals_only=decimals_only):
        return True
    wrapped = rule == "apps" and isinstance(expected, list) and len(expected) == 1
    return wrapped and same(actual, expected[0], abs_tol, rel_tol, json=True, decimals_only=decimals_only)


def same(actual: Any, expected: Any, abs_tol: float, rel_tol: float, json: bool, decimals_only: bool = False) -> bool:
    """Whether two plain values are equal, numbers within the tolerances and NaN equal to NaN.

    With `json`, a list equals a tuple of the same items. With `decimals_only`, the tolerances hold only where the expected
    number is a float.
    """

    def alike(ours: Any, theirs: Any) -> bool:
        return same(ours, theirs, abs_tol, rel_tol, json, decimals_only)

    if json and isinstance(actual, tuple):
        actual = list(actual)
    if json and isinstance(expected, tuple):
        expected = list(expected)
    if isinstance(actual, float) and isinstance(expected, float) and actual != actual:
        return expected != expected
    tolerant = isinstance(expected, float) or (isinstance(expected, int) and not decimals_only)
    if tolerant and not isinstance(expected, bool) and (abs_tol or rel_tol):
        if not isinstance(actual, (int, float)) or isinstance(actual, bool):
            return False
        try:
            return actual == expected or math.isclose(actual, expected, rel_tol=rel_tol, abs_tol=abs_tol)
        except OverflowError:  # an int that is too large for a float is close to no float
            return False
    if isinstance(expected, (list, tuple)):
        same_kind = isinstance(actual, list if isinstance(expected, list) else tuple)  # a named tuple equals a tuple
        if not same_kind or len(actual) != len(expected):
            return False
        return all(alike(a, e) for a, e in zip(actual, expected, strict=True))
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return False
        if isinstance(expected, Counter) and isinstance(actual, Counter):  # what it lacks, it counts as zero
            return all(alike(actual[key], expected[key]) for key in actual.keys() | expected.keys())
        if isinstance(expected, OrderedDict) and isinstance(actual, OrderedDict) and list(actual) != list(expected):
            return False
        return actual.keys() == expected.keys() and all(alike(actual[key], value) for key, value in expected.items())
    # `==` of arrays returns an array, and an empty array counts as all true.
    if _is_array(actual) or _is_array(expected):
        return _same_arrays(actual, expected, abs_tol, rel_tol)
    return bool(actual == expected)


def _is_array(value: Any) -> bool:
    return type(value).__module__.split(".")[0] in ("numpy", "pandas")


def _same_arrays(actual: Any, expected: Any, abs_tol: float, rel_tol: float) -> bool:
    """Whether both are arrays of one shape whose elements agree, or tables that also agree in names and types."""
    table, other = (type(side).__module__.split(".")[0] == "pandas" for side in (actual, expected))
    if table or other:
        return table and other and same(tables.parts(actual), tables.parts(expected), abs_tol, rel_tol, json=False)
    if not (_is_array(actual) and _is_array(expected)) or actual.shape != expected.shape:
        return False
    return same(actual.tolist(), expected.tolist(), abs_tol, rel_tol, json=False)
