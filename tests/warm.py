"""Runs of `run_trainer.py` in processes forked from one that has imported everything, which takes ten seconds a time."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.run_trainer"])


def run_trainer(arguments: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of the script, with its output captured."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        process = _CONTEXT.Process(target=_script, args=(arguments, paths))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
        texts = []
        for path in paths:
            with open(path, encoding="utf-8") as file:
                texts.append(file.read())
    assert process.exitcode is not None
    return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _script(arguments: list[str], paths: list[str]) -> None:
    for number, path in enumerate(paths, 1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["run_trainer.py", *arguments]
    from tests import run_trainer

    run_trainer.main()
