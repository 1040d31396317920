"""Runs of a program in a language that is not Python: compiled once, executed once per input.

Both steps are confined further than the worker. The compiler may read and execute what is installed and write to the
scratch folder of its job. The program may read shared libraries and execute its own file, and cannot start a process.

Not covered: kernels without Landlock, where the program would have the rights that the compiler needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import socket
import subprocess
from typing import Any, NoReturn

from trl_gift.sandbox.confine import kernel, landlock, seccomp
from trl_gift.sandbox.confine.layers import DEVICES, Allowance
from trl_gift.sandbox.inside.program import read_all
from trl_gift.sandbox.inside.runner import supervise
from trl_gift.sandbox.status import Status

_COMPILE_S = 30
_COMPILE_MEMORY = 4 << 30
_COMPILE_FILES = 256 << 20
_MOST_CACHE = 192 << 20
_MESSAGE = 600
_LINES = 3
_END = 4000  # bytes of either end of the standard error
_TELLING = re.compile(r"error|exception|panic|fatal", re.IGNORECASE)
# What a compiler needs (headers and tools), and what a compiled program loads.
TOOLS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "UV_USE_IO_URING": "0",
    "OPENSSL_CONF": "/dev/null",
}


def installed(commands: dict[str, Any]) -> list[str]:
    """The existing files and folders that compilers and programs may read and execute, see `languages.commands`."""
    extra = [path for language in commands.values() for path in language["read"]]
    return [path for path in (*TOOLS, *extra) if os.path.exists(path)]


class Native:
    """What a worker for other languages has: a folder to write to, commands by language, filters.

    Args:
        scratch: The folder.
        executable: Where a process looks for the path of its own executable, if there is no `/proc`; else empty.
        commands: Per language its commands, see `languages.commands`.
    """

    def __init__(self, scratch: str, executable: str, commands: dict[str, Any]) -> None:
        allowed = seccomp.COMPUTE + seccomp.FILES
        self.scratch = scratch
        self.executable = executable
        self.commands = commands
        self.toolchain = seccomp.Filter(allowed + seccomp.TOOLCHAIN)
        self.program = seccomp.Filter(allowed + seccomp.EXECUTE)
        self.program_with_files = seccomp.Filter(allowed + seccomp.EXECUTE + seccomp.FOLDER)

    def name_executable(self, path: str) -> None:
        """Let the next process find its executable where the kernel would show it: some interpreters start from there."""
        if self.executable:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.executable)
            os.symlink(path, self.executable)

    def become(self, source: int, channel: int, language: str, allowance: Allowance) -> NoReturn:
        """Run the program in the file `source` as often as the judge asks, in a fork of the server."""
        _become(source, channel, language, self, allowance)


def _become(source: int, channel: int, language: str, native: Native, allowance: Allowance) -> NoReturn:
    """Compile the program in the file `source`, then run it once for every pair of files that the judge sends."""
    text = read_all(source)
    os.dup2(channel, 3)
    os.closerange(4, 1 << 16)
    judge = socket.socket(fileno=3)
    folder = os.path.join(native.scratch, "job")
    shutil.rmtree(folder, ignore_errors=True)  # the previous program's files
    os.mkdir(folder)
    commands = native.commands[language]
    job = _Job(commands, folder, os.path.join(native.scratch, f"cache-{language}"), allowance.memory >> 20)
    with open(job.values["source"], "wb") as file:
        file.write(text)
    failure = _compile(job, native) if commands["compile"] else None
    if failure is not None:
        judge.send(json.dumps({"state": Status.SYNTAX_ERROR, "message": failure}).encode())
        os._exit(0)
    judge.send(b'{"state": "ready"}')
    words, environment = job.words("run"), job.environment
    native.name_executable(words[0])
    own = allowance._replace(
        memory=allowance.memory + (commands["extra_memory_mb"] << 20),
        open_files=max(allowance.open_files, commands["open_files"]),
    )
    own_filter = native.program_with_files if commands["temporary_files"] else native.program
    me = os.getpid()
    while True:
        message, fds, _, _ = socket.recv_fds(judge, 16, 2)
        if not message:
            os._exit(0)
        if commands["temporary_files"]:
            shutil.rmtree(job.values["temp"], ignore_errors=True)  # the files of the previous run
            os.mkdir(job.values["temp"])
        errors = os.memfd_create("stderr")  # a new file for every run, so that no run sees the output of another
        pid = kernel.fork()
        if pid == 0:
            try:
                kernel.die_with_parent(me)
                for number, fd in enumerate((*fds, errors)):
                    os.dup2(fd, number)
                os.closerange(3, 1 << 16)
                own.apply(0, data_only=commands["reserves_memory"])
                read = [*_LIBRARIES, *commands["read"]]
                write = [job.values["temp"]] if commands["temporary_files"] else []
                landlock.restrict([*read, folder], write, DEVICES, [words[0], *read])
                own_filter.install()
                os.execve(words[0], words, environment)
            finally:
                os._exit(127)
        answer = supervise(pid, own, errors)
        if answer["status"] == Status.ERROR:
            answer |= _in_words(
                answer["message"], _ends_of(errors).replace(f"{folder}/", ""), commands["memory_errors"]
            )
        for fd in (*fds, errors):
            os.close(fd)
        judge.send(json.dumps(answer).encode())


class _Job:
    """What stands for the placeholders in the commands of one program."""

    def __init__(self, commands: dict[str, Any], folder: str, cache: str, memory_mb: int) -> None:
        self._commands = commands
        self.cache = cache
        self.reserves_memory = bool(commands["reserves_memory"])
        self.values = {
            "source": os.path.join(folder, commands["source"]),
            "program": os.path.join(folder, "program"),
            "folder": folder,
            "cache": cache,
            "temp": os.path.join(folder, "temp"),
            "memory_mb": str(memory_mb),
        }

    @property
    def uses_cache(self) -> bool:
        """Whether the compiler keeps files from program to program."""
        texts = [*self._commands["compile"], *self._commands["environment"].values()]
        return any("{cache}" in text for text in texts)

    def words(self, step: str) -> list[str]:
        """The command of a step."""
        return [self._filled(word) for word in self._commands[step]]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the compiler and of the program."""
        return {**_ENVIRONMENT, **{name: self._filled(text) for name, text in self._commands["environment"].items()}}

    def _filled(self, text: str) -> str:
        for name, value in self.values.items():
            text = text.replace(f"{{{name}}}", value)
        return text


def _ends_of(errors: int) -> str:
    """The beginning and the end of what a program wrote to its standard error."""
    size = os.fstat(errors).st_size
    if size <= 2 * _END:
        return os.pread(errors, 2 * _END, 0).decode("utf-8", "replace")
    ends = os.pread(errors, _END, 0), os.pread(errors, _END, size - _END)
    return "\n".join(end.decode("utf-8", "replace") for end in ends)


def _in_words(message: str, written: str, memory_errors: list[str]) -> dict[str, str]:
    """The status and message of a program that ended with an error.

    Args:
        message: How it ended.
        written: What it wrote to its standard error.
        memory_errors: What its interpreter writes when memory is exhausted.
    """
    status = Status.MEMORY if any(mark in written for mark in memory_errors) else Status.ERROR
    if message.startswith("killed by"):
        return {"status": status, "message": message}
    # Indented lines belong to a trace, and a line that ends in a colon is its heading.
    lines = [line for line in written.splitlines() if line.strip() and not line[0].isspace()]
    telling = [line for line in lines if _TELLING.search(line) and not line.rstrip().endswith(":")]
    return {"status": status, "message": (telling[-1:] or lines[:1] or [message])[0][:_MESSAGE]}


def _compile(job: _Job, native: Native) -> str | None:
    """Run the compiler; its error message if it failed, otherwise None."""
    errors = os.memfd_create("compiler")
    folder = job.values["folder"]
    if job.uses_cache:
        _limit_cache(job.cache)

    def confine() -> None:
        # What reserves memory to run may reserve it to compile, too.
        memory = resource.RLIMIT_DATA if job.reserves_memory else resource.RLIMIT_AS
        resource.setrlimit(resource.RLIMIT_CPU, (_COMPILE_S, _COMPILE_S))
        resource.setrlimit(memory, (_COMPILE_MEMORY, _COMPILE_MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_COMPILE_FILES, _COMPILE_FILES))
        kernel.die_with_parent()
        native.toolchain.install()

    words = job.words("compile")
    native.name_executable(words[0])
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        env={"TMPDIR": folder, **job.environment},
        cwd=folder,
        preexec_fn=confine,  # this process has one thread
        start_new_session=True,
    )
    try:
        status = process.wait(_COMPILE_S)
    except subprocess.TimeoutExpired:
        status = -1
    finally:
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, 9)
        process.wait()
    text = read_all(errors).decode("utf-8", "replace")
    os.close(errors)
    return None if status == 0 else _first_lines(text.replace(f"{folder}/", ""), status)


def _first_lines(text: str, status: int) -> str:
    """The first lines of a compiler's message, from its first error on."""
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((place for place, line in enumerate(lines) if "error" in line.lower()), 0)
    return "\n".join(lines[start : start + _LINES])[:_MESSAGE] or f"the compiler ended with {status}"


def _limit_cache(cache: str) -> None:
    """Make the compiler's cache if it is absent, and empty it when it has grown too large."""
    os.makedirs(cache, exist_ok=True)
    sizes = (os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(cache) for name in names)
    if sum(sizes) > _MOST_CACHE:
        shutil.rmtree(cache)
        os.mkdir(cache)
