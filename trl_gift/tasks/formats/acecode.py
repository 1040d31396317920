"""AceCode: a question, assertions, and programs of several models with the share of the assertions that each passes.

Columns as in TIGER-Lab/AceCode-87K. The programs (`inferences`) are solutions, best first, of which the first that passes all
assertions is the reference. Without a program that defines the function, the signature comes from code in the question, or from
the number of arguments in the assertions.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from trl_gift import codetext
from trl_gift.tasks.formats.common import Format, Row, borrowed_imports, plain_signature, programs_in, text_list
from trl_gift.tasks.formats.readings import combined, python_solutions
from trl_gift.tasks.functions import programs_with, starter_signature
from trl_gift.tasks.task import Task, assert_tests, bad, id_field, text_field
from trl_gift.tasks.testcode import UnderTest


def _read(row: Row, where: str) -> Task:
    assertions = text_list(row.get("test_cases"), "test_cases", where)
    source = "\n".join(assertions)
    tested = _tested(source)
    if not tested:
        raise bad(where, "test_cases", assertions, "must call the function that they test")
    found = ((name, programs_with(python_solutions(_programs(row, name)), name)) for name in tested)
    name, references = next((pair for pair in found if pair[1]), (tested[0], []))
    question = text_field(row, "question", where)
    signature = codetext.signature_of(references[0], name) if references else _given(question, assertions, name)
    prelude = "\n".join(borrowed_imports(source, references[0], [])) if references else ""
    program = UnderTest.of("\n".join(references), signature)
    if not references:
        program = replace(program, classes=(*program.classes, *filter(_names_class, tested)))
    tests = assert_tests(
        assertions, where=where, field="test_cases", entry_point=name, program=program, prelude=prelude
    )
    return Task(
        id_field(row, where, "id"),
        question.strip(),
        tests,
        signature=signature,
        reference=references[0] if references else None,
        prelude=prelude,
        readings=combined(references, name),
    )


def _tested(source: str) -> list[str]:
    """The names that assertions call, apart from builtins, those that they call most often first, classes last."""
    counts = Counter(name for name in codetext.called_names(source) if name not in dir(builtins))
    return sorted(counts, key=lambda name: (_names_class(name), -counts[name]))


def _names_class(name: str) -> bool:
    """Whether a name is written as PEP 8 writes those of classes."""
    return name.lstrip("_")[:1].isupper()


def _given(question: str, assertions: list[str], name: str) -> str:
    """The signature of a task without a program: from code in its question, or from how its assertions use the name."""
    starters = (starter_signature(code, name) for code in programs_in(question, name))
    if found := next(filter(None, starters), None):
        return found
    return f"class {name}:" if _is_class(assertions, name) else plain_signature(name, _arity(assertions, name))


def _programs(row: Row, name: str) -> list[str]:
    """The programs of the row that may define `name`, those with the highest pass rate first."""
    found = [item for item in row.get("inferences") or () if isinstance(item, Mapping)]
    rated = [(item.get("pass_rate") or 0.0, item.get("completion")) for item in found]
    texts = [text for _, text in sorted(rated, key=lambda pair: -pair[0]) if isinstance(text, str)]
    return [code for text in texts for code in programs_in(text, name)]


def _is_class(assertions: list[str], name: str) -> bool:
    """Whether a name is written as that of a class, and assertions use an attribute of what a call of it gives."""
    return _names_class(name) and any(
        isinstance(node, ast.Attribute) and _calls(node.value, name)
        for assertion in assertions
        for node in ast.walk(ast.parse(assertion))
    )


def _arity(assertions: list[str], name: str) -> int:
    """The number of arguments of the first call of `name`."""
    nodes = (node for assertion in assertions for node in ast.walk(ast.parse(assertion)))
    return next((len(node.args) for node in nodes if isinstance(node, ast.Call) and _calls(node, name)), 0)


def _calls(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


ACECODE = Format("AceCode", frozenset({"id", "source", "question", "test_cases"}), _read)
