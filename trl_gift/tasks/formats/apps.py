"""APPS, APPS+ and TACO: a question, solutions, and `input_output` as JSON: runs of a program, or calls of `fn_name`.

Columns as in codeparrot/apps and BAAI/TACO. Which of the solutions is right, and how the arguments and results of calls are to
be read, the rows do not say: see `readings`. The output of programs is compared line by line, not by the loose rule of APPS.

APPS+ names its parts (a description, a canonical solution, a function name, inputs and outputs, starter code), but no
column names are documented: rows with the columns `inputs` and `outputs` beside the question are read as APPS+.

Not covered: rows without tests, of which APPS has some, are not tasks; `load_tasks(..., skip_invalid=True)` leaves them
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl_gift import codetext
from trl_gift.tasks.formats.common import Format, Row, called_task, content_id, json_field, run_task, stdio, text_list
from trl_gift.tasks.formats.readings import python_solutions, ways_to_call
from trl_gift.tasks.functions import programs_with, starter_signature
from trl_gift.tasks.task import Task, bad, id_field, optional_text, text_field


def _apps(row: Row, where: str) -> Task:
    return _task(row, where, id_field(row, where, "problem_id"), _input_output(row, where), "input_output")


def _taco(row: Row, where: str) -> Task:
    pairs = _input_output(row, where)
    return _task(row, where, content_id("taco", row.get("question"), pairs), pairs, "input_output")


def _apps_plus(row: Row, where: str) -> Task:
    pairs = {
        "inputs": json_field(row, "inputs", where),
        "outputs": json_field(row, "outputs", where),
        "fn_name": optional_text(row, "fn_name", where),
    }
    given = next((name for name in ("problem_id", "id", "task_id") if row.get(name) is not None), None)
    task_id = id_field(row, where, given) if given else content_id("apps+", row.get("question"), pairs)
    return _task(row, where, task_id, pairs, "inputs")


def _input_output(row: Row, where: str) -> Mapping[str, Any]:
    value = json_field(row, "input_output", where)
    if not isinstance(value, Mapping):
        raise bad(where, "input_output", value, "must be JSON with 'inputs' and 'outputs'; a task needs tests")
    return value


def _task(row: Row, where: str, task_id: str, pairs: Mapping[str, Any], field: str) -> Task:
    inputs, outputs, name = pairs.get("inputs"), pairs.get("outputs"), pairs.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs or len(inputs) != len(outputs):
        raise bad(where, field, pairs, "'inputs' and 'outputs' must be lists of the same length, not empty")
    description = text_field(row, "question", where).strip()
    solutions = python_solutions(_solutions(row, where))
    if not name:
        return run_task(Task(task_id, description, stdio(inputs, outputs, where, field)), solutions)
    references = programs_with(solutions, name)
    starter = optional_text(row, "starter_code", where)
    signature = (
        codetext.signature_of(references[0], name)
        if references
        else starter_signature(starter, name)
        if starter
        else None
    )
    if signature is None:
        raise bad(where, "starter_code", starter, f"must hold the def line of {name!r}, or a solution must define it")
    ways = ways_to_call(inputs, outputs)
    if not ways:
        raise bad(where, field, pairs, "with 'fn_name' each of 'inputs' must be the list of arguments of one call")
    return called_task(Task(task_id, description, None, signature=signature), name, ways, references)


def _solutions(row: Row, where: str) -> list[str]:
    if "solutions" in row:
        return text_list(json_field(row, "solutions", where, empty=[]), "solutions", where)
    return [code for field in ("canonical_solution", "solution") if (code := optional_text(row, field, where))]


APPS = Format("APPS", frozenset({"problem_id", "question", "solutions", "input_output"}), _apps)
TACO = Format("TACO", frozenset({"question", "solutions", "input_output"}), _taco)
APPS_PLUS = Format("APPS+", frozenset({"question", "inputs", "outputs", "starter_code"}), _apps_plus)
