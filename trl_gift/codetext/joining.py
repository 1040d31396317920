"""Programs out of several pieces: an answer may hold a helper in one block and the function in the next."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from trl_gift.codetext.bindings import bound_names, free_names
from trl_gift.codetext.needed import keep_needed
from trl_gift.codetext.syntax import (
    after,
    before,
    first_line,
    is_docstring,
    is_top_level_only,
    last_line,
    lines_of,
    tree_of,
)


def joined(code: str, others: Iterable[str]) -> str:
    """`code` after the statements of `others` that bind names which it reads and binds nowhere.

    Args:
        code: A program.
        others: Further pieces of code; the first that binds a name gives it. Pieces that do not parse give nothing.
    """
    tree = tree_of(code)
    missing = free_names(tree) if tree else set()
    pieces: list[str] = []
    stars: list[str] = []
    for other in others:
        if not missing:
            break
        module = tree_of(other)
        bound = {name for node in module.body for name in bound_names(node)} if module else set()
        if module is None:
            continue
        if not bound & missing:
            stars += [ast.unparse(node) for node in module.body if is_top_level_only(node) and not is_future(node)]
            continue
        kept = keep_needed(other, missing & bound)
        pieces.insert(0, kept)
        added = tree_of(kept)
        missing = (missing - bound) | (free_names(added) if added else set())
    if missing:  # one of them may bind what is missing
        pieces = [*dict.fromkeys(stars), *pieces]
    if not pieces:
        return code
    text = with_future_first("\n\n\n".join([*pieces, code]))
    return text if tree_of(text) is not None else code


def with_future_first(code: str) -> str:
    """`code` with its imports from `__future__` before all other statements, where alone Python allows them."""
    tree = tree_of(code)
    body = tree.body if tree else []
    future = [node for node in body if is_future(node)]
    if not future or all(is_future(node) or is_docstring(node) for node in body[: body.index(future[-1])]):
        return code
    lines = lines_of(code)
    alone = [
        node for node in future if not before(lines, node).strip() and not after(lines, node).partition("#")[0].strip()
    ]
    moved = [line for node in alone for line in lines[first_line(node) - 1 : last_line(node)]]
    gone = {number for node in alone for number in range(first_line(node), last_line(node) + 1)}
    return "\n".join([*moved, *(line for number, line in enumerate(lines, 1) if number not in gone)])


def is_future(node: ast.stmt) -> bool:
    """Whether a statement imports from `__future__`, which only a docstring and its like may precede."""
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
