"""Equal programs with equal tests are executed once, and what says nothing is asked again."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from tests.support.processes import BACKSTOP_S
from trl_gift.sampling.executions import SharedExecutions
from trl_gift.sandbox import AssertTests, Limits, LocalSandbox, Outcome, Status

ONE = AssertTests("assert f() == 1", entry_point="f")
TWO = AssertTests("assert f() == 2", entry_point="f")


class Slow:
    """A sandbox that answers when it is told to."""

    def __init__(self):
        self.asked = []

    def submit_all(self, pairs):
        futures = [Future() for _ in pairs]
        self.asked.extend((*pair, future) for pair, future in zip(pairs, futures, strict=True))
        return futures


def test_copies_wait_for_the_first_and_share_its_outcome():
    sandbox = Slow()
    executions = SharedExecutions(sandbox)
    futures = [*executions.submit_all([("p", ONE)] * 2), *executions.submit_all([("p", ONE)])]
    assert len(sandbox.asked) == executions.count == 1
    assert not any(future.done() for future in futures)
    outcome = Outcome(Status.PASSED)
    sandbox.asked[0][2].set_result(outcome)
    assert all(future.result(0) is outcome for future in futures)
    # Equal tests are the same tests, whichever object they are.
    (future,) = executions.submit_all([("p", AssertTests("assert f() == 1", entry_point="f"))])
    assert future.result(0) is outcome
    assert executions.count == 1


def test_other_programs_and_other_tests_are_executed():
    sandbox = Slow()
    executions = SharedExecutions(sandbox)
    executions.submit_all([("p", ONE), ("p", TWO), ("p ", ONE), ("\ud800", ONE)])
    assert executions.count == len(sandbox.asked) == 4


@pytest.mark.parametrize("status", list(Status))
def test_only_what_could_not_be_carried_out_is_tried_again(status):
    sandbox = Slow()
    executions = SharedExecutions(sandbox)
    executions.submit_all([("p", ONE)])
    sandbox.asked[0][2].set_result(Outcome(status))
    executions.submit_all([("p", ONE)])
    assert executions.count == (2 if status is Status.INFRASTRUCTURE else 1)


@pytest.mark.parametrize("end", ["cancel", "error"])
def test_what_was_given_up_is_tried_again(end):
    sandbox = Slow()
    executions = SharedExecutions(sandbox)
    (future,) = executions.submit_all([("p", ONE)])
    if end == "cancel":
        future.cancel()
    else:
        future.set_exception(OSError("gone"))
    (again,) = executions.submit_all([("p", ONE)])
    sandbox.asked[1][2].set_result(Outcome(Status.PASSED))
    assert again.result(0).passed


def test_the_longest_unused_are_forgotten():
    sandbox = Slow()
    executions = SharedExecutions(sandbox, remembered=2)
    for program in ("a", "b", "a", "c", "a"):
        executions.submit_all([(program, ONE)])
    assert executions.count == 3
    executions.submit_all([("b", ONE)])
    assert executions.count == 4


def test_a_real_sandbox_gives_each_program_its_own_verdict():
    with LocalSandbox(num_workers=1, limits=Limits(cpu_s=2, wall_s=BACKSTOP_S)) as sandbox:
        executions = SharedExecutions(sandbox)
        programs = [f"def f():\n    return {number}\n" for number in (1, 2, 1, 2, 2)]
        outcomes = [
            future.result(BACKSTOP_S) for future in executions.submit_all([(program, ONE) for program in programs])
        ]
    assert [outcome.passed for outcome in outcomes] == [True, False, True, False, False]
    assert executions.count == 2
