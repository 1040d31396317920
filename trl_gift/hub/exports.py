"""A data set that `trl-gift export` has made from a run: its card, on this machine or on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from trl_gift.hub.cards import render
from trl_gift.hub.dataset_repository import create_dataset, fill_dataset
from trl_gift.hub.files import CARD
from trl_gift.hub.names import hub_name


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What the card of an exported data set says.

    Attributes:
        kind: What it is for: `"dpo"`, `"kto"`, `"sft"`, `"reward"` or `"attempts"`.
        trainer: The trainer of TRL that takes it; empty if none does.
        format: `"text"` or `"conversational"`.
        rows: Number of rows.
        tasks: Number of tasks that have rows.
        tasks_of_run: Number of tasks of the run.
        passed: Number of distinct programs of the run that passed.
        failed: Number of distinct programs of the run that failed.
        left_out: Number of samples that are not among these programs, by the reason.
        model: The model that the run began with, as it was named there.
        verified: Whether the run executed its programs.
        pairs_per_task: The most pairs of a task, or programs with the same verdict; None for all.
        uses_per_program: In how many pairs a program may be.
        columns: The meaning of each column.
        whose: Who wrote the programs and what for, by `whose_programs`.
    """

    kind: str
    trainer: str
    format: str
    rows: int
    tasks: int
    tasks_of_run: int
    passed: int
    failed: int
    left_out: Mapping[str, int]
    model: str
    verified: bool
    pairs_per_task: int | None
    uses_per_program: int
    columns: Mapping[str, str]
    whose: str

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def write_export_card(folder: Path, facts: ExportFacts, name: str) -> None:
    """Writes the card of a data set into its folder.

    Args:
        folder: An existing folder.
        facts: What the card says.
        name: Name of the data set.
    """
    _card(facts, name, name).save(folder / CARD)


def push_export(folder: Path, repository: str, facts: ExportFacts, private: bool | None = None) -> str:
    """Pushes a data set that was written to a folder, with its card.

    Args:
        folder: The folder.
        repository: Name of the dataset on the Hub; it is created if it does not exist.
        facts: What the card says.
        private: Whether a new dataset is private; by the settings of its owner if None.

    Returns:
        The full name of the dataset.

    Raises:
        ConfigError: if the Hub refuses, or cannot be reached. The folder is kept.
    """
    name = create_dataset(repository, private, folder)
    files: dict[str, Path | bytes] = {
        str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.parquet")) if path.is_file()
    }
    files[CARD] = str(_card(facts, name.rpartition("/")[2], name)).encode()
    fill_dataset(name, files, "Programs of a run", folder, f"{folder} .")
    return name


def _card(facts: ExportFacts, name: str, repository: str) -> DatasetCard:
    # No licence: that of the texts follows from the tasks and the model, and is for their owners to state.
    data = DatasetCardData(
        pretty_name=name,
        task_categories=["text-generation"],
        tags=["code", "self-training", "synthetic", "trl", "trl-gift", facts.kind],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    )
    text = render(
        "export_card.md",
        card_data=data.to_yaml(),
        name=name,
        repository=repository,
        facts=facts,
        model=hub_name(facts.model),
    )
    return DatasetCard(text)
