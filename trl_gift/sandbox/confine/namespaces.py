"""User, process, network, IPC, host-name and mount namespaces, and a private read-only root, without privileges.

In its own namespaces a worker sees no other process, no network, and only the folders that it was given. When the worker
ends, the kernel ends everything in it. A worker enters its namespaces once, not for each program, because a network
namespace costs half a millisecond.

It also limits how many threads and processes the worker may have: threads cost memory of the kernel, which no limit of a
program counts, and process ids of the machine.

Not covered: mapping more than one user, `/proc` (the root has none), cgroups.
"""

from __future__ import annotations

import os
import re
import resource
import stat
from collections.abc import Iterable, Mapping

from trl_gift.sandbox.confine import kernel

_NEWNS, _NEWUTS, _NEWIPC = 0x00020000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 0x1000, 0x4000, 1 << 18
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_MNT_DETACH = 2
_FILES_PER_MIB = 32
_MOST_TASKS = 1024
_PID_MAX = "/proc/sys/kernel/pid_max"
_STAGES = ("/mnt", "/media", "/srv", "/opt", "/var/empty", "/proc", "/sys", "/tmp")


def enter() -> None:
    """Move into new namespaces; the next child becomes the first process (init) of the new pid namespace."""
    user, group = os.getuid(), os.getgid()
    kernel.unshare(_NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def limit_tasks() -> str:
    """Limit the threads and processes in this pid namespace, from its first process on, before the private root.

    Returns:
        What limits them, in words; empty if nothing does.
    """
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if release >= (6, 14):  # before, the file holds the limit of the whole machine
        try:
            with open(_PID_MAX, "w") as file:
                file.write(str(_MOST_TASKS))
        except OSError:
            pass  # `/proc/sys` is read-only in most containers
        else:
            return f"at most {_MOST_TASKS} threads and processes (pid_max)"
    if release >= (5, 14) and os.getuid() != 0:  # before, it counts all processes of the user; it never binds root
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        most = _MOST_TASKS if hard == resource.RLIM_INFINITY else min(_MOST_TASKS, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        return f"at most {most} threads and processes (RLIMIT_NPROC)"
    return ""


def private_root(read: Iterable[str], devices: Iterable[str], write: Mapping[str, int]) -> None:
    """Replace the root by an empty read-only one.

    Args:
        read: Existing paths that the new root holds too, read-only.
        devices: Device files that the new root holds too.
        write: Folders that are made in the new root, in memory, each with its size in MiB.
    """
    kernel.mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    read, devices = list(read), list(devices)
    stage = _free_stage([*read, *write])
    kernel.mount("tmpfs", stage, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=0755")
    for path in sorted(read, key=os.path.realpath):  # parents first: a path in a bound folder needs no mount
        _bind(stage, path, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    for path in devices:
        _bind(stage, path, _ATTR_NOSUID)
    for path, size in write.items():  # in memory: the kernel frees it with the last process that sees it
        os.makedirs(stage + path, exist_ok=True)
        options = f"size={size}m,nr_inodes={_FILES_PER_MIB * size},mode=0700"
        kernel.mount("tmpfs", stage + path, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    kernel.mount_setattr(stage, _ATTR_RDONLY, recursive=False)
    os.chdir(stage)
    kernel.pivot_root(".", ".")
    kernel.umount(".", _MNT_DETACH)
    os.chdir("/")


def _free_stage(paths: list[str]) -> str:
    """An existing folder to build the new root on; none of `paths` may lie below it, because it would be hidden."""
    real = [os.path.realpath(path) for path in paths]
    for stage in _STAGES:
        if os.path.isdir(stage) and not any(f"{path}/".startswith(f"{stage}/") for path in [*paths, *real]):
            return stage
    raise OSError(2, f"private root: none of {', '.join(_STAGES)} is free to build it on")


def _bind(stage: str, path: str, attributes: int) -> None:
    if not os.path.exists(path):
        return
    real = _recreate_links(stage, path)
    target = stage + real
    if os.path.lexists(target):
        return  # it lies in a folder that is bound already
    if stat.S_ISDIR(os.stat(real).st_mode):
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    kernel.mount(real, target, None, _MS_BIND | _MS_REC)
    kernel.mount_setattr(target, attributes, recursive=True)


def _recreate_links(stage: str, path: str) -> str:
    """Copy the symbolic links on the way to `path` (`/lib` → `usr/lib`) into the new root; return the real path."""
    done, waiting = "", [part for part in path.split("/") if part]
    while waiting:
        step = f"{done}/{waiting.pop(0)}"
        if not os.path.islink(step):
            done = step
            continue
        destination = os.readlink(step)
        if not os.path.lexists(stage + step):
            os.makedirs(os.path.dirname(stage + step), exist_ok=True)
            os.symlink(destination, stage + step)
        resolved = os.path.normpath(os.path.join(done or "/", destination))
        waiting = [part for part in resolved.split("/") if part] + waiting
        done = ""
    return done or "/"
