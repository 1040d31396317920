"""Python source as a syntax tree: parsing that no text can end, lines as the parser counts them, names and definitions.

Trees of model output can be deeper than the interpreter's recursion limit allows to walk (`1+1+1+…`), so everything here
walks them without recursion.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections.abc import Iterator
from functools import lru_cache

INDENT = "    "
"""One level of indentation."""

REMEMBERED = 4096
"""How many results the functions over whole texts remember: a model writes the same text many times, and parsing is slow."""

MOST_CHARACTERS = 1_000_000
"""The longest text that is parsed; a longer one does not count as Python."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Import = ast.Import | ast.ImportFrom
Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# Statements that hold statements, and the fields that hold them; expressions hold none but in lambdas, which bind nothing.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_NO_STATEMENTS = ("handlers", "cases")
# One answer is asked about several times in a row.
_TREES = 16
_LINE_END = re.compile(r"\r\n|\r|\n")


def parse(source: str) -> ast.Module | None:
    """The syntax tree of `source`, or None if it is not Python."""
    return _parse(source)[0]


def tree_of(source: str) -> ast.Module | None:
    """As `parse`, but remembered for a while, so that nobody may change the tree."""
    return parse_or_line(source)[0]


@lru_cache(maxsize=_TREES)
def parse_or_line(source: str) -> tuple[ast.Module | None, int]:
    """The syntax tree of `source`, or None and the number of the line at which the parser gave up (from 1).

    The line is 1 where the parser names none: for a text that is too long or too deeply nested, or that holds a null byte.
    The tree is remembered for a while, so that nobody may change it.
    """
    return _parse(source)


def _parse(source: str) -> tuple[ast.Module | None, int]:
    if len(source) > MOST_CHARACTERS:
        return None, 1
    try:
        with warnings.catch_warnings():
            # The user cannot fix invalid escapes in model output.
            warnings.simplefilter("ignore")
            return ast.parse(source), 0
    except SyntaxError as error:
        return None, error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        # Null bytes, lone surrogates and oversized integers are ValueErrors; deep nesting is a MemoryError of the parser.
        return None, 1


def lines_of(source: str) -> list[str]:
    """The lines of `source` as the parser counts them; `str.splitlines` also splits at form feeds, U+2028 and others."""
    lines = _LINE_END.split(source)
    return lines[:-1] if lines[-1] == "" else lines


def unparsed(node: ast.AST) -> str | None:
    """The source of a node, or None if it cannot be written: it is nested too deeply, or holds a very long integer."""
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError):
        return None


def before(lines: list[str], node: ast.stmt) -> str:
    """What stands before a statement on its first line; the parser counts columns in bytes."""
    return lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="replace")


def after(lines: list[str], node: ast.stmt) -> str:
    """What stands after a statement on its last line."""
    return lines[last_line(node) - 1].encode()[node.end_col_offset or 0 :].decode(errors="replace")


def first_line(node: ast.stmt) -> int:
    """The first line of a statement, decorators included, from 1."""
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def last_line(node: ast.stmt) -> int:
    """The last line of a statement, from 1."""
    return node.end_lineno or node.lineno


def functions(tree: ast.Module | None) -> list[Function]:
    """The top-level functions, in order."""
    return [node for node in tree.body if isinstance(node, Function)] if tree else []


def definitions(tree: ast.Module | None) -> list[Definition]:
    """The top-level functions and classes, in order."""
    return [node for node in tree.body if isinstance(node, Definition)] if tree else []


def find(tree: ast.Module | None, name: str | None) -> Definition | None:
    """The top-level function or class of a name: the last one, as a caller would get it."""
    wanted = identifier(name) if name else None
    return next((node for node in reversed(definitions(tree)) if node.name == wanted), None)


def identifier(name: str) -> str:
    """A name as Python compares it: after NFKC normalisation."""
    return unicodedata.normalize("NFKC", name)


def arguments(function: Function | ast.Lambda) -> list[ast.arg]:
    """All parameters of a function, in order."""
    given = function.args
    extra = [arg for arg in (given.vararg, given.kwarg) if arg is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *extra]


def takes(function: Function, places: int) -> bool:
    """Whether a function can be called with that many arguments by place."""
    given = function.args
    most = len(given.posonlyargs) + len(given.args)
    return (
        most - len(given.defaults) <= places
        and (places <= most or given.vararg is not None)
        and None not in given.kw_defaults
    )


def docstring(scope: Scope) -> ast.stmt | None:
    """The statement that is the docstring of a module, class or function."""
    return scope.body[0] if scope.body and is_docstring(scope.body[0]) else None


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a string alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_stub(function: Definition) -> bool:
    """Whether a function does nothing yet: a docstring, `pass`, `...` or `raise NotImplementedError`."""
    return all(is_docstring(node) or isinstance(node, ast.Pass) or _is_placeholder(node) for node in function.body)


def _is_placeholder(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def scopes(tree: ast.Module) -> Iterator[Scope]:
    """The module, its functions and classes. Only statements are searched, because expressions are many more."""
    statements: list[ast.AST] = [tree]
    while statements:
        node = statements.pop()
        if isinstance(node, Scope):
            yield node
        statements.extend(inner(node))


def bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements directly in a node."""
    for field, value in ast.iter_fields(node):
        if field in _BLOCKS and field not in _NO_STATEMENTS and isinstance(value, list):
            yield value


def inner(node: ast.AST) -> Iterator[ast.AST]:
    """The statements, handlers and cases directly in a node."""
    for field, value in ast.iter_fields(node):
        if field in _BLOCKS and isinstance(value, list):
            yield from value


def bound_by_import(node: Import) -> set[str]:
    """The names that an import binds."""
    return {(alias.asname or alias.name).split(".")[0] for alias in node.names}


def is_top_level_only(node: ast.stmt) -> bool:
    """Whether an import may not stand in a function: `from __future__` and `from x import *`."""
    return isinstance(node, ast.ImportFrom) and (
        node.module == "__future__" or any(alias.name == "*" for alias in node.names)
    )


def names_in(*nodes: ast.AST) -> set[str]:
    """All plain names in the nodes, read or bound, names of functions and classes and those of imports excepted."""
    return {node.id for tree in nodes for node in ast.walk(tree) if isinstance(node, ast.Name)}
