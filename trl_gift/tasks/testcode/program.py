"""What test code may know of the program under test, and when it needs the program in its own interpreter."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from trl_gift import codetext
from trl_gift.sandbox.statements import free_names

_MOCKS = ("unittest.mock", "mock")


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


def needs_interpreter(source: str, program: UnderTest) -> str | None:
    """Why tests need the program in their own interpreter; None if plain values are all that they exchange.

    Classes of the program do not cross between processes, and neither do the functions, classes and mocks
    that tests pass to the program. What only a run shows, such as a function that returns an object, is not found here.
    """
    tree = ast.parse(source)
    free = free_names(source)
    used = [name for name in program.classes if name in free]
    if used:
        return f"the tests use the class {used[0]!r} of the program"
    if any(_imports_mock(node) for node in ast.walk(tree)):
        return "the tests use mocks"
    functions, classes = _defined(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in program.functions:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(_is_behaviour(argument, functions, classes) for argument in arguments):
                return f"the tests pass a function or an object of their own to {node.func.id!r}"
    return None


def _defined(tree: ast.Module) -> tuple[set[str], set[str]]:
    """The functions, without methods, and the classes that tests define under names that hold nothing else."""
    methods = {item for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body}
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node not in methods}
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    variables = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    variables |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return functions - variables, classes - variables


def _is_behaviour(argument: ast.expr, functions: set[str], classes: set[str]) -> bool:
    """Whether an argument is a function, a class or an object of a class that the tests define."""
    match argument:
        case ast.Lambda():
            return True
        case ast.Name(id=name):
            return name in functions | classes
        case ast.Call(func=ast.Name(id=name)):
            return name in classes
    return False


def _imports_mock(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module in _MOCKS or (node.module == "unittest" and any(a.name == "mock" for a in node.names))
    return isinstance(node, ast.Import) and any(alias.name in _MOCKS for alias in node.names)
