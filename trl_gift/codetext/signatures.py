"""Signatures: the open `def` or `class` line that a program of a task starts with, and what that line needs."""

from __future__ import annotations

import ast
import copy
from functools import lru_cache

from trl_gift.codetext.bindings import bound_names
from trl_gift.codetext.needed import is_main_block, needed_statements
from trl_gift.codetext.syntax import (
    INDENT,
    REMEMBERED,
    Definition,
    Function,
    Import,
    arguments,
    bound_by_import,
    definitions,
    find,
    functions,
    is_top_level_only,
    names_in,
    tree_of,
    unparsed,
)


@lru_cache(maxsize=REMEMBERED)
def opens_class(signature: str) -> bool:
    """Whether a signature introduces a class rather than a function."""
    found = definitions(opened(signature))
    return bool(found) and isinstance(found[-1], ast.ClassDef)


@lru_cache(maxsize=REMEMBERED)
def entry_point_of(signature: str) -> str | None:
    """The function or class that a signature (imports, perhaps helpers, then an open `def` or `class` line) introduces."""
    found = definitions(opened(signature))
    return found[-1].name if found else None


def takes_nothing(signature: str) -> bool:
    """Whether a signature introduces a function without parameters."""
    found = definitions(opened(signature))
    return bool(found) and isinstance(found[-1], Function) and not arguments(found[-1])


def opened(signature: str) -> ast.Module | None:
    """The tree of a signature with an empty body."""
    return tree_of(signature.rstrip() + f"\n{INDENT}pass\n")


@lru_cache(maxsize=REMEMBERED)
def pinned_names(signature: str) -> frozenset[str]:
    """The names that a signature binds: its imports and helpers, and the function or class itself."""
    tree = opened(signature)
    return frozenset(name for node in (tree.body if tree else ()) for name in bound_names(node))


def signature_of(code: str, entry_point: str) -> str | None:
    """The `def` line of `entry_point` with the statements of `code` that this line needs; None if it is absent.

    A default, an annotation or a decorator may need imports, constants, classes or functions of the module. Other imports
    of a solution would say how it solves the task. `from x import *` and `from __future__` are kept, because no body may
    hold them. The signature of a class names its public methods in a comment, and holds all imports that the class uses,
    because its methods do not see an import in its body.
    """
    tree = tree_of(code)
    function = find(tree, entry_point)
    if tree is None or function is None:
        return None
    shown = header(function)
    if shown is None:
        return None
    own = tree_of(f"{shown}\n{INDENT}pass")
    wanted = names_in(own) if own else set()
    kept = needed_statements(tree, wanted - {function.name}, leave_out=function, settings=False)
    if isinstance(function, ast.ClassDef):
        shown = f"{shown}{_outline(function)}"
        used = names_in(function)
        kept |= {node for node in tree.body if isinstance(node, Import) and bound_by_import(node) & used}
    kept |= {node for node in tree.body if is_top_level_only(node)}
    texts = [unparsed(node) for node in tree.body if node in kept]
    return "\n".join([*(text for text in texts if text is not None), shown])


def header(function: Definition) -> str | None:
    """The `def` or `class` line with its decorators; None if it is nested too deeply to be written."""
    empty = copy.copy(function)
    empty.body = [ast.Pass()]
    text = unparsed(empty)
    return None if text is None else text.removesuffix("pass").rstrip()


def imports_of(code: str) -> list[str]:
    """The top-level imports of `code`, one statement each."""
    tree = tree_of(code)
    return [ast.unparse(node) for node in tree.body if isinstance(node, Import)] if tree else []


def imports_used(source: str, code: str) -> list[str]:
    """The top-level imports of `code` that bind a name used in `source`."""
    tree, module = tree_of(source), tree_of(code)
    if tree is None or module is None:
        return []
    used = names_in(tree)
    return [ast.unparse(node) for node in module.body if isinstance(node, Import) and used & bound_by_import(node)]


def called_names(source: str) -> list[str]:
    """The plain names that `source` calls, in the order of its text."""
    tree = tree_of(source)
    if tree is None:
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return [node.func.id for node in calls if isinstance(node.func, ast.Name)]


def names(source: str) -> set[str]:
    """All plain names in `source`, those that imports name included."""
    tree = tree_of(source)
    nodes = list(ast.walk(tree)) if tree else []
    imported = {alias.name for node in nodes if isinstance(node, Import) for alias in node.names}
    return imported | {node.id for node in nodes if isinstance(node, ast.Name)}


def defined_functions(source: str) -> list[str]:
    """The names of the top-level functions of `source`."""
    return [node.name for node in functions(tree_of(source))]


def defines(tree: ast.Module, entry_point: str) -> bool:
    """Whether a module defines the function or class at its top level.

    An assignment defines it if the value may be a function: a lambda, another name, or the result of a call (`partial(…)`) that
    does not read the name itself. Loops, files that are opened, constants and imports define nothing.
    """
    return find(tree, entry_point) is not None or any(_may_define(node, entry_point) for node in tree.body)


def _may_define(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.If | ast.Try) and not is_main_block(node):
        return any(isinstance(part, Definition) and part.name == name for part in ast.walk(node))
    if not isinstance(node, ast.Assign | ast.AnnAssign) or name not in bound_names(node):
        return False
    value = node.value
    if isinstance(value, ast.Call | ast.Name | ast.Attribute):
        return name not in names_in(value)
    return isinstance(value, ast.Lambda)


def _outline(node: ast.ClassDef) -> str:
    """The public methods of a class with their parameters, as a comment line; empty if it has none."""
    methods = [item for item in node.body if isinstance(item, Function)]
    public = [item for item in methods if not item.name.startswith("_") or item.name == "__init__"]
    shown = ", ".join(f"{item.name}({unparsed(item.args) or '...'})" for item in public)
    return f"\n{INDENT}# Methods: {shown}" if public else ""
