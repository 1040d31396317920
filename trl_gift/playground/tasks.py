"""The playground's tasks: long programs, described in the wordings that the model knows badly, with assertions as tests.

A split of `world.py` gives the intentions, drawn in a fixed order from a fixed seed, so a task never changes and a
larger `limit` only adds tasks. An intention becomes a task if every step matters: leaving out any one step changes the
answer to some probe. Its inputs are then chosen so that the assertions tell the program from its *mutants* — a step
left out, two neighbours swapped, a constant one off, another final, the input echoed — wherever any probe can.

Tasks have no reference by default, so that the gain of a run comes only from the model's own verified programs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from trl_gift.errors import ConfigError
from trl_gift.playground.operations import FINALS_TAKING, LETTERS
from trl_gift.playground.world import (
    SPLITS,
    Intention,
    Step,
    behaviour,
    describe,
    random_input,
    sample_idiom,
    sample_intention,
    signature,
    split_of,
    write_code,
)
from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task

NUM_TASKS = 400  # available in each split
MIN_ASSERTIONS, MAX_ASSERTIONS = 5, 8
TASK_LENGTHS = (4, 5)
TASK_WORDINGS = (1, 2, 3)
_CANDIDATE_INPUTS = 40
# The names that go into the random streams and the task ids. The splits had these names when the recorded runs were made;
# other names would draw other tasks, and change every sample and every fingerprint.
_STREAM_NAMES = {"train": "seeds", "validation": "validation", "test": "heldout"}


def playground_tasks(split: str, limit: int | None = None, with_reference: bool = False) -> list[Task]:
    """The tasks of a split; the same tasks every time.

    Args:
        split: `"train"` to train on, `"validation"` to choose settings, `"test"` for evaluation only.
        limit: The number of tasks, at most 400; None gives all.
        with_reference: Whether each task has a correct program, in an idiom that its wording suggests.

    Raises:
        ConfigError: for an unknown split, or a limit out of range.
    """
    if split not in SPLITS[1:]:
        raise ConfigError(f"split={split!r} is unknown; the playground has {', '.join(map(repr, SPLITS[1:]))}.")
    if limit is not None and not 1 <= limit <= NUM_TASKS:
        raise ConfigError(f"limit={limit!r} is out of range; the split {split!r} has {NUM_TASKS} tasks.")
    intentions = _intentions(split, NUM_TASKS if limit is None else limit)
    return [_task(split, number, intention, with_reference) for number, intention in enumerate(intentions)]


def task_intention(split: str, number: int) -> tuple[Intention, int]:
    """Intention and wording of a task: its exact meaning, which the model does not see."""
    return _intentions(split, NUM_TASKS)[number], _wording(number)


def _wording(number: int) -> int:
    return TASK_WORDINGS[number % len(TASK_WORDINGS)]


@cache
def _task(split: str, number: int, intention: Intention, with_reference: bool) -> Task:
    wording = _wording(number)
    rng = random.Random(f"task {_STREAM_NAMES[split]} {number}")
    assertions = _assertions(intention, rng)
    return Task(
        task_id=f"playground/{_STREAM_NAMES[split]}/{number:03d}",
        description=describe(intention, wording),
        tests=AssertTests("\n".join(assertions), entry_point="solve"),
        signature=signature(intention),
        reference=write_code(intention, sample_idiom(rng, wording)) if with_reference else None,
    )


@cache
def _intentions(split: str, count: int) -> tuple[Intention, ...]:
    rng = random.Random(f"tasks of {_STREAM_NAMES[split]}")
    found: dict[str, Intention] = {}
    while len(found) < count:
        intention = sample_intention(rng, TASK_LENGTHS[len(found) % len(TASK_LENGTHS)])
        if split_of(intention) == split and every_step_matters(intention):
            found.setdefault(behaviour(intention), intention)
    return tuple(found.values())


def every_step_matters(intention: Intention) -> bool:
    """Whether leaving out any one step changes the behaviour, and the answers vary."""
    own = behaviour(intention)
    shorter = (_without(intention, index) for index in range(len(intention.steps)))
    if any(mutant.is_well_typed() and behaviour(mutant) == own for mutant in shorter):
        return False
    rng = random.Random(own)
    return len({repr(intention.run(random_input(intention.element, rng))) for _ in range(12)}) >= 6


def mutants(intention: Intention) -> Iterator[Intention]:
    """Programs that are nearly the intended one; the assertions should distinguish them from it."""
    steps = intention.steps
    for index, step in enumerate(steps):
        yield _without(intention, index)
        if index + 1 < len(steps):
            yield replace(intention, steps=(*steps[:index], steps[index + 1], step, *steps[index + 2 :]))
        for constant in _neighbours(step.constant):
            yield replace(intention, steps=(*steps[:index], Step(step.kind, constant), *steps[index + 1 :]))
    for final in FINALS_TAKING[intention.elements[-1]]:
        if final.name != intention.final:
            yield replace(intention, final=final.name)


def _without(intention: Intention, index: int) -> Intention:
    return replace(intention, steps=(*intention.steps[:index], *intention.steps[index + 1 :]))


def _neighbours(constant: int | str | None) -> tuple[int | str, ...]:
    if isinstance(constant, int):
        return (constant - 1, constant + 1) if constant > 1 else (constant + 1,)
    if isinstance(constant, str):
        return tuple(letter for letter in LETTERS if letter != constant)
    return ()


def _assertions(intention: Intention, rng: random.Random) -> list[str]:
    """Assertions on inputs chosen greedily: each next one distinguishes the most of the remaining mutants."""
    inputs = [random_input(intention.element, rng) for _ in range(_CANDIDATE_INPUTS)]
    answers = [intention.run(values) for values in inputs]
    told: list[set[int]] = [set() for _ in inputs]
    for number, mutant in enumerate(mutants(intention)):
        if mutant.is_well_typed():
            for index, values in enumerate(inputs):
                if not _same(mutant.run(values), answers[index]):
                    told[index].add(number)
    chosen: list[int] = []
    left: set[int] = set().union(*told)
    while len(chosen) < MIN_ASSERTIONS or (left and len(chosen) < MAX_ASSERTIONS):
        seen = [answers[index] for index in chosen]
        best = max(
            (index for index in range(len(inputs)) if index not in chosen),
            # On equal counts: a new answer, an answer that is not the input, an answer that is not empty.
            key=lambda index: (
                len(told[index] & left),
                answers[index] not in seen,
                answers[index] != inputs[index],
                bool(answers[index]),
                -index,
            ),
        )
        chosen.append(best)
        left -= told[best]
    return [f"assert solve({inputs[index]!r}) == {answers[index]!r}" for index in chosen]


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
