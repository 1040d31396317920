"""Training pairs: the seed description with a kept code, as token ids and labels.

Whatever description a code was drawn from, it is paired with the **seed** description of its task (GiFT, section 3.3).
The loss is on the completion and the end token only. A pair that does not fit `max_length` is left out and counted: cut
short it would teach broken code, or, with all labels masked, nothing but NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trl_gift.prompts import PromptFormat
from trl_gift.tasks import Task
from trl_gift.training.selection import SelectedCode

IGNORED = -100
"""The label that the loss leaves out, as in PyTorch and transformers."""


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """One training example; `labels` has the length of `input_ids`, with -100 on the prompt."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class TrainingPairs:
    """The examples of a round and what was left out.

    Attributes:
        pairs: The examples: the seeds' references first, then the selected codes.
        num_references: How many are references.
        num_selected: How many are selected codes, repeated draws counted.
        num_too_long: How many did not fit `max_length`.
        num_unfit: References that cannot be written after the pinned signature.
    """

    pairs: list[TrainingPair]
    num_references: int
    num_selected: int
    num_too_long: int
    num_unfit: int

    def columns(self) -> dict[str, list[list[int]]]:
        """The pre-tokenised columns that `SFTTrainer` documents."""
        return {
            "input_ids": [pair.input_ids for pair in self.pairs],
            "labels": [pair.labels for pair in self.pairs],
        }


def training_pairs(
    tasks: Sequence[Task],
    selected: Iterable[SelectedCode],
    prompts: PromptFormat,
    max_length: int | None,
    train_on_references: bool,
) -> TrainingPairs:
    """The pairs of a round: each reference once, each selected code as often as it was drawn."""
    by_id: Mapping[str, Task] = {task.task_id: task for task in tasks}
    pairs: list[TrainingPair] = []
    too_long = unfit = num_references = 0
    for task in tasks if train_on_references else ():
        if task.reference is None:
            continue
        target = prompts.target(task, task.reference)
        if target is None:
            unfit += 1
            continue
        pair = make_pair(task, target, prompts)
        if _fits(pair, max_length):
            pairs.append(pair)
            num_references += 1
        else:
            too_long += 1
    for code in selected:
        # Samples of tasks that are no longer in the dataset stay on record but are not trained on.
        if code.count == 0 or code.sample.task_id not in by_id or code.sample.target is None:
            continue
        pair = make_pair(by_id[code.sample.task_id], code.sample.target, prompts)
        if _fits(pair, max_length):
            pairs.extend([pair] * code.count)
        else:
            too_long += code.count
    return TrainingPairs(pairs, num_references, len(pairs) - num_references, too_long, unfit)


def make_pair(task: Task, target: str, prompts: PromptFormat) -> TrainingPair:
    """The seed prompt of `task` followed by `target` and the end token; only the latter two are learned."""
    prompt = prompts.write(task, task.description)
    completion = prompts.encode_target(task, target)
    return TrainingPair([*prompt, *completion], [IGNORED] * len(prompt) + completion)


def _fits(pair: TrainingPair, max_length: int | None) -> bool:
    return max_length is None or len(pair.input_ids) <= max_length
