"""`HostedPool`: a `Pool` in a process of its own, for trainers that compute in Python all the time.

The threads of a `Pool` need the interpreter lock several times for every program, and each time a busy trainer sleeps
and has to be woken. Here those threads live in a host process (`host.py`). The trainer hands programs over, and many
outcomes come back at a time.

    trainer ── programs ──► host ── one thread per slot ──► worker (fork server) ...
            ◄── outcomes ──
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from trl_gift.sandbox.base import check_owner, closed, settle
from trl_gift.sandbox.outcome import Outcome, SandboxError
from trl_gift.sandbox.pool.backend import Backend
from trl_gift.sandbox.pool.host import Cancel
from trl_gift.sandbox.pool.worker import Job

_CLOSE_S = 20.0
_ROOT = str(Path(__file__).absolute().parents[3])  # the folder that holds the package
_HOST = (
    "import sys; sys.path.insert(0, sys.argv[1]); from trl_gift.sandbox.pool import host; host.serve(int(sys.argv[2]))"
)


class HostedPool(Backend):
    """A pool in a host process; `submit` waits while `max_pending` programs are queued or running there.

    Raises:
        SandboxError: From `submit`, and from futures that wait, once the host has died.
    """

    def __init__(self, num_workers: int, isolation: str, max_pending: int) -> None:
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
            self._connection.send((num_workers, isolation))
            answer: str | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise SandboxError(f"the sandbox's host process did not start ({error or 'it ended'})") from error
        if isinstance(answer, Exception):
            self.close()
            raise answer
        self._isolation = answer
        self._reader.start()

    @property
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""
        return self._isolation

    @property
    def pid(self) -> int:
        """The process id of the host."""
        return self._process.pid

    def submit(self, jobs: Sequence[Job]) -> list[Future[Outcome]]:
        """Hand programs over, in one message while there is room; a callback of a future never waits for room."""
        self._check_open()
        in_callback = threading.current_thread() is self._reader
        futures: list[Future[Outcome]] = []
        batch: list[tuple[int, Job]] = []
        for job in jobs:
            _ = job.tests.encoded, job.tests.num_tests  # computed once here, for all programs; the host gets them too
            if not in_callback and not self._room.acquire(blocking=False):
                self._send(batch)  # there will be room once these have run
                batch = []
                self._room.acquire()
            future: Future[Outcome] = Future()
            with self._sending:
                self._number += 1
                number = self._number
                self._futures[number] = future
            future.add_done_callback(partial(self._done, number, made_room=not in_callback))
            batch.append((number, job))
            futures.append(future)
        self._send(batch)
        self._check_open()  # if the host has ended meanwhile, no one would settle these futures
        return futures

    def close(self) -> None:
        """Cancel what is queued or running and end the host with its workers; nothing is left when this returns."""
        if os.getpid() != self._owner:
            return  # a fork of the trainer: the host is the parent's
        self._end = "closed"
        with contextlib.suppress(OSError):  # the host closed the connection first
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

    def _check_open(self) -> None:
        check_owner(self._owner)
        if self._end == "closed":
            raise closed()
        if self._end:
            raise SandboxError(self._end)

    def _send(self, message: list[tuple[int, Job]] | Cancel) -> None:
        content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        try:
            with self._sending:
                self._connection.send_bytes(content)
        except OSError:
            return  # the reading thread sees this too, and reports it

    def _done(self, number: int, future: Future[Outcome], made_room: bool) -> None:
        self._futures.pop(number, None)
        if made_room:
            self._room.release()
        if future.cancelled() and not self._end:
            self._send(Cancel(number))

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
