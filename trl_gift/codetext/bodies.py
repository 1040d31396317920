"""Programs of a pinned signature: from a sampled body to the program, and from a program to the body."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Collection, Sequence
from functools import lru_cache

from trl_gift.codetext.bindings import bound_names, global_reads
from trl_gift.codetext.joining import with_future_first
from trl_gift.codetext.needed import needed_statements
from trl_gift.codetext.prefixes import longest_prefix
from trl_gift.codetext.signatures import entry_point_of, header, opened, opens_class
from trl_gift.codetext.syntax import (
    INDENT,
    REMEMBERED,
    Definition,
    Function,
    Import,
    arguments,
    bodies,
    bound_by_import,
    definitions,
    docstring,
    find,
    first_line,
    functions,
    inner,
    is_docstring,
    is_top_level_only,
    last_line,
    lines_of,
    parse,
    takes,
    tree_of,
    unparsed,
)


def after_signature(code: str, signature: str) -> str | None:
    """What follows `signature` in `code`: as it is written if `code` begins with the signature.

    Otherwise it is the body of the function without its docstring, and then the statements of the module that it needs and
    the signature does not hold: names of a module are looked up when a function runs. Imports that only the function needs
    begin its body. None if the function is absent, has only a docstring, or needs an import from `__future__`.
    """
    head = f"{signature.rstrip()}\n"
    if code.startswith(head):
        return code[len(head) :].rstrip()
    parts = _parts(code, signature)
    if parts is None:
        return None
    body, helpers = parts
    lines = lines_of(code)
    if body is None or any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in helpers):
        return None
    read = {name for node in helpers if not isinstance(node, Import) for name in global_reads(node)}
    inside = [
        node
        for node in helpers
        if isinstance(node, Import) and not is_top_level_only(node) and not bound_by_import(node) & read
    ]
    if opens_class(signature):
        inside = []
    body = "\n".join([*(f"{INDENT}{unparsed(node)}" for node in inside), body])
    after = ["\n".join(lines[first_line(node) - 1 : last_line(node)]) for node in helpers if node not in inside]
    return "\n\n\n".join([body, *after])


def body_of(code: str, signature: str) -> str | None:
    """The body of a signature's function in `code` without its docstring, indented by four spaces, to follow the signature.

    Statements of the module that the body needs, and the signature does not hold, move into it, before its first
    statement, because a completion of the signature ends at the next top-level statement. What they declare as global is
    then a variable of the function. None if the function is absent,
    has only a docstring, or needs something that no function may hold. A class with helpers has no such body: its methods
    would not see what moves into it. Whether the moved program still passes its tests is not known before it has run.
    """
    parts = _parts(code, signature)
    if parts is None:
        return None
    body, helpers = parts
    if not helpers:
        return body
    if any(is_top_level_only(node) for node in helpers) or opens_class(signature):
        return None
    # A comment between helpers and body has no place of its own; `unparse` gives all of it one layout.
    tree = tree_of(code)
    function = find(tree, entry_point_of(signature))
    assert tree is not None, "it has parts"
    assert function is not None, "it has parts"
    moved = {name for node in helpers for name in bound_names(node)}
    statements = [*helpers, *_statements(function)]
    if any(_shares(node, moved) for node in statements):
        own = parse(code)  # nobody may change the remembered tree
        assert own is not None, "it was parsed before"
        function = find(own, function.name)
        assert function is not None, "it is the same text"
        _make_local(function, moved)
        statements = [own.body[tree.body.index(node)] for node in helpers]
        for node in statements:
            _make_local(node, moved, within=isinstance(node, Definition))
        statements += _statements(function)
    return _indented(statements)


def _shares(statement: ast.stmt, names: Collection[str]) -> bool:
    """Whether a statement holds a declaration that makes one of the names global."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Global) and any(name in names for name in node.names):
            return True
        waiting.extend(inner(node))
    return False


def _make_local(statement: ast.stmt, names: Collection[str], within: bool = False) -> None:
    """Changes a statement so that names of the module are those of a function that they move into.

    Args:
        statement: That function, or a statement that moves into it.
        names: The names that move.
        within: Whether the statement is a definition that moves into the function.
    """
    waiting: list[tuple[ast.AST, bool]] = [(statement, within)]
    while waiting:
        node, nested = waiting.pop()
        for node_body in bodies(node):
            for place in reversed(range(len(node_body))):
                declared = node_body[place]
                if not isinstance(declared, ast.Global):
                    continue
                local = [name for name in declared.names if name in names]
                rest = [name for name in declared.names if name not in names]
                new: list[ast.stmt] = [ast.Nonlocal(local)] if nested and local else []
                new += [ast.Global(rest)] if rest else []
                node_body[place : place + 1] = new or [ast.Pass()]
        waiting += [(part, nested or isinstance(part, Definition)) for part in inner(node)]


def _parts(code: str, signature: str) -> tuple[str | None, list[ast.stmt]] | None:
    """The body of a signature's function, None if it cannot be written, and the statements of the module that it needs.

    None if the function is absent, or has only a docstring.
    """
    tree = tree_of(code)
    function = find(tree, entry_point_of(signature))
    if tree is None or function is None or not _statements(function):
        return None
    return _body(code, function), _helpers(tree, function, opened(signature))


def _statements(function: Definition) -> list[ast.stmt]:
    return function.body[1:] if docstring(function) else function.body


def _body(code: str, function: Definition) -> str | None:
    """The statements of a function as they are written if they are indented by four spaces, otherwise written anew."""
    statements, lines = _statements(function), lines_of(code)
    first = lines[first_line(statements[0]) - 1]
    if (
        first_line(statements[0]) > function.lineno
        and first.startswith(INDENT)
        and len(first) - len(first.lstrip()) == len(INDENT)
    ):
        start = first_line(statements[0]) - 1
        while start > function.lineno and lines[start - 1].strip().startswith("#"):
            start -= 1
        return "\n".join(lines[start : last_line(statements[-1])]).rstrip()
    return _indented(statements)


def _indented(statements: Sequence[ast.stmt]) -> str | None:
    """The statements as the body of a function; None if one cannot be written.

    Indenting would change a string that spans lines. `unparse` writes such strings only as docstrings, where the indentation
    does not matter.
    """
    texts = [unparsed(node) for node in statements]
    return None if None in texts else "\n".join(textwrap.indent(str(text), INDENT) for text in texts)


def _helpers(tree: ast.Module, function: Definition, pinned: ast.Module | None) -> list[ast.stmt]:
    """The statements of the module that a function needs besides itself and what its signature holds."""
    kept = needed_statements(tree, {function.name})
    held = {unparsed(node) for node in pinned.body if node is not find(pinned, function.name)} if pinned else set()
    return [
        node
        for node in tree.body
        if node in kept and node is not function and not is_docstring(node) and unparsed(node) not in held
    ]


@lru_cache(maxsize=REMEMBERED)
def complete(signature: str, completion: str) -> str | None:
    """The program made of a pinned signature and a sampled body, cut at the first new top-level statement.

    Definitions, imports and assignments that follow are kept if the function needs them. Returns None if the completion
    holds no statement at all. A body that does not parse is cut at its first line that is not indented, and is still
    returned: the execution reports the error.
    """
    if not completion.strip():
        return None
    head = lines_of(signature.rstrip())
    lines = [*head, *lines_of(completion.rstrip())]
    tree = tree_of("\n".join(lines))
    if tree is None:
        text = longest_prefix(lines, len(head))
        tree = tree_of(text) if text is not None else None
    if tree is not None:
        function = next((node for node in definitions(tree) if last_line(node) > len(head)), None)
        kept = _with_helpers(lines, tree, function) if function else lines
        return "\n".join(kept) if len(kept) > len(head) else None
    dedents = [i for i in range(len(head), len(lines)) if lines[i].strip() and not lines[i][0].isspace()]
    text = "\n".join(lines[: dedents[0]] if dedents else lines).rstrip()
    return text if len(lines_of(text)) > len(head) else None


def _with_helpers(lines: list[str], tree: ast.Module, function: Definition) -> list[str]:
    """The lines up to the end of a function, then those of what it needs of the statements after it."""
    later = tree.body[tree.body.index(function) + 1 :]
    kept = needed_statements(tree, {function.name})
    helpers = [
        node for node in later if node in kept and not is_top_level_only(node) and bound_names(node) != {function.name}
    ]
    end = last_line(function)
    found = lines[:end]
    for node in helpers:
        start = first_line(node) - 1
        # Empty lines stay, and comments, unless they follow something else that is left out.
        space = start
        while space > end and not lines[space - 1].strip():
            space -= 1
        found += lines[space : last_line(node)]
        end = last_line(node)
    return found


def pin(code: str, signature: str) -> str:
    """`code` with the pinned imports and helpers and, where that changes annotations at most, with the pinned `def` line.

    A header with decorators or with defaults of its own stays: the program may need them.
    """
    entry_point = entry_point_of(signature)
    tree, pinned = tree_of(code), opened(signature)
    if tree is None or pinned is None or entry_point is None:
        return code
    function, pinned_function = find(tree, entry_point), find(pinned, entry_point)
    head = [node for node in pinned.body if node is not pinned_function]
    # Compared with what can be pinned alone: a whole program may be nested too deeply to be written.
    kinds = tuple({type(node) for node in head})
    present = {unparsed(node) for node in tree.body if isinstance(node, kinds)}
    defined = {node.name for node in definitions(tree)}
    shown: list[ast.stmt] = []
    read: set[str] = set()
    for node in reversed(head):
        held = unparsed(node) in present or (isinstance(node, Definition) and node.name in defined)
        if not held or bound_names(node) & read:  # what is put in front may need what the program holds later
            shown.insert(0, node)
            read |= global_reads(node)
    missing = [str(unparsed(node)) for node in shown]
    lines = lines_of(code)
    if (
        isinstance(function, Function)
        and isinstance(pinned_function, Function)
        and type(function) is type(pinned_function)
        and not function.decorator_list
        and _parameters(function) in (_parameters(pinned_function), _parameters(pinned_function, defaults=False))
    ):
        first, written = first_line(function.body[0]), header(pinned_function)
        if first > function.lineno and written is not None:  # a one-line function keeps its own header
            comments = [line for line in lines[function.lineno : first - 1] if line.strip().startswith("#")]
            lines[first_line(function) - 1 : first - 1] = [*lines_of(written), *comments]
    text = "\n".join([*missing, *lines])
    return with_future_first(text if tree_of(text) is not None else "\n".join([*missing, *lines_of(code)]))


def _parameters(function: Function, defaults: bool = True) -> str | None:
    """The parameters of a function without annotations, as text; None if they are nested too deeply to be written."""
    given = function.args
    plain = ast.arguments(
        posonlyargs=[ast.arg(arg.arg) for arg in given.posonlyargs],
        args=[ast.arg(arg.arg) for arg in given.args],
        vararg=given.vararg and ast.arg(given.vararg.arg),
        kwonlyargs=[ast.arg(arg.arg) for arg in given.kwonlyargs],
        kw_defaults=given.kw_defaults if defaults else [None] * len(given.kwonlyargs),
        kwarg=given.kwarg and ast.arg(given.kwarg.arg),
        defaults=given.defaults if defaults else [],
    )
    return unparsed(plain)


def renamed(code: str, entry_point: str, parameters: int) -> str | None:
    """`code` with its only top-level function of that many parameters called `entry_point`; None without one.

    Functions whose further parameters have defaults count if there is no other.
    """
    tree = tree_of(code)
    fitting = [node for node in functions(tree) if len(arguments(node)) == parameters]
    fitting = fitting or [node for node in functions(tree) if takes(node, parameters)]
    if tree is None or len(fitting) != 1:
        return None
    old = fitting[0].name
    lines = [line.encode() for line in lines_of(code)]
    places = [
        (node.lineno, node.col_offset) for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == old
    ]
    places += [(node.lineno, lines[node.lineno - 1].find(old.encode(), node.col_offset)) for node in fitting]
    for number, column in sorted(places, reverse=True):
        line = lines[number - 1]
        if column >= 0 and line.startswith(old.encode(), column):
            lines[number - 1] = line[:column] + entry_point.encode() + line[column + len(old.encode()) :]
    text = b"\n".join(lines).decode()
    return text if find(tree_of(text), entry_point) else None
