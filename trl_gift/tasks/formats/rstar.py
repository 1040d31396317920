"""rStar-Coder: a question, and inputs with outputs; runs of a program, or calls of `func_name`. No solutions.

Columns as in microsoft/rStar-Coder, in the configurations `seed_testcase` and `synthetic_rl_testcase`; all of them are texts, and
`inputs` and `outputs` hold JSON. How the arguments of a call are written is not documented: see `readings`.
"""

from __future__ import annotations

from trl_gift.tasks.formats.common import Format, Row, called_task, json_field, plain_signature, stdio
from trl_gift.tasks.formats.readings import ways_to_call
from trl_gift.tasks.functions import starter_signature
from trl_gift.tasks.task import Task, bad, id_field, optional_text, text_field

_NONE = ("none", "null", "nan")


def _read(row: Row, where: str) -> Task:
    inputs, outputs = json_field(row, "inputs", where), json_field(row, "outputs", where)
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs or len(inputs) != len(outputs):
        raise bad(where, "inputs", inputs, "'inputs' and 'outputs' must be lists of the same length, not empty")
    task_id, description = id_field(row, where, "question_id"), text_field(row, "question", where).strip()
    name = optional_text(row, "func_name", where)
    if name is None or name.lower() in _NONE:
        return Task(task_id, description, stdio(inputs, outputs, where, "inputs"))
    if not name.isidentifier():
        raise bad(where, "func_name", name, "must be the name of the function that the inputs are for")
    ways = ways_to_call(inputs, outputs)
    if not ways:
        raise bad(where, "inputs", inputs, "with 'func_name' each of 'inputs' must write the arguments of one call")
    starter = optional_text(row, "starter_code", where)
    signature = starter_signature(starter, name) if starter else None
    signature = signature or plain_signature(name, len(ways[0].arguments[0]))
    return called_task(Task(task_id, description, None, signature=signature), name, ways, [])


RSTAR = Format("rStar-Coder", frozenset({"question_id", "question", "inputs", "outputs"}), _read)
