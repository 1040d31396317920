"""The private folders of programs: empty at the start, bounded, and gone for everybody else."""

from __future__ import annotations

import os

from trl_gift.sandbox import CallTests, Case, LocalSandbox
from trl_gift.sandbox.confine import folders

WRITER = """
import os
def f(kind):
    if kind == "files":
        for number in range(100_000):
            open(f"{number}", "w").close()
    if kind == "bytes":
        for number in range(100):
            with open(f"{number}", "wb") as file:
                file.write(bytes(1 << 20))
    if kind == "note":
        open(os.path.abspath("trl-gift-note"), "w").close()
        os.makedirs("a/b/c")
        os.mkdir("a/b/shut", 0)
    return sorted(os.listdir("."))
"""


def run(sandbox: LocalSandbox, kind: str, expected: object):
    return sandbox.run(WRITER, CallTests("f", [Case(args=(kind,), expected=expected)]))


def test_each_program_finds_an_empty_folder(sandbox):
    for _ in range(2):
        assert run(sandbox, "note", ["a", "trl-gift-note"]).passed
        assert not any(os.path.exists(f"{folder}/trl-gift-note") for folder in ("/tmp", "/scratch", "."))
        assert run(sandbox, "", []).passed


def test_size_and_number_of_files_are_bounded(sandbox):
    for kind in ("files", "bytes"):
        assert "OSError: [Errno 28] No space left on device" in run(sandbox, kind, None).message
        assert run(sandbox, "", []).passed


def test_folders_hide_nothing_that_programs_read():
    assert next(iter(folders.choose(["/usr/lib"]))) == "/tmp"
    assert next(iter(folders.choose(["/usr/lib", "/tmp/venv/lib"]))) == "/scratch"


def test_a_deep_tree_of_shut_folders_is_removed(tmp_path):
    for branch in "ab":
        path = tmp_path / branch
        for depth in range(15):
            path.mkdir()
            (path / f"file {depth}\n").write_text("x")
            path /= "d" * 200
    for folder, names, _ in os.walk(tmp_path, topdown=False):
        for name in names:
            os.chmod(os.path.join(folder, name), 0)
    folders.empty(str(tmp_path))
    assert os.listdir(tmp_path) == []
