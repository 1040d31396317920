"""CodeInsight: an intent, a function, unit tests that call it.

Columns as in the dataset's README (`id`, `intent`, `code`, `unit_tests`, `libraries`). The README does not say what
`unit_tests` holds: a list of test sources and a single text are both read. Each test binds its own inputs and asserts.
As its authors publish it, the set is folders (`train/0/nl.txt`, `code.txt`, `unit_tests/test_0.py`): `load_tasks` takes the path of
`train` or `test`, or of the folder above with a split. The copy on the Hub has no tests.
"""

from __future__ import annotations

from trl_gift import codetext
from trl_gift.tasks.formats.common import Format, Row, borrowed_imports, json_field, text_list
from trl_gift.tasks.task import Task, assert_tests, bad, id_field, text_field
from trl_gift.tasks.testcode import UnderTest


def _read(row: Row, where: str) -> Task:
    code = text_field(row, "code", where)
    value = row.get("unit_tests")
    looks_like_list = isinstance(value, str) and value.lstrip().startswith("[")
    sources = json_field(row, "unit_tests", where) if looks_like_list else [value] if isinstance(value, str) else value
    sources = text_list(sources, "unit_tests", where)
    prelude = "\n".join(borrowed_imports("\n".join(sources), code, []))
    tests = assert_tests(sources, where=where, field="unit_tests", program=UnderTest.of(code, None), prelude=prelude)
    signature = codetext.signature_of(code, tests.entry_point or "")
    if signature is None:
        raise bad(where, "code", code, f"must define {tests.entry_point!r}, the function that the tests call")
    return Task(
        task_id=id_field(row, where, "id"),
        description=text_field(row, "intent", where),
        tests=tests,
        signature=signature,
        reference=code,
        prelude=prelude,
    )


CODEINSIGHT = Format("CodeInsight", frozenset({"id", "intent", "code", "unit_tests"}), _read)
