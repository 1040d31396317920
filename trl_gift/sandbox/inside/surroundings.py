"""What a program finds around it: a folder of its own, `/dev/stdin`, a deep stack, and words where it may not start processes.

These are conveniences for honest programs. Nothing here confines: a program may undo all of it, and the layers hold.
"""

from __future__ import annotations

import _posixsubprocess
import builtins
import functools
import io
import os
import random
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from trl_gift.sandbox.confine import folders

ROOT = "/"
_STREAMS = {f"{folder}{number}": number for folder in ("/dev/fd/", "/proc/self/fd/") for number in (0, 1, 2)}
_STREAMS |= {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_PROCESSES = ("fork", "forkpty", "system", "posix_spawn", "posix_spawnp")
_OWN_FRAMES = 16  # at most so many frames of ours are in use when a program is called
_open = io.open


@functools.wraps(_open)
def open_(file: Any, *arguments: Any, **named: Any) -> Any:
    """`open`, for which the names of the standard streams are these streams: the private root has no `/proc`."""
    if type(file) is not int:
        number = _STREAMS.get(os.fspath(file)) if isinstance(file, (str, os.PathLike)) else None
        if number is not None:
            return _open(os.dup(number), *arguments, **named)
    return _open(file, *arguments, **named)


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*arguments: Any, **named: Any) -> NoReturn:
        raise PermissionError(
            f"{name}: programs in the sandbox start no processes, so subprocess and multiprocessing do not work; "
            f"threads and ThreadPool do"
        )

    return refuse


_REFUSALS = {name: _refusal(f"os.{name}") for name in _PROCESSES}
_REFUSE_SUBPROCESS = _refusal("subprocess")


def arrange() -> None:
    """Arrange it for the forks of this process, once for all; this process itself can then start none by `os.fork`."""
    for name, refusal in _REFUSALS.items():
        setattr(os, name, refusal)
    _posixsubprocess.fork_exec = _REFUSE_SUBPROCESS
    builtins.open = io.open = open_
    sys.setrecursionlimit(sys.getrecursionlimit() + _OWN_FRAMES)
    random.seed(0)  # every program draws the same numbers, and so do its tests; this process draws none


def left_files() -> bool:
    """Whether the previous program has left anything. Asked before the fork, where it costs less than in every program."""
    work = folder()
    return bool(work and (os.listdir(work) or os.listdir(folders.SHARED_MEMORY)))


def empty_folders() -> None:
    """Remove what the previous program has left."""
    for private in (folder(), folders.SHARED_MEMORY):
        folders.empty(private)


def path_of(name: str) -> str:
    """The path that a program takes for its own file; there is no such file."""
    return os.path.join(folder() or ROOT, name)


@functools.cache  # asked before the first fork, when it may be
def folder() -> str:
    """The program's own folder, the working directory; empty where workers have none."""
    here = os.getcwd()
    return "" if here == ROOT else here
