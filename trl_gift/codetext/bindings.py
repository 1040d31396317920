"""Which names statements read, bind and change: the scopes of Python, as far as whole modules need them."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

from trl_gift.codetext.syntax import Definition, Function, Import, arguments, bound_by_import, inner, names_in

BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
"""Names that every module has."""

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


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
            if isinstance(node, Comprehension):
                scopes.append((list(ast.iter_child_nodes(node)), _targets(node.generators)))
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
        if isinstance(node, ast.comprehension):  # what it binds is its own
            waiting.extend([node.iter, *node.ifs])
        elif not isinstance(node, ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def loop_names(statement: ast.stmt) -> set[str]:
    """The names that the loops of a top-level statement bind before they read them."""
    if not isinstance(statement, ast.For | ast.AsyncFor | ast.While | ast.If | ast.Try | ast.With):
        return set()
    return _targets(node for node in outside_definitions(statement) if isinstance(node, ast.For | ast.AsyncFor))


def changed_names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The names whose values a statement may change without binding them, anywhere within it.

    Returns:
        The names whose attributes and items it sets or deletes, those it declares as global, and those whose attributes
        it calls a method of (`f.cache.update(…)`); and the names that it calls a method of or hands to a function that
        is not built in.
    """
    certain: set[str] = set()
    possible: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            certain.update(_root(node))
        elif isinstance(node, ast.Global):
            certain.update(node.names)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                deep = not isinstance(node.func.value, ast.Name)
                (certain if deep else possible).update(_root(node.func))
            if isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr") and node.args:
                certain.update(_root(node.args[0]))
            elif not (isinstance(node.func, ast.Name) and node.func.id in BUILTINS):
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                possible.update(part.id for part in given if isinstance(part, ast.Name))
    return certain, possible


def _root(node: ast.expr) -> set[str]:
    """The name that a chain of attributes and items begins with; empty if it begins with something else."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _targets(loops: Iterable[ast.For | ast.AsyncFor | ast.comprehension]) -> set[str]:
    """The names that loops bind in each turn."""
    return {
        part.id
        for loop in loops
        for part in ast.walk(loop.target)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


def outside_definitions(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement outside of the functions and classes in it."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Definition):
            waiting.extend(inner(node))


def free_names(tree: ast.Module) -> set[str]:
    """The names that a module reads and binds nowhere."""
    bound = set(BUILTINS)
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
