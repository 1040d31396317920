"""Small memory files, made and read without releasing the interpreter lock.

Python's own system calls release the lock. Beside a trainer that computes in Python, each release may cost the slot's
thread a wait of five milliseconds, and handing over one program takes a dozen calls of a few microseconds each.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

_CLOSE_ON_EXEC = 1


@lru_cache(maxsize=1)
def _libc() -> ctypes.PyDLL:
    """The C library; not loaded on import, because importing must work where the local sandbox does not."""
    libc = ctypes.PyDLL(None, use_errno=True)
    libc.write.restype = libc.pread.restype = ctypes.c_ssize_t
    libc.write.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    libc.pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
    libc.lseek.restype = ctypes.c_int64
    libc.lseek.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int]
    return libc


def make(name: str, content: bytes = b"") -> int:
    """A descriptor of a new memory file that holds `content`; close it with `close`."""
    fd = int(_checked(_libc().memfd_create(name.encode(), _CLOSE_ON_EXEC)))
    while content:
        content = content[_checked(_libc().write(fd, content, len(content))) :]
    return fd


def read(fd: int, tail: int | None = None) -> bytes:
    """The content of a memory file, or its last `tail` bytes."""
    size = _checked(_libc().lseek(fd, 0, os.SEEK_END))
    start = max(0, size - tail) if tail is not None else 0
    buffer = ctypes.create_string_buffer(size - start)
    count = _checked(_libc().pread(fd, buffer, size - start, start))
    return buffer.raw[:count]


def close(fd: int) -> None:
    """Close a memory file."""
    _libc().close(fd)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
