"""A sandbox that judges programs by a function of the test, at once and without running anything."""

from __future__ import annotations

from concurrent.futures import Future

from trl_gift.sandbox import Outcome, Status


class InstantSandbox:
    """Judges each program as soon as it is submitted.

    Args:
        judge: Maps a program and its tests to an `Outcome`, a `Status`, or whether the program passed.

    Attributes:
        submitted: Every program that was submitted, with its tests, in order.
    """

    isolation = "none"

    def __init__(self, judge=lambda program, tests: True):
        self.judge = judge
        self.submitted = []

    def submit_all(self, pairs):
        return [self.submit(program, tests) for program, tests in pairs]

    def submit(self, program, tests, *, limits=None, stop_at_first_failure=True):
        self.submitted.append((program, tests))
        verdict = self.judge(program, tests)
        if isinstance(verdict, bool):
            verdict = Status.PASSED if verdict else Status.FAILED
        future = Future()
        future.set_result(verdict if isinstance(verdict, Outcome) else Outcome(verdict))
        return future
