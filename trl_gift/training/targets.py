"""Targets that are not what passed: a run must not teach text that gives another program than the verified one.

The target of a program is the text that a model would write after its prompt. For a base model it is the body alone, so
helpers of the module move into the function; for a chat model it is the fenced program. What the same prompts take from
that text is usually the verified program itself. Where it is not, it is executed once before it is learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trl_gift.prompts import Extraction, PromptFormat
from trl_gift.sandbox import Sandbox
from trl_gift.tasks import Task
from trl_gift.training.selection import SelectedSample

Target = tuple[str, str]
"""A `task_id` and the text that would be learned for it."""


def failing_targets(
    tasks: Sequence[Task],
    selected: Iterable[SelectedSample],
    prompts: PromptFormat,
    sandbox: Sandbox,
    train_on_references: bool,
) -> dict[Target, str]:
    """Runs the program that each target gives, unless it is the verified program itself; equal ones run once.

    Args:
        tasks: The tasks, with references that pass.
        selected: The selected samples; those that were never drawn are passed over.
        prompts: The prompts of the model.
        sandbox: Runs the programs.
        train_on_references: Whether the references are learned, too.

    Returns:
        By target, why it fails. A program that could not be run for lack of a sandbox is not among them.
    """
    by_id = {task.task_id: task for task in tasks if task.tests is not None}
    verified: list[tuple[Task, str | None, str | None]] = []
    if train_on_references:
        verified += [(task, prompts.target(task, task.reference), task.reference) for task in by_id.values()
                     if task.reference is not None]  # fmt: skip
    verified += [(by_id[item.sample.task_id], item.sample.target, item.sample.code) for item in selected
                 if item.count and item.sample.task_id in by_id]  # fmt: skip
    failing: dict[Target, str] = {}
    jobs: dict[Target, str] = {}
    for task, target, code in verified:
        if target is None:
            continue
        found = prompts.extract(task, target)
        if not isinstance(found, Extraction):
            failing[task.task_id, target] = found.reason
        elif found.code != code:
            jobs[task.task_id, target] = found.code
    futures = sandbox.submit_all([(code, by_id[task_id].all_tests) for (task_id, _), code in jobs.items()])
    for name, future in zip(jobs, futures, strict=True):
        if why := future.result().failure:
            failing[name] = why
    return failing
