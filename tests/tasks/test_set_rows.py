"""Rows of data sets, one for each kind of trouble: right programs pass, wrong ones do not, and bad rows are one line."""

from __future__ import annotations

import pytest

from tests.tasks import set_rows
from trl_gift import Task, load_tasks
from trl_gift.errors import ConfigError, TaskError
from trl_gift.sandbox import LocalSandbox, StdioTests, languages
from trl_gift.tasks.references import settled


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=2) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", set_rows.ROWS)
def test_a_row_takes_right_programs_alone(name, sandbox):
    entry = set_rows.ROWS[name]
    (task,) = settled(load_tasks([entry.row], **entry.load), sandbox)
    if task.language not in ("python", *languages.available()):
        pytest.skip(f"no compiler of {task.language} here")
    assert not task.readings
    assert task.language == (task.tests.language if isinstance(task.tests, StdioTests) else "python")
    assert Task.from_row(task.to_row()) == task
    assert entry.reference is None or entry.reference in task.reference
    programs = [*entry.passing, *entry.failing]
    outcomes = [future.result() for future in sandbox.submit_all([(code, task.all_tests) for code in programs])]
    for place, outcome in enumerate(outcomes):
        assert outcome.passed == (place < len(entry.passing)), (programs[place], outcome)
        assert outcome.status != "infrastructure", outcome


@pytest.mark.parametrize("name", set_rows.REFUSED)
def test_a_row_that_is_no_task_is_one_line(name):
    row, message = set_rows.REFUSED[name]
    with pytest.raises(TaskError, match=message) as caught:
        load_tasks([row])
    assert "\n" not in str(caught.value)
    good = set_rows.own(["1"], ["1"], task_id="good")
    assert [task.task_id for task in load_tasks([row, good], skip_invalid=True)] == ["good"]


@pytest.mark.parametrize("text", ["loose", "lines:x", "lines:2", "exact:1e-6", "tokens:-1", ""])
def test_an_unknown_comparison_is_refused(text):
    with pytest.raises(ConfigError, match=r"output_comparison=.*give one of lines, exact"):
        load_tasks([set_rows.own([""], ["1"])], output_comparison=text)
