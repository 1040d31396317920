"""Uploads in the background: folders of a run that are laid out, pushed one after the other, and removed."""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from trl_gift.errors import ConfigError
from trl_gift.hub.failures import UPLOAD_ERRORS, reason

logger = logging.getLogger(__name__)


class Uploads:
    """A queue of folders on their way to the Hub.

    Args:
        root: Where folders are laid out. It should be on the file system of the run's files, so that large files can
            be linked.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hub = HfApi()
        self._pending: list[tuple[str, Future[Any]]] = []

    @property
    def is_busy(self) -> bool:
        """Whether an upload is on its way."""
        return any(not upload.done() for _, upload in self._pending)

    def path(self, name: str) -> Path:
        """Where the folder `name` is laid out."""
        return self._root / name

    def new_folder(self, name: str) -> Path:
        """Makes an empty folder, to be filled and given to `start`."""
        folder = self.path(name)
        # While nothing is on its way, what lies there was left by a process that died.
        shutil.rmtree(folder if self._pending else self._root, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def start(
        self, folder: Path, repo_id: str, message: str | None, repo_type: str, token: str | None, revision: str | None
    ) -> Future[Any]:
        """Queues the upload of a folder, which is removed afterwards.

        Args:
            folder: What to upload, made by `new_folder`.
            repo_id: Full name of the repository.
            message: Message of the commit.
            repo_type: `"model"` or `"dataset"`.
            token: The token for the Hub; that of the login if None.
            revision: The branch, made if absent; the main branch if None.

        Returns:
            A future of the `CommitInfo`.
        """
        upload = self._hub.run_as_future(
            _upload_and_remove,
            self._hub,
            folder,
            repo_id=repo_id,
            repo_type=repo_type,
            commit_message=message,
            token=token,
            revision=revision,
        )
        self._pending.append((repo_id, upload))
        return upload

    def finish(self) -> None:
        """Waits for all uploads and warns about each that the Hub or the connection made fail."""
        for _, upload in self._take_finished():
            try:
                upload.result()
            except UPLOAD_ERRORS as error:
                logger.warning("a push to the Hub failed; push_to_hub() would repeat it: %s", error)

    def finish_or_raise(self) -> None:
        """Waits for all uploads.

        Raises:
            ConfigError: for the first that the Hub or the connection made fail.
        """
        for repo_id, upload in self._take_finished():
            try:
                upload.result()
            except UPLOAD_ERRORS as error:
                raise ConfigError(
                    f"cannot push to {repo_id!r} on the Hub: {reason(error)} Check the connection and that you may write "
                    "to it (`hf auth login`, hub_token), and call push_to_hub() again."
                ) from error

    def _take_finished(self) -> list[tuple[str, Future[Any]]]:
        wait([upload for _, upload in self._pending])
        finished, self._pending = self._pending, []
        return finished


def _upload_and_remove(hub: HfApi, folder: Path, *, revision: str | None, **where: Any) -> Any:
    try:
        if revision and not revision.startswith("refs/"):
            branch = {name: where[name] for name in ("repo_id", "repo_type", "token")}
            hub.create_branch(branch=revision, exist_ok=True, **branch)
        return hub.upload_folder(folder_path=folder, revision=revision, **where)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
