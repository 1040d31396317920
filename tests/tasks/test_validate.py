from __future__ import annotations

import json

import pytest

from trl_gift.cli.main import main
from trl_gift.sandbox import LocalSandbox
from trl_gift.tasks import tasks_from_rows
from trl_gift.tasks.validate import validate


def row(task_id, reference, tests, signature="def f(x):"):
    return {"task_id": task_id, "description": "d", "signature": signature, "reference": reference, "tests": tests}


ROWS = [
    row("good", "def f(x):\n    return x + 1", ["assert f(1) == 2"]),
    row("wrong", "def f(x):\n    return x", ["assert f(1) == 2"]),
    row("broken", "def f(x):\n    return x +", ["assert f(1) == 2"]),
    row("empty", "def f(x):\n    return x + 1", ["assert f(1) != 5"]),
    row("echo", "def f(x):\n    return abs(x)", ["assert f(1) == 1", "assert f([2][0]) == 2"]),
    row("flaky", "import os\ndef f(x):\n    return x + 1 if os.urandom(1)[0] < 128 else 0", ["assert f(1) == 2"]),
    row("in place", "def f(x):\n    x.sort()", ["xs = [2, 1]\nf(xs)\nassert xs == [1, 2]"]),
    row("shared", "class A:\n    n = 2\ndef f(x):\n    return A()", ["assert f('ab').n == 2"]),
    row("no reference", None, ["assert f(1) == 2"]),
    row("calls", "def f(x):\n    return [x, x]", {"entry_point": "f", "inputs": [[1]], "outputs": [[1, 1]]}),
    row("stdio", "print(int(input()) + 1)", {"stdin": ["1"], "stdout": ["2"]}, signature=None),
    row("stdio echo", "print(input())", {"stdin": ["1"], "stdout": ["1"]}, signature=None),
]


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=2) as sandbox:
        yield sandbox


def test_every_reason(sandbox):
    tasks = tasks_from_rows(ROWS)
    seen = []
    # The flaky reference passes one run in two: 50 runs tell, but for one time in 10^14.
    result = validate(tasks, sandbox, runs=50, progress=seen.append)
    reasons = {item.task_id: item.reason for item in result.quarantined}
    assert [task.task_id for task in result.clean] == ["good", "in place", "no reference", "calls", "stdio"]
    assert result.by_reference == ("in place",)
    assert result.without_reference == ("no reference",)
    assert "does not pass (failed)" in reasons["wrong"]
    assert "syntax_error" in reasons["broken"]
    assert reasons["empty"] == "the tests are vacuous: an empty body passes"
    assert reasons["echo"] == "the tests are vacuous: an echo of the input passes"
    assert reasons["stdio echo"] == "the tests are vacuous: an echo of the input passes"
    assert reasons["flaky"].startswith("flaky: the reference passed")
    assert reasons["shared"].startswith("passes only with tests in the program's own interpreter")
    assert seen[-1] == len(seen)


def test_the_clean_set_passes_as_it_is_written(sandbox):
    # Without the flaky one, which a default of three runs lets through one time in eight.
    result = validate(tasks_from_rows([row for row in ROWS if row["task_id"] != "flaky"]), sandbox, allow_shared=True)
    assert result.shared == ("shared",)
    again = validate(result.clean, sandbox)
    assert [item.task_id for item in again.quarantined] == ["shared"]
    assert validate(result.clean, sandbox, allow_shared=True).shared == ("shared",)
    again = tasks_from_rows([task.to_row() for task in result.clean])
    for task in again:
        if task.reference is not None:
            outcome = sandbox.run(task.reference, task.tests)
            assert outcome.passed
            assert outcome.trusted == (task.task_id != "shared")


def test_command(tmp_path, capsys):
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(json.dumps(item) for item in ROWS[:4]))
    clean, report = tmp_path / "clean.jsonl", tmp_path / "report.json"
    assert main(["validate", str(path), "--json", "--output", str(clean), "--report", str(report)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["tasks"], summary["valid"]) == (4, 1)
    assert {item["task_id"] for item in summary["quarantined"]} == {"wrong", "broken", "empty"}
    lines = {item["task_id"]: number for number, item in enumerate(ROWS[:4], 1)}
    assert all(item["where"] == f"{path}, line {lines[item['task_id']]}" for item in summary["quarantined"])
    assert json.loads(report.read_text()) == summary
    assert [json.loads(line)["task_id"] for line in clean.read_text().splitlines()] == ["good"]
    assert main(["validate", str(path), "--output", str(clean), "--report", str(report)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 of 4 tasks is valid."
    assert said[-2:] == [f"{clean}: 1 valid task", f"{report}: this report as JSON"]
    assert f"  {path}, line {lines['wrong']}, task wrong: the reference" in "\n".join(said)
    assert main(["validate", str(tmp_path / "absent.jsonl")]) == 2


SWALLOWED = "def test_f():\n    try:\n        assert f(1) == 5\n    except Exception:\n        pass\n"
READ = [
    row("first", "def f(x):\n    return x + 1", ["assert f(1) == 2"]),
    row("again", "def f(x):\n    return 1 + x", ["assert f(1) == 2"]),
    row("other tests", "def f(x):\n    return x + 1", ["assert f(2) == 3"]),
    row("swallowed", "def f(x):\n    return x + 1", SWALLOWED),
    row("one swallowed", "def f(x):\n    return x + 1", f"{SWALLOWED}\ndef test_g():\n    assert f(1) == 2\n"),
    row("a tuple", "def f(x):\n    return x + 1", ["assert (f(1) == 3, 'm')", "assert f(1) == 2, 'm'"]),
    row("true", "def f(x):\n    return x + 1", ["def check(candidate):\n    assert True, 'm'\n    assert candidate(4) == 5"]),
    row("true alone", "def f(x):\n    return x + 1", ["def check(candidate):\n    candidate(1)\n    assert True"]),
    row("tuples in check", "def f(x):\n    return x + 1", ["def check(candidate):\n    assert (candidate(1) == 3, 'm')"]),
    row("async", "async def f(x):\n    return x + 1", {"entry_point": "f", "inputs": [[1]], "outputs": [2]}, "async def f(x):"),
    row("never mentioned", "def f(x):\n    return x + 1", ["assert sorted([2, 1]) == [1, 2]"]),
]  # fmt: skip


def test_what_reading_the_tests_tells(sandbox):
    result = validate(tasks_from_rows(READ), sandbox, runs=1)
    assert {item.task_id: item.reason for item in result.quarantined} == {
        "swallowed": "no assertion can fail, such as `assert f(1) == 5`",
        "true alone": "no assertion can fail, such as `assert True`",
        "tuples in check": "no assertion can fail, such as `assert (candidate(1) == 3, 'm')`",
        "async": "'f' is an 'async def', and the sandbox has no event loop",
        "never mentioned": "the tests never mention 'f'",
    }
    assert [task.task_id for task in result.clean] == [
        "first",
        "again",
        "other tests",
        "one swallowed",
        "a tuple",
        "true",
    ]
    assert {note.task_id: note.note for note in result.notes} == {
        "again": "repeats 'first': the same description and tests",
        "one swallowed": "1 of 2 assertions cannot fail, such as `assert f(1) == 5`",
        "a tuple": "1 of 2 assertions cannot fail, such as `assert (f(1) == 3, 'm')`",
    }


def test_a_class_is_noted(sandbox):
    text = "class TestA(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(A().n, 2)\n"
    task = {
        "task_id": "class",
        "description": "d",
        "reference": "class A:\n    n = 2",
        "tests": f"import unittest\n{text}",
    }
    result = validate(tasks_from_rows([task]), sandbox, runs=1, allow_shared=True)
    assert [(note.task_id, note.note) for note in result.notes] == [("class", "asks for a class, 'A'")]


def test_what_it_prints_holds_no_control_characters(tmp_path, capsys):
    path = tmp_path / "tasks.jsonl"
    path.write_text(
        json.dumps(row("a\x1b[2Jb", "def f(x):\n    raise ValueError('\x1b[31m\\nred')", ["assert f(1) == 2"]))
    )
    assert main(["validate", str(path), "--runs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "a\\x1b[2Jb: the reference does not pass" in printed
    assert "\x1b" not in printed
    assert len(printed.splitlines()) == 3


UNFIT = [
    ("global", "cnt = 0\ndef f(x):\n    global cnt\n    cnt = x + 1\n    return cnt", []),
    (
        "variable with the name of a helper",
        "def g(x):\n    return x\ndef h(x):\n    return g(x)\ndef f(x):\n    g = 1\n    return h(x) + g",
        ["a base model fails"],
    ),
    ("driver", "def f(x):\n    return x + 1\n\nprint(f(1))\nassert f(1) == 2", []),
    ("constant", "N = 1\ndef f(x, n=N):\n    return x + n", []),
    ("helper", "def g(x):\n    return x + 1\ndef f(x):\n    return g(x)", []),
    (
        "lambda",
        "f = lambda x: x + 1",
        ["no training target for a base model", "no training target for a chat model whose"],
    ),
]


@pytest.mark.parametrize(("reference", "notes"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_references_that_are_no_target(sandbox, reference, notes):
    """They pass their tests, but what a model would be trained to write does not."""
    row = {"task_id": "t", "description": "Add one.", "signature": "def f(x):", "tests": ["assert f(1) == 2"]}
    (task,) = tasks_from_rows(
        [{**row, "signature": None if "n=N" in reference else "def f(x):", "reference": reference}]
    )
    result = validate([task], sandbox, runs=1)
    assert [task.task_id for task in result.clean] == ["t"]
    assert len(result.notes) == len(notes)
    assert all(wanted in note.note for wanted, note in zip(notes, result.notes, strict=True))


@pytest.mark.parametrize("tests", ["for x in []:\n    assert f(x) == 2", "if False:\n    assert f(1) == 2"])
def test_tests_that_never_call_the_program_stay_out_in_every_mode(sandbox, tests):
    row = {
        "task_id": "t",
        "description": "Add one.",
        "signature": "def f(x):",
        "reference": "def f(x):\n    return x + 1",
    }
    result = validate(tasks_from_rows([{**row, "tests": tests}]), sandbox, runs=1, allow_shared=True)
    ((left_out,), clean) = result.quarantined, result.clean
    assert not clean
    assert "the tests never called the program" in left_out.reason
