"""Code as text: the questions that prompts, selection and loaders have about Python source.

Everything goes through `ast`, never through regular expressions over code: return annotations, nested parentheses and
`def` inside strings are all legal Python. Model output is data, so a text that does not parse gives a value (`None`, or
the text unchanged), never an exception.

Not covered: languages other than Python. Their programs pass through untouched.
"""

from __future__ import annotations

import ast
import copy
import re
import textwrap
import warnings
from collections.abc import Iterator
from functools import lru_cache

INDENT = "    "
_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
_CODE_START = re.compile(r"^(?:(?:def|async def|class|import|from)\b|@|[A-Za-z_]\w*\s*=)")
# A model writes the same text many times, and parsing is slow.
_REMEMBERED = 4096
_PYTHON_TAGS = frozenset({"", "python", "python3", "py"})


def parse(source: str) -> ast.Module | None:
    """The syntax tree of `source`, or None if it is not Python."""
    try:
        with warnings.catch_warnings():
            # The user cannot fix invalid escapes in model output.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Null bytes and oversized integers are ValueErrors; the C parser reports deep nesting as MemoryError.
        return None


@lru_cache(maxsize=_REMEMBERED)
def opens_class(signature: str) -> bool:
    """Whether a signature introduces a class rather than a function."""
    definitions = _definitions(parse(signature.rstrip() + f"\n{INDENT}pass\n"))
    return bool(definitions) and isinstance(definitions[-1], ast.ClassDef)


@lru_cache(maxsize=_REMEMBERED)
def entry_point_of(signature: str) -> str | None:
    """The function or class that a signature (imports, perhaps helpers, then an open `def` or `class` line) introduces."""
    tree = parse(signature.rstrip() + f"\n{INDENT}pass\n")
    names = [node.name for node in _definitions(tree)] if tree else []
    return names[-1] if names else None


def signature_of(code: str, entry_point: str) -> str | None:
    """The `def` line of `entry_point` with the imports of `code` that this line needs; None if it is absent.

    Other imports of a solution would say how it solves the task. `from x import *` and `from __future__` are kept, because
    no body may hold them. The signature of a class names its public methods in a comment, and holds all imports that the
    class uses, because its methods do not see an import in its body.
    """
    function = _find(parse(code), entry_point)
    if function is None:
        return None
    header = _header(function)
    if isinstance(function, ast.ClassDef):
        needed = imports_used(ast.unparse(function), code)
        header = f"{header}{_outline(function)}"
    else:
        needed = imports_used(f"{header}\n{INDENT}pass", code)
    kept = [line for line in imports_of(code) if line in needed or _is_top_level_only(line)]
    return "\n".join([*kept, header])


def imports_of(code: str) -> list[str]:
    """The top-level imports of `code`, one statement each."""
    tree = parse(code)
    return [ast.unparse(node) for node in tree.body if isinstance(node, _Import)] if tree else []


def after_signature(code: str, signature: str) -> str | None:
    """What follows `signature` in `code`: as it is written if `code` begins with the signature, otherwise `body_of`."""
    head = f"{signature.rstrip()}\n"
    if code.startswith(head):
        return code[len(head) :].rstrip()
    return body_of(code, signature)


def body_of(code: str, signature: str) -> str | None:
    """The body of a signature's function in `code` without its docstring, indented by four spaces, to follow the signature.

    Helpers that the function may use, and imports that the signature does not hold, move into it, before its first
    statement, because a completion of the signature ends at the next top-level statement. None if the function is absent,
    has only a docstring, or needs an import that no function may hold. A class with helpers has no such body: its methods
    would not see what moves into it.
    """
    entry_point = entry_point_of(signature)
    tree = parse(code)
    function = _find(tree, entry_point)
    if tree is None or function is None:
        return None
    statements = function.body[1:] if _docstring(function) else function.body
    if not statements:
        return None
    pinned = imports_of(f"{signature.rstrip()}\n{INDENT}pass")
    helpers = [
        node
        for node in tree.body
        if node is not function
        and not _is_docstring(node)
        and not (isinstance(node, _Import) and ast.unparse(node) in pinned)
    ]
    if any(isinstance(node, _Import) and _is_top_level_only(ast.unparse(node)) for node in helpers):
        return None
    if helpers and isinstance(function, ast.ClassDef):
        return None
    lines = code.splitlines()
    first = lines[statements[0].lineno - 1]
    as_written = (
        first.startswith(INDENT)
        and len(first) - len(first.lstrip()) == len(INDENT)
        and statements[0].lineno > function.lineno
        and not helpers
    )
    if as_written:
        start = statements[0].lineno - 1
        while start > function.lineno and lines[start - 1].strip().startswith("#"):
            start -= 1
        end = statements[-1].end_lineno or statements[-1].lineno
        return "\n".join(lines[start:end]).rstrip()
    return "\n".join(_indented(node) for node in [*helpers, *statements])


@lru_cache(maxsize=_REMEMBERED)
def complete(signature: str, completion: str) -> str | None:
    """The program made of a pinned signature and a sampled body, cut at the first new top-level statement.

    Returns None if the completion holds no statement at all. A body that does not parse is cut at its first line that
    is not indented, and is still returned: the execution reports the error.
    """
    if not completion.strip():
        return None
    head = signature.rstrip().splitlines()
    lines = [*head, *completion.rstrip().splitlines()]
    entry_point = entry_point_of(signature)
    tree = parse("\n".join(lines))
    if tree is not None:
        function = _find(tree, entry_point) if entry_point else None
        end = (function.end_lineno or len(lines)) if function else len(lines)
        return "\n".join(lines[:end]) if end > len(head) else None
    dedents = [i for i in range(len(head), len(lines)) if lines[i].strip() and not lines[i][0].isspace()]
    for cut in dedents:
        text = "\n".join(lines[:cut]).rstrip()
        if parse(text) is not None:
            return text
    text = "\n".join(lines[: dedents[0]] if dedents else lines).rstrip()
    return text if len(text.splitlines()) > len(head) else None


def extract(text: str, entry_point: str | None) -> str | None:
    """The code in a chat model's answer: the first Python fence that holds it, otherwise the longest code in the prose.

    With an `entry_point`, only code that defines it counts. None means that no code was found.
    """
    blocks = [body for tag, body in _FENCE.findall(text) if tag.lower() in _PYTHON_TAGS]
    for block in blocks:
        code = textwrap.dedent(block).rstrip()
        if code and (entry_point is None or defines(code, entry_point)):
            return code
    if blocks:
        return None
    return _code_in_prose(text, entry_point)


def pin(code: str, signature: str) -> str:
    """`code` with the pinned imports and helpers and, if the parameters are the same, with the pinned `def` line."""
    entry_point = entry_point_of(signature)
    tree, pinned = parse(code), parse(signature.rstrip() + f"\n{INDENT}pass\n")
    if tree is None or pinned is None or entry_point is None:
        return code
    function, pinned_function = _find(tree, entry_point), _find(pinned, entry_point)
    present = {ast.unparse(node) for node in tree.body}
    defined = {node.name for node in _definitions(tree)}
    missing = [
        ast.unparse(node)
        for node in pinned.body
        if node is not pinned_function
        and ast.unparse(node) not in present
        and not (isinstance(node, _Definition) and node.name in defined)
    ]
    lines = code.splitlines()
    same_parameters = (
        isinstance(function, _Function)
        and isinstance(pinned_function, _Function)
        and [arg.arg for arg in _arguments(function)] == [arg.arg for arg in _arguments(pinned_function)]
    )
    if same_parameters and function is not None and pinned_function is not None:
        first = function.body[0].lineno
        if first > function.lineno:  # a one-line function keeps its own header
            lines[function.lineno - 1 : first - 1] = _header(pinned_function).splitlines()
    text = "\n".join([*missing, *lines])
    return text if parse(text) is not None else "\n".join([*missing, *code.splitlines()])


@lru_cache(maxsize=_REMEMBERED)
def strip_docstrings(code: str) -> str:
    """`code` without docstrings, so that a model that describes it cannot copy them; layout and comments are kept."""
    tree = parse(code)
    if tree is None:
        return code
    lines = code.splitlines()
    for scope in sorted(_scopes(tree), key=lambda node: -_line(node)):
        node = _docstring(scope)
        if node is None:
            continue
        start, end = node.lineno - 1, node.end_lineno or node.lineno
        alone = not lines[start][: node.col_offset].strip() and not lines[end - 1][node.end_col_offset :].strip()
        if not alone:
            continue  # shares its line with code: `def f(): "doc"; return 1`
        indent = lines[start][: node.col_offset]
        keep = [] if len(scope.body) > 1 or isinstance(scope, ast.Module) else [f"{indent}pass"]
        lines[start:end] = keep
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
    tree.body = [node for node in tree.body if not isinstance(node, _Import)]
    if sum(not isinstance(node, ast.expr_context) for node in ast.walk(tree)) < least_nodes:
        return None
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, f"v{len(names)}")
        elif isinstance(node, _Function):
            names.setdefault(node.name, f"v{len(names)}")
            node.name, node.returns = names[node.name], None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"v{len(names)}")
    return _dump(tree, names)


def is_statement(line: str) -> bool:
    """Whether a line is Python rather than words: a statement other than a bare name, constant or annotation."""
    text = line.strip().removeprefix(">>> ")
    if text.startswith("@"):
        text = f"{text}\ndef f():"
    elif text.startswith(("elif ", "else:")):
        text = f"if x:\n{INDENT}pass\n{text}"
    elif text.startswith(("except ", "except:", "finally:")):
        text = f"try:\n{INDENT}pass\n{text}"
    tree = parse(f"{text}\n{INDENT}pass" if text.endswith(":") else text)
    if tree is None:
        return False
    return any(not isinstance(node, ast.Expr | ast.AnnAssign) for node in tree.body) or any(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in tree.body
    )


def imports_used(source: str, code: str) -> list[str]:
    """The top-level imports of `code` that bind a name used in `source`."""
    tree, module = parse(source), parse(code)
    if tree is None or module is None:
        return []
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return [
        ast.unparse(node)
        for node in module.body
        if isinstance(node, _Import) and used & {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    ]


def called_names(source: str) -> list[str]:
    """The plain names that `source` calls, in the order of its text."""
    tree = parse(source)
    if tree is None:
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return [node.func.id for node in calls if isinstance(node.func, ast.Name)]


def names(source: str) -> set[str]:
    """All plain names in `source`, those that imports name included."""
    tree = parse(source)
    nodes = list(ast.walk(tree)) if tree else []
    imported = {alias.name for node in nodes if isinstance(node, _Import) for alias in node.names}
    return imported | {node.id for node in nodes if isinstance(node, ast.Name)}


def defined_functions(source: str) -> list[str]:
    """The names of the top-level functions of `source`."""
    return [node.name for node in _functions(parse(source))]


_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Import = ast.Import | ast.ImportFrom
# The attributes in which statements hold statements.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _dump(tree: ast.Module, names: dict[str, str]) -> str:
    """The tree as text, without docstrings and annotations of arguments, with its names replaced."""
    for scope in _scopes(tree):
        if _docstring(scope):
            scope.body = scope.body[1:] or [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.arg, node.annotation = names[node.arg], None
        elif isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.dump(tree, annotate_fields=False)


def _functions(tree: ast.Module | None) -> list[_Function]:
    return [node for node in tree.body if isinstance(node, _Function)] if tree else []


def _definitions(tree: ast.Module | None) -> list[_Definition]:
    return [node for node in tree.body if isinstance(node, _Definition)] if tree else []


def _find(tree: ast.Module | None, name: str | None) -> _Definition | None:
    # A caller would get the last definition.
    return next((node for node in reversed(_definitions(tree)) if node.name == name), None)


def _arguments(function: _Function) -> list[ast.arg]:
    arguments = function.args
    extra = [arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _outline(node: ast.ClassDef) -> str:
    """The public methods of a class with their parameters, as a comment line; empty if it has none."""
    methods = [item for item in node.body if isinstance(item, _Function)]
    public = [item for item in methods if not item.name.startswith("_") or item.name == "__init__"]
    shown = ", ".join(f"{item.name}({ast.unparse(item.args)})" for item in public)
    return f"\n{INDENT}# Methods: {shown}" if public else ""


def _header(function: _Definition) -> str:
    empty = copy.copy(function)
    empty.body = [ast.Pass()]
    return ast.unparse(empty).removesuffix("pass").rstrip()


def _scopes(tree: ast.Module) -> Iterator[_Scope]:
    """The module, its functions and classes. Only statements are searched, because expressions are many more."""
    statements: list[ast.AST] = [tree]
    while statements:
        node = statements.pop()
        if isinstance(node, _Scope):
            yield node
        for block in _BLOCKS:
            statements.extend(getattr(node, block, ()))


def _line(node: _Scope) -> int:
    return 0 if isinstance(node, ast.Module) else node.lineno


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_top_level_only(statement: str) -> bool:
    """Whether an import may not stand in a function."""
    return statement.startswith("from __future__ ") or statement.endswith(" import *")


def _docstring(scope: _Scope) -> ast.stmt | None:
    return scope.body[0] if scope.body and _is_docstring(scope.body[0]) else None


def _indented(node: ast.stmt) -> str:
    # Indenting would change a string that spans lines. `unparse` writes such strings only as docstrings, where the
    # indentation does not matter.
    return textwrap.indent(ast.unparse(node), INDENT)


def defines(code: str, entry_point: str) -> bool:
    """Whether `code` defines the function or class; text that does not parse counts if it holds the words."""
    # A block with a syntax error is still the model's answer: the execution will report the error.
    tree = parse(code)
    return (
        _find(tree, entry_point) is not None if tree else bool(re.search(rf"\b(?:def|class)\s+{entry_point}\b", code))
    )


def _code_in_prose(text: str, entry_point: str | None) -> str | None:
    lines = text.splitlines()
    best: str | None = None
    for start in range(len(lines)):
        if not _CODE_START.match(lines[start]):
            continue
        for end in range(len(lines), start, -1):
            code = "\n".join(lines[start:end]).rstrip()
            if best is not None and len(code) <= len(best):
                break
            tree = parse(code)
            if tree is not None and (entry_point is None or _find(tree, entry_point)):
                best = code
                break
    return best
