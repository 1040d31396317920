"""MBPP: full (`text`), sanitized (`prompt`), and MBPP+, which adds `test`, a script of many inputs that stays hidden.

Columns as in google-research-datasets/mbpp and evalplus/mbppplus.
"""

from __future__ import annotations

from trl_gift import codetext
from trl_gift.tasks.formats.common import Format, Row, borrowed_imports, text_list
from trl_gift.tasks.task import Task, assert_tests, bad, id_field, in_one_place, optional_text, text_field
from trl_gift.tasks.testcode import UnderTest


def _read(row: Row, where: str) -> Task:
    """The description is `text` (full) or `prompt` (sanitized); the examples are the assertions."""
    field = "prompt" if "prompt" in row else "text"
    description = text_field(row, field, where)
    reference = text_field(row, "code", where)
    assertions = text_list(row.get("test_list"), "test_list", where)
    imports = [line for line in text_list(row.get("test_imports") or [], "test_imports", where) if line.strip()]
    setup = optional_text(row, "test_setup_code", where)
    script = optional_text(row, "test", where)
    borrowed = borrowed_imports("\n".join([*assertions, script or ""]), reference, imports)
    prelude = "\n".join([*imports, *borrowed, *([setup] if setup else [])])
    program = UnderTest.of(reference, None)
    tests = assert_tests(assertions, where=where, field="test_list", program=program, prelude=prelude)
    hidden = None
    if script:
        name = tests.entry_point
        hidden = assert_tests([script], where=where, field="test", entry_point=name, program=program, prelude=prelude)
        tests, hidden = in_one_place(tests, hidden)
    signature = codetext.signature_of(reference, tests.entry_point or "")
    if signature is None:
        raise bad(where, "code", reference, f"must define {tests.entry_point!r}, the function that the tests call")
    return Task(
        task_id=id_field(row, where),
        description=description.strip(),
        tests=tests,
        signature=signature,
        reference=reference,
        prelude=prelude,
        hidden_tests=hidden,
        examples=tuple(assertion.strip() for assertion in assertions),
    )


MBPP = Format("MBPP", frozenset({"task_id", "text", "code", "test_list"}), _read)
MBPP_PLUS = Format("MBPP+", frozenset({"task_id", "prompt", "code", "test_list", "test"}), _read)
MBPP_SANITIZED = Format("MBPP sanitized", frozenset({"task_id", "prompt", "code", "test_list"}), _read)
