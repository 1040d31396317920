"""HumanEval and HumanEval+: a prompt that ends in an open function with its docstring, and a `check(candidate)`.

Columns as in openai/openai_humaneval and evalplus/humanevalplus. The docstring's words are the description; its doctests
are one visible example, so that prompts show all of them or none. The text before the docstring (imports, helper functions,
the `def` line) is the signature. The tests also get the helpers of the prompt, because some tests call them.

Not covered: the JSON Lines releases of evalplus, whose inputs (`base_input`, `plus_input`) come without a `test`.
"""

from __future__ import annotations

import ast
import inspect
import re

from trl_gift import codetext
from trl_gift.codetext import INDENT
from trl_gift.tasks.formats.common import Format, Row
from trl_gift.tasks.task import Task, assert_tests, bad, id_field, text_field

_HEADING = re.compile(r"\s*(for )?examples?\s*:?\s*", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def _read(row: Row, where: str) -> Task:
    prompt = text_field(row, "prompt", where)
    entry_point = text_field(row, "entry_point", where)
    solution = text_field(row, "canonical_solution", where)
    test = text_field(row, "test", where)
    signature, docstring, helpers = prompt_parts(prompt, entry_point, where)
    description, doctests = split_doctests(docstring)
    if "def check(" not in test:
        raise bad(where, "test", test, "must define check(candidate)")
    return Task(
        task_id=id_field(row, where),
        description=description,
        tests=assert_tests([test], where=where, field="test", entry_point=entry_point, prelude=helpers),
        signature=signature,
        reference=prompt + solution,
        prelude=helpers,
        examples=(doctests,) if doctests else (),
    )


def split_doctests(docstring: str) -> tuple[str, str]:
    """The words of a docstring and its doctests, each with what it prints; only words if it has no words of its own."""
    words: list[str] = []
    doctests: list[str] = []
    in_doctest = False
    for line in docstring.split("\n"):
        in_doctest = line.lstrip().startswith(">>>") or (in_doctest and bool(line.strip()))
        if in_doctest and not doctests[-1:] and words and _HEADING.fullmatch(words[-1]):
            words.pop()
        (doctests if in_doctest else words).append(line)
    text = _BLANK_LINES.sub("\n\n", "\n".join(words)).strip()
    return (text, inspect.cleandoc("\n".join(doctests))) if text else (docstring, "")


def prompt_parts(prompt: str, entry_point: str, where: str, field: str = "prompt") -> tuple[str, str, str]:
    """Signature, docstring, and the text before the function, of a prompt that ends in an open function."""
    tree = codetext.parse(f"{prompt.rstrip()}\n{INDENT}pass\n")
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)] if tree else []
    function = next((node for node in functions if node.name == entry_point), None)
    if function is None:
        raise bad(where, field, prompt, f"must hold the open function {entry_point!r}")
    # The docstring is not always the first statement: some functions import a module before it.
    texts = [(node, node.value) for node in function.body if isinstance(node, ast.Expr)]
    found = next(
        ((node, text.value) for node, text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)),
        None,
    )
    if found is None:
        raise bad(where, field, prompt, "must describe the task in the function's docstring")
    docstring, description = found
    lines = prompt.split("\n")
    signature = "\n".join(lines[: docstring.lineno - 1]).strip("\n")
    helpers = "\n".join(lines[: function.lineno - 1]).strip("\n")
    return signature, inspect.cleandoc(description), helpers


HUMANEVAL = Format(
    "HumanEval, HumanEval+", frozenset({"task_id", "prompt", "canonical_solution", "test", "entry_point"}), _read
)
