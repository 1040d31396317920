"""What a program needs of its module: definitions, imports and assignments, and not the calls that try it out.

A model's answer often goes on after the function: a `print`, an own `assert` that is wrong, an `if __name__ ==
"__main__"` block. Tests call functions of the program, so only what those functions need has to run.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterable

from trl_gift.codetext.syntax import (
    Definition,
    Function,
    Import,
    arguments,
    bound_by_import,
    find,
    first_line,
    identifier,
    is_docstring,
    is_top_level_only,
    last_line,
    lines_of,
    names_in,
    tree_of,
)

_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
# Calls at the top level that try the program out or end it, by their last name.
_DRIVERS = frozenset({"print", "pprint", "input", "main", "exit", "_exit", "quit", "abort", "testmod", "testfile"})


def keep_needed(code: str, names: Collection[str]) -> str:
    """`code` without the statements that its `names` do not need; unchanged if it needs all, or if it does not parse.

    Args:
        code: A program.
        names: The functions and classes that tests use. If the program defines none of them, nothing is left out.
    """
    tree = tree_of(code)
    if tree is None or not any(find(tree, name) or _bound(tree, name) for name in names):
        return code
    kept = needed_statements(tree, {identifier(name) for name in names})
    left_out = [node for node in tree.body if node not in kept]
    if not left_out:
        return code
    lines = lines_of(code)
    used = {line for node in kept for line in range(first_line(node), last_line(node) + 1)}
    gone: set[int] = set()
    for node in left_out:
        start = first_line(node)
        while start > 1 and start - 1 not in used and before_is_comment(lines, start):
            start -= 1
        gone.update(range(start, last_line(node) + 1))
    text = "\n".join(line for number, line in enumerate(lines, 1) if number in used or number not in gone)
    return text.strip("\n") if tree_of(text) is not None else code


def before_is_comment(lines: list[str], number: int) -> bool:
    """Whether a comment at the margin stands on the line before line `number` (from 1)."""
    return lines[number - 2].startswith("#")


def needed_statements(tree: ast.Module, names: Collection[str], leave_out: ast.stmt | None = None) -> set[ast.stmt]:
    """The top-level statements that `names` need when they are used, directly or through other statements.

    These are the statements that bind a needed name, those that change a needed value (`memo.update(…)`), settings of
    imported modules (`sys.setrecursionlimit(…)`), and `from … import *`.

    Args:
        tree: The module.
        names: The names that are needed first.
        leave_out: A statement that is not looked at.
    """
    statements = [node for node in tree.body if node is not leave_out]
    binds = {node: bound_names(node) for node in statements}
    reads = {node: global_reads(node) for node in statements}
    own = {name for node in statements if not isinstance(node, Import) for name in binds[node]}
    modules = {name for node in statements if isinstance(node, Import) for name in binds[node]}
    binding: dict[str, list[ast.stmt]] = {}
    touching: dict[str, list[ast.stmt]] = {}
    kept: set[ast.stmt] = set()
    first = set(names)
    for node in statements:
        for name in binds[node]:
            binding.setdefault(name, []).append(node)
        if is_top_level_only(node) or (node is tree.body[0] and is_docstring(node)):
            kept.add(node)
        elif _may_matter(node) and not reads[node] & first:
            if not binds[node] and reads[node] & modules and reads[node] <= modules | _BUILTINS:
                kept.add(node)  # a setting of an imported module
            for name in reads[node] & own:
                touching.setdefault(name, []).append(node)
    needed = {*first, *(name for node in kept for name in reads[node])}
    waiting = list(needed)
    while waiting:
        name = waiting.pop()
        for node in (*binding.get(name, ()), *touching.get(name, ())):
            if node not in kept:
                kept.add(node)
                waiting.extend(reads[node] - needed)
                needed |= reads[node]
    return kept


def global_reads(statement: ast.stmt) -> set[str]:
    """The names of the module that a top-level statement reads, when it runs or when its functions are called."""
    found: set[str] = set()
    # Function scopes still to be read, each with the names of the functions around it.
    waiting: list[tuple[list[ast.AST], set[str]]] = [([statement], set())]
    while waiting:
        roots, around = waiting.pop()
        loads: set[str] = set()
        local: set[str] = set()
        shared: set[str] = set()
        scopes: list[tuple[list[ast.AST], set[str]]] = []
        stack = list(roots)
        while stack:
            node = stack.pop()
            if isinstance(node, Function | ast.Lambda):
                own = {arg.arg for arg in arguments(node)}
                body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
                scopes.append((body, own))
                outside = [node.args, *([] if isinstance(node, ast.Lambda) else [*node.decorator_list])]
                if isinstance(node, Function):
                    local.add(node.name)
                    outside += [node.returns] if node.returns else []
                stack.extend(outside)
                continue
            if isinstance(node, ast.ClassDef):
                local.add(node.name)
            elif isinstance(node, Import):
                local |= bound_by_import(node)
            elif isinstance(node, ast.Global):
                shared.update(node.names)
            elif isinstance(node, ast.Name):
                (loads if isinstance(node.ctx, ast.Load) else local).add(node.id)
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                local.add(node.name)
            stack.extend(ast.iter_child_nodes(node))
        module = roots == [statement]
        # What a statement of the module binds is the module's; an augmented assignment also reads it.
        hidden = set() if module else (local | around) - shared
        found |= (loads | shared | (local if module and not isinstance(statement, Definition) else set())) - hidden
        for body, own in scopes:
            waiting.append((body, own | (set() if module else hidden)))
    return found


def bound_names(statement: ast.stmt) -> set[str]:
    """The names that a statement binds in the module when it runs."""
    found: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Definition):
            found.add(node.name)
            continue
        if isinstance(node, Import):
            found |= bound_by_import(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        if not isinstance(node, ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def free_names(tree: ast.Module) -> set[str]:
    """The names that a module reads and binds nowhere."""
    bound = set(_BUILTINS)
    for node in ast.walk(tree):
        if isinstance(node, Definition):
            bound.add(node.name)
        elif isinstance(node, Import):
            bound |= bound_by_import(node)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            bound.add(node.rest)
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in tree.body):
        return set()  # it may bind anything
    return names_in(tree) - bound


def joined(code: str, others: Iterable[str]) -> str:
    """`code` after the statements of `others` that bind names which it reads and binds nowhere.

    Args:
        code: A program.
        others: Further pieces of code; the first that binds a name gives it.
    """
    tree = tree_of(code)
    missing = free_names(tree) if tree else set()
    if not missing:
        return code
    pieces: list[str] = []
    for other in others:
        module = tree_of(other)
        bound = {name for node in module.body for name in bound_names(node)} if module else set()
        if module is None or not bound & missing:
            continue
        kept = keep_needed(other, missing & bound)
        pieces.insert(0, kept)
        added = tree_of(kept)
        missing = (missing - bound) | ((free_names(added) if added else set()) - _BUILTINS)
        if not missing:
            break
    if not pieces:
        return code
    text = "\n\n\n".join([*pieces, code])
    return text if tree_of(text) is not None else code


def _bound(tree: ast.Module, name: str) -> bool:
    return any(identifier(name) in bound_names(node) for node in tree.body)


def _may_matter(node: ast.stmt) -> bool:
    """Whether a statement that binds nothing needed could change something: it is no assertion and no driver."""
    if isinstance(node, ast.Assert | Definition | Import | ast.Raise) or _is_main_block(node):
        return False
    return not any(
        isinstance(part, ast.Call) and _last_name(part.func) in _DRIVERS for part in _outside_functions(node)
    )


def _outside_functions(node: ast.stmt) -> Iterable[ast.AST]:
    return () if isinstance(node, Definition) else ast.walk(node)


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in names_in(node.test)


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
