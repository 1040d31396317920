"""References that fail their own tests are found once, and a run uses none of them."""

from __future__ import annotations

from dataclasses import replace

from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import REFERENCES, TinyRun, measured_tasks, training_tasks
from trl_gift.sandbox import AssertTests, LocalSandbox, Status
from trl_gift.tasks import Task
from trl_gift.tasks.references import check_references, settled, with_readings
from trl_gift.tasks.task import Reading

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
        failing = check_references(tasks, sandbox).failing
    assert set(failing) == {"wrong", "broken"}
    assert failing["wrong"].startswith("failed: assert add(1, 2) == 3")
    assert failing["broken"].startswith("syntax_error")


def test_a_sandbox_that_fails_says_nothing_about_a_reference():
    task = Task("a", "Add.", SUM, "def add(a, b):", "def add(a, b):\n    return 99")
    assert check_references([task], InstantSandbox(lambda program, tests: Status.INFRASTRUCTURE)).failing == {}


def test_a_run_neither_trains_on_them_nor_reads_them(tmp_path, tokenizer, capsys):
    def judge(program, tests):
        return program in REFERENCES[2:]  # no sampled program passes, so chains read references

    run = TinyRun(tmp_path, tokenizer, judge=judge, num_rounds=1)
    assert set(run.read("references.json")["failing"]) == {"s0", "s1"}
    line = next(line for line in capsys.readouterr().err.splitlines() if "references fail" in line)
    assert line.startswith("2 of 4 references fail their own tests and are not trained on, not read and not shown.")
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


def in_readings(task, *programs):
    """A task whose row holds several solutions."""
    return replace(task, reference=programs[0], readings=tuple(Reading(program) for program in programs))


def test_the_first_reading_that_passes_is_the_right_one():
    plain = training_tasks()[0]
    several = in_readings(plain, "a", "b", "c", "d")
    ran = InstantSandbox(lambda program, tests: program in "cd")
    checked = check_references([replace(several, task_id="several"), replace(plain, task_id="plain")], ran)
    assert checked.readings == {"several": 2}
    assert set(checked.failing) == {"plain"}
    assert [program for program, _ in ran.submitted] == ["a", REFERENCES[0], "b", "c"]
    (chosen,) = with_readings([several], {"s0": 2})
    assert (chosen.reference, chosen.readings) == ("c", ())


def test_without_a_reading_that_passes_a_row_stays_as_it_is_read():
    several = in_readings(training_tasks()[0], "a", "b")
    for verdict in (Status.FAILED, Status.INFRASTRUCTURE):
        sandbox = InstantSandbox(lambda program, tests, verdict=verdict: verdict)
        assert set(check_references([several], sandbox).failing) == ({"s0"} if verdict is Status.FAILED else set())
        (task,) = settled([several], sandbox)
        assert (task.reference, task.readings) == ("a", ())


def test_a_run_decides_once_and_keeps_it_on_record(tmp_path, tokenizer):
    tasks = [in_readings(task, "wrong", str(task.reference)) for task in training_tasks()]
    measured = [in_readings(task, "wrong", "right") for task in measured_tasks()]
    ran = TinyRun(tmp_path, tokenizer, measured, lambda program, tests: program != "wrong", tasks=tasks, num_rounds=1)
    record = ran.read("references.json")
    assert (record["failing"], record["readings"]) == ({}, dict.fromkeys(("s0", "s1", "s2", "s3"), 1))
    assert [task.reference for task in ran.trainer.tasks] == list(REFERENCES)
    programs = [program for program, _ in ran.sandbox.submitted]
    # Once for the training tasks; once for the measured ones, though they are measured twice.
    assert (programs.count("wrong"), programs.count("right")) == (7, 3)
    before = len(ran.sandbox.submitted)
    ran.trainer.train(resume_from_checkpoint=True)
    assert len(ran.sandbox.submitted) == before
    assert [task.reference for task in ran.trainer.tasks] == list(REFERENCES)
