"""Turns the source of test files into statements that can be run one by one; see `trl_gift.tasks.testcode`."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from trl_gift import codetext
from trl_gift.sandbox.statements import can_fail, free_names
from trl_gift.tasks.testcode.doctests import has_examples, text_source
from trl_gift.tasks.testcode.imports import Imports, check_attributes
from trl_gift.tasks.testcode.program import UnderTest, needs_interpreter
from trl_gift.tasks.testcode.running import Functions, pytest_class, runs_alone, test_case
from trl_gift.tasks.testcode.standin import NAME, STANDIN
from trl_gift.tasks.testcode.unsupported import Unsupported

_RUNNERS = ("unittest.main", "pytest.main", "doctest.testmod")
_PATHS = ("sys.path.insert", "sys.path.append")


@dataclass(frozen=True, slots=True)
class TestCode:
    """Tests as the sandbox runs them.

    Attributes:
        source: Statements; each one that can fail is one test.
        prelude: Source that runs before them; empty if they need none.
        shared: Why the tests need the program in their own interpreter; None if they do not.
    """

    source: str
    prelude: str = ""
    shared: str | None = None


def convert(text: str, program: UnderTest, prelude: str = "") -> TestCode:
    """The tests in the source of a test file, or in doctest examples.

    Args:
        text: The source. Source that consists of plain assertions is returned as it is.
        program: What is known of the program under test.
        prelude: Source of the row that runs before the tests.

    Raises:
        Unsupported: not Python, without a test, or with a construct that cannot be used.
    """
    tree = codetext.parse(text)
    if tree is None and has_examples(text):
        text = text_source(text)
        tree = codetext.parse(text)
    if tree is None:
        raise Unsupported(
            "must be Python source such as 'assert add(1, 2) == 3', or doctest examples; correct its syntax"
        )
    source, uses_pytest = _converted(tree, text, program)
    awaited = sorted(free_names(source).intersection(program.coroutines))
    if awaited:
        raise Unsupported(f"{awaited[0]!r} is async, and the sandbox has no event loop; test a plain function")
    return TestCode(source, STANDIN if uses_pytest else "", needs_interpreter(source, program, prelude))


def _converted(tree: ast.Module, text: str, program: UnderTest) -> tuple[str, bool]:
    """The statements of a text, and whether they use the stand-in for pytest."""
    imports = Imports(tree, program)
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            body += imports.statements(node)
        elif not _runs_or_finds_tests(node):
            body.append(node)
    functions = Functions(body, imports)
    kept: list[ast.stmt] = []
    tests: list[ast.stmt] = []
    classes: dict[str, ast.ClassDef] = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    called = {name for node in body if can_fail(node) for name in codetext.called_names(ast.unparse(node))}
    for node in body:
        if isinstance(node, ast.ClassDef):
            new_class, runs = test_case(node, classes) or pytest_class(node, classes, functions) or (node, [])
            kept.append(new_class)
            tests += runs
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            new, runs = functions.read(node, called)
            kept.append(new)
            tests += runs
        else:
            kept.append(node)
    if not tests and not imports.replaced and len(body) == len(tree.body):
        return text, False
    module = ast.Module([*kept, *runs_alone(body, tests)], [])
    check_attributes(module, imports)
    source = "\n".join(ast.unparse(ast.fix_missing_locations(node)) for node in module.body)
    return source, NAME in source


def _runs_or_finds_tests(node: ast.stmt) -> bool:
    """Whether a statement only starts a test runner, or only tells Python where the program lies."""
    if isinstance(node, ast.If):
        rest = [item for item in node.body if not isinstance(item, ast.Import | ast.ImportFrom)]
        return "__name__" in ast.unparse(node.test) and all(map(_runs_or_finds_tests, rest))
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "sys.exit" and call.args:
        call = call.args[0]
    return isinstance(call, ast.Call) and ast.unparse(call.func) in (*_RUNNERS, *_PATHS)
