"""The ways to read a row whose data leave a choice, most likely first.

Collections hold several solutions of which some are Python 2 or wrong. Their calls went through JSON and back in more than one
way: each result in a list of its own, all arguments in one more list, arguments or results as texts, keys of dicts as texts.
No column says which. `trl_gift.tasks.references` runs the reference with each reading and takes the first that passes.

A task that has no solution to run keeps the first reading of its arguments, and takes results both with and without a list
around them (`compare="apps"`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from trl_gift import codetext
from trl_gift.sandbox import Tests
from trl_gift.tasks.task import Reading

MOST_SOLUTIONS = 8
"""The number of solutions of a row that are tried; a row whose first ones all fail has wrong tests more likely."""
_MOST_TEXTS = 40
_WAYS_WITH_EACH = 3  # solutions that are tried with every way to read the calls
_PYTHON_2 = frozenset({"raw_input", "xrange", "unicode", "basestring", "unichr", "long", "execfile", "cmp", "reduce"})


def python_solutions(codes: Iterable[str]) -> list[str]:
    """The first solutions that are Python 3, those that use names of Python 2 last; at most `MOST_SOLUTIONS`."""
    texts = (code.removeprefix("\ufeff") for code in islice(codes, _MOST_TEXTS) if code.strip())
    parsed = ((code, tree) for code in texts if (tree := codetext.parse(code)) is not None)
    found = list(islice(parsed, MOST_SOLUTIONS))
    return [code for code, _ in sorted(found, key=lambda pair: _is_python_2(pair[1]))]


def _is_python_2(tree: ast.Module) -> bool:
    """Whether a program uses a builtin of Python 2 that it does not define or import."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return bool((used & _PYTHON_2) - _defined(tree))


def _defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
            if node.name == "*":
                names |= _PYTHON_2  # it may be there
    return names


@dataclass(frozen=True, slots=True)
class Calls:
    """One way to read calls: the arguments of each, and the results."""

    arguments: list[list[Any]]
    results: list[Any]


def ways_to_call(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Calls]:
    """All ways to read calls, most likely first; none if the arguments cannot be read at all."""
    arguments = _distinct(_ARGUMENTS, inputs)
    texts = all(isinstance(value, str) for value in inputs)  # then results are written as the arguments are
    results = _distinct((_decoded_values, *_RESULTS) if texts else _RESULTS, outputs)
    return [Calls(*pair) for pair in product(arguments, results)]


def combined(references: Sequence[str], name: str | None = None, ways: Sequence[Tests] = ()) -> tuple[Reading, ...]:
    """The readings of a row: its solutions, the first ones with each way to read the tests; empty if there is one only.

    Args:
        references: The solutions.
        name: The function that they define; None for whole programs.
        ways: The tests as each way reads them; empty if there is one way only.
    """
    signatures = [codetext.signature_of(code, name) if name else None for code in references]
    pairs = list(zip(references, signatures, strict=True))
    suites: Sequence[Tests | None] = ways or [None]
    found = [Reading(*pair, tests) for pair in pairs[:_WAYS_WITH_EACH] for tests in suites]
    found += [Reading(*pair, suites[0]) for pair in pairs[_WAYS_WITH_EACH:]]
    return tuple(found) if len(found) > 1 else ()


def decoded(text: str) -> Any:
    """The value that a text writes, in JSON or in Python.

    Raises:
        ValueError: The text writes no value.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError):
            continue
    raise _NotSo("neither JSON nor a Python value")


class _NotSo(ValueError):
    """The data are not of the form that a way to read them needs."""


def _as_they_are(values: Sequence[Any]) -> list[Any]:
    return list(values)


def _lists(values: Sequence[Any]) -> list[Any]:
    _need(isinstance(value, list) for value in values)
    return list(values)


def _unwrapped(values: Sequence[Any]) -> list[Any]:
    """Each value taken out of a list of its own."""
    _need(isinstance(value, list) and len(value) == 1 for value in values)
    return [value[0] for value in values]


def _lists_in_lists(values: Sequence[Any]) -> list[Any]:
    """All arguments of a call taken out of one more list."""
    return _lists(_unwrapped(values))


def _decoded_items(values: Sequence[Any]) -> list[Any]:
    """Arguments that are texts, as the values that they write."""
    _need(isinstance(value, list) for value in values)
    texts = [item for value in values for item in value if isinstance(item, str)]
    _need([bool(texts)])
    return [[decoded(item) if isinstance(item, str) else item for item in value] for value in values]


def _one_argument_a_line(values: Sequence[Any]) -> list[Any]:
    """A text with one value a line, as LiveCodeBench writes the arguments of a call."""
    _need(isinstance(value, str) for value in values)
    return [[decoded(line) for line in value.split("\n") if line.strip()] for value in values]


def _decoded_lists(values: Sequence[Any]) -> list[Any]:
    """A text that writes the list of arguments."""
    _need(isinstance(value, str) for value in values)
    return _lists([decoded(value) for value in values])


def _decoded_values(values: Sequence[Any]) -> list[Any]:
    """Results that are texts, as the values that they write."""
    _need(isinstance(value, str) for value in values)
    return [decoded(value) for value in values]


def _one_text(values: Sequence[Any]) -> list[Any]:
    """A text that is the only argument."""
    _need(isinstance(value, str) for value in values)
    return [[value] for value in values]


def _whole_keys(values: Sequence[Any]) -> list[Any]:
    """Dicts whose keys were whole numbers before they went through JSON."""
    return [_with_whole_keys(value) for value in values]


def _with_whole_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_whole_keys(item) for item in value]
    if isinstance(value, dict):
        whole = bool(value) and all(isinstance(key, str) and key.removeprefix("-").isdecimal() for key in value)
        return {int(key) if whole else key: _with_whole_keys(item) for key, item in value.items()}
    return value


_Way = Callable[[Sequence[Any]], list[Any]]
_ARGUMENTS: tuple[_Way, ...] = (
    _lists,
    _decoded_lists,
    _one_argument_a_line,
    _lists_in_lists,
    _decoded_items,
    _one_text,
    lambda values: _whole_keys(_lists(values)),
)
_RESULTS: tuple[_Way, ...] = (
    _as_they_are,
    _decoded_values,
    _unwrapped,
    _whole_keys,
    lambda values: _whole_keys(_unwrapped(values)),
    lambda values: _decoded_values(_unwrapped(values)),
)


def _need(facts: Iterable[bool]) -> None:
    if not all(facts):
        raise _NotSo


def _distinct(ways: Iterable[_Way], values: Sequence[Any]) -> list[list[Any]]:
    """The readings that are possible, each once."""
    found: list[list[Any]] = []
    for way in ways:
        try:
            read = way(values)
        except _NotSo:
            continue
        if not any(_same(read, other) for other in found):
            found.append(read)
    return found


def _same(one: Any, other: Any) -> bool:
    """Equality by types, too: `1`, `1.0` and `True` differ."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
