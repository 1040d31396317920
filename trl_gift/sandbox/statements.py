"""Test source as a list of statements: compiled once and run one at a time, so that each test has its own result.

Used in the judge, by the tests' own checks, and by other rooms that read test code.
"""

from __future__ import annotations

import ast
import builtins
import re
import types
from functools import lru_cache
from typing import NamedTuple

from trl_gift.sandbox.digits import any_number_of_digits

_FILENAME = "<tests>"
_LINE_END = re.compile(r"\r\n|\r|\n")


class Step(NamedTuple):
    """One top-level statement of the tests.

    Attributes:
        code: The compiled statement.
        is_test: Whether it can fail (see `can_fail`), so that it counts as one test.
        text: Its source.
    """

    code: types.CodeType
    is_test: bool
    text: str


def parse(source: str) -> ast.Module:
    """`ast.parse`, which also reads whole numbers of more than 4,300 digits."""
    with any_number_of_digits():
        return ast.parse(source)


def is_python(source: str) -> bool:
    """Whether a text is Python, of whatever length."""
    try:
        parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def can_fail(statement: ast.stmt) -> bool:
    """Whether a top-level statement is a test: it asserts, raises or calls something.

    Definitions and imports are not tests. An assignment is set-up even if it calls the program: the assertion on its
    result is the test.
    """
    setup = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    if isinstance(statement, (*setup, ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return False
    if isinstance(statement, ast.Assert):
        return not is_always_true(statement)
    return any(isinstance(node, (ast.Assert, ast.Raise, ast.Call)) for node in ast.walk(statement))


def is_always_true(statement: ast.Assert) -> bool:
    """Whether an assertion can never fail: it asserts a constant, or a tuple as in `assert (add(1, 2) == 3, "message")`."""
    test = statement.test
    return (isinstance(test, ast.Constant) and bool(test.value)) or (isinstance(test, ast.Tuple) and bool(test.elts))


@lru_cache(maxsize=512)
def steps(source: str) -> tuple[Step, ...]:
    """The statements of `source`, each compiled by itself with its line numbers kept."""
    lines = _lines(source)
    return tuple(
        Step(
            compile(ast.Module([statement], []), _FILENAME, "exec", dont_inherit=True),
            can_fail(statement),
            _segment(lines, statement),
        )
        for statement in parse(source).body
    )


def segment(source: str, statement: ast.stmt) -> str:
    """The text of a statement. `ast.get_source_segment` takes a minute for a line of a million characters."""
    return _segment(_lines(source), statement)


def _lines(source: str) -> list[bytes]:
    """The lines as the parser counts them, in UTF-8, because it counts columns in bytes."""
    return [line.encode("utf-8", "surrogatepass") for line in _LINE_END.split(source)]


def _segment(lines: list[bytes], statement: ast.stmt) -> str:
    first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
    found = lines[first : last + 1]
    found[-1] = found[-1][: statement.end_col_offset]
    found[0] = found[0][statement.col_offset :]
    return b"\n".join(found).decode("utf-8", "surrogatepass")


@lru_cache(maxsize=512)
def free_names(*sources: str) -> frozenset[str]:
    """The names that the sources use but do not define: the program has to define them."""
    used: set[str] = set()
    defined = set(dir(builtins)) | {"__name__", "__file__"}
    for source in sources:
        for node in ast.walk(parse(source)):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                defined.add(node.name)
            elif isinstance(node, ast.arg):
                defined.add(node.arg)
            elif isinstance(node, ast.alias):
                defined.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
                defined.add(node.name)
    return frozenset(used - defined)


def failing_line(error: BaseException, source: str) -> str:
    """The line of the tests that raised `error`, after the name of its test function if it is in one.

    Empty if no line of the tests is in the error's traceback.
    """
    line = test = ""
    trace = error.__traceback__
    lines = _LINE_END.split(source)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILENAME and 0 < trace.tb_lineno <= len(lines):
            line = lines[trace.tb_lineno - 1].strip()
            code = trace.tb_frame.f_code
            test = test or (f"{code.co_qualname}: " if code.co_name.startswith("test") else "")
        trace = trace.tb_next
    return f"{test}{line}"
