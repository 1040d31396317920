"""The task of a run that the commands after it show as an example."""

from __future__ import annotations

from collections.abc import Sequence

from trl_gift.run.folder import RunFolder
from trl_gift.sampling.store import passed_tasks
from trl_gift.tasks import Task


def example_record(run: RunFolder, tasks: Sequence[Task]) -> dict[str, str | None]:
    """Description and signature of a task that reads well on a command line, if possible one that a sample has solved.

    Args:
        run: The run.
        tasks: Its tasks, of which there is at least one.
    """
    solved = {name for folder in run.sampled_rounds() for name in passed_tasks(folder)}
    found = min(tasks, key=lambda task: (task.task_id not in solved, _is_awkward(task), len(task.description)))
    return {"description": found.description, "signature": found.signature}


def _is_awkward(task: Task) -> bool:
    """Whether a shell would not show a task's description as it is, or a command would take it for an option."""
    return task.description.startswith("-") or bool(set("'\"\n") & set(task.description))
