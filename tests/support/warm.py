"""Commands in processes forked from one that has imported everything, which takes ten seconds a time."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.run_trainer", "trl_gift.cli.train", "tests.support.frozen"])
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
    with tempfile.TemporaryDirectory() as folder:
        process = _start(module, arguments, environment or {}, folder, cwd)
        if kill_when is not None:
            while process.exitcode is None and not kill_when():
                process.join(_POLL_S)
            process.kill()
        _wait_for([process])
        return _completed(process, arguments, folder)


def run_together(
    module: str, arguments: Sequence[object], processes: int = 2
) -> list[subprocess.CompletedProcess[str]]:
    """The same command in several processes that train as one, as torchrun starts them; its launcher takes long itself.

    Once one of them fails, the others are killed, because they would wait for it.
    """
    from torch.distributed import TCPStore

    # As torchrun's agent, this process holds the port where they meet: no other program can take it before they do.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": store.host,
        "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(processes)]
        started = [
            _start(module, arguments, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, folder)
            for rank, folder in enumerate(folders)
        ]
        _wait_for(started)
        return [_completed(process, arguments, folder) for process, folder in zip(started, folders, strict=True)]


def _start(
    module: str,
    arguments: Sequence[object],
    environment: Mapping[str, str],
    folder: str,
    cwd: str | os.PathLike[str] | None = None,
) -> BaseProcess:
    paths = _outputs(folder)
    for path in paths:
        open(path, "x").close()  # here, because it may be killed before it gets that far
    command = [str(argument) for argument in arguments]
    process = _CONTEXT.Process(target=_main, args=(module, command, dict(environment), paths, cwd or os.getcwd()))
    process.start()
    return process


def _wait_for(processes: Sequence[BaseProcess]) -> None:
    """Until all have ended; one that fails ends the others."""
    left = list(processes)
    while left:
        ended = wait([process.sentinel for process in left], _TIMEOUT_S)
        for process in left:
            if process.sentinel in ended:
                process.join()
        if not ended or any(process.exitcode for process in left):
            for process in left:
                process.kill()
                process.join()
        if not ended:
            raise TimeoutError(f"{len(left)} processes ran for longer than {_TIMEOUT_S} s")
        left = [process for process in left if process.exitcode is None]


def _completed(process: BaseProcess, arguments: Sequence[object], folder: str) -> subprocess.CompletedProcess[str]:
    texts = []
    for path in _outputs(folder):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    assert process.exitcode is not None
    return subprocess.CompletedProcess([str(argument) for argument in arguments], process.exitcode, *texts)


def _outputs(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in ("stdout", "stderr")]


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
