"""References that fail their own tests are found once, and a run uses none of them."""

from __future__ import annotations

from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import REFERENCES, TinyRun
from trl_gift.sandbox import AssertTests, LocalSandbox, Status
from trl_gift.tasks import Task
from trl_gift.tasks.references import failing_references

SUM = AssertTests("assert add(1, 2) == 3", entry_point="add")


def test_it_is_the_tests_that_tell():
    programs = {
        "right": "def add(a, b):\n    return a + b",
        "wrong": "def add(a, b):\n    return 99",
        "broken": "def add(a, b:",
        "none": None,
    }
    tasks = [Task(name, "Add.", SUM, "def add(a, b):", program) for name, program in programs.items()]
    tasks.append(Task("untested", "Add.", None, "def add(a, b):", programs["wrong"]))
    with LocalSandbox(num_workers=1) as sandbox:
        failing = failing_references(tasks, sandbox)
    assert set(failing) == {"wrong", "broken"}
    assert failing["wrong"].startswith("failed: assert add(1, 2) == 3")
    assert failing["broken"].startswith("syntax_error")


def test_a_sandbox_that_fails_says_nothing_about_a_reference():
    task = Task("a", "Add.", SUM, "def add(a, b):", "def add(a, b):\n    return 99")
    assert failing_references([task], InstantSandbox(lambda program, tests: Status.INFRASTRUCTURE)) == {}


def test_a_run_neither_trains_on_them_nor_reads_them(tmp_path, tokenizer, capsys):
    def judge(program, tests):
        return program in REFERENCES[2:]  # no sampled program passes, so chains read references

    run = TinyRun(tmp_path, tokenizer, judge=judge, num_rounds=1)
    assert set(run.read("references.json")["failing"]) == {"s0", "s1"}
    line = next(line for line in capsys.readouterr().err.splitlines() if "references fail" in line)
    assert line.startswith("2 of 4 references fail their own tests; they are not trained on, not read and not shown.")
    assert run.rounds[0]["references"] == 2
    parents = {sample.task_id: sample.parent for group in run.samples(1).values() for sample in group if sample.step}
    assert parents == {"s0": None, "s1": None, "s2": "reference", "s3": "reference"}
    shown = [run.text(request) for request in run.asked("describe")]
    assert shown
    assert not any(program in text for text in shown for program in REFERENCES[:2])


def test_a_resumed_run_does_not_run_them_again(tmp_path, tokenizer):
    run = TinyRun(tmp_path, tokenizer, num_rounds=1, judge=lambda program, tests: program != REFERENCES[0])
    assert set(run.read("references.json")["failing"]) == {"s0"}
    before = len(run.sandbox.submitted)
    run.trainer.train(resume_from_checkpoint=True)
    assert len(run.sandbox.submitted) == before
    assert [task.task_id for task in run.trainer.tasks if task.reference is None] == ["s0"]
