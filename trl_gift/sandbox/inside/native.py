"""Runs of a program in a language that is not Python: compiled once, executed once per input.

Both steps are confined further than the worker. The compiler may read and execute what is installed and write to the
scratch folder of its job. The program may read shared libraries and execute its own file, and cannot start a process.

Not covered: kernels without Landlock, where the program would have the rights that the compiler needs.
"""

from __future__ import annotations

import contextlib
import json
import os
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
_MESSAGE = 600
# What a compiler needs (headers and tools), and what a compiled program loads.
TOOLS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "UV_USE_IO_URING": "0",
    "OPENSSL_CONF": "/dev/null",
}


class Native:
    """What a worker for other languages has: a folder to write to, commands by language, filters.

    Args:
        scratch: The folder.
        commands: Per language its commands, see `languages.commands`.
    """

    def __init__(self, scratch: str, commands: dict[str, Any]) -> None:
        allowed = seccomp.COMPUTE + seccomp.FILES
        self.scratch = scratch
        self.commands = commands
        self.toolchain = seccomp.Filter(allowed + seccomp.TOOLCHAIN)
        self.program = seccomp.Filter(allowed + seccomp.EXECUTE)

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
    paths = {"source": os.path.join(folder, commands["source"]), "program": os.path.join(folder, "program")}
    with open(paths["source"], "wb") as file:
        file.write(text)
    failure = _compile(commands["compile"], paths, folder, native) if commands["compile"] else None
    if failure is not None:
        judge.send(json.dumps({"state": Status.SYNTAX_ERROR, "message": failure}).encode())
        os._exit(0)
    judge.send(b'{"state": "ready"}')
    words = [word.format(**paths) for word in commands["run"]]
    me = os.getpid()
    while True:
        message, fds, _, _ = socket.recv_fds(judge, 16, 2)
        if not message:
            os._exit(0)
        errors = os.memfd_create("stderr")  # a new file for every run, so that no run sees the output of another
        pid = os.fork()
        if pid == 0:
            try:
                kernel.die_with_parent(me)
                for number, fd in enumerate((*fds, errors)):
                    os.dup2(fd, number)
                os.closerange(3, 1 << 16)
                allowance.apply(0, data_only=commands["reserves_memory"])
                landlock.restrict([*_LIBRARIES, folder], devices=DEVICES, execute=[words[0], *_LIBRARIES])
                native.program.install()
                os.execve(words[0], words, _ENVIRONMENT)
            finally:
                os._exit(127)
        answer = supervise(pid, allowance, errors)
        for fd in (*fds, errors):
            os.close(fd)
        judge.send(json.dumps(answer).encode())


def _compile(command: list[str], paths: dict[str, str], folder: str, native: Native) -> str | None:
    """Run the compiler; its error message if it failed, otherwise None."""
    errors = os.memfd_create("compiler")

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (_COMPILE_S, _COMPILE_S))
        resource.setrlimit(resource.RLIMIT_AS, (_COMPILE_MEMORY, _COMPILE_MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_COMPILE_FILES, _COMPILE_FILES))
        kernel.die_with_parent()
        native.toolchain.install()

    words = [word.format(**paths) for word in command]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        env={**_ENVIRONMENT, "TMPDIR": folder},
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
    if status == 0:
        return None
    lines = [line for line in text.splitlines() if "error" in line] or text.splitlines()[-1:]
    return (lines[0] if lines else f"the compiler ended with {status}")[:_MESSAGE]
