"""Filters choose tasks by a small expression over the row's columns and the task's fields, or by a function.

    difficulty == "introductory" and len(tests) >= 3

Python never evaluates the expression: this module parses it and walks its syntax tree. It accepts comparisons, `and`,
`or`, `not`, arithmetic of numbers, constants, tuples and lists, subscripts, the functions `len`, `min`, `max`, `abs`,
`int`, `float`, `str`, and the methods `lower`, `upper`, `strip`, `startswith`, `endswith` of texts, and refuses all else.

A name is a field of the task (`task_id`, `description`, `signature`, `reference`, `prelude`, `tests`, `hidden_tests`,
`language`, `entry_point`; tests are lists of texts), or else a column of the row. A filter that uses columns only is
evaluated before the row is read as a task, so it can leave out rows that are not valid tasks.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from trl_gift.errors import ConfigError, TaskError
from trl_gift.sandbox import AssertTests, StdioTests, Tests
from trl_gift.sandbox.digits import any_number_of_digits
from trl_gift.sandbox.statements import can_fail
from trl_gift.tasks.task import Task

TASK_FIELDS = (
    "task_id",
    "description",
    "signature",
    "reference",
    "prelude",
    "tests",
    "hidden_tests",
    "language",
    "examples",
    "entry_point",
)
Filter = Callable[[Mapping[str, Any]], object]


class Candidate(Mapping[str, Any]):
    """The values that a filter sees: the fields of the task, and the other columns of its row.

    The task is made only when the filter uses one of its fields.
    """

    def __init__(self, read: Callable[[], Task], row: Mapping[str, Any], where: str) -> None:
        self.where = where
        self._read = read
        self._row = row

    @cached_property
    def task(self) -> Task:
        """The row as a task."""
        return self._read()

    def __getitem__(self, name: str) -> Any:
        if name in ("tests", "hidden_tests"):
            return _texts(self.task.tests if name == "tests" else self.task.hidden_tests)
        return getattr(self.task, name) if name in TASK_FIELDS else self._row[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*TASK_FIELDS, *self._row]))

    def __len__(self) -> int:
        return len(set(TASK_FIELDS) | set(self._row))


def as_filter(condition: str | Filter | None) -> Callable[[Candidate], bool]:
    """A filter as a function to True or False; `None` takes every task.

    Raises:
        ConfigError: if the text is not an expression, or uses what a filter may not use.
    """
    if condition is None:
        return lambda candidate: True
    if not isinstance(condition, str):
        return lambda candidate: bool(condition(candidate))
    text = condition
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise ConfigError(f"filter {text!r} is not an expression ({reason}); {_CURE}.") from None
    for node in ast.walk(tree):
        _check(node, text)
    return lambda candidate: bool(_evaluated(tree, candidate, text))


_CURE = "write something like 'difficulty == \"easy\" and len(tests) >= 3'"
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.Not: operator.not_, ast.USub: operator.neg}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (len, min, max, abs, int, float, str)
}
_METHODS = ("lower", "upper", "strip", "startswith", "endswith")
_NODES = (
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Call,
    ast.Attribute,
    ast.Subscript,
    ast.Name,
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.And,
    ast.Or,
    ast.Load,
    *_COMPARISONS,
    *_ARITHMETIC,
    *_UNARY,
)


def _check(node: ast.AST, text: str) -> None:
    """Refuses an expression with parts that a filter may not use, before any row is read."""
    allowed = isinstance(node, _NODES)
    if isinstance(node, ast.Call):
        function = node.func
        known = isinstance(function, ast.Name) and function.id in _FUNCTIONS
        allowed = not node.keywords and (known or isinstance(function, ast.Attribute))
    elif isinstance(node, ast.Attribute):
        allowed = node.attr in _METHODS
    if not allowed:
        raise ConfigError(
            f"filter {text!r}: {ast.unparse(node) or type(node).__name__!r} cannot be used; a filter accepts comparisons, "
            f"and, or, not, arithmetic, {', '.join(_FUNCTIONS)}, and the methods {', '.join(_METHODS)} of texts."
        )


def _evaluated(tree: ast.expr, candidate: Candidate, text: str) -> object:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    unknown = sorted(names - set(candidate))
    if unknown:
        raise ConfigError(
            f"{candidate.where}: filter {text!r}: {unknown[0]!r} is neither a column nor a field; use one of {', '.join(sorted(candidate))}."
        )
    try:
        return _value(tree, candidate)
    except TaskError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        values = ", ".join(f"{name} = {str(candidate[name])[:60]!r}" for name in sorted(names))
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{candidate.where}: filter {text!r} cannot be evaluated with {values} ({reason}); test for None first, or "
            "filter by another column."
        ) from None


def _value(node: ast.expr, candidate: Candidate) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return candidate[name]
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [_value(item, candidate) for item in items]
        case ast.BoolOp(op=op, values=values):
            decisive = isinstance(op, ast.Or)
            for value in values:
                result = _value(value, candidate)
                if bool(result) is decisive:
                    break
            return result
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_value(operand, candidate))
        case ast.BinOp(left=left, op=sum_or_product, right=right):
            return _ARITHMETIC[type(sum_or_product)](_number(left, candidate), _number(right, candidate))
        case ast.Compare(left=left, ops=comparisons, comparators=others):
            one = _value(left, candidate)
            for comparison, expression in zip(comparisons, others, strict=True):
                other = _value(expression, candidate)
                if not _COMPARISONS[type(comparison)](one, other):
                    return False
                one = other
            return True
        case ast.Subscript(value=value, slice=key):
            return _value(value, candidate)[_value(key, candidate)]
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_value(argument, candidate) for argument in arguments))
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments):
            owner = _value(value, candidate)
            if not isinstance(owner, str):
                raise TypeError(f"{name} needs a text, and {owner!r} is not a text")
            return getattr(owner, name)(*(_value(argument, candidate) for argument in arguments))
        case _:
            raise TypeError(f"{ast.unparse(node)} has no value")


def _number(node: ast.expr, candidate: Candidate) -> Any:
    """A number for arithmetic. Other values are refused: a text times a large number could fill the memory."""
    value = _value(node, candidate)
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _texts(tests: Tests | None) -> list[str] | None:
    """Tests as a list of texts, one text for each test."""
    if tests is None:
        return None
    if isinstance(tests, StdioTests):
        return [case.stdin or "" for case in tests.cases]
    with any_number_of_digits():
        if isinstance(tests, AssertTests):
            return [ast.unparse(statement) for statement in ast.parse(tests.text).body if can_fail(statement)]
        return [repr(case.args) for case in tests.cases]
