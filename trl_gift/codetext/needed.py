"""What a program needs of its module: definitions, imports and assignments, and not the calls that try it out.

A model's answer often goes on after the function: a `print`, an own `assert` that is wrong, an `if __name__ ==
"__main__"` block. Tests call functions of the program, so only what those functions need has to run.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from trl_gift.codetext.bindings import BUILTINS, bound_names, changed_names, global_reads, loop_names
from trl_gift.codetext.syntax import (
    Definition,
    Import,
    find,
    first_line,
    identifier,
    is_docstring,
    is_top_level_only,
    last_line,
    lines_of,
    names_in,
    tree_of,
    unparsed,
)

_Node = TypeVar("_Node", bound=ast.stmt)
# Calls at the top level, by their last name: those that set how a module works, and those that try the program out or end it.
_SETTINGS = frozenset({
    "setrecursionlimit", "set_int_max_str_digits", "seed", "stack_size", "filterwarnings", "simplefilter", "setlocale",
    "setcontext", "set_printoptions", "seterr",
})  # fmt: skip
_DRIVERS = frozenset({"print", "pprint", "input", "main", "exit", "_exit", "quit", "abort", "testmod", "testfile"})
# What looks names up, or runs code, by text.
_BY_TEXT = frozenset({"globals", "locals", "vars", "eval", "exec", "modules", "get_type_hints", "__subclasses__"})


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
        while start > 1 and start - 1 not in used and _follows_comment(lines, start):
            start -= 1
        gone.update(range(start, last_line(node) + 1))
    for number in used & gone:
        parts = [node for node in tree.body if node in kept and first_line(node) <= number <= last_line(node)]
        if all(first_line(node) == last_line(node) for node in parts):
            lines[number - 1] = "; ".join(str(unparsed(node)) for node in parts)
    text = "\n".join(line for number, line in enumerate(lines, 1) if number in used or number not in gone)
    return text.strip("\n") if tree_of(text) is not None else code


def _follows_comment(lines: list[str], number: int) -> bool:
    """Whether a comment at the margin stands on the line before line `number` (from 1)."""
    return lines[number - 2].startswith("#")


def needed_statements(
    tree: ast.Module, names: Collection[str], leave_out: ast.stmt | None = None, settings: bool = True
) -> set[ast.stmt]:
    """The top-level statements that `names` need when they are used, directly or through other statements.

    These are the statements that bind a needed name, those that change a needed value (`memo.update(…)`, `f.calls = 0`,
    or `fill()` if that function changes it), functions and classes that register themselves (by a decorator, or as a
    subclass), settings of imported modules (`sys.setrecursionlimit(…)`), and `from … import *`. Where a needed statement
    looks names up by their text (`globals()`, `eval`), all definitions and assignments are needed. Calls of what `names`
    name, and of functions that call it, try it out and are not needed.

    Args:
        tree: The module.
        names: The names that are needed first.
        leave_out: A statement that is not looked at.
        settings: Whether settings of imported modules are needed, too.
    """
    module = _Module([node for node in tree.body if node is not leave_out], set(names))
    kept = {node for node in module.statements if is_top_level_only(node)}
    if settings:
        kept |= module.settings()
    if tree.body and tree.body[0] is not leave_out and is_docstring(tree.body[0]):
        kept.add(tree.body[0])
    needed = {*names, *(name for node in kept for name in module.reads[node])}
    waiting = list(needed)
    while waiting:
        found = module.needed_by(waiting.pop())
        if any(node not in kept and _looks_names_up(node) for node in found):
            found = [*found, *module.lasting()]
        for node in found:
            if node not in kept:
                kept.add(node)
                waiting.extend(module.reads[node] - needed)
                needed |= module.reads[node]
    return kept


class _Module:
    """The statements of a module by the names that they bind, read and change.

    Args:
        statements: The statements.
        first: The names that are needed first.
    """

    def __init__(self, statements: list[ast.stmt], first: set[str]) -> None:
        self.statements = statements
        self.binds = {node: bound_names(node) for node in statements}
        self.reads = {node: global_reads(node) - loop_names(node) for node in statements}
        self.functions = {node.name for node in statements if isinstance(node, Definition)}
        self._modules = {name for node in statements if isinstance(node, Import) for name in self.binds[node]}
        self._binding = _by_name(self.binds)
        readers = _by_name({node: self.reads[node] for node in statements if isinstance(node, Definition)})
        # Functions and classes that use what is needed first only try it out.
        self._trying = _reached(first - self._modules, readers)
        self._touching: dict[str, list[ast.stmt]] = {}
        self._changing: dict[str, list[str]] = {}
        for node in statements:
            if isinstance(node, Definition):
                for name in set().union(*changed_names(node)) & self.reads[node]:
                    self._changing.setdefault(name, []).append(node.name)
            for name in self._touched(node):
                self._touching.setdefault(name, []).append(node)
        self._callers = {name: {node.name for node in nodes} for name, nodes in readers.items()}
        self._calls = _by_name(
            {
                node: (_made_by(node) if isinstance(node, Definition) else self.reads[node]) & self.functions
                for node in statements
                if isinstance(node, Definition) or self._may_last(node)
            }
        )
        self._seen: set[str] = set()

    def settings(self) -> set[ast.stmt]:
        """Statements that set how a module of the standard library works, or bind names by their text."""
        return {
            node
            for node in self.statements
            if not self.binds[node] - loop_names(node)
            and self._may_last(node)
            and (_is_setting(node) or _executes(node) or (not isinstance(node, ast.Expr) and _looks_names_up(node)))
        }

    def lasting(self) -> list[ast.stmt]:
        """The definitions and assignments that do not try out what is needed."""
        return [
            node
            for node in self.statements
            if (isinstance(node, Definition) and node.name not in self._trying)
            or (isinstance(node, ast.Assign | ast.AnnAssign) and self._may_last(node))
        ]

    def _may_last(self, node: ast.stmt) -> bool:
        """Whether a statement other than a definition could matter to what is needed without trying it out."""
        return _may_matter(node) and not self.reads[node] & self._trying

    def needed_by(self, name: str) -> list[ast.stmt]:
        """The statements that bind a name or may change its value."""
        found = [*self._binding.get(name, ()), *self._touching.get(name, ())]
        changing = [function for function in self._changing.get(name, ()) if function not in self._trying]
        while changing:
            function = changing.pop()
            if function not in self._seen:
                self._seen.add(function)
                found += self._calls.get(function, ())
                changing += self._callers.get(function, set()) - self._trying
        return found

    def _touched(self, node: ast.stmt) -> set[str]:
        """The names whose values a statement may change without binding them."""
        if isinstance(node, Definition):
            return _made_by(node) - BUILTINS - self._modules
        if not _may_matter(node):
            return set()
        certain, possible = changed_names(node)
        if self.reads[node] & self._trying:
            return certain - self._modules
        touched = ((self.reads[node] - self.functions) | certain | possible) - self._modules
        sets_a_module = isinstance(node, ast.Assign | ast.AugAssign) and not _is_stream(node)
        return touched | (certain & self._modules) if sets_a_module else touched


def _by_name(names: Mapping[_Node, Iterable[str]]) -> dict[str, list[_Node]]:
    """The statements by each of their names."""
    found: dict[str, list[_Node]] = {}
    for node, own in names.items():
        for name in own:
            found.setdefault(name, []).append(node)
    return found


def _reached(first: set[str], readers: Mapping[str, list[Definition]]) -> set[str]:
    """`first` and the names of all functions and classes that use one of them, directly or through others."""
    found, waiting = set(first), list(first)
    while waiting:
        for node in readers.get(waiting.pop(), ()):
            if node.name not in found:
                found.add(node.name)
                waiting.append(node.name)
    return found


def _made_by(node: Definition) -> set[str]:
    """The names that a definition runs when it is made.

    These are its decorators (`@handle.register`), its bases, which may know their subclasses, and its metaclass.
    """
    bases = [*node.bases, *(given.value for given in node.keywords)] if isinstance(node, ast.ClassDef) else []
    return names_in(*node.decorator_list, *bases)


def _is_setting(node: ast.stmt) -> bool:
    """Whether a statement sets how a module works: `sys.setrecursionlimit(…)`, `getcontext().prec = 50`."""
    if isinstance(node, ast.Assign):
        return any(isinstance(part, ast.Call) and _last_name(part.func) == "getcontext" for part in ast.walk(node))
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and _last_name(call.func) in _SETTINGS


def _looks_names_up(node: ast.stmt) -> bool:
    """Whether a statement reads or binds names of the module by their text."""
    return any(
        (isinstance(part, ast.Name) and part.id in _BY_TEXT)
        or (isinstance(part, ast.Attribute) and part.attr in _BY_TEXT)
        for part in ast.walk(node)
    )


def _executes(node: ast.stmt) -> bool:
    """Whether a statement runs a text as code of the module."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and _last_name(call.func) == "exec"


def _is_stream(node: ast.Assign | ast.AugAssign) -> bool:
    """Whether an assignment replaces a stream of `sys`."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(part, ast.Attribute) and part.attr in ("stdin", "stdout", "stderr") for part in targets)


def _bound(tree: ast.Module, name: str) -> bool:
    return any(identifier(name) in bound_names(node) for node in tree.body)


def _may_matter(node: ast.stmt) -> bool:
    """Whether a statement that binds nothing needed could change something: it is neither an assertion nor a driver."""
    if isinstance(node, ast.Assert | Definition | Import | ast.Raise) or is_main_block(node):
        return False
    return not any(
        isinstance(part, ast.Call) and _last_name(part.func) in _DRIVERS for part in _outside_functions(node)
    )


def _outside_functions(node: ast.stmt) -> Iterable[ast.AST]:
    return () if isinstance(node, Definition) else ast.walk(node)


def is_main_block(node: ast.stmt) -> bool:
    """Whether a statement is `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and "__name__" in names_in(node.test)


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
