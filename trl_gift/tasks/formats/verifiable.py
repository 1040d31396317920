"""Verifiable coding problems (open-r1, PrimeIntellect): `verification_info` with test cases, a gold standard solution.

Columns as in open-r1/verifiable-coding-problems-python; `verification_info` is a struct there, and JSON text in the
dataset that it was made from. A test case runs a program (`stdin_stdout`) or calls a function (`function_call`). The
encoding of `input` and `output` of calls is not documented: both are read as JSON, the input as the list of arguments,
and as a text if they are not JSON. Languages that the sandbox cannot run are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trl_gift import codetext
from trl_gift.sandbox.languages import NAMES
from trl_gift.tasks.formats.common import Format, Row, calls, first_python, json_field, stdio
from trl_gift.tasks.functions import first_program
from trl_gift.tasks.task import Task, bad, id_field, optional_text, text_field

_FIELD = "verification_info"


def _read(row: Row, where: str) -> Task:
    info = json_field(row, _FIELD, where)
    cases = info.get("test_cases") if isinstance(info, Mapping) else None
    if not isinstance(cases, list) or not cases or not all(isinstance(case, Mapping) for case in cases):
        raise bad(where, _FIELD, info, "must hold 'test_cases', a list of {'type', 'input', 'output'}, not empty")
    language = info.get("language") or "python"
    if language not in NAMES:
        raise bad(
            where,
            _FIELD,
            language,
            f"it is a language whose programs cannot be run; keep {', '.join(NAMES)} with a filter",
        )
    gold = optional_text(row, "gold_standard_solution", where)
    solution = gold
    if gold and language == "python" and codetext.parse(gold) is None:
        solution = codetext.find_program(gold, None).code  # a fenced block with words around it
    task_id, description = id_field(row, where, "problem_id"), text_field(row, "problem_statement", where).strip()
    inputs, outputs = [case.get("input") for case in cases], [case.get("output") for case in cases]
    called = [case.get("fn_name") for case in cases if case.get("type") == "function_call"]
    if not called:
        tests = stdio(inputs, outputs, where, _FIELD, language)
        reference = first_python([solution]) if solution and language == "python" else solution
        return Task(task_id, description, tests, reference=reference, language=language)
    name = called[0]
    if not isinstance(name, str) or called != [name] * len(cases) or language != "python":
        raise bad(where, _FIELD, info, "calls must all be of one Python function, named by 'fn_name'")
    reference = first_program([solution], name) if solution else None
    signature = codetext.signature_of(reference, name) if reference else None
    if signature is None:
        raise bad(where, "gold_standard_solution", gold, f"must define {name!r}, the function that the tests call")
    arguments = [_json_or_text(value) for value in inputs]
    if not all(isinstance(value, list) for value in arguments):
        raise bad(where, _FIELD, inputs, "each 'input' of a call must be the list of its arguments")
    results = [_json_or_text(value) for value in outputs]
    return Task(task_id, description, calls(name, arguments, results), signature=signature, reference=reference)


def _json_or_text(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


VERIFIABLE = Format("verifiable coding problems", frozenset({"problem_id", "problem_statement", _FIELD}), _read)
