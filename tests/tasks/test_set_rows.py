"""Rows of data sets, one for each kind of trouble: right programs pass, wrong ones do not, and bad rows are one line."""

from __future__ import annotations

import pytest

from tests.tasks import set_rows
from trl_gift import Task, load_tasks
from trl_gift.errors import ConfigError, TaskError
from trl_gift.prompts import BasePrompts, ask_to_write, find_in_answer
from trl_gift.sandbox import CallTests, LocalSandbox, StdioTests, languages
from trl_gift.sandbox.languages import naming
from trl_gift.tasks.references import settled


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=2) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", set_rows.ROWS)
def test_a_row_takes_right_programs_alone(name, sandbox):
    entry = set_rows.ROWS[name]
    (task,) = settled(load_tasks([entry.row], require_tools=False, **entry.load), sandbox)
    if task.language not in languages.available():
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


def test_a_set_without_tests_is_for_unverified_training():
    (task,) = load_tasks([set_rows.CODEREASONING], require_tests=False)
    assert task.tests is None
    assert (task.task_id, task.description, task.reference.strip()) == (
        "a1", "Read a number and print the next.", set_rows.PYTHON_3,
    )  # fmt: skip
    drafted = f"```python\n{set_rows.WRONG}\n```\nor rather\n```python\n{set_rows.PYTHON_3}\n```"
    (task,) = load_tasks([{**set_rows.CODEREASONING, "solution": drafted}], require_tests=False)
    assert task.reference.strip() == set_rows.PYTHON_3


@pytest.mark.parametrize("name", ["MultiPL-E in JavaScript", "MultiPL-E in C++"])
def test_a_function_in_another_language_is_asked_for_found_and_run(name, sandbox, tokenizer):
    entry = set_rows.TRAINING_SETS[name]
    (task,) = load_tasks([entry.row], require_tools=False)
    if task.language not in languages.available():
        pytest.skip(f"no compiler of {task.language} here")
    title, tag, right = naming(task.language).title, naming(task.language).tags[0], entry.passing[0]
    question = ask_to_write(task.signature, task.description, task.examples, task.language, task.opening)
    assert question.startswith(f"Write the {title} function that begins as shown")
    assert f"```{tag}\n{task.opening}\n```" in question
    answer = find_in_answer(
        task, f"A try:\n```{tag}\n{entry.failing[0]}\n```\nBetter:\n```{tag}\n{right}\n```\nDone.", None
    )
    prompts = BasePrompts(tokenizer)
    prompt = prompts.write(task, "Other words.")
    assert prompt.text.startswith(f"// {title} function\n//\n// Other words.\n")
    assert f"\n// It begins with: {task.opening}\n" in prompt.text
    written = prompts.extract(task, f"{right}\n")
    assert answer.code == written.code == right == prompts.target(task, right)
    outcome = sandbox.run(right, task.all_tests)
    assert (outcome.passed, outcome.trusted) == (True, False), outcome
    assert sandbox.run(entry.failing[0], task.all_tests).status == "failed"


@pytest.mark.parametrize("name", set_rows.TRAINING_SETS)
def test_only_tests_with_objects_or_files_run_in_the_program(name):
    (task,) = load_tasks([set_rows.TRAINING_SETS[name].row])
    in_program = any(word in name for word in ("object", "class", "files"))
    assert isinstance(task.all_tests, StdioTests | CallTests) or task.all_tests.shared == in_program


def test_signatures_of_sets_that_give_none():
    (task,) = load_tasks([{**set_rows.ACECODE, "inferences": []}])
    assert task.signature == "def add(arg1, arg2):"
    question = "Complete it.\n```python\ndef add(a: int, b: int) -> int:\n```"
    (task,) = load_tasks([{**set_rows.ACECODE, "question": question, "inferences": None}])
    assert task.signature == "def add(a: int, b: int) -> int:"
    (task,) = load_tasks([set_rows.KODCODE])
    assert task.signature == "from typing import Union\ndef add(a: Union[int, float], b: int) -> int:"
    (task,) = load_tasks([set_rows.BIGCODEBENCH])
    assert task.signature == "import random\nfrom statistics import mean\n\ndef task_func(xs, seed=1):"
    assert (task.description, task.examples) == ("The mean of a list.", (">>> task_func([1, 3])\n2",))


def test_codeinsight_as_its_authors_publish_it(tmp_path, sandbox):
    for number in (10, 9):
        example = tmp_path / "train" / str(number)
        (example / "unit_tests").mkdir(parents=True)
        (example / ".cfg").write_text("[library]\nlib = ['math']\n")
        (example / "nl.txt").write_text("The square root of var0.\n")
        (example / "code.txt").write_text("import math\n\ndef test(var0):\n    return math.sqrt(var0)\n")
        (example / "prompt.txt").write_text("The square root of var0.\nimport math\n\ndef test(var0):")
        for index, value in enumerate((4, 9)):
            text = f"var0 = {value}\nexpected = math.sqrt({value})\nassert test(var0) == expected, 'Test failed'"
            (example / "unit_tests" / f"test_{index}.py").write_text(text)
    for place, split in ((tmp_path, "train"), (tmp_path / "train", None)):
        tasks = load_tasks(place, split)
        assert [task.task_id for task in tasks] == ["9", "10"]
        assert tasks[0].tests.num_tests == 2
    assert sandbox.run(tasks[0].reference, tasks[0].all_tests).passed
    assert not sandbox.run("def test(var0): return 2", tasks[0].all_tests).passed
    (tmp_path / "train" / "9" / "nl.txt").unlink()
    with pytest.raises(TaskError, match=r"train/9: nl.txt is missing"):
        load_tasks(tmp_path / "train")


def test_a_suite_may_hold_more_values_than_one_case(sandbox):
    (task,) = load_tasks([set_rows.call([[list(range(100_000))]] * 45, [0] * 45)])
    assert sandbox.run("def f(x): return x[0]", task.all_tests).passed
    outcome = sandbox.run(
        "def f(x): return len(x) - 1 if f.__dict__.setdefault('n', []).append(0) or len(f.n) > 44 else 0",
        task.all_tests,
    )
    assert outcome.first_failure == 44
