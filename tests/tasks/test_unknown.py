"""Rows that no format reads: what they are, what they lack, which name was meant."""

from __future__ import annotations

import pytest

from tests.support import rows
from trl_gift.errors import TaskError
from trl_gift.tasks import load_tasks

ROW = {"task_id": "a", "description": "Add.", "signature": "def add(a, b):", "tests": ["assert add(1, 2) == 3"]}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["prompt", "completion"], "these are examples to imitate, as SFTTrainer takes them; a task has tests instead"),
        (["messages"], "these are conversations, as SFTTrainer takes them"),
        (["instruction", "input", "output"], "these are examples to imitate"),
        (["prompt", "chosen", "rejected"], "these are preference pairs, as DPOTrainer takes them"),
        (["text"], "these are texts, as SFTTrainer takes them"),
        (["task_id", "description"], "the nearest is our own format, and these rows lack its 'tests'; add it, or name the columns that hold it, as in column_mapping={'yours': 'tests'}"),
        (["task_id", "description", "test"], "rename 'test' to 'tests', or give column_mapping={'test': 'tests'}"),
        (["task_id", "prompt", "canonical_solution", "test"], "the nearest is that of HumanEval, HumanEval+, and these rows lack its 'entry_point'; add it"),
        (["question", "answer"], "none is near; give each row a 'description' and 'tests' (column_mapping="),
    ],
)  # fmt: skip
def test_the_error_says_what_the_rows_are_or_lack(columns, words):
    with pytest.raises(TaskError) as error:
        load_tasks([dict.fromkeys(columns, "x")])
    assert words in str(error.value)
    assert str(error.value).startswith(f"row 0: columns {sorted(columns)} do not match a known format: ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hidden_test", "hidden_tests"), ("referense", "reference"), ("preludes", "prelude"), ("example", "examples")],
)
def test_a_name_that_is_nearly_right_is_not_ignored(name, meant):
    with pytest.raises(TaskError, match=f"field '{name}': .*did you mean '{meant}'"):
        load_tasks([ROW | {name: ["assert add(2, 2) == 4"]}])
    assert len(load_tasks([ROW | {name: None}])) == 1
    assert len(load_tasks([ROW | {"difficulty": "easy", "source": "me"}])) == 1
    assert len(load_tasks([ROW | {"reference": "def add(a, b):\n    return a + b", "references": 3}])) == 1


def test_a_row_without_an_id_gets_one_from_its_content():
    plain = {name: value for name, value in ROW.items() if name != "task_id"}
    first, second = load_tasks([plain, plain | {"description": "Sum."}])
    assert first.task_id.startswith("task/")
    assert first.task_id != second.task_id
    assert load_tasks([plain | {"description": "Sum."}, plain])[1] == first
    with pytest.raises(TaskError, match="occurs twice"):
        load_tasks([plain, plain])
    mixed = load_tasks([plain, ROW | {"task_id": "mine"}])
    assert [task.task_id for task in mixed] == [first.task_id, "mine"]
    with pytest.raises(TaskError, match="'a' occurs twice"):
        load_tasks([plain, ROW, ROW])


def test_columns_may_have_other_names():
    mine = {"question": "Add.", "checks": ROW["tests"], "header": ROW["signature"], "description": "not this"}
    mapping = {"question": "description", "checks": "tests", "header": "signature"}
    (task,) = load_tasks([mine], column_mapping=mapping)
    assert (task.description, task.signature) == ("Add.", "def add(a, b):")
    assert (
        load_tasks([rows.HUMANEVAL | {"task_id": None, "name": "h"}], column_mapping={"name": "task_id"})[0].task_id
        == "h"
    )
    with pytest.raises(TaskError, match="row 0: column_mapping names 'text', and the row has 'question'"):
        load_tasks([mine], column_mapping={"text": "description"})
