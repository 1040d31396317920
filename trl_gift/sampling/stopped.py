"""On how many tasks a limit has stopped a teacher, on disk beside what it wrote: the programs alone do not show it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from trl_gift.common.files import write_json

BUDGET, MAX_COST = "teacher_budget", "teacher_max_cost"
"""The limits, by their options."""
_MARKS = "stopped-*.json"


def write_stopped(folder: Path, rank: int, tasks: Mapping[str, int]) -> None:
    """Records the tasks of one process; no file where no limit has stopped the teacher.

    Args:
        folder: The round's folder.
        rank: Index of the process.
        tasks: Number of tasks by limit.
    """
    if tasks:
        write_json(folder / _MARKS.replace("*", str(rank)), dict(tasks))


def read_stopped(folder: Path) -> dict[str, int]:
    """Number of tasks by limit, of all processes of a round."""
    total: Counter[str] = Counter()
    for path in sorted(folder.glob(_MARKS)):
        total.update(json.loads(path.read_text(encoding="utf-8")))
    return dict(total)


def forget_stopped(folder: Path) -> None:
    """Removes what a run has left that was killed; another number of processes has other shares."""
    for path in folder.glob(_MARKS):
        path.unlink()
