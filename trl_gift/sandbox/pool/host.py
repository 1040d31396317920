"""The host process of a `HostedPool`: runs a `Pool` for a trainer and sends outcomes back in batches.

It starts from `serve`, holds the threads that the trainer should not have, and runs no program itself. Where fewer
programs run at a time than there are CPUs, one CPU is reserved for the trainer: judging consists of many short steps,
and the scheduler would start many of them in the trainer's place.

The host ends when its connection closes, or within a second of the trainer's end, however that comes; the workers end
with the host.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from trl_gift.sandbox.outcome import Outcome, SandboxError
from trl_gift.sandbox.pool.pool import Pool
from trl_gift.sandbox.pool.worker import Job

# Outcomes wait this many seconds for other outcomes; the last outcome that is expected does not wait. While several
# programs are running, the host looks for new ones at the same interval: waking it costs the trainer more time than
# handing the programs over.
BATCH_S = 0.02
_WATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Cancel:
    """The number of a program whose future was cancelled."""

    number: int


def serve(fd: int) -> None:
    """Run the programs that arrive over the connection `fd` until it closes.

    The first message is `(num_workers, isolation)`; the reply is the isolation in force, or the error. After that come
    lists of `(number, job)` and single `Cancel`s, and lists of `(number, outcome or error)` go back.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(fd)
    num_workers, isolation = connection.recv()
    _reserve_a_cpu(num_workers)
    try:
        pool = Pool(num_workers, isolation, max_pending=sys.maxsize)  # the trainer bounds the number of programs here
    except (SandboxError, ValueError) as error:
        connection.send(error)
        return
    with closing(pool):
        connection.send(pool.isolation)
        outcomes = Outcomes(connection)
        threading.Thread(target=outcomes.send, daemon=True).start()
        while True:
            try:
                message: list[tuple[int, Job]] | Cancel = connection.recv()
            except (EOFError, OSError):
                return
            if isinstance(message, Cancel):
                outcomes.cancel(message.number)
            else:
                for number, job in message:
                    outcomes.expect(number, _submit(pool, job))
            if outcomes.are_several and not connection.poll():
                time.sleep(BATCH_S)


def _reserve_a_cpu(num_workers: int) -> None:
    """Keep this process and its children off one CPU, a different one per local rank, if enough others remain."""
    usable = sorted(os.sched_getaffinity(0))
    if num_workers < len(usable):
        reserved = usable[int(os.environ.get("LOCAL_RANK", "0")) % len(usable)]
        os.sched_setaffinity(0, set(usable) - {reserved})


def _submit(pool: Pool, job: Job) -> Future[Outcome]:
    try:
        (future,) = pool.submit([job])
    except SandboxError as error:  # the machine lacks what these tests need
        future = Future()
        future.set_exception(error)
    return future


class Outcomes:
    """The outcomes that the trainer waits for, sent in batches."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._running: dict[int, Future[Outcome]] = {}
        self._finished: list[tuple[int, Outcome | BaseException]] = []
        self._changed = threading.Condition()

    @property
    def are_several(self) -> bool:
        """Whether more than one program is running or queued."""
        return len(self._running) > 1

    def expect(self, number: int, future: Future[Outcome]) -> None:
        """Send the outcome of `future` once it is there."""
        with self._changed:
            self._running[number] = future
        future.add_done_callback(lambda done: self._finish(number, done))

    def cancel(self, number: int) -> None:
        """Cancel a program if it has not finished."""
        with self._changed:
            future = self._running.get(number)
        if future is not None:
            future.cancel()

    def send(self) -> None:
        """Send batches until the trainer closes the connection."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._finished)
                self._changed.wait_for(lambda: not self._running, timeout=BATCH_S)
                batch, self._finished = self._finished, []
            try:
                self._connection.send(batch)
            except OSError:
                return  # the trainer closed the connection

    def _finish(self, number: int, future: Future[Outcome]) -> None:
        with self._changed:
            del self._running[number]
            if not future.cancelled():
                self._finished.append((number, future.exception() or future.result()))
            self._changed.notify_all()


def _end_with(trainer: int) -> None:
    """End this process with its trainer; a fork of the trainer may still hold the connection open."""
    while os.getppid() == trainer:
        time.sleep(_WATCH_S)
    os._exit(0)
