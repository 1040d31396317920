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


def _read(row: Row, where: str) -> Task:
    assertions = text_list(row.get("test_cases"), "test_cases", where)
    name = _tested("\n".join(assertions))
    if name is None:
        raise bad(where, "test_cases", assertions, "must call the function that they test")
    tests = assert_tests(assertions, where=where, field="test_cases", entry_point=name)
    question = text_field(row, "question", where)
    references = programs_with(python_solutions(_programs(row, name)), name)
    starters = (starter_signature(code, name) for code in programs_in(question, name))
    signature = next(filter(None, starters), None) or plain_signature(name, _arity(assertions[0], name))
    task = Task(id_field(row, where, "id"), question.strip(), tests, signature=signature)
    if not references:
        return task
    prelude = "\n".join(borrowed_imports(tests.text, references[0], []))
    return replace(
        task,
        tests=replace(tests, prelude=prelude),
        prelude=prelude,
        reference=references[0],
        signature=codetext.signature_of(references[0], name),
        readings=combined(references, name),
    )


def _tested(source: str) -> str | None:
    """The name that the assertions call most often, apart from builtins."""
    counts = Counter(name for name in codetext.called_names(source) if name not in dir(builtins))
    return max(counts, key=lambda name: counts[name], default=None)


def _programs(row: Row, name: str) -> list[str]:
    """The programs of the row that may define `name`, those with the highest pass rate first."""
    found = [item for item in row.get("inferences") or () if isinstance(item, Mapping)]
    rated = [(item.get("pass_rate") or 0.0, item.get("completion")) for item in found]
    texts = [text for _, text in sorted(rated, key=lambda pair: -pair[0]) if isinstance(text, str)]
    return [code for text in texts for code in programs_in(text, name)]


def _arity(assertion: str, name: str) -> int:
    """The number of arguments of the first call of `name`."""
    for node in ast.walk(ast.parse(assertion)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            return len(node.args)
    return 0


ACECODE = Format("AceCode", frozenset({"id", "source", "question", "test_cases"}), _read)
