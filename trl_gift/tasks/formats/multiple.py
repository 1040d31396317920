"""MultiPL-E: HumanEval and MBPP in other languages. Its tests are code in that language, behind the program in one file.

Columns as in nuprl/MultiPL-E. The sandbox runs programs in other languages than Python on standard input and output only, so
every row is refused in one line: the set is recognised so that the line can say why.
"""

from __future__ import annotations

from trl_gift.tasks.formats.common import Format, Row
from trl_gift.tasks.task import Task, bad


def _read(row: Row, where: str) -> Task:
    cure = (
        "the tests of MultiPL-E are code in this language, and the sandbox runs tests in Python alone (other languages with "
        "standard input and output); take HumanEval or MBPP"
    )
    raise bad(where, "language", row.get("language"), cure)


MULTIPLE = Format("MultiPL-E", frozenset({"name", "language", "prompt", "tests", "stop_tokens"}), _read)
