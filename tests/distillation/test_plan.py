"""Which tasks a teacher works on: those that were solved least often, and of their programs those that came furthest."""

from __future__ import annotations

import pytest

from tests.distillation.samples import HIDDEN, sample, task
from tests.support.worlds import settings as chain_settings
from trl_gift.distillation import TeachingSettings
from trl_gift.distillation.plan import plan_jobs, turns_of
from trl_gift.sampling.hints import hint_for, visible_failure

TASKS = [task("a"), task("b"), task("c"), task("d")]
SAMPLES = [
    *(sample("a", 0, 0), sample("a", 0, 1, "def add(a, b):\n    return a", 0)),
    *(sample("b", 0, 0, "def add(a, b):\n    return b", 0), sample("b", 0, 1, "def add(a, b):\n    return 3", 1)),
    *(sample("b", 1, 0, "def add(a, b):\n    return b # the same", 0), sample("b", 1, 1, None, 0)),
    *(sample("c", 0, 0), sample("c", 0, 1)),
    *(sample("d", 0, 0, None, 0), sample("d", 0, 1, None, 0)),
]


def jobs(distillation, attempts=1):
    found = plan_jobs(TeachingSettings(distillation, attempts), TASKS, SAMPLES)
    return {job.task.task_id: (job.passes, [failed.sample_id for failed in job.failed]) for job in found}


@pytest.mark.parametrize(
    ("distillation", "attempts", "expected"),
    [
        ("repair", 1, {"a": (1, ["1/a/0/1"]), "b": (0, ["1/b/0/1"])}),
        ("self-repair", 5, {"a": (1, ["1/a/0/1"]), "b": (0, ["1/b/0/1", "1/b/0/0"])}),
        ("persd", 1, {"b": (0, ["1/b/0/1"])}),
        ("persd-refine", 1, {"b": (0, ["1/b/0/1"])}),
        ("inpd", 1, {"b": (0, []), "d": (0, [])}),
        ("stand", 1, {"a": (1, []), "b": (0, []), "c": (2, []), "d": (0, [])}),
    ],
)
def test_the_tasks_of_each_distillation(distillation, attempts, expected):
    assert jobs(distillation, attempts) == expected


def test_tasks_with_few_passes_come_first_then_first_turns():
    settings = TeachingSettings("self-repair", attempts=2, turns=2)
    planned = plan_jobs(settings, TASKS, SAMPLES)
    order = turns_of(planned, settings, chain_settings())
    assert order == [("b", 1), ("b", 2), ("b", 3), ("b", 4), ("a", 1), ("a", 2), ("a", 3), ("a", 4)]
    equal = [task(name) for name in "pqrstuvw"]
    failed = [sample(one.task_id, code="def add(a, b):\n    return 0", fails=0) for one in equal]
    for seed in (0, 1):
        turns = turns_of(plan_jobs(settings, equal, failed), settings, chain_settings(seed=seed))
        assert [number for _, number in turns] == [1] * 8 + [2] * 8 + [3] * 8 + [4] * 8
        assert turns == turns_of(plan_jobs(settings, equal[::-1], failed), settings, chain_settings(seed=seed))
    assert turns != turns_of(plan_jobs(settings, equal, failed), settings, chain_settings(seed=2))


def test_a_failure_in_a_hidden_test_is_never_told():
    secretive = task("a", HIDDEN)
    seen = sample("a", code="def add(a, b):\n    return 3", fails=1, message="add(2, 2) returned 3")
    hidden = sample("a", code="def add(a, b):\n    return 4", fails=2, message="add(5, 5) returned 4, not 10")
    assert visible_failure(secretive, hidden) is None
    assert plan_jobs(TeachingSettings("repair"), [secretive], [hidden]) == []
    hint = hint_for("repair", secretive, [hidden, seen])
    assert (hint.code, hint.text) == (seen.code, "assert add(2, 2) == 4\nadd(2, 2) returned 3")
    assert hint_for("repair", secretive, [hidden]) is None
