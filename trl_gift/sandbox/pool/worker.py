"""One worker process as the trainer sees it: start it, give it programs, collect outcomes, end it.

A worker is a new Python process, started by exec (never by a fork of the trainer, whose memory makes forks slow and whose
threads make them unsafe). Per program, a small message and three memory files cross to it: the source, the encoded tests
(the judge replaces them by its report), and the standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl_gift.sandbox.cases import StdioTests, Tests
from trl_gift.sandbox.confine.plan import Plan
from trl_gift.sandbox.deadlines import longest
from trl_gift.sandbox.languages import Language, commands, known
from trl_gift.sandbox.outcome import Limits, Outcome, SandboxError
from trl_gift.sandbox.pool import memory_files
from trl_gift.sandbox.pool.report import JudgeDied, outcome_from

GRACE_S = 10.0  # a worker that is silent for this long after the last limit of a program is taken for dead
_START_S = 60.0
_CLOSE_S = 3.0
_COMPILE_S = 30.0
_EXECUTABLE = "/proc/self/exe"
_WORKER = str(Path(__file__).absolute().parents[1] / "inside" / "worker.py")
_TAIL = 2000  # bytes of the standard output that an outcome keeps

# The modules that programs import most. An import in a program costs milliseconds, but each module here makes every fork
# a little slower: `hashlib` and `dataclasses` by a twentieth each, so they are not in the list.
PRELOAD = [
    "math", "cmath", "re", "string", "random", "collections", "collections.abc", "itertools", "functools",
    "operator", "heapq", "bisect", "array", "copy", "datetime", "decimal", "fractions", "statistics", "numbers",
    "typing", "types", "enum", "abc", "contextlib", "io", "json", "struct", "textwrap", "time",
    "calendar", "sys", "os", "ctypes",
]  # fmt: skip

# Where programs may open no file, an import fails unless the module is loaded already.
PRELOAD_WITHOUT_FILES = [
    "dataclasses", "hashlib", "threading", "inspect", "pathlib", "uuid", "queue", "bz2", "zlib", "base64", "binascii",
    "csv", "difflib", "graphlib", "html", "ipaddress", "locale", "pprint", "secrets", "shutil", "tempfile", "timeit",
    "tokenize", "traceback", "unicodedata", "warnings", "weakref", "zoneinfo", "concurrent.futures", "asyncio", "doctest",
    "unittest",
]  # fmt: skip


class WorkerDied(Exception):
    """A worker ended, or stopped answering, while it had a program."""


class LayerUnavailable(Exception):
    """A worker could not put a layer of its plan in force; `layer` is its name."""

    def __init__(self, layer: str, detail: str) -> None:
        super().__init__(detail)
        self.layer = layer


@dataclass(frozen=True)
class Job:
    """One program with its tests and limits; `stop_at_first_failure` skips the tests after the first failing one.

    `language` tells how the program is run, in this process and in the host process that the job may be sent to; None for
    Python.
    """

    program: str
    tests: Tests
    limits: Limits
    stop_at_first_failure: bool
    language: Language | None = field(init=False)

    def __post_init__(self) -> None:
        name = self.tests.language if isinstance(self.tests, StdioTests) else "python"
        language = None if name == "python" else known().get(name)
        if name != "python" and language is None:
            raise SandboxError(
                f"programs in {name} cannot be run here: its language file is not known in this process"
            )
        object.__setattr__(self, "language", language)

    @property
    def source(self) -> str:
        """The file that is run."""
        return self.tests.in_file(self.program) if isinstance(self.tests, StdioTests) else self.program

    def order(self, number: int) -> dict[str, Any]:
        """The message to the worker; `number` identifies the program in a cancellation."""
        limits = self.limits
        runs = self.tests.num_tests if isinstance(self.tests, StdioTests) else 1
        factor = 1.0 if self.language is None else self.language.cpu_factor
        cpu_s, wall_s = limits.cpu_s * factor, limits.wall_s * factor
        allowance = (cpu_s, wall_s, limits.memory_mb << 20, limits.output_mb << 20, limits.open_files)
        # The budget limits the whole job: for stdio the sum over the runs, whose limits the runner enforces one by one.
        extra, job_wall_s = 0.0, wall_s
        if isinstance(self.tests, StdioTests):
            extra = 2.0 if self.language is None else _COMPILE_S + 2.0
            job_wall_s = longest(cpu_s, wall_s)
        return {
            "id": number,
            "kind": self.tests.kind,
            "language": "python" if self.language is None else self.language.name,
            "stop": self.stop_at_first_failure,
            "allowance": allowance,
            "budget": (cpu_s * runs + extra, job_wall_s * runs + extra),
        }


def _last_limit_s(cpu_s: float, wall_s: float) -> float:
    """The wall time after which a worker has ended a job of this budget: program and judge each have its CPU time."""
    return longest(2 * cpu_s, wall_s)


class Worker:
    """A running worker process.

    Args:
        plan: The layers to put in force.
        preload: Names of the modules to import before the first fork; by default `PRELOAD`.
        languages: The languages that it compiles and runs programs of, instead of Python; none by default.

    Raises:
        LayerUnavailable: A layer cannot be put in force here.
        SandboxError: The worker did not start.
    """

    def __init__(self, plan: Plan, preload: list[str] | None = None, languages: Sequence[Language] = ()) -> None:
        self.plan = plan
        self.languages = frozenset(languages)
        self._scratch = ""
        if languages and not plan.namespaces:  # with namespaces the folder is in memory, and private
            self._scratch = tempfile.mkdtemp(prefix="trl-gift-scratch-")
        self._number = 0
        self._sending = threading.Lock()
        self._errors = os.memfd_create("worker-stderr")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # The worker dies with the *thread* that starts it, which is the slot's thread.
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-s", "-P", "-B", "-X", "utf8", _WORKER, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=_environment(),
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the terminal is for the trainer, which then closes its workers
            )
        except OSError:
            self._control.close()
            os.close(self._errors)
            raise
        finally:
            theirs.close()
        self._start(PRELOAD if preload is None else preload)

    def _start(self, preload: list[str]) -> None:
        native = None
        if self.languages:
            table = {language.name: commands(language) for language in self.languages}
            executable = _EXECUTABLE if self.plan.namespaces else ""  # the private root has no /proc
            native = {"scratch": self._scratch or "/scratch", "executable": executable, "commands": table}
        installed = {path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")}
        packages = sorted(installed | {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        orders = {
            "parent": os.getpid(),
            "plan": self.plan._asdict(),
            "packages": packages,
            "preload": preload if self.plan.files else [*preload, *PRELOAD_WITHOUT_FILES],
            "native": native,
        }
        try:
            self._control.send(json.dumps(orders).encode())
            reply = self._receive(_START_S)
        except (WorkerDied, OSError) as error:
            self._process.kill()
            self._process.wait()
            words = self._last_line()
            self.close()
            raise SandboxError(f"a sandbox worker did not start ({error}): {words or 'no error output'}") from error
        if not reply["ready"]:
            self.close()
            raise LayerUnavailable(reply["layer"], reply["error"])
        self.task_limit: str = reply["tasks"]
        """What limits the threads and processes of the worker, in words; empty if nothing does."""

    @property
    def pid(self) -> int:
        """The process id of the worker (of its launcher, where it has a pid namespace of its own)."""
        return self._process.pid

    def run(self, job: Job, cancelled: Callable[[], bool] = lambda: False) -> Outcome:
        """Run one program and wait for its outcome.

        Args:
            job: The program.
            cancelled: Called once after the program was sent, because an earlier cancellation had nothing to end.

        Raises:
            WorkerDied: The worker ended, or stopped answering.
            JudgeDied: The judge ended without a report.
        """
        contents = {"program": job.source.encode("utf-8", "surrogatepass"), "exam": job.tests.encoded, "stdout": b""}
        open_files: list[int] = []
        try:
            for name, content in contents.items():
                open_files.append(memory_files.make(name, content))
            try:
                with self._sending:
                    self._number += 1
                    order = job.order(self._number)
                    socket.send_fds(self._control, [json.dumps(order).encode()], open_files)
                if cancelled():
                    self.cancel()
            except OSError as error:
                raise WorkerDied(f"the worker has ended: {error}") from error
            reply = self._receive(_last_limit_s(*order["budget"]) + GRACE_S)
            try:
                _, report, stdout = open_files
                written, printed = memory_files.read(report), memory_files.read(stdout, _TAIL)
                return outcome_from(job.tests, job.limits, self.plan, reply, written, printed)
            except JudgeDied as error:
                raise JudgeDied(f"{error}: {self._last_line() or 'no error output'}") from error
        finally:
            for fd in open_files:
                memory_files.close(fd)

    def cancel(self) -> None:
        """End the program that is running now, if there is one; its `run` then returns."""
        try:
            with self._sending:
                self._control.send(json.dumps({"cancel": self._number}).encode())
        except OSError:
            return  # closed already: nothing runs

    def kill(self) -> None:
        """Close the connection: the worker then ends everything in it, and `run`, in its thread, raises `WorkerDied`."""
        with contextlib.suppress(OSError):  # the worker has ended already
            self._control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the worker and its children, and release what this side holds; nothing is left when this returns."""
        self.kill()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:  # stopped, or stuck: when it is killed, the kernel ends its children
            self._process.kill()
            self._process.wait()
        self._control.close()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1

    def _receive(self, seconds: float) -> dict[str, Any]:
        # The kernel keeps the time: Python's own timeout would make this thread take the interpreter lock twice more.
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", *_timeval(seconds)))
        try:
            message = self._control.recv(1 << 16)
        except BlockingIOError as error:
            raise WorkerDied(f"no progress for {seconds:g} s") from error
        except OSError as error:
            raise WorkerDied(f"the worker has ended: {error}") from error
        if not message:
            raise WorkerDied("the worker has ended")
        reply: dict[str, Any] = json.loads(message)
        return reply

    def _last_line(self) -> str:
        lines = memory_files.read(self._errors, 2000).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def _timeval(seconds: float) -> tuple[int, int]:
    """Whole seconds and the remaining microseconds, as in `struct timeval`."""
    return int(seconds), int(seconds % 1 * 1e6)


def _environment() -> dict[str, str]:
    """A clean environment: no secret of the trainer reaches a worker. The fixed hash seed makes runs repeatable."""
    kept = {"LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]} if "LD_LIBRARY_PATH" in os.environ else {}
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", **threads, **kept}
