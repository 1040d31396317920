"""Commands in processes forked from one that has imported everything, which takes ten seconds a time."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.run_trainer", "trl_gift.cli.train"])
_TIMEOUT_S = 1800.0  # only what hangs takes so long
_POLL_S = 0.002


def run(
    module: str,
    arguments: Sequence[object],
    environment: Mapping[str, str] | None = None,
    kill_when: Callable[[], bool] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `python -m module` with its output captured.

    Args:
        module: Its `main` takes the arguments from `sys.argv`; what it returns is the exit code.
        arguments: The command line.
        environment: Variables besides those of the tests; what is read when a library is imported is read before.
        kill_when: Asked again and again while the process runs; the process is killed once this is true.
        cwd: The folder that it runs in; by default that of the tests.
    """
    command = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        for path in paths:
            open(path, "x").close()  # here, because it may be killed before it gets that far
        process = _CONTEXT.Process(
            target=_main, args=(module, command, dict(environment or {}), paths, cwd or os.getcwd())
        )
        process.start()
        if kill_when is not None:
            while process.exitcode is None and not kill_when():
                process.join(_POLL_S)
            process.kill()
        process.join(_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{command} ran for longer than {_TIMEOUT_S} s")
        texts = []
        for path in paths:
            with open(path, encoding="utf-8") as file:
                texts.append(file.read())
    assert process.exitcode is not None
    return subprocess.CompletedProcess(command, process.exitcode, *texts)


def _main(
    module: str, command: list[str], environment: dict[str, str], paths: list[str], cwd: str | os.PathLike[str]
) -> None:
    for number, path in enumerate(paths, 1):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [module, *command]
    sys.exit(importlib.import_module(module).main())
