"""Plain Python for the parts of `pytest` that test code uses most, so that the sandbox does not need `pytest`.

`STANDIN` is source for a prelude: it runs where the tests run. `raises` works as a context manager or with a function,
with `match`; `approx` compares numbers, sequences, mappings and arrays by the tolerances of `pytest.approx`; `fail` fails.
"""

from __future__ import annotations

NAME = "_Pytest"
ATTRIBUTES = ("raises", "approx", "fail")

STANDIN = """\
class _Raises:
    def __init__(self, expected, match=None):
        self.expected, self.match, self.type, self.value = expected, match, None, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        import re

        if kind is None:
            names = self.expected if isinstance(self.expected, tuple) else (self.expected,)
            raise AssertionError("did not raise " + " or ".join(item.__name__ for item in names))
        if not issubclass(kind, self.expected):
            return False
        if self.match is not None and not re.search(self.match, str(error)):
            raise AssertionError(f"{kind.__name__}: {error} does not match {self.match!r}") from error
        self.type, self.value = kind, error
        return True


class _Approx:
    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __repr__(self):
        return f"approx({self.expected!r})"

    def __eq__(self, actual):
        return self._near(actual, self.expected)

    def _near(self, actual, expected):
        if hasattr(expected, "tolist"):
            expected = expected.tolist()
        if hasattr(actual, "tolist"):
            actual = actual.tolist()
        if isinstance(expected, dict):
            same = isinstance(actual, dict) and actual.keys() == expected.keys()
            return same and all(self._near(actual[key], expected[key]) for key in expected)
        if isinstance(expected, (list, tuple)):
            same = isinstance(actual, (list, tuple)) and len(actual) == len(expected)
            return same and all(map(self._near, actual, expected))
        if isinstance(expected, (bool, str, bytes)) or expected is None or actual == expected:
            return actual == expected
        try:
            if expected != expected or actual != actual:
                return self.nan_ok and expected != expected and actual != actual
            size = abs(expected)
            if size == float("inf"):
                return False
            rel = (1e-6 if self.abs is None else 0) if self.rel is None else self.rel
            absolute = 1e-12 if self.abs is None else self.abs
            return abs(actual - expected) <= max(float(rel) * float(size), float(absolute))
        except TypeError:
            return False


class _Pytest:
    approx = _Approx

    @staticmethod
    def raises(expected, *call, match=None, **kwargs):
        context = _Raises(expected, match)
        if not call:
            return context
        with context:
            call[0](*call[1:], **kwargs)
        return context

    @staticmethod
    def fail(reason="", pytrace=True):
        raise AssertionError(reason)
"""
