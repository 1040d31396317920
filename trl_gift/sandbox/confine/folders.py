"""The private folders of a worker: its programs may write there, in memory, and each program finds them empty.

A worker has them only with a private root of its own, because only memory that it mounts has a bound on its size. One
program runs at a time in a worker, so the next one empties the folders before its first line.

Not covered: how many files earlier programs have made, which the numbers of new files tell.
"""

from __future__ import annotations

import os

WORK_MB = 64
SHARED_MEMORY = "/dev/shm"  # where libc keeps semaphores, which `ThreadPool` needs
_SHARED_MEMORY_MB = 1
_CANDIDATES = ("/tmp", "/scratch")


def choose(read: list[str]) -> dict[str, int]:
    """The private folders, the working folder first, each with its size in MiB.

    Args:
        read: What the private root holds; no folder may hide any of it.
    """
    real = [*read, *map(os.path.realpath, read)]
    work = next(folder for folder in _CANDIDATES if not any(f"{path}/".startswith(f"{folder}/") for path in real))
    return {work: WORK_MB, SHARED_MEMORY: _SHARED_MEMORY_MB}


def empty(folder: str) -> None:
    """Remove everything in `folder`, however deep; hostile programs choose the names, the depth and the modes."""
    while names := os.listdir(folder):
        for name in names:
            _remove(folder, os.path.join(folder, name))


def _remove(folder: str, path: str) -> None:
    try:
        os.unlink(path)
    except IsADirectoryError:
        os.chmod(path, 0o700)
        for name in os.listdir(path):  # what lies in it moves up, so that no path is ever long
            inner = os.path.join(path, name)
            os.chmod(inner, 0o700)  # a folder moves only if it may be written to
            os.rename(inner, os.path.join(folder, os.urandom(8).hex()))
        os.rmdir(path)
