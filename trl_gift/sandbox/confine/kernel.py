"""The few system calls that Python does not offer, through ctypes: prctl, unshare, mount, capset and numbered calls.

Every function raises `OSError` with the kernel's errno. Importing the package does not load this module; only workers
and the slots that start them do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

from trl_gift.sandbox.confine import syscalls

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(name: str, *arguments: int) -> int:
    """Make the system call `name`; pointers are passed as integers (`ctypes.addressof`)."""
    architecture = syscalls.machine()
    number = syscalls.number(name, architecture) if architecture else None
    if number is None:
        raise OSError(38, f"{name}: not known on this architecture")
    return _checked(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments)), name)


def prctl(option: int, argument: int = 0, third: int = 0) -> int:
    """`prctl(option, argument, third, 0, 0)`."""
    return _checked(_libc.prctl(option, argument, third, 0, 0), f"prctl({option})")


def die_with_parent(parent: int | None = None) -> None:
    """Ask for SIGKILL when the thread that made this process ends; exit at once if `parent` has ended already."""
    prctl(PR_SET_PDEATHSIG, 9)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def unshare(flags: int) -> None:
    """Move this process (for the pid namespace: its future children) into new namespaces."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """`mount(2)`."""
    encoded = [os.fsencode(text) if text is not None else None for text in (source, target, kind)]
    _checked(_libc.mount(*encoded, flags, data.encode() if data else None), f"mount {target}")


def umount(target: str, flags: int) -> None:
    """`umount2(2)`."""
    _checked(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def mount_setattr(path: str, attributes: int, recursive: bool) -> None:
    """Add mount attributes to the mount at `path` (and to those below it)."""
    packed = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    target = ctypes.create_string_buffer(os.fsencode(path))
    at_fdcwd, at_recursive = -100, 0x8000
    flags = at_recursive if recursive else 0
    syscall("mount_setattr", at_fdcwd, ctypes.addressof(target), flags, ctypes.addressof(packed), 32)


def pivot_root(new: str, old: str) -> None:
    """`pivot_root(2)`."""
    a, b = ctypes.create_string_buffer(os.fsencode(new)), ctypes.create_string_buffer(os.fsencode(old))
    syscall("pivot_root", ctypes.addressof(a), ctypes.addressof(b))


def drop_capabilities() -> None:
    """Give up every capability, and the right to get one back, for this process and its descendants."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # EINVAL past the last capability; EPERM without CAP_SETPCAP, when there is nothing to drop
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    empty = (ctypes.c_uint32 * 6)()
    syscall("capset", ctypes.addressof(header), ctypes.addressof(empty))


fork = os.fork  # a worker's programs find another `os.fork`


def cpu_clock(pid: int) -> int:
    """The clock id, for `time.clock_gettime`, of the CPU time that all threads of `pid` have used."""
    return (~pid << 3) | 2


def ask_for_short_slices(nanoseconds: int = 100_000) -> None:
    """Ask the scheduler for short turns and, in return, for early ones (kernels since 6.12; older ones ignore it).

    Judging a program consists of many short steps in several processes. Beside a busy trainer each step would otherwise
    wait for a full turn of another process.
    """
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, nanoseconds, 0, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    with contextlib.suppress(OSError):
        syscall("sched_setattr", 0, ctypes.addressof(buffer), 0)
