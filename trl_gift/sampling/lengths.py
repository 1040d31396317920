"""Whether prompts and completions fit into the positions of a model.

A model writes nonsense after its last position, or fails there; what cannot fit is left out before anything is generated.
"""

from __future__ import annotations

from collections.abc import Sequence

from trl_gift.common.words import agree, plural
from trl_gift.errors import ConfigError
from trl_gift.prompts import PromptFormat
from trl_gift.tasks import Task

DEFAULT_LENGTH = 512
"""`max_completion_length` for a model with room for it, in tokens."""


def default_length(positions: int | None) -> int:
    """The default of `max_completion_length` for a model: half of its positions at most, so that prompts have room."""
    return DEFAULT_LENGTH if positions is None else min(DEFAULT_LENGTH, positions // 2)


def fitting(
    tasks: Sequence[Task], prompts: PromptFormat, max_completion_length: int, positions: int | None
) -> tuple[list[Task], list[Task]]:
    """The tasks whose prompt leaves room for a whole completion, and the others.

    Args:
        tasks: The tasks.
        prompts: How the model is asked.
        max_completion_length: Largest number of tokens of a completion.
        positions: What `trl_gift.generation.positions.positions_of` gave, or fewer that a server takes.

    Raises:
        ConfigError: if no prompt leaves room.
    """
    if positions is None or not tasks:
        return list(tasks), []
    lengths = [len(prompts.write(task, task.description).ids) for task in tasks]
    fit = [task for task, length in zip(tasks, lengths, strict=True) if length + max_completion_length <= positions]
    if not fit:
        room = positions - min(lengths)
        cure = f"give at most {room}" if room > 0 else "take another model"
        raise ConfigError(
            f"max_completion_length={max_completion_length} leaves no room for a prompt: the model has {positions} positions, "
            f"and the shortest prompt takes {plural(min(lengths), 'token')}; {cure}."
        )
    kept = {task.task_id for task in fit}
    return fit, [task for task in tasks if task.task_id not in kept]


def left_out_line(left_out: Sequence[str], total: int, kind: str, positions: int | None) -> str:
    """What was left out, in one line; empty if nothing was.

    Args:
        left_out: The `task_id` of each task that does not fit.
        total: Number of all tasks.
        kind: What the tasks are, in words.
        positions: As in `fitting`.
    """
    if not left_out:
        return ""
    names = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
    return (
        f"{len(left_out)} of {total:,} {kind} {agree(len(left_out), 'is', 'are')} left out ({names}): prompt and max_completion_length exceed the model's "
        f"{positions} positions. A smaller max_completion_length keeps them."
    )
