"""KodCode: a question, a solution that passed, and its tests for pytest.

Columns as in KodCode/KodCode-V1 and its parts for RL (`question_id`, `question`, `solution`, `test`); the first releases and the
sets for SFT call the tests `test_code`. The tests import from `solution`; some rows hold runs of a program instead, as JSON.
The name and parameters of the function (`test_info`) are those of the solution, from which they are taken with its imports.
"""

from __future__ import annotations

from trl_gift.tasks.formats.common import Format, Row, content_id
from trl_gift.tasks.task import Task, id_field, text_field


def _read(row: Row, where: str) -> Task:
    field = "test" if "test" in row else "test_code"
    question, tests = text_field(row, "question", where), text_field(row, field, where)
    given = next((name for name in ("question_id", "conversation_id") if row.get(name) is not None), None)
    columns = {
        "task_id": id_field(row, where, given) if given else content_id("kodcode", question, tests),
        "description": question.strip(),
        "reference": text_field(row, "solution", where),
        "tests": tests,
    }
    return Task.from_row(columns, where)


KODCODE = Format("KodCode", frozenset({"question_id", "question", "solution", "test"}), _read)
KODCODE_FIRST = Format("KodCode, first releases", frozenset({"question", "solution", "test_code"}), _read)
