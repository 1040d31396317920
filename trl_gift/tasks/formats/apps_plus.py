"""APPS+: the problems of APPS that ran clean, with the inputs and outputs in columns of their own.

Readers of the published file use the columns `inputs`, `outputs`, `starter_code` and `canonical_solution`. What the columns of the
description and of the function's name are called is not documented, so those below are tried. Rows that have kept the
`question` of APPS are read without a solution, too.

Most of the solutions are functions, those of whole programs as well: starter code such as `def main():` opens a function without
parameters that reads standard input and writes standard output. Such a row is a task of whole programs, and its reference
ends with a call of the function. A solution that calls the function itself is the other reading of the row.
"""

from __future__ import annotations

import re

from trl_gift import codetext
from trl_gift.tasks.formats.apps import paired, task_of_calls
from trl_gift.tasks.formats.common import Format, Row, content_id, json_field, run_task, stdio
from trl_gift.tasks.formats.readings import python_solutions
from trl_gift.tasks.task import Task, bad, id_field, optional_text, text_field

_DESCRIPTIONS = ("question", "problem", "prompt", "description", "problem_description")
_NAMES = ("fn_name", "function_name", "entry_point")
_IDS = ("problem_id", "id", "task_id")
_CLASS = re.compile(r"^class ", re.MULTILINE)


def _read(row: Row, where: str) -> Task:
    inputs, outputs = json_field(row, "inputs", where), json_field(row, "outputs", where)
    described = next((name for name in _DESCRIPTIONS if row.get(name)), None)
    if described is None:
        raise bad(where, "question", None, f"must hold the description; {', '.join(_DESCRIPTIONS[1:])} are read, too")
    given = next((name for name in _IDS if row.get(name) is not None), None)
    task = Task(
        id_field(row, where, given) if given else content_id("apps+", row[described], inputs, outputs),
        text_field(row, described, where).strip(),
        None,
    )
    starter = optional_text(row, "starter_code", where)
    written = (optional_text(row, field, where) for field in ("canonical_solution", "solution"))
    solutions = python_solutions(code for code in written if code)
    name = next((text for field in _NAMES if (text := optional_text(row, field, where))), None)
    if name is None and starter and _CLASS.search(starter):
        raise bad(
            where, _NAMES[0], None, f"must name the method that the tests call; {', '.join(_NAMES[1:])} are read, too"
        )
    name = name or (codetext.entry_point_of(starter) if starter else None)
    if name is not None and not _takes_nothing(name, starter, solutions):
        return task_of_calls(task, name, inputs, outputs, solutions, starter, where, "inputs")
    called = [f"{code.rstrip()}\n\n\n{name}()\n" for code in solutions if name in codetext.defined_functions(code)]
    runs = stdio(*paired(inputs, outputs, where, "inputs"), where, "inputs")
    return run_task(Task(task.task_id, task.description, runs), [*called, *solutions])


def _takes_nothing(name: str, starter: str | None, solutions: list[str]) -> bool:
    """Whether the function has no parameters, so that it can only read standard input."""
    written = [signature for code in solutions if (signature := codetext.signature_of(code, name))]
    return any(codetext.takes_nothing(signature) for signature in ([starter] if starter else written)[:1])


_TESTS = frozenset({"inputs", "outputs", "starter_code"})
APPS_PLUS = Format("APPS+", _TESTS | {"canonical_solution"}, _read)
APPS_PLUS_QUESTION = Format("APPS+ without solutions", _TESTS | {"question"}, _read)
