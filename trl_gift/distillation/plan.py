"""Which tasks a teacher works on, in which order: first those that the student has solved least often.

A plan is a function of the samples of a round, so that every process makes the same one, and a resumed run makes it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from trl_gift.common.randomness import generator, stream_key
from trl_gift.sampling.budget import Turn
from trl_gift.sampling.context import ChainSettings
from trl_gift.sampling.hints import furthest
from trl_gift.sampling.records import CodeSample
from trl_gift.tasks import Task

UNSOLVED = ("inpd", "persd", "persd-refine", "persd-combined")
"""Distillations that only deal with tasks of which no sample has passed."""

SOLVING = ("stand", "inpd")
"""Distillations whose programs are written from the task alone."""


@dataclass(frozen=True, slots=True)
class TeachingSettings:
    """What a teacher is asked for.

    Attributes:
        distillation: `"repair"`, `"self-repair"`, or a set of Personalised Distillation.
        attempts: Failed programs of a task that are repaired; of a task that is solved anew, number of tries.
        turns: How often a failed program may be written again.
        budget: Tokens that the teacher writes in a round; None for any number.
    """

    distillation: str
    attempts: int = 1
    turns: int = 1
    budget: int | None = None

    @property
    def most(self) -> int:
        """Largest number of programs that are written for a task."""
        return self.attempts * (1 if self.distillation in SOLVING else self.turns)


@dataclass(frozen=True, slots=True)
class Job:
    """A task that a teacher works on.

    Attributes:
        task: The task.
        passes: Number of its samples that passed.
        failed: The failed programs to repair, in order; empty if the task is to be solved anew.
    """

    task: Task
    passes: int
    failed: tuple[CodeSample, ...] = ()


def plan_jobs(settings: TeachingSettings, tasks: Sequence[Task], samples: Iterable[CodeSample]) -> list[Job]:
    """The jobs of a round, in the order of the tasks.

    Args:
        settings: What the teacher is asked for.
        tasks: The tasks of all processes.
        samples: What the sampler drew in this round, by task.
    """
    drawn: Mapping[str, list[CodeSample]] = {
        task_id: list(group) for task_id, group in groupby(samples, key=lambda sample: sample.task_id)
    }
    jobs = []
    for task in tasks:
        tries = drawn.get(task.task_id, [])
        passes = sum(sample.passed for sample in tries)
        if settings.distillation in UNSOLVED and (passes or not tries):
            continue
        if settings.distillation in SOLVING:
            jobs.append(Job(task, passes))
        elif failed := furthest(task, tries, settings.attempts):
            jobs.append(Job(task, passes, tuple(failed)))
    return jobs


def turns_of(jobs: Sequence[Job], settings: TeachingSettings, chain: ChainSettings) -> list[Turn]:
    """All programs that could be asked for, in the order in which a budget grants them, numbered from 1 within a task.

    Args:
        jobs: The jobs of all processes.
        settings: What the teacher is asked for.
        chain: Seed and round.
    """
    keyed = []
    for job in jobs:
        name = job.task.task_id
        place = generator(stream_key(chain.seed, chain.round, name, "teacher's turn")).random()
        keyed += [(job.passes, number, place, name) for number in range(1, settings.most + 1)]
    return [(name, number) for _, number, _, name in sorted(keyed)]
