"""A dataset on the Hub that is made of files on this machine: created, then filled by one commit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from trl_gift.errors import ConfigError
from trl_gift.hub.failures import HUB_ERRORS, UPLOAD_ERRORS, reason


def create_dataset(repository: str, private: bool | None, kept: Path) -> str:
    """Creates a dataset unless it exists.

    Args:
        repository: Its name.
        private: Whether a new dataset is private; by the settings of its owner if None.
        kept: What is written on this machine, for the error.

    Returns:
        The full name of the dataset.

    Raises:
        ConfigError: if the Hub refuses, or cannot be reached.
    """
    try:
        return str(HfApi().create_repo(repository, repo_type="dataset", exist_ok=True, private=private).repo_id)
    except HUB_ERRORS as error:
        raise ConfigError(
            f"cannot create the dataset {repository!r} on the Hub: {reason(error)} {kept} is written; log in with "
            "`hf auth login` or choose another name, and upload it."
        ) from error


def fill_dataset(name: str, files: Mapping[str, Path | bytes], message: str, kept: Path, upload: str) -> None:
    """Commits files to a dataset.

    Args:
        name: Its full name.
        files: What to commit, by the path in the dataset.
        message: Of the commit.
        kept: What is written on this machine, for the error.
        upload: Arguments of `hf upload` that come after the name, for the error.

    Raises:
        ConfigError: if the Hub refuses, or cannot be reached.
    """
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    try:
        HfApi().create_commit(name, operations, commit_message=message, repo_type="dataset")
    except UPLOAD_ERRORS as error:
        raise ConfigError(
            f"cannot push to the dataset {name!r} on the Hub: {reason(error)} {kept} is written; upload it with "
            f"`hf upload {name} {upload} --repo-type dataset`."
        ) from error
