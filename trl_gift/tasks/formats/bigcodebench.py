"""BigCodeBench: a function with a structured docstring, and a class of `unittest` that tests it.

Columns as in bigcode/bigcodebench. The docstring is the description, its doctests one example; the imports and the `def` line are
the signature. Many tests use files, mocks or plots: those run in the program's own interpreter or not at all, and the libraries
that they need must be installed where programs run.
"""

from __future__ import annotations

from dataclasses import replace

from trl_gift.tasks.formats.common import Format, Row
from trl_gift.tasks.formats.humaneval import prompt_parts, split_doctests
from trl_gift.tasks.task import Task, id_field, text_field


def _read(row: Row, where: str) -> Task:
    prompt = text_field(row, "complete_prompt", where)
    signature, docstring, _ = prompt_parts(prompt, text_field(row, "entry_point", where), where, "complete_prompt")
    description, doctests = split_doctests(docstring)
    columns = {
        "task_id": id_field(row, where),
        "description": description,
        "signature": signature,
        "reference": f"{prompt.rstrip()}\n{text_field(row, 'canonical_solution', where)}",
        "tests": text_field(row, "test", where),
    }
    return replace(Task.from_row(columns, where), examples=(doctests,) if doctests else ())


BIGCODEBENCH = Format(
    "BigCodeBench", frozenset({"task_id", "complete_prompt", "canonical_solution", "test", "entry_point"}), _read
)
