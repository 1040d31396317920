"""Shared by the formats: their description, and readers of fields that hold JSON, code or lists of tests."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from trl_gift import codetext
from trl_gift.sandbox import CallTests, Case, StdioTests, Tests
from trl_gift.sandbox.languages import naming
from trl_gift.tasks.comparison import DECIMALS, Comparison
from trl_gift.tasks.formats.readings import Calls, combined, decoded
from trl_gift.tasks.task import Task, bad

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """How one family of datasets is recognised and read.

    Attributes:
        name: Its name in messages.
        columns: Columns that must all be present.
        read: Makes a task from a row and the row's place, which its error messages name.
    """

    name: str
    columns: frozenset[str]
    read: Callable[[Row, str], Task]


def json_field(row: Row, field: str, where: str, empty: Any = None) -> Any:
    """A field that holds a value as JSON or Python text, or the value itself; `empty` if it is absent or blank."""
    value = row.get(field)
    if value is None or (isinstance(value, str) and not value.strip()):
        return empty
    if not isinstance(value, str):
        return value
    try:
        return decoded(value)
    except ValueError as error:
        raise bad(where, field, value, f"must be JSON text, or the text of a Python value ({error})") from None


def text_list(value: object, field: str, where: str) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad(where, field, value, "must be a list of texts")
    return value


def programs_in(text: str, name: str | None = None, language: str = "python") -> list[str]:
    """The programs that a text with words around fenced blocks may mean, most likely first; the text itself without a block.

    A draft may precede the final program, and a sample of input or a call may follow it.

    Args:
        text: A program, or words with programs in fenced blocks.
        name: The function that is wanted; None for a whole program.
        language: The language of the program.
    """
    python = language == "python"
    blocks = [block.code for block in reversed(codetext.fenced_blocks(text)) if block.code.strip()]
    if not blocks or (python and codetext.parse(text) is not None):
        return [text]
    if len(blocks) == 1:
        return blocks
    if not python:
        best = codetext.find_text(text, frozenset(naming(language).tags)).code
    else:
        best = codetext.find_program(text, plain_signature(name, 0) if name else None).code
    if best is None:
        return blocks
    # The blocks of a function come first, as they are: what is found in several has lost the imports that it does not need.
    ordered = [*blocks, best] if name else [best, *blocks]
    first: dict[str, str] = {}
    for code in ordered:
        first.setdefault(code.strip(), code)
    return list(first.values())


def plain_signature(name: str, arity: int) -> str:
    """The open `def` line of a function about which only its name and the number of its arguments are known."""
    return f"def {name}({', '.join(f'arg{number}' for number in range(1, arity + 1))}):"


def content_id(prefix: str, *parts: object) -> str:
    """An identifier for a row without one; it depends only on the content of the row, not on its place."""
    digest = hashlib.blake2b(json.dumps(parts, default=str).encode(), digest_size=6).hexdigest()
    return f"{prefix}/{digest}"


def borrowed_imports(source: str, reference: str, imports: Sequence[str]) -> list[str]:
    """Imports of the reference that the tests also need; the reference is trusted, so its imports are."""
    return [line for line in codetext.imports_used(source, reference) if line not in imports]


def stdio(
    inputs: Sequence[object],
    outputs: Sequence[object],
    where: str,
    field: str,
    language: str = "python",
    comparison: Comparison = DECIMALS,
) -> StdioTests:
    """Runs of a whole program, from two lists of the same length; some datasets hold a text as the list of its lines."""

    def text(value: object) -> str:
        lines = value if isinstance(value, list) else [value]
        if not all(isinstance(line, str | int | float) for line in lines):
            raise bad(where, field, value, "standard input and output must be texts")
        return "\n".join(map(str, lines))

    cases = (Case(stdin=text(i), stdout=text(o)) for i, o in zip(inputs, outputs, strict=True))
    return StdioTests(cases=tuple(cases), language=language, **comparison.fields())


def calls(entry_point: str, way: Calls, compare: Literal["json", "apps"] = "json") -> CallTests:
    """Calls of a function whose arguments and results went through JSON, read in one way."""
    cases = (Case(args=tuple(i), expected=o) for i, o in zip(way.arguments, way.results, strict=True))
    return CallTests(entry_point, cases=tuple(cases), compare=compare, **DECIMALS.of_values())


def called_task(task: Task, entry_point: str, ways: Sequence[Calls], references: Sequence[str]) -> Task:
    """A task with calls as tests, which can be read in several ways.

    Args:
        task: The task without tests and reference; its signature is that of the first reference if it has none, so there
            must be a reference then.
        entry_point: The function.
        ways: The ways to read the calls, most likely first, at least one.
        references: Solutions that define the function, most likely right ones first.
    """
    signature = task.signature or codetext.signature_of(references[0], entry_point)
    ways = sorted(ways, key=lambda way: not _takes(signature, way))  # stable: only those that fit no signature go last
    loose = all(isinstance(result, list) and len(result) == 1 for result in ways[0].results)
    tests = calls(entry_point, ways[0], compare="apps" if loose else "json")
    if not references:
        return replace(task, tests=tests)
    strict = [calls(entry_point, way) for way in ways] if len(ways) > 1 else []
    readings = combined(references, entry_point, strict)
    return replace(task, tests=tests, reference=references[0], signature=signature, readings=readings)


def _takes(signature: str | None, way: Calls) -> bool:
    """Whether a function with this signature takes as many arguments as each of the calls has."""
    tree = codetext.parse(f"{(signature or '').rstrip()}\n{codetext.INDENT}pass\n")
    function = tree.body[-1] if tree is not None and tree.body else None
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return True
    most = len(function.args.posonlyargs) + len(function.args.args)
    least = most - len(function.args.defaults)
    return all(least <= len(call) and (len(call) <= most or function.args.vararg) for call in way.arguments)


def run_task(task: Task, references: Sequence[str]) -> Task:
    """A task of whole programs with its solutions, most likely right ones first."""
    return replace(task, reference=references[0], readings=combined(references)) if references else task


def visible_and_hidden(tests: StdioTests | CallTests, visible: int) -> tuple[Tests, Tests | None]:
    """The first `visible` cases as visible tests, the others as hidden ones; if one part is empty, all are visible."""
    if not 0 < visible < len(tests.cases):
        return tests, None
    return replace(tests, cases=tests.cases[:visible]), replace(tests, cases=tests.cases[visible:])
