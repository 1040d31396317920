"""Uploads in the background, without a Hub: their order, their folders and their failures."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from huggingface_hub.utils import httpx

from trl_gift import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.hub.repositories import Repositories
from trl_gift.hub.uploads import Uploads


class Service:
    """Stands for `HfApi.upload_folder`: remembers what it got, and fails with the next of `errors`."""

    def __init__(self):
        self.seen = []
        self.errors = []

    def upload(self, *, folder_path, repo_id, **where):
        self.seen.append((repo_id, sorted(path.name for path in folder_path.iterdir()), where["revision"]))
        if self.errors:
            raise self.errors.pop(0)
        return f"commit {len(self.seen)}"


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", service.upload)
    return service


def start(uploads, name, **options):
    folder = uploads.new_folder(name)
    (folder / f"{name}.txt").write_text(name)
    return uploads.start(folder, f"me/{name}", "message", "model", token=None, revision=None, **options)


def test_uploads_run_one_after_the_other_and_leave_no_folder(service, tmp_path):
    (tmp_path / "upload" / "of-a-dead-process").mkdir(parents=True)
    uploads = Uploads(tmp_path / "upload")
    futures = [start(uploads, name) for name in ("a", "b", "c")]
    uploads.finish_or_raise()
    assert [future.result() for future in futures] == ["commit 1", "commit 2", "commit 3"]
    assert service.seen == [(f"me/{name}", [f"{name}.txt"], None) for name in ("a", "b", "c")]
    assert not list((tmp_path / "upload").iterdir())
    assert not uploads.is_busy


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route"), OSError("disk"), ValueError("card"), RuntimeError("transfer")], ids=repr
)
def test_a_failed_upload_is_a_warning_or_an_error_in_one_line(service, tmp_path, caplog, error):
    uploads = Uploads(tmp_path / "upload")
    service.errors = [error]
    start(uploads, "a")
    start(uploads, "b")
    with caplog.at_level(logging.WARNING):
        uploads.finish()
    assert caplog.messages == [f"a push to the Hub failed; push_to_hub() would repeat it: {error}"]
    service.errors = [error]
    start(uploads, "c")
    with pytest.raises(ConfigError, match=f"cannot push to 'me/c' on the Hub: {error}. Check the connection") as told:
        uploads.finish_or_raise()
    assert told.value.__cause__ is error
    assert not list((tmp_path / "upload").iterdir())


def test_a_bug_is_not_a_failed_upload(service, tmp_path):
    uploads = Uploads(tmp_path / "upload")
    service.errors = [ZeroDivisionError()]
    start(uploads, "a")
    with pytest.raises(ZeroDivisionError):
        uploads.finish()
    service.errors = [ZeroDivisionError()]
    start(uploads, "b")
    with pytest.raises(ZeroDivisionError):
        uploads.finish_or_raise()


def test_a_repository_that_cannot_be_looked_at_is_told(monkeypatch, tmp_path):
    """The Hub may go away between two requests."""

    def refuse(*_, **__):
        raise httpx.ConnectError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *_, **__: SimpleNamespace(repo_id="me/x"))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    args = GiFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", push_samples=True)
    with pytest.raises(ConfigError, match=r"cannot read whether 'me/x' on the Hub is private: no route. Check"):
        Repositories(args).create(None, None)
