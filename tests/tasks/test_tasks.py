from __future__ import annotations

import json

import pytest

from trl_gift import Task, load_tasks
from trl_gift.errors import TaskError
from trl_gift.sandbox import AssertTests, CallTests, Case, LocalSandbox, StdioTests
from trl_gift.tasks import fingerprint, tasks_from_rows

CANONICAL = {
    "task_id": "a",
    "description": "Add.",
    "signature": "def add(a, b):",
    "reference": None,
    "tests": ["assert add(1, 2) == 3"],
}
MBPP_FULL = {
    "task_id": 601,
    "text": "Write a function to add.",
    "code": "import math\nK = 0\ndef helper(x):\r\n  return x\r\ndef add(a, b):\r\n  return helper(a) + b + K",
    "test_list": ["assert add(1, 2) == 3", "assert math.isclose(add(1.0, 2), 3.0)"],
    "test_setup_code": "import math",
    "challenge_test_list": [],
}
MBPP_SANITIZED = {
    "source_file": "x",
    "task_id": 2,
    "prompt": "Write a function to find shared elements.",
    "code": "def shared(a, b):\n  return set(a) & set(b)",
    "test_imports": ["import math"],
    "test_list": ["assert set(shared((1, 2), (2, 3))) == {2}"],
}


def write_jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_canonical_assertions():
    (task,) = tasks_from_rows([CANONICAL])
    assert isinstance(task.tests, AssertTests)
    assert (task.entry_point, task.signature) == ("add", "def add(a, b):")


def test_canonical_calls_and_stdio():
    calls = CANONICAL | {"tests": {"entry_point": "add", "inputs": [[1, 2]], "outputs": [3], "stdin": None}}
    stdio = CANONICAL | {"task_id": "b", "signature": None, "tests": {"stdin": ["1 2"], "stdout": ["3"]}}
    one, two = tasks_from_rows([calls, stdio])
    assert isinstance(one.tests, CallTests)
    assert one.tests.cases[0].args == (1, 2)
    assert isinstance(two.tests, StdioTests)
    assert (two.entry_point, two.signature) == (None, None)


@pytest.mark.parametrize("row", [CANONICAL, MBPP_FULL, MBPP_SANITIZED])
def test_a_task_survives_its_row(row):
    (task,) = tasks_from_rows([row])
    assert Task.from_row(task.to_row()) == task


def test_mbpp_full_reference_passes_in_the_sandbox():
    (task,) = tasks_from_rows([MBPP_FULL])
    assert task.task_id == "601"
    assert task.signature == "def add(a, b):"
    assert task.description == "Write a function to add."
    assert task.examples == tuple(MBPP_FULL["test_list"])
    with LocalSandbox(num_workers=1) as sandbox:
        assert sandbox.run(task.reference, task.tests).passed
        assert not sandbox.run("def add(a, b):\n    return a", task.tests).passed


def test_mbpp_sanitized():
    (task,) = tasks_from_rows([MBPP_SANITIZED])
    assert task.entry_point == "shared"
    assert task.prelude == "import math"


def test_mbpp_tests_may_use_what_the_reference_imports():
    row = MBPP_SANITIZED | {
        "code": "import sys\nimport os.path\ndef size(x):\n  return sys.getsizeof(x)",
        "test_list": ["assert size(()) == sys.getsizeof(())"],
    }
    (task,) = tasks_from_rows([row])
    assert task.prelude == "import math\nimport sys"


def test_files(tmp_path):
    import datasets

    path = write_jsonl(tmp_path / "t.jsonl", [CANONICAL, CANONICAL | {"task_id": "b"}])
    tasks = load_tasks(path)
    assert [task.task_id for task in tasks] == ["a", "b"]
    assert load_tasks(str(path), limit=1) == tasks[:1]
    datasets.Dataset.from_list([task.to_row() for task in tasks]).to_parquet(tmp_path / "t.parquet")
    assert load_tasks(tmp_path / "t.parquet") == tasks
    dataset = datasets.Dataset.from_list([CANONICAL])
    assert load_tasks(dataset) == tasks[:1]


BAD = [
    ({"tests": []}, "any program would pass an empty list"),
    ({"tests": None}, "give a list of assertions"),
    ({"tests": ["import math"]}, "'tests'"),
    ({"tests": ["assert add(1, 2 == 3"]}, "must be Python source"),
    ({"tests": [3]}, "must be Python source"),
    ({"tests": "not json"}, "must be JSON"),
    ({"tests": {"entry_point": "add", "inputs": [], "outputs": []}}, "non-empty list of argument lists"),
    ({"tests": {"entry_point": "add", "inputs": [[1]], "outputs": []}}, "a list of 1 value,"),
    ({"tests": {"entry_point": "add", "inputs": [1], "outputs": [1]}}, "the list of arguments of one call"),
    ({"tests": {"entry_point": "no name", "inputs": [[1]], "outputs": [1]}}, "the name of the function"),
    ({"tests": {"stdin": [], "stdout": []}}, "non-empty list of texts"),
    ({"tests": {"stdin": ["1"], "stdout": ["1", "2"]}}, "a list of 1 texts"),
    ({"tests": {"stdin": [1], "stdout": ["1"]}}, "must hold texts"),
    ({"signature": "x = 1"}, "one open def line"),
    ({"signature": None}, "function tests need one"),
    ({"signature": 3}, "must be a text or null"),
    ({"description": ""}, "must be a non-empty text"),
    ({"description": None}, "must be a non-empty text"),
    ({"task_id": ""}, "must be a non-empty text or a whole number"),
    ({"task_id": True}, "must be a non-empty text or a whole number"),
]


@pytest.mark.parametrize(("change", "cure"), BAD)
def test_a_malformed_row_is_named_by_file_line_field_value_and_cure(tmp_path, change, cure):
    path = write_jsonl(tmp_path / "t.jsonl", [CANONICAL, CANONICAL | {"task_id": "b"} | change])
    (field,) = change
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    message = str(caught.value)
    assert f"{path}, line 2" in message
    assert f"'{field}'" in message
    assert cure in message
    assert "\n" not in message or field == "tests"


def test_other_mistakes(tmp_path):
    with pytest.raises(TaskError, match="line 1: not JSON"):
        load_tasks(_text(tmp_path, "{"))
    with pytest.raises(TaskError, match="line 1: '3' is not a JSON object"):
        load_tasks(_text(tmp_path, "3"))
    with pytest.raises(TaskError, match="holds no tasks"):
        load_tasks(_text(tmp_path, ""))
    with pytest.raises(TaskError, match="do not match a known format"):
        load_tasks(_text(tmp_path, '{"question": 1}'))
    with pytest.raises(TaskError, match="occurs twice"):
        load_tasks(write_jsonl(tmp_path / "t.jsonl", [CANONICAL, CANONICAL]))
    with pytest.raises(TaskError, match="no such file"):
        load_tasks(tmp_path / "absent.jsonl")
    with pytest.raises(TaskError, match="no such file"):
        load_tasks(tmp_path / "absent.parquet")
    with pytest.raises(TaskError, match="not a Parquet file"):
        load_tasks(_text(tmp_path, "x", "t.parquet"))
    with pytest.raises(TaskError, match=r"\.jsonl, \.json, \.parquet, \.csv"):
        load_tasks(_text(tmp_path, "x", "t.txt"))
    with pytest.raises(TaskError, match="occurs twice"):
        tasks_from_rows([tasks_from_rows([CANONICAL])[0]] * 2)


def _text(folder, text, name="x.jsonl"):
    path = folder / name
    path.write_text(text)
    return path


def test_hidden_tests_must_fit_the_others():
    hidden = {"entry_point": "add", "inputs": [[1, 2]], "outputs": [3]}
    with pytest.raises(TaskError, match="must be of the same kind as 'tests', 'assert'"):
        tasks_from_rows([CANONICAL | {"hidden_tests": hidden}])
    (task,) = tasks_from_rows([CANONICAL | {"hidden_tests": ["assert add(2, 2) == 4"]}])
    assert task.all_tests.num_tests == 2
    assert task.tests.num_tests == 1
    other = AssertTests("assert add(1, 1) == 2", entry_point="add", pass_by="reference")
    with pytest.raises(TaskError, match="entry point and settings as 'tests'"):
        Task("a", "d", task.tests, signature="def add(a, b):", hidden_tests=other)


def test_a_fingerprint_depends_on_the_content_and_not_on_the_order():
    one, two = tasks_from_rows([CANONICAL, CANONICAL | {"task_id": "b"}])
    assert fingerprint([one, two]) == fingerprint([two, one])
    assert len({fingerprint(tasks) for tasks in ([one], [two], [one, two], [])}) == 4
    (other,) = tasks_from_rows([CANONICAL | {"tests": ["assert add(1, 2) != 4"]}])
    assert fingerprint([other]) != fingerprint([one])


def test_a_task_and_its_tests_have_one_language():
    python = StdioTests([Case(stdin="1", stdout="2")])
    cpp = StdioTests([Case(stdin="1", stdout="2")], language="cpp")
    assert Task("a", "Print.", cpp).language == "cpp"
    assert Task("a", "Print.", cpp, language="cpp") == Task("a", "Print.", cpp)
    assert Task("a", "Print.", None).language == "python"
    with pytest.raises(
        TaskError, match=r"task 'a': field 'language': 'cpp': its tests are for programs in python; give"
    ):
        Task("a", "Print.", python, language="cpp")
    with pytest.raises(TaskError, match=r"'cpp': only tests with 'stdin' and 'stdout' can test"):
        Task("a", "Add.", AssertTests("assert add(1, 2) == 3"), "def add(a, b):", language="cpp")
