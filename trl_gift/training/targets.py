"""Targets that are not what passed: a run must not teach text that gives another program than the verified one.

The target of a program is the text that a model would write after its prompt. For a base model it is the body alone, so
helpers of the module move into the function; for a chat model it is the fenced program. What the same prompts take from
that text is usually the verified program itself. Where it is not, it is executed once before it is learned.

With edits (`target_format="edits"`), each draw of a program has edit sequences of its own as targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trl_gift.prompts import EditPrompts, Extraction, PromptFormat
from trl_gift.sandbox import Sandbox
from trl_gift.tasks import Task
from trl_gift.training.edits import edit_targets
from trl_gift.training.selection import SelectedSample

Target = tuple[str, str]
"""A `task_id` and the text that would be learned for it."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The texts that are learned for verified programs.

    Attributes:
        prompts: The prompts of the model; `EditPrompts` for edit sequences.
        num_edit_sequences: Edit sequences of each draw of a program; 0 for whole programs.
        seed: The run's; edit sequences are drawn from it.
    """

    prompts: PromptFormat
    num_edit_sequences: int = 0
    seed: int = 0

    def of_reference(self, task: Task) -> tuple[str, ...]:
        """The targets of a task's reference; none if it has no target."""
        if task.reference is None:
            return ()
        if self.num_edit_sequences:
            code = self._edits.program(task, task.reference)
            return edit_targets(self._edits, task, code, self.num_edit_sequences, self.seed)
        target = self.prompts.target(task, task.reference)
        return () if target is None else (target,)

    def of_sample(self, task: Task, item: SelectedSample) -> tuple[str, ...]:
        """The targets of a selected sample, for all its draws; none if it was not drawn or has no target."""
        sample = item.sample
        if item.count == 0 or sample.code is None or sample.target is None:
            return ()
        if self.num_edit_sequences:
            return edit_targets(self._edits, task, sample.code, item.count * self.num_edit_sequences, self.seed)
        return (sample.target,) * item.count

    @property
    def _edits(self) -> EditPrompts:
        assert isinstance(self.prompts, EditPrompts), "the tokenizer has the token of edits"
        return self.prompts


def failing_targets(
    tasks: Sequence[Task],
    selected: Iterable[SelectedSample],
    targets: Targets,
    sandbox: Sandbox,
    train_on_references: bool,
) -> dict[Target, str]:
    """Runs the program that each target gives, unless it is the verified program itself; equal ones run once.

    Args:
        tasks: The tasks, with references that pass.
        selected: The selected samples; those that were never drawn are passed over.
        targets: What is learned.
        sandbox: Runs the programs.
        train_on_references: Whether the references are learned, too.

    Returns:
        By target, why it fails. A program that could not be run for lack of a sandbox is not among them.
    """
    by_id = {task.task_id: task for task in tasks if task.tests is not None}
    verified: list[tuple[Task, tuple[str, ...], str | None]] = []
    if train_on_references:
        verified += [(task, targets.of_reference(task), task.reference) for task in by_id.values()]
    verified += [(by_id[item.sample.task_id], targets.of_sample(by_id[item.sample.task_id], item), item.sample.code)
                 for item in selected if item.sample.task_id in by_id]  # fmt: skip
    failing: dict[Target, str] = {}
    jobs: dict[Target, str] = {}
    for task, texts, code in verified:
        for target in dict.fromkeys(texts):
            found = targets.prompts.extract(task, target)
            if not isinstance(found, Extraction):
                failing[task.task_id, target] = found.reason
            elif found.code != code:
                jobs[task.task_id, target] = found.code
    futures = sandbox.submit_all([(code, by_id[task_id].all_tests) for (task_id, _), code in jobs.items()])
    for name, future in zip(jobs, futures, strict=True):
        if why := future.result().failure:
            failing[name] = why
    return failing
