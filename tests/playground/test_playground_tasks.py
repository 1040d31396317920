"""The tasks: deterministic, decided by their assertions, passed by every idiom and by no mutant."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from trl_gift.errors import ConfigError
from trl_gift.playground import playground_tasks
from trl_gift.playground.tasks import (
    NUM_TASKS,
    TASK_LENGTHS,
    TASK_WORDINGS,
    _intentions,
    _task,
    mutants,
    task_intention,
)
from trl_gift.playground.world import behaviour, describe, signature, split_of, write_code

SPLITS = ("train", "validation", "test")


def cases(task):
    """Inputs and answers of a task, read from its assertions without running them."""
    for line in task.tests.source.splitlines():
        test = ast.parse(line).body[0].test
        yield ast.literal_eval(test.left.args[0]), ast.literal_eval(test.comparators[0])


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_are_the_same_every_time_and_a_limit_takes_the_first(split):
    some = playground_tasks(split, 20)
    for remembers in (_task, _intentions):
        remembers.cache_clear()
    assert some == playground_tasks(split, 20)
    assert some == playground_tasks(split, 30)[:20]
    assert len({task.task_id for task in some}) == 20
    assert all(task.reference is None for task in some)


def test_tasks_have_enough_and_varied_assertions():
    for split, count in zip(SPLITS, (100, 100, NUM_TASKS), strict=True):
        tasks = playground_tasks(split, None if count == NUM_TASKS else count)
        assert len(tasks) == count
        assert len({task.task_id for task in tasks}) == count
        assert all(5 <= len(task.tests.source.splitlines()) <= 8 for task in tasks)
        assert all(len({repr(answer) for _, answer in cases(task)}) >= 3 for task in tasks)
        assert all(any(values != answer for values, answer in cases(task)) for task in tasks)


@pytest.mark.parametrize("split", SPLITS)
def test_tasks_are_long_and_in_minority_wordings(split):
    seen = Counter()
    for number in range(NUM_TASKS):
        intention, wording = task_intention(split, number)
        seen[wording, len(intention.steps)] += 1
        assert split_of(intention) == split
    assert set(seen) == {(wording, length) for wording in TASK_WORDINGS for length in TASK_LENGTHS}
    assert min(seen.values()) >= 60


@pytest.mark.parametrize("split", SPLITS)
def test_assertions_tell_every_mutant(split):
    for number, task in enumerate(playground_tasks(split, 60)):
        intention, wording = task_intention(split, number)
        assert task.description == describe(intention, wording)
        assert task.signature == signature(intention)
        shown = list(cases(task))
        assert all(repr(intention.run(values)) == repr(answer) for values, answer in shown)
        for mutant in mutants(intention):
            if mutant.is_well_typed() and behaviour(mutant) != behaviour(intention):
                assert any(repr(mutant.run(values)) != repr(answer) for values, answer in shown)


def test_references_are_given_on_request_and_correct():
    for number, task in enumerate(playground_tasks("train", 40, with_reference=True)):
        intention, _ = task_intention("train", number)
        assert task.reference in {write_code(intention, idiom) for idiom in range(4)}


def test_every_idiom_passes_and_a_mutant_fails_in_the_sandbox(sandbox):
    for split in SPLITS:
        for number, task in enumerate(playground_tasks(split, 15)):
            intention, _ = task_intention(split, number)
            for idiom in range(4):
                assert sandbox.run(write_code(intention, idiom), task.tests).passed
            mutant = next(m for m in mutants(intention) if m.is_well_typed() and behaviour(m) != behaviour(intention))
            assert not sandbox.run(write_code(mutant, 0), task.tests).passed
            assert not sandbox.run(f"{task.signature}\n    return {task.signature[10:12]}", task.tests).passed


def test_unknown_split_and_limit_are_named():
    with pytest.raises(ConfigError, match="split='heldout' is unknown"):
        playground_tasks("heldout")
    with pytest.raises(ConfigError, match="split='practice' is unknown"):
        playground_tasks("practice")
    with pytest.raises(ConfigError, match="limit=0 is out of range"):
        playground_tasks("train", 0)
