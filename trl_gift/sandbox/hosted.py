"""`HostedSandbox`: a `LocalSandbox` in a process of its own, for trainers that compute in Python all the time.

The threads of a `LocalSandbox` need the interpreter lock several times for every program, and each time a busy trainer
sleeps and has to be woken. Here those threads live in a host process; the trainer hands over programs, and outcomes come
back many at a time. The host runs no program itself: it is the same code, in another process.

    trainer ── programs ──► host ── one thread per slot ──► worker (fork server) ...
            ◄── outcomes ──

Where fewer programs run at a time than there are CPUs, they keep off one CPU: judging is a relay of short legs, and the
scheduler would start many of them in the trainer's place.

The host ends when the trainer closes the sandbox, or within a second of the trainer's own end, however that comes; the
workers end with the host.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from trl_gift.sandbox.base import BaseSandbox, check_job, check_owner, closed, settle
from trl_gift.sandbox.cases import Tests
from trl_gift.sandbox.outcome import Limits, Outcome, SandboxError
from trl_gift.sandbox.pool import LocalSandbox

# Outcomes wait so long for others; the last one that is asked for does not wait. While several programs are on their way,
# the host looks for more as often: waking it costs the trainer more than handing them over.
_BATCH_S = 0.02
_WATCH_S = 0.5
_CLOSE_S = 20.0
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_HOST = (
    "import sys; sys.path.insert(0, sys.argv[1]); from trl_gift.sandbox import hosted; hosted.serve(int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class _Job:
    """One program on its way to the host."""

    number: int
    program: str
    tests: Tests
    limits: Limits
    stop_at_first_failure: bool


@dataclass(frozen=True, slots=True)
class _Cancel:
    """The number of a program that nobody wants to know about any more."""

    number: int


@dataclass(frozen=True, slots=True)
class _Ready:
    """What the host has found."""

    isolation: str
    window: int


class HostedSandbox(BaseSandbox):
    """Runs programs as `LocalSandbox` does, without taking the interpreter lock from whoever submits them.

    Args:
        num_workers: as for `LocalSandbox`.
        limits: as for `LocalSandbox`.
        isolation: as for `LocalSandbox`.
        max_pending: `submit` waits while so many programs are on their way; by default 1024.

    Raises:
        SandboxError: from `submit`, and from futures that wait, once the host has died.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        limits: Limits | None = None,
        isolation: str = "required",
        max_pending: int = 1024,
    ) -> None:
        self.limits = limits or Limits()
        self._owner = os.getpid()
        self._number = 0
        self._futures: dict[int, Future[Outcome]] = {}
        self._room = threading.Semaphore(max_pending)
        self._sending = threading.Lock()
        self._end = ""
        self._reader = threading.Thread(target=self._read, name="sandbox-outcomes", daemon=True)
        self._socket, theirs = socket.socketpair()
        self._connection = Connection(os.dup(self._socket.fileno()))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _HOST, _ROOT, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is for the trainer, which then closes its sandbox
            )
        finally:
            theirs.close()
        try:
            self._connection.send((num_workers, self.limits, isolation))
            answer: _Ready | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise SandboxError(f"the sandbox's host process did not start ({error or 'it ended'})") from error
        if isinstance(answer, Exception):
            self.close()
            raise answer
        self._isolation, self.window = answer.isolation, answer.window
        self._reader.start()
        _open_sandboxes.add(self)

    @property
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""
        return self._isolation

    @property
    def pid(self) -> int:
        """The process id of the host."""
        return self._process.pid

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Hand one program over and return at once; waits while too many are on their way.

        `cancel()` of the future works before the program runs and while it runs (it is then killed). Callbacks of the
        future run in a thread of the sandbox; they may submit.
        """
        (future,) = self._hand_over([(program, tests)], limits or self.limits, stop_at_first_failure)
        return future

    def submit_all(self, pairs: Sequence[tuple[str, Tests]]) -> list[Future[Outcome]]:
        """As `submit` for each, at the price of one as long as there is room."""
        return self._hand_over(pairs, self.limits, stop_at_first_failure=True)

    def close(self) -> None:
        """Cancel what is queued or running and end the host with its workers; returns when nothing is left of them."""
        if os.getpid() != self._owner:
            return  # a fork of the trainer: the host is the parent's
        self._end = "closed"
        with contextlib.suppress(OSError):  # the host hung up first
            self._socket.shutdown(socket.SHUT_RDWR)  # a thread that reads would keep the connection open otherwise
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader.ident is not None and threading.current_thread() is not self._reader:
            self._reader.join()
        self._connection.close()
        self._socket.close()
        _open_sandboxes.discard(self)

    def _check_open(self) -> None:
        check_owner(self._owner)
        if self._end == "closed":
            raise closed()
        if self._end:
            raise SandboxError(self._end)

    def _hand_over(
        self, pairs: Sequence[tuple[str, Tests]], limits: Limits, stop_at_first_failure: bool
    ) -> list[Future[Outcome]]:
        for program, tests in pairs:
            check_job(program, tests)
        self._check_open()
        inside = threading.current_thread() is self._reader
        futures: list[Future[Outcome]] = []
        jobs: list[_Job] = []
        for program, tests in pairs:
            _ = tests.encoded, tests.num_tests  # worked out here, once for all programs, they travel along
            if not inside and not self._room.acquire(blocking=False):
                self._send(jobs)  # there will be room once these have run
                jobs = []
                self._room.acquire()
            future: Future[Outcome] = Future()
            with self._sending:
                self._number += 1
                number = self._number
                self._futures[number] = future
            future.add_done_callback(partial(self._done, number, made_room=not inside))
            jobs.append(_Job(number, program, tests, limits, stop_at_first_failure))
            futures.append(future)
        self._send(jobs)
        self._check_open()  # the host may have ended meanwhile, and nobody would settle these
        return futures

    def _send(self, message: list[_Job] | _Cancel) -> None:
        content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        try:
            with self._sending:
                self._connection.send_bytes(content)
        except OSError:
            return  # the reader has seen it, too, and says so

    def _done(self, number: int, future: Future[Outcome], made_room: bool) -> None:
        self._futures.pop(number, None)
        if made_room:
            self._room.release()
        if future.cancelled() and not self._end:
            self._send(_Cancel(number))

    def _read(self) -> None:
        while True:
            try:
                batch: list[tuple[int, Outcome | Exception]] = self._connection.recv()
            except (EOFError, OSError):
                break
            for number, outcome in batch:
                future = self._futures.get(number)
                if future is not None:
                    settle(future, outcome)
        self._end = self._end or "the sandbox's host process ended by itself; make a new sandbox"
        error = SandboxError(self._end)
        for future in list(self._futures.values()):
            if self._end == "closed":
                future.cancel()
            else:
                settle(future, error)


def serve(fd: int) -> None:
    """The host: runs the programs that come in over a connection until that ends."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(fd)
    num_workers, limits, isolation = connection.recv()
    if num_workers is not None:
        _leave_a_cpu(num_workers)
    try:
        # The trainer bounds what is on its way.
        sandbox = LocalSandbox(num_workers, limits, isolation, max_pending=sys.maxsize)
    except (SandboxError, ValueError) as error:
        connection.send(error)
        return
    with sandbox:
        connection.send(_Ready(sandbox.isolation, sandbox.window))
        outcomes = _Outcomes(connection)
        threading.Thread(target=outcomes.send, daemon=True).start()
        while True:
            try:
                message: list[_Job] | _Cancel = connection.recv()
            except (EOFError, OSError):
                return
            if isinstance(message, _Cancel):
                outcomes.cancel(message.number)
            else:
                for job in message:
                    outcomes.expect(job.number, _start(sandbox, job))
            if outcomes.are_several and not connection.poll():
                time.sleep(_BATCH_S)


def _leave_a_cpu(num_workers: int) -> None:
    """Keeps this process and all that it starts off one CPU, another one for each trainer, if enough others are left."""
    usable = sorted(os.sched_getaffinity(0))
    if 0 < num_workers < len(usable):
        left = usable[int(os.environ.get("LOCAL_RANK", "0")) % len(usable)]
        os.sched_setaffinity(0, set(usable) - {left})


def _start(sandbox: LocalSandbox, job: _Job) -> Future[Outcome]:
    try:
        return sandbox.submit(
            job.program, job.tests, limits=job.limits, stop_at_first_failure=job.stop_at_first_failure
        )
    except SandboxError as error:  # the machine lacks what these tests need
        future: Future[Outcome] = Future()
        future.set_exception(error)
        return future


class _Outcomes:
    """What the host owes its trainer, sent in batches."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._running: dict[int, Future[Outcome]] = {}
        self._finished: list[tuple[int, Outcome | BaseException]] = []
        self._changed = threading.Condition()

    @property
    def are_several(self) -> bool:
        """Whether more than one is on its way."""
        return len(self._running) > 1

    def expect(self, number: int, future: Future[Outcome]) -> None:
        with self._changed:
            self._running[number] = future
        future.add_done_callback(lambda done: self._land(number, done))

    def cancel(self, number: int) -> None:
        with self._changed:
            future = self._running.get(number)
        if future is not None:
            future.cancel()

    def send(self) -> None:
        """Sends for ever."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._finished)
                self._changed.wait_for(lambda: not self._running, timeout=_BATCH_S)
                batch, self._finished = self._finished, []
            try:
                self._connection.send(batch)
            except OSError:
                return  # the trainer hung up

    def _land(self, number: int, future: Future[Outcome]) -> None:
        with self._changed:
            del self._running[number]
            if not future.cancelled():
                self._finished.append((number, future.exception() or future.result()))
            self._changed.notify_all()


def _end_with(trainer: int) -> None:
    """Ends this process with its trainer, whose connection a fork of it may still hold open."""
    while os.getppid() == trainer:
        time.sleep(_WATCH_S)
    os._exit(0)


_open_sandboxes: weakref.WeakSet[HostedSandbox] = weakref.WeakSet()


@atexit.register
def _close_open_sandboxes() -> None:
    for sandbox in list(_open_sandboxes):
        sandbox.close()
