"""A dataset of edit sequences on the Hub: the file that `trl-gift lintseq` has written, and its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from trl_gift.hub.cards import render
from trl_gift.hub.dataset_repository import create_dataset, fill_dataset
from trl_gift.hub.files import CARD
from trl_gift.hub.names import dataset_hub_name
from trl_gift.lintseq import DIFF_TOKEN


def push_edit_sequences(
    file: Path, repository: str, source: str, facts: Mapping[str, Any], private: bool | None = None
) -> str:
    """Pushes a file of edit sequences, with a card.

    Args:
        file: The file.
        repository: Name of the dataset on the Hub; it is created if it does not exist.
        source: What the sequences were made from: a name on the Hub or a path, which the card does not show.
        facts: What the card says: the fields of `EditRows`, `rows`, `programs`, `sequences` and `written`.
        private: Whether a new dataset is private; by the settings of its owner if None.

    Returns:
        The full name of the dataset.

    Raises:
        ConfigError: if the Hub refuses, or cannot be reached. The file is kept.
    """
    name = create_dataset(repository, private, file)
    data = f"data/train{file.suffix}"
    origin = dataset_hub_name(source)
    card_data = DatasetCardData(
        pretty_name=name.rpartition("/")[2],
        task_categories=["text-generation"],
        tags=["code", "edits", "lintseq", "synthetic", "trl-gift"],
        source_datasets=[origin] if origin else None,
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": data}]}],
    )
    text = render(
        "edit_sequences_card.md",
        card_data=card_data.to_yaml(),
        name=name.rpartition("/")[2],
        repository=name,
        origin=origin,
        facts=facts,
        token=DIFF_TOKEN,
    )
    files: dict[str, Path | bytes] = {data: file, CARD: str(DatasetCard(text)).encode()}
    fill_dataset(name, files, "Edit sequences", file, f"{file} {data}")
    return name
