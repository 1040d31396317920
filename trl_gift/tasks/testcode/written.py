"""The test that a statement of converted test code runs, as its author wrote it."""

from __future__ import annotations

import ast
import textwrap

from trl_gift import codetext
from trl_gift.sandbox.statements import parse, segment
from trl_gift.tasks.testcode.running import RUN


def as_written(source: str, statement: str) -> str:
    """The test function with its call, or the test method in its class.

    Args:
        source: `TestCode.source`.
        statement: One of its statements that is a test.

    Returns:
        Empty if the statement runs neither.
    """
    for node in parse(source).body:
        if isinstance(node, ast.FunctionDef) and _calls(statement, node.name):
            return f"{segment(source, node)}\n\n{statement.replace(RUN, '')}"
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and _runs_method(statement, node.name, method.name):
                    lines = textwrap.dedent(" " * method.col_offset + segment(source, method))
                    return f"class {node.name}:\n{textwrap.indent(lines, codetext.INDENT)}"
    return ""


def _calls(statement: str, function: str) -> bool:
    """Whether a statement calls a test function, itself or by what gives it its fixtures."""
    called = codetext.called_names(statement)
    return f"{RUN}{function}" in called or (function.lower().startswith("test") and function in called)


def _runs_method(statement: str, name: str, method: str) -> bool:
    return f"{RUN}{name}_{method}" in codetext.called_names(statement) or any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == name
        and [item.value for item in node.args if isinstance(item, ast.Constant)] == [method]
        for node in ast.walk(ast.parse(statement))
    )
