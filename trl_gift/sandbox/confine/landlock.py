"""Landlock through ctypes: a process may use the allowed files only, no TCP, and send no signals to the outside.

Landlock does not govern `stat`, `chmod`, `utime`, `chdir`, extended attributes and UDP. The seccomp filter denies these,
except that a program may learn by `stat` whether a path exists, unless the private root hides the path.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from trl_gift.sandbox.confine import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
_CREATE_RULESET_VERSION = 1


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _abi() -> int:
    """The version of Landlock that this kernel offers; 0 if it has no Landlock, or if Landlock is switched off."""
    try:
        return kernel.syscall("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def _handled(version: int) -> _RulesetAttr:
    files = (1 << 13) - 1
    files |= (1 << 13) if version >= 2 else 0  # moves between directories
    files |= (1 << 14) if version >= 3 else 0  # truncate
    files |= (1 << 15) if version >= 5 else 0  # ioctl of devices
    return _RulesetAttr(files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)


def restrict(
    read: Iterable[str], write: Iterable[str] = (), devices: Iterable[str] = (), execute: Iterable[str] = ()
) -> None:
    """Confine this process and all its descendants to the given paths; `no_new_privs` must be set already.

    Args:
        read: Paths that may be read.
        write: Folders that may be read and written to.
        devices: Device files that may be read and written.
        execute: Paths that may be executed and read.
    """
    version = _abi()
    if not version:
        raise OSError(38, "landlock: not available")
    attr = _handled(version)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = kernel.syscall("landlock_create_ruleset", ctypes.addressof(attr), size, 0)
    try:
        everything = int(attr.fs)
        for paths, rights in (
            (read, _READ_FILE | _READ_DIR),
            (write, everything & ~_EXECUTE),
            (devices, _READ_FILE | _WRITE_FILE),
            (execute, _EXECUTE | _READ_FILE | _READ_DIR),
        ):
            for path in paths:
                _allow(ruleset, path, rights & everything)
        kernel.syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # an optional path (a time zone table, a library folder of another layout)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FILE_RIGHTS
        rule = _PathBeneath(rights, fd)
        kernel.syscall("landlock_add_rule", ruleset, 1, ctypes.addressof(rule), 0)
    finally:
        os.close(fd)
