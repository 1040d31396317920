"""What counts as a program that failed: only what was executed and failed, once, and with one verdict."""

from __future__ import annotations

from tests.support.recorded_runs import STATUSES, RecordedRun
from trl_gift import codetext
from trl_gift.export.programs import ERROR_CLASSES, distinct_programs
from trl_gift.sampling.records import CodeSample
from trl_gift.sandbox import Status

RUN = RecordedRun()


def sample(status, code, step=0, index=0, task=0):
    record = RUN.sample(1, task, step, index, None).to_record()
    return CodeSample.from_record(
        record | {"status": status, "code": code, "target": code, "outcome": RUN.outcome(status)}
    )


def texts(programs):
    return [program.sample.code for program in programs]


def test_every_status_has_its_place():
    statuses = [*STATUSES, "infrastructure", "unverified"]
    assert {*statuses} == {*map(str, Status), "no_code", "copied", "unverified"}
    samples = [
        sample(status, None if status == "no_code" else f"x = {place}") for place, status in enumerate(statuses)
    ]
    found = distinct_programs(samples)
    (programs,) = found.by_task.values()
    assert texts(programs.passed) == ["x = 0"]
    assert [program.sample.status for program in programs.failed] == list(STATUSES[1:7])
    assert texts(programs.unverified) == ["x = 10"]
    assert found.left_out == {"no_code": 1, "copied": 1, "infrastructure": 1}
    classes = [ERROR_CLASSES[status] for status in STATUSES]
    assert classes == ["passed", "failed_test", "runtime_error", "runtime_error", "runtime_error", "runtime_error",
                       "compile_error", "no_program", "passed"]  # fmt: skip


def test_programs_that_differ_in_names_alone_count_once():
    first, again = "def f(a):\n    b = a\n    return b", "def f(x):\n    # the same\n    y = x\n    return y"
    assert codetext.normalise(first) == codetext.normalise(again)
    found = distinct_programs([sample("failed", first), sample("failed", again, step=2, index=1)])
    (program,) = next(iter(found.by_task.values())).failed
    assert (program.sample.code, program.places) == (first, {(1, 0), (1, 2)})
    assert program.sample.token_ids == ()
    assert found.left_out == {"repeated": 1}


def test_a_program_with_both_verdicts_is_neither():
    found = distinct_programs(
        [sample("passed", "x = 1"), sample("timeout", "x = 1", index=1), sample("failed", "x = 2")]
    )
    (programs,) = found.by_task.values()
    assert (texts(programs.passed), texts(programs.failed)) == ([], ["x = 2"])
    assert found.left_out == {"with both verdicts": 2}
