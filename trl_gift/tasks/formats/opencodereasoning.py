"""OpenCodeReasoning: questions with answers of a reasoning model, without tests.

Columns as in nvidia/OpenCodeReasoning: `input` is the question, `solution` the program of the answer. There is nothing to verify a
program with, so only a run with `verify=False` takes these rows. In `split_1` the question is left out (`-`) and stands in the set
that the row names. A question has several rows, of which `skip_invalid` keeps the first.
"""

from __future__ import annotations

from trl_gift.tasks.formats.common import Format, Row, programs_in
from trl_gift.tasks.task import Task, bad, id_field, optional_text, text_field


def _read(row: Row, where: str) -> Task:
    question = text_field(row, "input", where).strip()
    if question == "-":
        cure = "this row leaves its question in the set that 'dataset', 'split' and 'index' name; take the configuration split_0"
        raise bad(where, "input", question, cure)
    solution = optional_text(row, "solution", where)
    return Task(id_field(row, where, "id"), question, None, reference=programs_in(solution)[0] if solution else None)


OPENCODEREASONING = Format("OpenCodeReasoning", frozenset({"id", "input", "output", "solution", "dataset"}), _read)
