"""Tests that call a function in JavaScript: the arguments travel in, the result travels out, the judge compares.

A caller follows the program in its file. It reads the arguments of one call as JSON from standard input and prints the
result as JSON. The expected result stays with the judge, so a program cannot forge its verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from trl_gift.sandbox.cases import Case, StdioTests
from trl_gift.sandbox.values.show import show

_MARK = "\x1eresult "
_LARGEST = (1 << 53) - 1

# `Map`, `Set`, `BigInt` and numbers that are not finite have no form in JSON, and `undefined` is what a function without a
# `return` gives.
_CALLER = """
;(async () => {
  const plain = (value) => {
    if (['undefined', 'function', 'symbol'].includes(typeof value)) return null;
    if (typeof value === 'bigint') return { '\\u001enumber': value.toString() };
    if (typeof value === 'number' && !Number.isFinite(value)) return { '\\u001enumber': String(value) };
    if (value instanceof Set) return [...value].map(plain);
    if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
    if (Array.isArray(value)) return value.map(plain);
    if (value !== null && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
    }
    return value;
  };
  const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const result = await NAME(...given);
  process.stdout.write('\\n\\u001eresult ' + JSON.stringify(plain(result)) + '\\n');
})().catch((error) => { console.error(error); process.exitCode = 1; });
"""

SAME = '''\
def same(found, expected):
    """Whether two values that went through JSON are equal, decimals within a relative tolerance."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return found is expected
    if isinstance(expected, float) and isinstance(found, (int, float)):
        if expected != expected:
            return found != found
        return found == expected or abs(found - expected) <= 1e-6 * max(1.0, abs(expected)) < float("inf")
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    return found == expected
'''
"""Source of the function that compares values, for checkers."""

_CHECKER = f"""\
import json


{SAME}

def number(item):
    text = item.get("\\x1enumber")
    if text is None:
        return item
    return float(text) if text in ("NaN", "Infinity", "-Infinity") else int(text)


def check(stdin, stdout, expected):
    results = [line for line in stdout.split("\\n") if line.startswith({_MARK!r})]
    return same(json.loads(results[-1][len({_MARK!r}) :], object_hook=number), json.loads(expected))
"""


def javascript_calls(entry_point: str, cases: Sequence[Case], opening: str = "") -> StdioTests:
    """Tests that call a function of a JavaScript program.

    Results compare as in JSON: a list stands for a tuple, decimals within a relative tolerance of 1e-6. The function may
    return a promise, a `Map` (compared with a dict), a `Set` (with a list, in its order) or nothing (with None).

    Args:
        entry_point: Name of the function.
        cases: `Case(args=..., expected=...)`, at least one, with values that JSON has.
        opening: How the function begins, for prompts, such as `function add(a, b) {`; by default without parameters' names.

    Raises:
        ValueError: The name is not one of JavaScript, a case has keyword arguments, or a value is not one that both languages
            have.
    """
    if not (entry_point.replace("$", "_").isidentifier() and entry_point.isascii()):
        raise ValueError(f"javascript_calls({entry_point!r}): not the name of a function; give one such as 'add'")
    runs = []
    for index, case in enumerate(cases):
        if case.stdin is not None or case.kwargs:
            raise ValueError(
                f"javascript_calls(cases[{index}]={show(case)[:200]}): JavaScript passes arguments by position only; use "
                f"Case(args=..., expected=...)"
            )
        runs.append(Case(stdin=_argument_json(case, index), stdout=_json(case.expected, index)))
    return StdioTests(
        runs,
        language="javascript",
        checker=_CHECKER,
        caller=_CALLER.replace("NAME", entry_point),
        opening=opening
        or f"function {entry_point}({', '.join('abcdefgh'[: len(cases[0].args)]) if cases else ''}) {{",
    )


def _argument_json(case: Case, index: int) -> str:
    given = list(case.args)
    for number in _leaves(given):
        if isinstance(number, float) and not math.isfinite(number):
            raise _refused(given, index, "JSON has finite numbers only")
        if isinstance(number, int) and abs(number) > _LARGEST:
            raise _refused(given, index, "its integers reach to 2**53 - 1")
    return _json(given, index)


def _json(value: Any, index: int) -> str:
    if not all(isinstance(leaf, str | int | float | None) for leaf in _leaves(value)):
        raise _refused(value, index, "it has texts, numbers, booleans, None, lists and dicts with texts as keys")
    return json.dumps(value)


def _refused(value: Any, index: int, why: str) -> ValueError:
    return ValueError(
        f"javascript_calls(cases[{index}]): {show(value)[:200]} is not a value that JavaScript has ({why}); leave the case out"
    )


def _leaves(value: Any) -> Iterator[Any]:
    """What a value holds at any depth besides lists, and dicts with texts as keys."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
