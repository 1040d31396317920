"""Puts a `Plan` in force: what confines a worker, once, and what confines each program in it.

Order matters. Namespaces come first, because they give the rights to build the private root. Then come the root, the
loss of every capability, `no_new_privs` and Landlock. Each program installs its seccomp filter last, before its first
line.
"""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
from collections.abc import Mapping
from typing import NamedTuple

from trl_gift.sandbox.confine import kernel, landlock, namespaces, seccomp
from trl_gift.sandbox.confine.plan import NONE, Plan

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store")
_SCRATCH_MB = 512
_TABLES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")


class LayerFailed(Exception):
    """A layer could not be put in force: its name, and what the kernel said."""

    def __init__(self, layer: str, error: OSError) -> None:
        super().__init__(f"{layer}: {error}")
        self.layer = layer


def readable(extra: list[str]) -> list[str]:
    """The folders that programs may read: the standard library, installed packages, shared libraries, time zones."""
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)}
    paths |= {os.path.join(sys.base_prefix, "lib"), *extra, *_LIBRARIES, *_TABLES}
    return sorted(path for path in paths if path and os.path.exists(path))


def enter_namespaces(plan: Plan) -> None:
    """Enter new namespaces; the caller then forks their first process."""
    if plan.namespaces:
        try:
            namespaces.enter()
        except OSError as error:
            raise LayerFailed("namespaces", error) from error


def confine_worker(
    plan: Plan, read: list[str], scratch: list[str], execute: list[str], private: Mapping[str, int]
) -> None:
    """Put in force, for this process and its descendants, everything that does not depend on the program.

    Args:
        plan: The layers.
        read: Paths that may be read.
        scratch: Folders that may be written to, and whose files may be executed.
        execute: Paths that may be executed and read.
        private: Folders of the private root that may be written to, each with its size in MiB; not used without one.

    Raises:
        LayerFailed: A layer cannot be put in force.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if plan.namespaces:
        try:
            written = {**dict.fromkeys(scratch, _SCRATCH_MB), **private}
            namespaces.private_root([*read, *execute], DEVICES, written)
        except OSError as error:
            raise LayerFailed("namespaces", error) from error
    if plan == NONE:
        return
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if plan.landlock:
        try:
            folders = [*scratch, *(private if plan.namespaces else ())]
            landlock.restrict(read, folders, DEVICES, [*execute, *scratch])
        except OSError as error:
            raise LayerFailed("landlock", error) from error


class Filters:
    """The seccomp filters of one worker, built before any fork; `None` where the plan has no seccomp."""

    def __init__(self, plan: Plan) -> None:
        files = seccomp.FILES if plan.files else []
        self.program = self.judge = self.tests = None
        if plan.seccomp:
            try:
                own_folder = seccomp.FOLDER if plan.namespaces else []
                self.program = seccomp.Filter(seccomp.COMPUTE + files + own_folder)
                self.judge = seccomp.Filter(seccomp.COMPUTE + files + seccomp.JUDGE + seccomp.FORK)
                self.tests = seccomp.Filter(seccomp.COMPUTE + files + seccomp.JUDGE)
            except OSError as error:
                raise LayerFailed("seccomp", error) from error
            for filter_ in (self.program, self.judge, self.tests):
                _try_filter(filter_)


def _try_filter(filter_: seccomp.Filter) -> None:
    """Install a filter in a throw-away fork, because a kernel may refuse it only then."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            filter_.install()
            code = 0
        except OSError as error:
            code = error.errno or 1
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        words = os.strerror(status) if status > 0 else f"killed by signal {-status}"
        raise LayerFailed("seccomp", OSError(status, f"the filter cannot be installed: {words}"))


def limit(kind: int, most: int) -> None:
    """Limits a resource of this process for good; a lower limit that it has inherited, as from `ulimit`, stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))


class Allowance(NamedTuple):
    """The resources of one program.

    Attributes:
        cpu_s: CPU time, in seconds.
        wall_s: Wall time, in seconds.
        memory: Memory on top of what the worker holds, in bytes.
        output: Size of each file that is written, in bytes.
        open_files: Number of open files.
    """

    cpu_s: float
    wall_s: float
    memory: int
    output: int
    open_files: int

    def apply(self, address_space: int, data_only: bool = False) -> None:
        """Set the limits of this process.

        Args:
            address_space: Bytes that the process starts with; it may use `memory` on top of them.
            data_only: Whether to count the memory that it may write to, not what it maps, for interpreters that reserve
                far more than they use.
        """
        seconds = int(self.cpu_s) + 2  # the kernel's backstop; another process enforces the exact limit
        total = address_space + self.memory
        limit(resource.RLIMIT_DATA if data_only else resource.RLIMIT_AS, total)
        limit(resource.RLIMIT_CPU, seconds)
        limit(resource.RLIMIT_FSIZE, self.output)
        limit(resource.RLIMIT_NOFILE, self.open_files)
