"""What reading a task's tests tells, before anything runs: assertions that cannot fail, functions that nobody can call."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_gift import codetext
from trl_gift.common.words import plural
from trl_gift.sandbox import AssertTests, StdioTests
from trl_gift.sandbox.statements import is_always_true, parse
from trl_gift.tasks.task import Task

_CATCHES_FAILURES = ("AssertionError", "Exception", "BaseException")


def reason_against(task: Task) -> str | None:
    """Why no program could pass or fail the tests of a task, for people; None if reading shows nothing."""
    if task.tests is None:
        return None
    name = (task.entry_point or "").replace("()", "").split(".")[0]
    if name and _is_async(task, name):
        return f"{name!r} is an 'async def', and the sandbox has no event loop"
    if not isinstance(task.tests, AssertTests):
        return None
    suite = task.all_tests
    assert isinstance(suite, AssertTests)
    tree = parse(suite.text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if name and not used & {name, "candidate"} and f".{name}" not in suite.text:
        return f"the tests never mention {name!r}"
    working, idle = _assertions(tree)
    if idle and not working and not _calls_of_unittest(tree):
        return f"no assertion can fail, such as {_short(idle[0])}"
    return None


def notes_on(task: Task) -> list[str]:
    """What is worth knowing about a task that is kept, for people."""
    notes: list[str] = []
    if task.tests is None or isinstance(task.tests, StdioTests):
        return notes
    reference = codetext.parse(task.reference) if task.reference else None
    name = task.entry_point
    if reference and any(isinstance(node, ast.ClassDef) and node.name == name for node in reference.body):
        notes.append(f"asks for a class, {name!r}")
    if isinstance(task.tests, AssertTests):
        suite = task.all_tests
        assert isinstance(suite, AssertTests)
        working, every = _assertions(parse(suite.text))
        # `assert True` is what some authors write on purpose; HumanEval has dozens.
        idle = [node for node in every if not isinstance(node.test, ast.Constant)]
        if idle:
            notes.append(
                f"{len(idle)} of {plural(working + len(idle), 'assertion')} cannot fail, such as {_short(idle[0])}"
            )
    return notes


def _is_async(task: Task, name: str) -> bool:
    texts = [task.reference] if task.reference else [f"{(task.signature or '').rstrip()}\n{codetext.INDENT}pass\n"]
    trees = [tree for text in texts if (tree := codetext.parse(text)) is not None]
    return any(isinstance(node, ast.AsyncFunctionDef) and node.name == name for tree in trees for node in tree.body)


def _assertions(tree: ast.Module) -> tuple[int, list[ast.Assert]]:
    """The number of assertions that can fail, and those that cannot, or whose failure is swallowed."""
    every = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    swallowed = {id(node) for part in ast.walk(tree) if isinstance(part, ast.Try) for node in _swallowed(part)}
    idle = [node for node in every if is_always_true(node) or id(node) in swallowed]
    return len(every) - len(idle), idle


def _swallowed(block: ast.Try) -> Iterator[ast.Assert]:
    """The assertions of a `try` whose failure leads to nothing."""
    idle = (ast.Pass, ast.Continue, ast.Expr)
    for handler in block.handlers:
        caught = ["BaseException"] if handler.type is None else _names(handler.type)
        if any(name in _CATCHES_FAILURES for name in caught) and all(isinstance(item, idle) for item in handler.body):
            for statement in block.body:
                yield from (node for node in ast.walk(statement) if isinstance(node, ast.Assert))


def _names(node: ast.expr) -> list[str]:
    return [item.id for item in ast.walk(node) if isinstance(item, ast.Name)]


def _calls_of_unittest(tree: ast.Module) -> bool:
    """Whether tests also check by methods such as `self.assertEqual`, or raise by themselves."""
    return any(
        isinstance(node, ast.Raise) or (isinstance(node, ast.Attribute) and node.attr.startswith(("assert", "fail")))
        for node in ast.walk(tree)
    )


def _short(node: ast.Assert, most: int = 80) -> str:
    text = " ".join(ast.unparse(node).split())
    return f"`{text if len(text) <= most else text[: most - 1] + '…'}`"
