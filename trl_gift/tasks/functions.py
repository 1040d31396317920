"""Makes functions from starter code and from solutions that are classes.

Contest sites ask for a method of `class Solution`. A task pins one open `def` line, so it asks for a plain function, and
a reference that is a class gets a function of the same name that calls the method. Names that such code uses without
importing them, because the site has imported them, are imported; annotations of undefined types (`ListNode`) are dropped.
"""

from __future__ import annotations

import ast
import builtins
import copy
import typing
from collections.abc import Iterable

from trl_gift import codetext
from trl_gift.codetext import INDENT

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def starter_signature(starter: str, name: str) -> str | None:
    """Imports and the open `def` line of the function or method `name` of starter code; None if it is absent."""
    program = function_program(_closed(starter, name), name)
    return None if program is None else codetext.signature_of(program, name)


def programs_with(solutions: Iterable[str], name: str) -> list[str]:
    """The solutions that are Python 3 and define `name`, as programs with that function or class at the top level."""
    return [program for code in solutions if (program := function_program(code, name)) is not None]


def function_program(code: str, name: str) -> str | None:
    """`code` as a program with a top-level function or class `name`, ready to run; None if it does not define `name`."""
    tree = codetext.parse(code)
    if tree is None:
        return None
    if any(isinstance(node, ast.ClassDef | _Function) and node.name == name for node in tree.body):
        return codetext.with_offered_imports(code)
    method = _method(tree, name)
    if method is None:
        return None
    return codetext.with_offered_imports(f"{code.rstrip()}\n\n\n{_calling(method, _bound(tree))}\n")


def _calling(method: _Function, bound: set[str]) -> str:
    """A function with the parameters of a method of `Solution`; it calls that method."""
    function = copy.deepcopy(method)
    if not any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in method.decorator_list):
        function.args.args.pop(0)
    function.decorator_list = []
    known = bound | set(dir(builtins)) | set(typing.__all__)
    annotated = [node for node in ast.walk(function.args) if isinstance(node, ast.arg)]
    for argument in annotated:
        if argument.annotation is not None and not _used(argument.annotation) <= known:
            argument.annotation = None
    if function.returns is not None and not _used(function.returns) <= known:
        function.returns = None
    names = ", ".join(argument.arg for argument in function.args.args)
    function.body = [ast.Return(ast.parse(f"Solution().{method.name}({names})", mode="eval").body)]
    return ast.unparse(function)


def _method(tree: ast.Module, name: str) -> _Function | None:
    for scope in tree.body:
        if isinstance(scope, ast.ClassDef) and scope.name == "Solution":
            for node in scope.body:
                if isinstance(node, _Function) and node.name == name and node.args.args:
                    return node
    return None


def _used(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _bound(tree: ast.Module) -> set[str]:
    """The names that a program defines or imports; `from typing import *` imports all of `typing`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | _Function):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom) and node.module == "typing" and "*" in names:
                names |= set(typing.__all__)
    return names


def _closed(starter: str, name: str) -> str:
    """Starter code with its open `def` line closed, without the lines after it that do not parse."""
    lines = starter.rstrip().split("\n")
    start = next((i for i, line in enumerate(lines) if line.lstrip().startswith(f"def {name}(")), None)
    if start is None:
        return starter
    indent = len(lines[start]) - len(lines[start].lstrip())
    body = " " * indent + f"{INDENT}pass"
    texts = ("\n".join([*lines[:end], body]) for end in range(start + 1, len(lines) + 1))
    return next((text for text in texts if codetext.parse(text) is not None), starter)
