"""CodeContests: runs of a program; public runs are visible, private and generated runs are hidden.

Columns as in deepmind/code_contests; `language` of a solution is 1 for Python 2 and 3 for Python 3. The same
problems in SandboxFusion's form (`content`, and `test` as a JSON list of stdin and stdout) have no reference, and do not
distinguish hidden from visible tests. Outputs are compared as the tester of CodeContests does (`CONTEST`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl_gift.tasks.comparison import CONTEST
from trl_gift.tasks.formats.common import Format, Row, json_field, run_task, stdio, visible_and_hidden
from trl_gift.tasks.formats.readings import python_solutions
from trl_gift.tasks.task import Task, bad, id_field, optional_text, text_field

_PYTHON3 = (3, "PYTHON3")
# What the columns hold where a program reads and writes no file of its own.
_STREAMS = {"input_file": ("stdin", "standard input"), "output_file": ("stdout", "standard output")}


def _code_contests(row: Row, where: str) -> Task:
    visible = _pairs(row, "public_tests", ("input", "output"), where)
    hidden = [
        pair
        for field in ("private_tests", "generated_tests")
        for pair in _pairs(row, field, ("input", "output"), where)
    ]
    runs = [*visible, *hidden]
    if not runs:
        raise bad(where, "public_tests", row.get("public_tests"), "there is no test of any kind; give at least one")
    solutions = _pairs(row, "solutions", ("language", "solution"), where)
    together = stdio([i for i, _ in runs], [o for _, o in runs], where, "public_tests", comparison=CONTEST)
    tests, hidden_tests = visible_and_hidden(together, len(visible))
    for field, streams in _STREAMS.items():
        name = optional_text(row, field, where)
        if name is not None and name.strip().lower() not in streams:
            raise bad(
                where, field, name, "its programs read or write a file, and programs here have none; leave it out"
            )
    task = Task(
        task_id=id_field(row, where, "name"),
        description=text_field(row, "description", where).strip(),
        tests=tests,
        hidden_tests=hidden_tests,
    )
    return run_task(task, python_solutions(str(code) for language, code in solutions if language in _PYTHON3))


def _pairs(row: Row, field: str, names: tuple[str, str], where: str) -> list[tuple[Any, Any]]:
    """A column of two lists, or of a list of pairs: readers of Parquet files return one or the other."""
    value = json_field(row, field, where, empty=[])
    if isinstance(value, Mapping):
        first, second = value.get(names[0]), value.get(names[1])
        if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
            return list(zip(first, second, strict=True))
    elif isinstance(value, list) and all(isinstance(item, Mapping) and set(names) <= item.keys() for item in value):
        return [(item[names[0]], item[names[1]]) for item in value]
    raise bad(where, field, value, f"must hold two lists of the same length, '{names[0]}' and '{names[1]}'")


def _sandbox_fusion(row: Row, where: str) -> Task:
    tests = json_field(row, "test", where)
    try:
        runs = [(item["input"]["stdin"], item["output"]["stdout"]) for item in tests]
    except (TypeError, KeyError):
        cure = "must be a list of {'input': {'stdin': ...}, 'output': {'stdout': ...}}"
        raise bad(where, "test", tests, cure) from None
    if not runs:
        raise bad(where, "test", tests, "any program would pass an empty list; give at least one run")
    return Task(
        task_id=id_field(row, where, "id"),
        description=text_field(row, "content", where).strip(),
        tests=stdio([stdin for stdin, _ in runs], [stdout for _, stdout in runs], where, "test", comparison=CONTEST),
    )


CODE_CONTESTS = Format(
    "CodeContests", frozenset({"name", "description", "public_tests", "private_tests", "solutions"}), _code_contests
)
SANDBOX_FUSION = Format("SandboxFusion", frozenset({"id", "content", "test"}), _sandbox_fusion)
