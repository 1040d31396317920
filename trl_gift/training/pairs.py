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
from trl_gift.training.targets import Target, Targets

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
    targets: Targets,
    max_length: int | None,
    train_on_references: bool,
    completion_only: bool = True,
    unfit: Container[Target] = (),
    lessons: Iterable[Lesson] = (),
) -> TrainingPairs:
    """The pairs of a round: each reference once, each selected sample as often as it was drawn, each lesson once.

    Edits multiply both: every draw of a program gives as many pairs as it has edit sequences.

    Args:
        tasks: The tasks of the run.
        selected: The selected samples, in order.
        targets: What is learned for a program.
        max_length: The most tokens of a pair; None for any number.
        train_on_references: Whether the tasks' references are learned, too.
        completion_only: Whether only the completion and the end token are learned, and not the prompt.
        unfit: Targets that must not be learned, as `failing_targets` finds them.
        lessons: The lessons of a teacher.
    """
    by_id: Mapping[str, Task] = {task.task_id: task for task in tasks}
    pairs: list[TrainingPair] = []
    too_long = num_unfit = 0

    def add(task: Task, texts: Sequence[str], wanted: int, asked: Prompt) -> None:
        nonlocal too_long, num_unfit
        num_unfit += wanted - len(texts)
        made: dict[str, TrainingPair] = {}
        for text in texts:
            if (task.task_id, text) in unfit:
                num_unfit += 1
                continue
            if text not in made:
                made[text] = _pair(asked, text, targets.prompts, completion_only)
            if _fits(made[text], max_length):
                pairs.append(made[text])
            else:
                too_long += 1

    def own(task: Task) -> Prompt:
        return targets.prompts.write(task, task.description)

    each = targets.num_edit_sequences or 1
    for task in tasks if train_on_references else ():
        if task.reference is not None:
            add(task, targets.of_reference(task), each, own(task))
    num_references = len(pairs)
    for item in selected:
        # Samples of tasks that are no longer in the dataset stay on record but are not trained on.
        if item.count and item.sample.task_id in by_id and item.sample.target is not None:
            task = by_id[item.sample.task_id]
            add(task, targets.of_sample(task, item), item.count * each, own(task))
    num_selected = len(pairs) - num_references
    for lesson in lessons:
        task = by_id[lesson.sample.task_id]
        texts = targets.of_sample(task, SelectedSample(lesson.sample, 1.0, 1))
        add(task, texts, each, lesson.prompt(task, targets.prompts))
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
