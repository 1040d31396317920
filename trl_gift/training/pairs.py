"""Training pairs: the task's own description with a kept program, as token ids and labels.

A program is paired with the description of its **task**, not with the description that it was sampled from (GiFT, section
3.3).
The loss is on the completion and the end token only, unless the prompt is to be learned too. A pair that does not fit `max_length` is left out and counted: a
truncated pair would teach a broken program, or give NaN if all its labels are masked.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from trl_gift.distillation import Lesson
from trl_gift.prompts import Prompt, PromptFormat
from trl_gift.tasks import Task
from trl_gift.training.selection import SelectedSample
from trl_gift.training.targets import Target

IGNORED = -100
"""The label that the loss leaves out, as in PyTorch and transformers."""


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """One training example; `labels` has the length of `input_ids`, with -100 on what is not learned."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class TrainingPairs:
    """The examples of a round and what was left out.

    Attributes:
        pairs: The examples: the tasks' references first, then the selected samples, then the lessons of a teacher.
        num_references: How many are references.
        num_selected: How many are selected samples, repeated draws counted.
        num_too_long: How many did not fit `max_length`.
        num_unfit: How many have a target that gives no program, or one that fails.
        num_lessons: How many are lessons of a teacher.
    """

    pairs: list[TrainingPair]
    num_references: int
    num_selected: int
    num_too_long: int
    num_unfit: int
    num_lessons: int = 0

    def columns(self) -> dict[str, list[list[int]]]:
        """The pre-tokenised columns that `SFTTrainer` documents."""
        return {
            "input_ids": [pair.input_ids for pair in self.pairs],
            "labels": [pair.labels for pair in self.pairs],
        }


def training_pairs(
    tasks: Sequence[Task],
    selected: Iterable[SelectedSample],
    prompts: PromptFormat,
    max_length: int | None,
    train_on_references: bool,
    completion_only: bool = True,
    unfit: Container[Target] = (),
    lessons: Iterable[Lesson] = (),
) -> TrainingPairs:
    """The pairs of a round: each reference once, each selected sample as often as it was drawn, each lesson once.

    Args:
        tasks: The tasks of the run.
        selected: The selected samples, in order.
        prompts: The prompts of the model.
        max_length: The most tokens of a pair; None for any number.
        train_on_references: Whether the tasks' references are learned, too.
        completion_only: Whether only the completion and the end token are learned, and not the prompt.
        unfit: Targets that must not be learned, as `failing_targets` finds them.
        lessons: The lessons of a teacher.
    """
    by_id: Mapping[str, Task] = {task.task_id: task for task in tasks}
    pairs: list[TrainingPair] = []
    too_long = num_unfit = num_references = 0
    for task in tasks if train_on_references else ():
        if task.reference is None:
            continue
        target = prompts.target(task, task.reference)
        if target is None or (task.task_id, target) in unfit:
            num_unfit += 1
            continue
        pair = make_pair(task, target, prompts, completion_only)
        if _fits(pair, max_length):
            pairs.append(pair)
            num_references += 1
        else:
            too_long += 1
    for item in selected:
        # Samples of tasks that are no longer in the dataset stay on record but are not trained on.
        if item.count == 0 or item.sample.task_id not in by_id or item.sample.target is None:
            continue
        if (item.sample.task_id, item.sample.target) in unfit:
            num_unfit += item.count
            continue
        pair = make_pair(by_id[item.sample.task_id], item.sample.target, prompts, completion_only)
        if _fits(pair, max_length):
            pairs.extend([pair] * item.count)
        else:
            too_long += item.count
    num_selected = len(pairs) - num_references
    for lesson in lessons:
        task_id, target = lesson.sample.task_id, lesson.sample.target
        if target is None or (task_id, target) in unfit:
            num_unfit += 1
            continue
        pair = _pair(lesson.prompt(by_id[task_id], prompts), target, prompts, completion_only)
        if _fits(pair, max_length):
            pairs.append(pair)
        else:
            too_long += 1
    num_lessons = len(pairs) - num_references - num_selected
    return TrainingPairs(pairs, num_references, num_selected, too_long, num_unfit, num_lessons)


def make_pair(task: Task, target: str, prompts: PromptFormat, completion_only: bool = True) -> TrainingPair:
    """The prompt of `task` followed by `target` and the end token; only the latter two are learned, or all tokens."""
    return _pair(prompts.write(task, task.description), target, prompts, completion_only)


def _pair(asked: Prompt, target: str, prompts: PromptFormat, completion_only: bool) -> TrainingPair:
    prompt, completion = prompts.encode(asked, target)
    ids = [*prompt, *completion]
    return TrainingPair(ids, [IGNORED] * len(prompt) + completion if completion_only else ids)


def _fits(pair: TrainingPair, max_length: int | None) -> bool:
    return max_length is None or len(pair.input_ids) <= max_length
