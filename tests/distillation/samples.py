"""Samples of one small task, made by hand: what a sampler and a teacher have left."""

from __future__ import annotations

from trl_gift.sampling.records import CHAIN, NO_CODE, CodeSample
from trl_gift.sandbox import AssertTests, Outcome, Status
from trl_gift.tasks import Task

TESTS = AssertTests("assert add(1, 2) == 3\nassert add(2, 2) == 4", entry_point="add")
HIDDEN = AssertTests("assert add(5, 5) == 10", entry_point="add")
RIGHT = "def add(a, b):\n    return a + b"


def task(name, hidden=None):
    return Task(name, f"Add for {name}.", TESTS, signature="def add(a, b):", hidden_tests=hidden)


def sample(
    task_id, step=0, index=0, code=RIGHT, fails=None, kind=CHAIN, parent=None, round_index=1, message="it returned 0"
):
    """A sample that passes, or that fails the test with the index `fails`; one without a program if `code` is None."""
    outcome = Outcome(Status.PASSED) if fails is None else Outcome(Status.FAILED, (), fails, message)
    status = NO_CODE if code is None else str(outcome.status)
    record = {**outcome.to_dict(), "status": status, "results": []}
    return CodeSample(
        task_id=task_id, round=round_index, step=step, index=index, parent=parent, sampler="conditional", hint=None,
        description="", description_tokens=0, description_tries=0, description_leaks=0, read_reference=False, prompt_hash="",
        completion="", code=code, target=None if code is None else code.partition("\n")[2], no_code_kind=None, no_code_reason=None,
        token_ids=(1, 2, 3), finish_reason="eos", logprob_sum=-1.0, num_scored=3, scored=False, status=status,
        outcome=None if code is None else record, continues=fails is None, model_hash="", seed=0, created=0.0, kind=kind,
    )  # fmt: skip
