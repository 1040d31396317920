"""APPS and TACO: a question, solutions, and `input_output` as JSON: runs of a program, or calls of `fn_name`.

Columns as in codeparrot/apps and BAAI/TACO. Which of the solutions is right, and how the arguments and results of calls are to
be read, the rows do not say: see `readings`. The output of programs is compared line by line, not by the loose rule of APPS.

Not covered: rows without tests, of which APPS has some, are not tasks; `load_tasks(..., skip_invalid=True)` leaves them
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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


def _input_output(row: Row, where: str) -> Mapping[str, Any]:
    value = json_field(row, "input_output", where)
    if not isinstance(value, Mapping):
        raise bad(where, "input_output", value, "must be JSON with 'inputs' and 'outputs'; a task needs tests")
    return value


def _task(row: Row, where: str, task_id: str, pairs: Mapping[str, Any], field: str) -> Task:
    inputs, outputs, name = pairs.get("inputs"), pairs.get("outputs"), pairs.get("fn_name")
    description = text_field(row, "question", where).strip()
    solutions = python_solutions(text_list(json_field(row, "solutions", where, empty=[]), "solutions", where))
    if not name:
        runs = stdio(*paired(inputs, outputs, where, field), where, field)
        return run_task(Task(task_id, description, runs), solutions)
    task = Task(task_id, description, None)
    return task_of_calls(
        task, name, inputs, outputs, solutions, optional_text(row, "starter_code", where), where, field
    )


def paired(inputs: object, outputs: object, where: str, field: str) -> tuple[list[Any], list[Any]]:
    """The inputs and outputs of a row, which must be as many."""
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs or len(inputs) != len(outputs):
        pairs = {"inputs": inputs, "outputs": outputs}
        raise bad(where, field, pairs, "'inputs' and 'outputs' must be lists of the same length, not empty")
    return inputs, outputs


def task_of_calls(
    task: Task,
    name: str,
    inputs: object,
    outputs: object,
    solutions: list[str],
    starter: str | None,
    where: str,
    field: str,
) -> Task:
    """A task whose tests call a function.

    Args:
        task: The identifier and the description.
        name: The function.
        inputs: The arguments of each call.
        outputs: The result of each.
        solutions: Programs that may define the function.
        starter: Starter code with its `def` line, if the row has some.
        where: The row's place.
        field: The column of the calls.
    """
    inputs, outputs = paired(inputs, outputs, where, field)
    references = programs_with(solutions, name)
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
        raise bad(where, field, inputs, f"each of 'inputs' must be the list of arguments of one call of {name!r}")
    return called_task(replace(task, signature=signature), name, ways, references)


APPS = Format("APPS", frozenset({"problem_id", "question", "solutions", "input_output"}), _apps)
TACO = Format("TACO", frozenset({"question", "solutions", "input_output"}), _taco)
