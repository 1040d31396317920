"""What makes two programs the same: keys that leave out layout, comments, docstrings and chosen names."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any

from trl_gift.codetext.syntax import (
    INDENT,
    REMEMBERED,
    Function,
    Import,
    after,
    before,
    docstring,
    last_line,
    lines_of,
    parse,
    scopes,
    tree_of,
)


@lru_cache(maxsize=REMEMBERED)
def strip_docstrings(code: str) -> str:
    """`code` without docstrings, so that a model that describes it cannot copy them; layout and comments are kept."""
    tree = tree_of(code)
    if tree is None:
        return code
    lines = lines_of(code)
    found = [(scope, node) for scope in scopes(tree) if (node := docstring(scope)) is not None]
    for scope, node in sorted(found, key=lambda pair: -pair[1].lineno):
        if before(lines, node).strip() or after(lines, node).strip():
            continue  # shares its line with code: `def f(): "doc"; return 1`
        keep = len(scope.body) == 1 and not isinstance(scope, ast.Module)
        lines[node.lineno - 1 : last_line(node)] = [f"{before(lines, node)}pass"] if keep else []
    return "\n".join(lines).strip("\n")


def normalise(code: str) -> str:
    """A key that two programs share if they differ only in layout, comments, docstrings or names of local variables."""
    tree = parse(code)
    if tree is None:
        return code.strip()
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, f"v{len(names)}")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"v{len(names)}")
    return _dump(tree, names)


def skeleton(code: str, least_nodes: int = 0) -> str | None:
    """As `normalise`, but without imports, annotations and the names of functions, too.

    None if `code` does not parse, or its tree has fewer than `least_nodes` nodes.
    """
    tree = parse(code)
    if tree is None:
        return None
    tree.body = [node for node in tree.body if not isinstance(node, Import)]
    if sum(not isinstance(node, ast.expr_context) for node in ast.walk(tree)) < least_nodes:
        return None
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, f"v{len(names)}")
        elif isinstance(node, Function):
            names.setdefault(node.name, f"v{len(names)}")
            node.name, node.returns = names[node.name], None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"v{len(names)}")
    return _dump(tree, names)


def is_statement(line: str) -> bool:
    """Whether a line is Python rather than words: a statement other than a bare name, constant or annotation."""
    text = line.strip().removeprefix(">>> ")
    if not text:
        return False
    if text.startswith("@"):
        text = f"{text}\ndef f():"
    elif text.startswith(("elif ", "else:")):
        text = f"if x:\n{INDENT}pass\n{text}"
    elif text.startswith(("except ", "except:", "finally:")):
        text = f"try:\n{INDENT}pass\n{text}"
    tree = tree_of(f"{text}\n{INDENT}pass" if text.endswith(":") else text)
    if tree is None:
        return False
    return any(not isinstance(node, ast.Expr | ast.AnnAssign) for node in tree.body) or any(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in tree.body
    )


def _dump(tree: ast.Module, names: dict[str, str]) -> str:
    """The tree as text, without docstrings and annotations of arguments, with its names replaced."""
    for scope in scopes(tree):
        if docstring(scope):
            scope.body = scope.body[1:] or [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.arg, node.annotation = names[node.arg], None
        elif isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return _text(tree)


def _text(tree: ast.AST) -> str:
    """What `ast.dump` tells of a tree; that function cannot write a deep one."""
    parts: list[str] = []
    # What is still to be written, the next on top.
    waiting: list[Any] = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Written):
            parts.append(item)
        elif isinstance(item, ast.AST):
            fields = [value for _, value in ast.iter_fields(item)]
            parts.append(f"{type(item).__name__}(")
            waiting.append(_Written(")"))
            waiting.extend(reversed(fields))
        elif isinstance(item, list):
            parts.append("[")
            waiting.append(_Written("]"))
            waiting.extend(reversed(item))
        else:
            parts.append(f"{_constant(item)},")
    return "".join(parts)


class _Written(str):
    """A text that is part of the result as it is, where other texts are constants of the program."""

    __slots__ = ()


def _constant(value: object) -> str:
    # Decimal digits of a very long integer cannot be asked for.
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
