"""Filters: what they may say, what they may not, and when the row is read as a task."""

from __future__ import annotations

import pytest

from tests.support import rows
from trl_gift import load_tasks
from trl_gift.errors import ConfigError, TaskError
from trl_gift.tasks import filter_tasks, tasks_from_rows

NO_TESTS = rows.APPS_STDIN | {"problem_id": 1, "input_output": "", "difficulty": "interview"}
SET = [rows.APPS_STDIN, rows.APPS_CALLS | {"difficulty": "competition"}]


@pytest.mark.parametrize(
    ("filter", "kept"),
    [
        ('difficulty == "introductory"', ["7"]),
        ('difficulty in ("competition", "interview")', ["8"]),
        ('not difficulty.startswith("intro") and len(tests) >= 2', ["8"]),
        ("len(tests) > 2 or entry_point is not None", ["8"]),
        ("signature is None", ["7"]),
        ("hidden_tests is None", ["7", "8"]),
        ('"3 4" in tests[1]', ["7"]),
        ('"print(0)" not in reference', ["7", "8"]),
        ("problem_id % 2 == 0", ["8"]),
        ("6 < problem_id < 8", ["7"]),
        ("-problem_id + 8 > 0 and problem_id * 2 // 3 == 4 and problem_id / 7 == 1.0 and problem_id - 1 == 6", ["7"]),
        ("min(problem_id, 8) == 7 and max(int(task_id), 0) == abs(-7) and str(problem_id) == task_id", ["7"]),
        ('url.upper().strip().endswith(".ORG") and float(task_id) == 7', ["7"]),
        (lambda row: row["problem_id"] == 7 and len(row["tests"]) == 2, ["7"]),
        (lambda row: "question" in row and row.get("nothing") is None, ["7", "8"]),
        (None, ["7", "8"]),
    ],
)
def test_what_a_filter_keeps(filter, kept):
    assert [task.task_id for task in load_tasks(SET, filter=filter)] == kept


@pytest.mark.parametrize(
    "filter",
    [
        "__import__('os').system('true')",
        "open('x')",
        "(lambda: 1)()",
        "description.__class__",
        "description.format(1)",
        "[x for x in tests]",
        "2 ** 100",
        "f'{task_id}'",
        "len(obj=tests)",
        "tests if tests else 0",
        "{1: 2}",
        "(x := 1)",
        "1 << 3",
        "len(*tests)",
    ],
)
def test_what_a_filter_may_not_use(filter):
    with pytest.raises(ConfigError, match="cannot be used; a filter accepts comparisons"):
        load_tasks(SET, filter=filter)


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("difficulty ==", "is not an expression"),
        ("difficulty = 'x'", "is not an expression"),
        ("", "is not an expression"),
        (
            "dificulty == 'easy'",
            r"row 0: filter .*'dificulty' is neither a column nor a field; use one of description, difficulty",
        ),
        ("difficulty > 3", r"row 0: filter 'difficulty > 3' cannot be evaluated with difficulty = 'introductory'"),
        ("difficulty * 3 == 'x'", "is not a number"),
        ("tests[7] == ''", "cannot be evaluated"),
        ("problem_id.lower() == 'x'", "is not a text"),
        ("url.lower == 'x'", "has no value"),
        ("problem_id / 0 == 1", "ZeroDivisionError"),
    ],
)
def test_mistakes_are_named(filter, message):
    for skip_invalid in (False, True):  # a wrong filter is never a reason to skip rows
        with pytest.raises(ConfigError, match=message):
            load_tasks(SET, filter=filter, skip_invalid=skip_invalid)


def test_a_filter_of_columns_is_evaluated_before_the_row_is_read():
    with pytest.raises(TaskError, match="a task needs tests"):
        load_tasks([NO_TESTS, *SET])
    assert len(load_tasks([NO_TESTS, *SET], filter="input_output != ''")) == 2
    with pytest.raises(TaskError, match="a task needs tests"):
        load_tasks([NO_TESTS, *SET], filter="len(tests) > 0")


def test_invalid_rows_can_be_left_out_with_a_warning(caplog):
    tasks = load_tasks([NO_TESTS, *SET, rows.APPS_STDIN], skip_invalid=True)
    assert [task.task_id for task in tasks] == ["7", "8"]
    assert "2 of 4 rows left out; the first error: row 0: field 'input_output'" in caplog.text
    with pytest.raises(TaskError, match="none of 1 row is a valid task; the first error: row 0: field"):
        load_tasks([NO_TESTS], skip_invalid=True)
    with pytest.raises(TaskError, match="none of 2 rows passes the filter"):
        load_tasks(SET, filter="task_id == 'x'")


def test_the_limit_counts_what_passes():
    assert [task.task_id for task in load_tasks(SET, limit=1, filter="problem_id > 7")] == ["8"]
    with pytest.raises(ConfigError, match="limit=0"):
        load_tasks(SET, limit=0)


def test_tasks_are_filtered_by_their_fields():
    tasks = tasks_from_rows([rows.HUMANEVAL, rows.HUMANEVAL_PLUS | {"task_id": "plus"}])
    assert filter_tasks(tasks, "'inputs' in tests[0] or task_id == 'plus'") == tasks[1:]
    assert filter_tasks(tasks, None, limit=1) == tasks[:1]
    with pytest.raises(ConfigError, match="'difficulty' is neither a column nor a field"):
        filter_tasks(tasks, "difficulty == 1")
