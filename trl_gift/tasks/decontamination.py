"""Decontamination leaves out training tasks that overlap with the tasks on which the model is evaluated.

The result of a model that was trained on its evaluation tasks shows memory, not skill. A record says which training task
was left out, which task it repeats, the dataset of that task, and why. `trl_gift.tasks.overlap` defines overlap.
Near-duplicates among the training tasks are left out only on request.

The defaults, 8 words in a row and a share of 0.6, come from real and from synthetic tasks: among the short templated
descriptions of different programs in the playground no two reach 0.6, and a copied or slightly edited description has a
larger share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trl_gift.errors import TaskError
from trl_gift.tasks.loaders import load_tasks
from trl_gift.tasks.overlap import Overlap, find_near_duplicates, find_overlaps, without
from trl_gift.tasks.task import Task

TRAINING = "train_dataset"
"""How records call the training tasks."""

MEASURED = "eval_dataset"
_NAMED = {TRAINING: "other training tasks", MEASURED: "evaluation tasks"}
"""How records call the evaluation tasks."""


@dataclass(frozen=True, slots=True)
class CleaningSettings:
    """Which training tasks to leave out.

    Attributes:
        decontaminate: Whether to leave out tasks that overlap with the evaluation tasks or the benchmarks.
        against: Benchmarks: files, or names on the Hub, of which the split "test" is read.
        ngram: Length in words of the sequences by which descriptions are compared.
        threshold: The least share of common sequences that counts as overlap, between 0 and 1.
        near_duplicates: The least Jaccard index that counts as a repetition of another training task, between 0 and 1;
            None keeps repetitions.
    """

    decontaminate: bool = True
    against: tuple[str, ...] = ()
    ngram: int = 8
    threshold: float = 0.6
    near_duplicates: float | None = None


@dataclass(frozen=True, slots=True)
class Cleaning:
    """The result of decontamination.

    Attributes:
        kept: The training tasks to use.
        removed: The training tasks that are left out, each with the task that it repeats.
        compared: The number of tasks that they were compared with, by dataset.
        settings: The rule.
    """

    kept: tuple[Task, ...]
    removed: tuple[Overlap, ...]
    compared: Mapping[str, int]
    settings: CleaningSettings

    def record(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "settings": asdict(self.settings),
            "compared": dict(self.compared),
            "kept": len(self.kept),
            "removed": [asdict(overlap) for overlap in self.removed],
        }

    def line(self) -> str | None:
        """One line about the tasks that are left out, for people; None if all are kept."""
        if not self.removed:
            return None
        counts = Counter(overlap.source for overlap in self.removed)
        reasons = ", ".join(f"{count} with {_NAMED.get(source, source)}" for source, count in counts.items())
        first = ", ".join(f"{overlap.task_id} ~ {overlap.matched}" for overlap in self.removed[:3])
        more = ", …" if len(self.removed) > 3 else ""
        total = len(self.kept) + len(self.removed)
        if len(self.removed) == 1:  # of several: where no task is kept, `clean` raises
            return f"1 of {total:,} training tasks overlaps and is left out: {reasons} ({first})."
        return (
            f"{len(self.removed):,} of {total:,} training tasks overlap and are left out: {reasons} ({first}{more})."
        )


def clean(tasks: Sequence[Task], measured: Sequence[Task], settings: CleaningSettings) -> Cleaning:
    """Leaves out training tasks that overlap with evaluation tasks, benchmarks or, on request, other training tasks.

    Args:
        tasks: The training tasks.
        measured: The evaluation tasks.
        settings: The rule.

    Raises:
        TaskError: for a benchmark that cannot be read, or if no training task is left.
    """
    others: dict[str, Sequence[Task]] = {}
    if settings.decontaminate:
        others = {MEASURED: measured} if measured else {}
        others |= {name: _benchmark(name) for name in settings.against}
    removed = find_overlaps(tasks, others, settings.ngram, settings.threshold)
    kept = without(tasks, removed)
    if settings.near_duplicates is not None:
        repeated = find_near_duplicates(kept, settings.near_duplicates, TRAINING)
        kept, removed = without(kept, repeated), [*removed, *repeated]
    compared = {name: len(those) for name, those in others.items()}
    if not kept:
        raise TaskError(
            f"each of the training tasks ({len(tasks):,}) overlaps with {' or '.join(_NAMED.get(name, name) for name in others)} (the first: "
            f"{removed[0].task_id!r} with {removed[0].matched!r}, by its {removed[0].reason}); evaluate on other tasks, "
            "or set decontaminate=False."
        )
    return Cleaning(tuple(kept), tuple(removed), compared, settings)


def _benchmark(name: str) -> list[Task]:
    """The tasks that training tasks must not overlap with: the test split of a dataset, or all tasks of a file."""
    return load_tasks(name, None if Path(name).expanduser().is_file() else "test", skip_invalid=True)
