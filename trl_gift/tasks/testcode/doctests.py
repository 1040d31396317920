"""Doctest examples as test source: what an example prints becomes an assertion."""

from __future__ import annotations

import ast
import doctest

from trl_gift import codetext
from trl_gift.tasks.testcode.unsupported import Unsupported

_PARSER = doctest.DocTestParser()


def has_examples(text: str) -> bool:
    """Whether a text holds a line that begins as a doctest example."""
    return any(line.lstrip().startswith(">>> ") for line in text.split("\n"))


def doctest_source(code: str | None, description: str) -> str:
    """Test source from the doctests in the docstrings of a program, or, if these have none, in a description.

    Raises:
        Unsupported: there is no example, or one that cannot be used.
    """
    tree = codetext.parse(code) if code else None
    scopes = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)] if tree else []
    texts = [text for scope in scopes if (text := ast.get_docstring(scope)) and has_examples(text)]
    if not texts and has_examples(description):
        texts = [description]
    if not texts:
        raise Unsupported(
            "neither a docstring of 'reference' nor 'description' has an example that begins with '>>> '"
        )
    return "\n".join(map(text_source, texts))


def text_source(text: str) -> str:
    """Test source from the examples in a text.

    Raises:
        Unsupported: an example that cannot be used.
    """
    try:
        examples = _PARSER.get_examples(text)
    except ValueError as error:
        raise Unsupported(f"a doctest cannot be read ({error}); correct it") from None
    return "\n".join(_statement(example) for example in examples if not example.options.get(doctest.SKIP))


_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _statement(example: doctest.Example) -> str:
    tree = codetext.parse(example.source)
    if tree is None:
        raise Unsupported(f"the doctest {example.source.strip()!r} is not Python; correct it")
    expression = tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
    if example.exc_msg is not None:
        return _raising(example)
    if expression is None or _is_print(expression):
        return _printing(example) if example.want else ast.unparse(tree)
    text = ast.unparse(expression)
    if not example.want:
        return f"assert ({text}) is None" if isinstance(expression, ast.Call) else text
    want = example.want.strip()
    if example.options:
        return _checked(example, f"repr({text})")
    if _is_literal(want):
        return f"assert {text} == {ast.unparse(ast.parse(want, mode='eval'))}"
    return f"assert repr({text}) == {want!r}"


def _raising(example: doctest.Example) -> str:
    name, _, message = str(example.exc_msg).strip().partition(": ")
    if not name.isidentifier():
        raise Unsupported(f"the doctest {example.source.strip()!r} expects {name!r}; write a test function instead")
    body = "\n".join(f"    {line}" for line in example.source.split("\n"))
    check = f"assert str(error) == {message!r}" if message and "..." not in message else "pass"
    # `else` would let the assertion for a missing exception be caught where AssertionError is expected.
    return (
        f"try:\n{body}\nexcept {name} as error:\n    {check}\nelse:\n    raise AssertionError('did not raise {name}')"
    )


def _printing(example: doctest.Example) -> str:
    body = "\n".join(f"    {line}" for line in example.source.split("\n"))
    head = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as printed:"
    if example.options:
        return f"{head}\n{body}\n{_checked(example, 'printed.getvalue().rstrip()')}"
    want = example.want.replace("<BLANKLINE>", "").rstrip()
    return f"{head}\n{body}\nassert printed.getvalue().rstrip() == {want!r}"


def _checked(example: doctest.Example, got: str) -> str:
    flags = sum(flag for flag, on in example.options.items() if on)
    check = f"doctest.OutputChecker().check_output({example.want!r}, {got} + '\\n', {flags})"
    return f"import doctest\nassert {check}"


def _is_print(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) and expression.func.id == "print"


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True
