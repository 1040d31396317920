"""What test code may know of the program under test, and when it needs the program in its own interpreter."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from trl_gift import codetext
from trl_gift.sandbox.statements import free_names

_MOCKS = ("unittest.mock", "mock")
# What makes files or looks at some; the methods count where tests import `pathlib`.
_FILE_MODULES = frozenset({"tempfile", "shutil", "glob"})
_FILE_CALLS = frozenset({"open", "io.open", "os.path.exists", "os.path.getsize", "os.path.isdir", "os.path.isfile"}) | {
    f"os.{name}"
    for name in (
        "listdir", "makedirs", "mkdir", "open", "remove", "removedirs", "rename", "replace", "rmdir", "scandir", "stat",
        "unlink", "walk",
    )
}  # fmt: skip
_FILE_METHODS = frozenset({
    "exists", "is_dir", "is_file", "iterdir", "mkdir", "read_bytes", "read_text", "rmdir", "touch", "unlink", "write_bytes",
    "write_text",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class UnderTest:
    """What the program under test defines, as far as it is known before a program exists.

    Attributes:
        functions: Its top-level functions.
        classes: Its top-level classes.
        values: Its other top-level names.
        coroutines: Those of the functions that are `async`.
    """

    functions: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    coroutines: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """All top-level names that the program defines."""
        return frozenset((*self.functions, *self.classes, *self.values))

    @classmethod
    def of(cls, reference: str | None, signature: str | None) -> UnderTest:
        """What the reference defines, and the function or class that the signature opens."""
        opened = codetext.parse(f"{signature.rstrip()}\n{codetext.INDENT}pass\n") if signature else None
        tree = codetext.parse(reference) if reference else None
        body = [*(opened.body if opened else ()), *(tree.body if tree else ())]
        functions = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        targets = [node.targets for node in body if isinstance(node, ast.Assign)]
        targets += [[node.target] for node in body if isinstance(node, ast.AnnAssign)]
        return cls(
            functions=tuple(dict.fromkeys(node.name for node in functions)),
            classes=tuple(dict.fromkeys(node.name for node in body if isinstance(node, ast.ClassDef))),
            values=tuple(name.id for group in targets for name in group if isinstance(name, ast.Name)),
            coroutines=tuple(node.name for node in functions if isinstance(node, ast.AsyncFunctionDef)),
        )


def needs_interpreter(source: str, program: UnderTest, prelude: str = "") -> str | None:
    """Why tests need the program in their own interpreter; None if plain values are all that they exchange.

    Classes of the program do not cross between processes, and neither do the functions, classes and mocks
    that tests pass to the program. The judge has no files: tests that make or read some need those of the program. What only a run shows, such as a function that returns an object, is not found here.

    Args:
        source: The tests.
        program: What is known of the program.
        prelude: What runs before the tests; what it defines belongs to them.
    """
    free = free_names(source, prelude)
    used = [name for name in program.classes if name in free]
    if used:
        return f"the tests use the class {used[0]!r} of the program"
    nodes = list(ast.walk(ast.parse(f"{prelude}\n{source}")))
    if any(_imports_mock(node) for node in nodes):
        return "the tests use mocks"
    if _uses_files(nodes):
        return "the tests use files"
    own = _Own.of(nodes)
    called = {*program.functions, "candidate"}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in called:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(map(own.holds_behaviour, arguments)):
                return f"the tests pass a function or an object of their own to {node.func.id!r}"
    return None


@dataclass(frozen=True, slots=True)
class _Own:
    """The names of what tests define themselves that does not cross between processes.

    Attributes:
        functions: Functions, without methods, under names that hold nothing else.
        makers: Classes under names that hold nothing else, and the functions that return their objects.
        objects: Variables that hold functions, classes or objects.
    """

    functions: frozenset[str]
    makers: frozenset[str]
    objects: frozenset[str]

    @classmethod
    def of(cls, nodes: Sequence[ast.AST]) -> _Own:
        """The names in the nodes of a tree."""
        methods = {item for node in nodes if isinstance(node, ast.ClassDef) for item in node.body}
        defined = [node for node in nodes if isinstance(node, ast.FunctionDef) and node not in methods]
        variables = {node.arg for node in nodes if isinstance(node, ast.arg)}
        variables |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        functions = frozenset(node.name for node in defined) - variables
        classes = frozenset(node.name for node in nodes if isinstance(node, ast.ClassDef)) - variables
        returned = [
            (node.name, item.value)
            for node in defined
            if node.name in functions
            for item in ast.walk(node)
            if isinstance(item, ast.Return) and item.value is not None
        ]
        bound = [pair for node in nodes for pair in _bound(node)]
        own = cls(functions, classes, frozenset())
        while True:  # a variable may hold what another one holds, and a function may return it
            makers = own.makers | {name for name, value in returned if own.holds_behaviour(value)}
            objects = own.objects | {name for name, value in bound if own.holds_behaviour(value)}
            if (makers, objects) == (own.makers, own.objects):
                return own
            own = cls(functions, makers, objects)

    def holds_behaviour(self, value: ast.expr) -> bool:
        """Whether a value is a function, a class or an object of a class of the tests, or a collection with one."""
        match value:
            case ast.Lambda():
                return True
            case ast.Name(id=name):
                return name in self.functions | self.makers | self.objects
            case ast.Call(func=ast.Name(id=name)):
                return name in self.makers
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items) | ast.Dict(values=items):
                return any(map(self.holds_behaviour, items))
            case ast.Starred(value=inner) | ast.ListComp(elt=inner):
                return self.holds_behaviour(inner)
        return False


def _bound(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """The names that a statement binds, each with the value, or with the collection that holds it."""
    match node:
        case ast.Assign(targets=targets, value=value):
            pass
        case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.For(target=target, iter=value):
            targets = [target]
        case _:
            return []
    stored = [inner for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)]
    return [(name.id, value) for name in stored if isinstance(name.ctx, ast.Store)]


def _imports_mock(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in _MOCKS or (node.module == "unittest" and any(a.name == "mock" for a in node.names))
    return isinstance(node, ast.Import) and any(alias.name in _MOCKS for alias in node.names)


def _uses_files(nodes: Sequence[ast.AST]) -> bool:
    """Whether nodes of a tree make files or look at some."""
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    return (
        bool(modules & _FILE_MODULES)
        or any(_dotted(function) in _FILE_CALLS for function in called)
        or ("pathlib" in modules and any(isinstance(f, ast.Attribute) and f.attr in _FILE_METHODS for f in called))
    )


def _dotted(node: ast.expr) -> str:
    """The name of a function with its modules, such as `os.path.exists`; empty for what no module holds."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) else ""
