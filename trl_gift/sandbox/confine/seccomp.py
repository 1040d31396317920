"""Seccomp filters: the system calls that a confined process may make, as a BPF program.

A filter is an allow list. Calls that no honest program makes (tracing, mounting, loading kernel code) kill the process.
Every other call that is not listed fails with EPERM, so that a library that only *tries* a call can fall back. The BPF
program is a balanced tree over call numbers (eight comparisons per call instead of a hundred). It is built before the
fork that installs it, so that installing costs two system calls.

A process may install several filters and cannot remove any; `no_new_privs` must be set first.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping

from trl_gift.sandbox.confine import kernel, syscalls

_RET_KILL = 0x80000000
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
_EPERM, _ENOSYS = 1, 38

_LD, _JEQ, _JGE, _JSET, _JA, _RET = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000


def _words(text: str) -> list[str]:
    return text.split()


Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant

# What a Python program needs to compute, print, read what Landlock lets it read, start threads and end.
COMPUTE = _words("""
    read write readv writev pread64 pwrite64 lseek close fstat newfstatat dup dup2 dup3 pipe pipe2 eventfd2 poll ppoll
    select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait mmap munmap mprotect mremap
    madvise brk membarrier rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait
    sigaltstack pause futex set_robust_list get_robust_list set_tid_address rseq sched_yield getcpu
    sched_getaffinity sched_getparam sched_getscheduler sched_getattr sched_get_priority_max
    sched_get_priority_min getsockname getsockopt nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
    getitimer setitimer alarm getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid getgroups
    getpgid getpgrp getsid uname sysinfo getrlimit setrlimit getrusage umask getrandom exit exit_group
    restart_syscall arch_prctl close_range fadvise64
""")

# Landlock or the private root decides *which* files; without either of them this group is not allowed. (`newfstatat` is
# not in the group although it takes a path: libc needs it for open descriptors. Only what a stat tells leaks.)
FILES = _words("""
    open openat stat lstat statx access faccessat faccessat2 readlink readlinkat getdents getdents64
    getcwd statfs fstatfs
""")

# A program with a private folder makes, moves and removes files there; nothing else in its root can be written to.
FOLDER = _words("mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat ftruncate")

# The judge receives the ends of channels and makes memory files for standard input and output.
JUDGE = ["sendmsg", "recvmsg", "sendto", "recvfrom", "memfd_create", "ftruncate"]

# The judge runs the tests' own code in a fork, which loses these calls.
FORK = ["fork", "clone", "wait4", "kill", "pidfd_open", "prctl"]

# Compiled languages: Landlock lets them execute only their own file.
EXECUTE = ["execve", "chdir", "mlock", "munlock"]

# A compiler starts further compilers and writes files (in its scratch folder only).
TOOLCHAIN = _words("""
    execve fork vfork clone clone3 wait4 waitid kill tgkill chdir mkdir mkdirat unlink unlinkat rename renameat
    renameat2 chmod fchmod fchmodat fchmodat2 ftruncate truncate flock fsync fallocate copy_file_range sendfile
    prctl prlimit64 socketpair utimensat
""")

KILLED = _words("""
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd unshare setns mount umount2
    pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr bpf perf_event_open
    userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key kexec_load
    kexec_file_load init_module finit_module delete_module reboot swapon swapoff open_by_handle_at
    name_to_handle_at acct syslog
""")

# fcntl: duplicate, flags, pipe size and seals. Not F_SETOWN or F_SETSIG, which aim signals at other processes.
_FCNTL = (0, 1, 2, 3, 4, 5, 1030, 1032, 1034)
# ioctl: terminal queries, close-on-exec, non-blocking, bytes waiting. Not TIOCSTI, which types into a terminal.
# socketpair: connected ends within this process, as asyncio uses them to wake itself.
_AF_UNIX = 1
_STREAM = (0x1, 0x801, 0x80001, 0x80801)  # with non-blocking and close-on-exec
# sendto and recvfrom, which are `send` and `recv` on such ends: no flags, and no out-of-band data above all.
_NO_FLAGS = (0,)
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)


def _load_argument(index: int) -> Instruction:
    return (_LD, 0, 0, 16 + 8 * index)  # the low half: the kernel reads these arguments as 32-bit numbers


def _one_of(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    body = [_load_argument(argument)]
    body += [(_JEQ, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*body, (_RET, 0, 0, _RET_ERRNO | _EPERM), (_RET, 0, 0, _RET_ALLOW)]


def _rules(allowed: list[str], architecture: str) -> dict[int, tuple[Instruction, ...]]:
    rules: dict[int, tuple[Instruction, ...]] = {}

    def put(name: str, *body: Instruction) -> None:
        number = syscalls.number(name, architecture)
        if number is not None:
            rules[number] = body

    for name in KILLED:
        put(name, (_RET, 0, 0, _RET_KILL))
    put("fcntl", *_one_of(1, _FCNTL))
    put("ioctl", *_one_of(1, _IOCTL))
    pairs = [_load_argument(0), (_JEQ, 1, 0, _AF_UNIX), (_RET, 0, 0, _RET_ERRNO | _EPERM), *_one_of(1, _STREAM)]
    put("socketpair", *pairs)
    put("sendto", *_one_of(3, _NO_FLAGS))
    put("recvfrom", *_one_of(3, _NO_FLAGS))
    put("prlimit64", *_one_of(0, (0,)))  # its own limits only
    threads_only = [_load_argument(0), (_JSET, 0, 1, _CLONE_THREAD), (_RET, 0, 0, _RET_ALLOW)]
    put("clone", *threads_only, (_RET, 0, 0, _RET_ERRNO | _EPERM))
    put("clone3", (_RET, 0, 0, _RET_ERRNO | _ENOSYS))  # its flags lie in memory; libc then falls back to clone
    for name in allowed:
        put(name, (_RET, 0, 0, _RET_ALLOW))
    return rules


def _tree(numbers: list[int], rules: Mapping[int, tuple[Instruction, ...]]) -> list[Instruction]:
    """Code for the calls `numbers`: ascending boundaries, at each of which the rule may change."""
    if len(numbers) == 1:
        return list(rules.get(numbers[0], ((_RET, 0, 0, _RET_ERRNO | _EPERM),)))
    middle = len(numbers) // 2
    below, above = _tree(numbers[:middle], rules), _tree(numbers[middle:], rules)
    if len(below) < 256:
        return [(_JGE, len(below), 0, numbers[middle]), *below, *above]
    return [(_JGE, 0, 1, numbers[middle]), (_JA, 0, 0, len(below)), *below, *above]  # jumps are 8 bits wide


def assemble(allowed: list[str], architecture: str) -> bytes:
    """The BPF program that allows `allowed`, kills on `KILLED` and refuses the rest.

    Args:
        allowed: Names of system calls.
        architecture: `"x86_64"` or `"aarch64"`.

    Returns:
        The program's instructions, 8 bytes each.
    """
    rules = _rules(allowed, architecture)
    # Boundaries: the number where a rule starts, and the number after it, where "not listed" starts again.
    boundaries = [0]
    for number in sorted(rules):
        if rules[number] != rules.get(boundaries[-1]) and number != boundaries[-1]:
            boundaries.append(number)
        if number + 1 not in rules:
            boundaries.append(number + 1)
    code: list[Instruction] = [
        (_LD, 0, 0, 4),
        (_JEQ, 1, 0, syscalls.AUDIT_ARCH[architecture]),
        (_RET, 0, 0, _RET_KILL),
        (_LD, 0, 0, 0),
        (_JGE, 0, 1, _X32),
        (_RET, 0, 0, _RET_KILL),
        *_tree(boundaries, rules),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


class Filter:
    """An assembled filter in memory that the kernel reads; build it before the fork, install it after the fork."""

    def __init__(self, allowed: list[str]) -> None:
        architecture = syscalls.machine()
        if architecture is None:
            raise OSError(_ENOSYS, "seccomp: no system call table for this architecture")
        code = assemble(allowed, architecture)
        self._code = ctypes.create_string_buffer(code, len(code))
        self._header = ctypes.create_string_buffer(
            struct.pack("@HxxxxxxQ", len(code) // 8, ctypes.addressof(self._code)), 16
        )
        self._address = ctypes.addressof(self._header)

    def install(self) -> None:
        """Confine the calling thread and everything that it starts, permanently."""
        kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, self._address)
