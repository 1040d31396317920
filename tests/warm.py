"""Runs of `run_trainer.py` in processes forked from one that has imported everything, which takes ten seconds a time."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.run_trainer"])
_TIMEOUT_S = 300.0


def run_trainer(arguments: list[str], kill_after: float | None = None) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of the script with its output captured; killed after some seconds if it is to be."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        process = _CONTEXT.Process(target=_script, args=(arguments, paths))
        process.start()
        process.join(_TIMEOUT_S if kill_after is None else kill_after)
        if process.exitcode is None:
            process.kill()
            process.join()
            if kill_after is None:
                raise TimeoutError(f"{arguments} ran for longer than {_TIMEOUT_S} s")
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
