"""Verifiable coding problems (open-r1, PrimeIntellect): `verification_info` with test cases, a gold standard solution.

Columns as in open-r1/verifiable-coding-problems-python; `verification_info` is a struct there, and JSON text in the
dataset that it was made from. A test case runs a program (`stdin_stdout`) or calls a function (`function_call`). The
encoding of `input` and `output` of calls is not documented: the reference decides (see `readings`). Languages that the
sandbox cannot run are refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from trl_gift.tasks.formats.common import Format, Row, called_task, json_field, programs_in, run_task, stdio
from trl_gift.tasks.formats.readings import python_solutions, ways_to_call
from trl_gift.tasks.functions import programs_with
from trl_gift.tasks.task import Task, bad, id_field, language_field, optional_text, text_field

_FIELD = "verification_info"


def _read(row: Row, where: str) -> Task:
    info = json_field(row, _FIELD, where)
    cases = info.get("test_cases") if isinstance(info, Mapping) else None
    if not isinstance(cases, list) or not cases or not all(isinstance(case, Mapping) for case in cases):
        raise bad(where, _FIELD, info, "must hold 'test_cases', a list of {'type', 'input', 'output'}, not empty")
    language = language_field(info.get("language"), where, _FIELD) or "python"
    gold = optional_text(row, "gold_standard_solution", where)
    task_id, description = id_field(row, where, "problem_id"), text_field(row, "problem_statement", where).strip()
    inputs, outputs = [case.get("input") for case in cases], [case.get("output") for case in cases]
    called = [case.get("fn_name") for case in cases if case.get("type") == "function_call"]
    if not called:
        solutions = programs_in(gold, language=language) if gold else []
        if language == "python":
            solutions = python_solutions(solutions)
        task = Task(task_id, description, stdio(inputs, outputs, where, _FIELD, language))
        return run_task(task, solutions)
    name = called[0]
    if not isinstance(name, str) or called != [name] * len(cases) or language != "python":
        raise bad(where, _FIELD, info, "calls must all be of one Python function, named by 'fn_name'")
    references = programs_with(python_solutions(programs_in(gold, name) if gold else []), name)
    if not references:
        raise bad(where, "gold_standard_solution", gold, f"must define {name!r}, the function that the tests call")
    ways = ways_to_call(inputs, outputs)
    if not ways:
        raise bad(where, _FIELD, inputs, "each 'input' of a call must be the list of its arguments")
    return called_task(Task(task_id, description, None), name, ways, references)


VERIFIABLE = Format("verifiable coding problems", frozenset({"problem_id", "problem_statement", _FIELD}), _read)
