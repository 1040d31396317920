"""Tasks of functions as tasks of whole programs, and sets in languages whose tools are absent."""

from __future__ import annotations

import json

import pytest

from trl_gift import load_tasks
from trl_gift.cli.main import main
from trl_gift.errors import ConfigError, TaskError
from trl_gift.sandbox import LocalSandbox, ToolchainMissing, languages
from trl_gift.tasks.stdio import to_stdio

ADD = "def add(a, b):\n    return a + b"
ROWS = {
    "sum": (["assert add(1, 2) == 3", "assert add([1], [2.5]) == [1, 2.5]"], ADD),
    "calls": ({"entry_point": "add", "inputs": [["a", "b"]], "outputs": ["ab"]}, ADD),
    "pairs": (["assert pair(1) == (1, True)"], "def pair(x):\n    return x, True"),
    "computed": (["assert add(1, 2) == 1 + len('ab')"], ADD),
    "loose": (["assert abs(add(1, 2) - 3) < 1"], ADD),
    "set": (["assert unique([1]) == {1}"], "def unique(x):\n    return set(x)"),
    "key": (["assert count(1) == {1: 1}"], "def count(x):\n    return {x: 1}"),
    "wrong": (["assert add(1, 2) == 4"], ADD),
    "changed": (["assert add((1,), (2,)) == (1, 2)"], "def add(a, b):\n    return tuple(a) + (2,) if type(a) is tuple else 0"),
}  # fmt: skip
REASONS = {
    "computed": "a value in a test is not a literal",
    "loose": "a test is not a call with its result",
    "set": "JSON has no set",
    "key": "JSON has no keys but texts",
    "wrong": "the reference does not print the expected results (failed)",
    "changed": "the reference does not print the expected results (failed)",
}
NEXT = "import json\na, b = json.loads(input()), json.loads(input())\nprint(json.dumps({}))"


def rows():
    return [
        {"task_id": name, "description": "Do it.", "tests": tests, "reference": reference}
        for name, (tests, reference) in ROWS.items()
    ]


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=2) as sandbox:
        yield sandbox


def test_calls_with_literals_are_rewritten_and_the_others_counted(sandbox):
    result = to_stdio(load_tasks(rows()), sandbox)
    assert [task.task_id for task in result.tasks] == ["sum", "calls", "pairs"]
    assert {name: reason.partition(":")[0] for name, reason in result.left_out.items()} == REASONS
    task = result.tasks[0]
    assert [(case.stdin, case.stdout) for case in task.tests.cases] == [
        ("1\n2\n", "3\n"),
        ("[1]\n[2.5]\n", "[1, 2.5]\n"),
    ]
    assert "one line of JSON" in task.description
    assert load_tasks([task.to_row()]) == [task]
    for expression, passes in (
        ("a + b", True),
        ("a + b if a != 1 else 3.0", True),
        ("3", False),
        ("str(a + b)", False),
    ):
        assert sandbox.run(NEXT.format(expression), task.all_tests).passed is passes
    pair = result.tasks[2]
    assert sandbox.run("print('[1,true]')", pair.all_tests).passed
    assert not sandbox.run("print('[1,1]')", pair.all_tests).passed


def test_the_command_writes_tasks_of_another_language(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows()))
    assert main(["convert", "--to", "stdio", "tasks.jsonl", "-o", "new.jsonl", "--language", "js"]) == 0
    out = capsys.readouterr().out
    assert "3 of 9 tasks are written to new.jsonl." in out
    assert "left out, JSON has no set: 1 (set)" in out
    tasks = load_tasks("new.jsonl", require_tools=False)
    assert {task.language for task in tasks} == {"javascript"}
    assert tasks[0].reference is None
    assert main(["convert", "tasks.jsonl", "-o", "new.jsonl", "--language", "cobol"]) == 2
    assert "--language cobol: unknown; use one of python, bash" in capsys.readouterr().err


def test_a_language_whose_tool_is_absent_is_refused_at_load(tmp_path, monkeypatch):
    monkeypatch.setattr(languages, "_own", {})
    path = tmp_path / "moon.yaml"
    path.write_text("title: Moon\nsource: main.moon\nrun: [absent-tool, '{source}']\npackage: moon-tools\n")
    row = {"task_id": "a", "description": "Do it.", "tests": {"stdin": ["1"], "stdout": ["1"]}, "language": "Moon"}
    with pytest.raises(TaskError, match="its programs cannot be run; the sandbox runs python, bash"):
        load_tasks([row])
    with pytest.raises(
        TaskError, match=r"field 'language': 'moon': programs in Moon need absent-tool.*apt-get install moon-tools"
    ):
        load_tasks([row], language_file=path)
    with pytest.raises(ConfigError, match=r"absent\.yaml: the language file cannot be read"):
        load_tasks([row], language_file=[tmp_path / "absent.yaml"])
    good = {**row, "task_id": "b", "language": "python"}
    assert [task.task_id for task in load_tasks([row, good], skip_invalid=True)] == ["b"]
    assert [task.task_id for task in load_tasks([row, good], filter="language == 'python'")] == ["b"]
    (task,) = load_tasks([row], require_tools=False)
    with LocalSandbox(num_workers=1) as sandbox, pytest.raises(ToolchainMissing):
        sandbox.run("", task.all_tests)
