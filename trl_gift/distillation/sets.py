"""The sets of examples that are learned from what a teacher wrote.

Personalised Distillation (arXiv 2310.18628, section 3): `stand` are the teacher's own programs for all tasks, `inpd` those for
the tasks that the student failed; `persd` pairs a task with its rectified program; `persd-refine` pairs a task, the student's
wrong program and its failure with the rectified program; `persd-combined` is both. These five are all that is learned.

`repair` adds no example of its own: rectified programs join the pool from which the selection draws. `self-repair` adds to the
selection what repairing is: wrong programs with what is right instead, and programs that are right and stay as they are,
because repairs alone would teach to change what is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from trl_gift import codetext
from trl_gift.common.randomness import generator
from trl_gift.prompts import Prompt, PromptFormat
from trl_gift.sampling.hints import visible_failure
from trl_gift.sampling.records import CHAIN, REPAIR, SOLUTION, CodeSample
from trl_gift.tasks import Task

PROGRAM, REFINE, KEEP = "program", "refine", "keep"
"""Kinds of lessons: the program of a task; a wrong program with the right one; a right program that stays."""

SETS: Mapping[str, tuple[str, ...]] = {
    "repair": (),
    "stand": (PROGRAM,),
    "inpd": (PROGRAM,),
    "persd": (PROGRAM,),
    "persd-refine": (REFINE,),
    "persd-combined": (PROGRAM, REFINE),
    "self-repair": (REFINE, KEEP),
}
"""The kinds of lessons of each set."""

ALONE = ("stand", "inpd", "persd", "persd-refine", "persd-combined")
"""Sets that are learned in place of what the selection draws."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One example to learn: a prompt and a verified program.

    Attributes:
        kind: `"program"`, `"refine"` or `"keep"`.
        sample: Holds the program to write.
        shown: The program that the prompt shows; None if it shows the task alone.
        feedback: The failure of the program that is shown, in words; None if it is right.
    """

    kind: str
    sample: CodeSample
    shown: str | None = None
    feedback: str | None = None

    def prompt(self, task: Task, prompts: PromptFormat) -> Prompt:
        """What the model is asked."""
        if self.shown is None:
            return prompts.write(task, task.description)
        return prompts.refine(task, task.description, self.shown, self.feedback)


def lessons(
    name: str, rounds: Sequence[Iterator[CodeSample]], tasks: Sequence[Task], right_share: float, key: int
) -> list[Lesson]:
    """The lessons of a set, each once, in the order of rounds, tasks and steps.

    Args:
        name: One of `SETS`.
        rounds: The samples of each round that counts, by task and step.
        tasks: The tasks; samples of others are passed over.
        right_share: Share of programs that stay as they are among the lessons of `self-repair`, below 1.
        key: Key of their draw.
    """
    kinds = SETS[name]
    if not kinds:
        return []
    by_id = {task.task_id: task for task in tasks}
    found: list[Lesson] = []
    kept: dict[tuple[str, str], Lesson] = {}
    for task_id, group in chain.from_iterable(
        groupby(samples, key=lambda sample: sample.task_id) for samples in rounds
    ):
        if task_id not in by_id:
            continue
        samples = list(group)
        found += _of_task(by_id[task_id], samples, kinds)
        if KEEP in kinds:
            for sample in samples:
                if sample.kind == CHAIN and sample.passed and sample.target is not None:
                    code = str(sample.code)
                    kept.setdefault((task_id, codetext.normalise(code)), Lesson(KEEP, sample, code))
    unique = list({(one.kind, one.sample.task_id, one.shown, one.sample.target): one for one in found}.values())
    if KEEP not in kinds:
        return unique
    right = list(kept.values())
    count = min(len(right), round(len(unique) * right_share / (1 - right_share)))
    places = sorted(generator(key).choice(len(right), size=count, replace=False)) if count else []
    return [*unique, *(right[int(place)] for place in places)]


def _of_task(task: Task, samples: Sequence[CodeSample], kinds: Sequence[str]) -> Iterator[Lesson]:
    """The lessons of what was written for one task in one round."""
    by_id = {sample.sample_id: sample for sample in samples}
    for sample in samples:
        if not sample.passed or sample.target is None or sample.kind == CHAIN:
            continue
        if PROGRAM in kinds and sample.kind in (SOLUTION, REPAIR):
            yield Lesson(PROGRAM, sample)
        if REFINE in kinds and sample.kind == REPAIR:
            wrong = sample
            while wrong.kind == REPAIR:  # the student's own program, whatever the turns between
                wrong = by_id[str(wrong.parent)]
            yield Lesson(REFINE, sample, str(wrong.code), visible_failure(task, wrong))
