"""Names that may stand in public: what the Hub calls a model or a dataset, or None."""

from __future__ import annotations

import os
import re
from pathlib import Path

import datasets

from trl_gift.tasks import HUB_NAMES

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SNAPSHOT = re.compile(r"(?:^|/)(?:models|datasets)--([^/]+)/snapshots/")
_FILE_SUFFIXES = (".json", ".jsonl", ".parquet")


def hub_name(name_or_path: str | None) -> str | None:
    """The Hub's name for what was loaded from `name_or_path`; None for a local file or folder.

    Examples:
        ```python
        hub_name("Qwen/Qwen2.5-Coder-1.5B")  # the same
        hub_name("/cache/models--Qwen--Qwen2.5-Coder-1.5B/snapshots/8123")  # "Qwen/Qwen2.5-Coder-1.5B"
        hub_name("/data/my-model")  # None
        ```
    """
    if not name_or_path:
        return None
    cached = _SNAPSHOT.search(name_or_path)
    if cached:
        return cached[1].replace("--", "/", 1)
    is_local = name_or_path.endswith(_FILE_SUFFIXES) or Path(name_or_path).exists()
    return None if is_local or not _NAME.fullmatch(name_or_path) else name_or_path


def dataset_hub_name(name: str | None) -> str | None:
    """The Hub's name of a dataset as `load_tasks` takes it, without the revision; None for local files.

    Examples:
        ```python
        dataset_hub_name("mbpp")  # "google-research-datasets/mbpp"
        dataset_hub_name("org/tasks@v2")  # "org/tasks"
        dataset_hub_name("tasks.jsonl")  # None
        ```
    """
    name = name.partition("@")[0] if name else None
    return hub_name(HUB_NAMES[name][0] if name in HUB_NAMES else name)


def dataset_origin(dataset: object) -> str | None:
    """The name that a dataset was given by, or the Hub's name of a `datasets.Dataset`, by the folder of the cache with its rows."""
    if isinstance(dataset, str | os.PathLike):
        return str(dataset)
    if not isinstance(dataset, datasets.Dataset):
        return None
    folders = {part for file in dataset.cache_files for part in Path(file["filename"]).parts if "___" in part}
    return folders.pop().replace("___", "/", 1) if len(folders) == 1 else None
