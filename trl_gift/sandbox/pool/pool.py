"""`Pool`: worker slots whose threads live in this process.

One thread per slot takes programs from a bounded queue and gives them to the slot's worker. The thread only waits, so a
trainer that is busy in C loses nothing. Nothing outlives the pool: a worker dies with its slot's thread, and so with the
process, however that ends.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from trl_gift.sandbox.base import check_owner, closed
from trl_gift.sandbox.confine.plan import Plan
from trl_gift.sandbox.languages import commands
from trl_gift.sandbox.outcome import Outcome, SandboxError
from trl_gift.sandbox.pool.backend import Backend
from trl_gift.sandbox.pool.isolation import establish
from trl_gift.sandbox.pool.slot import Slot
from trl_gift.sandbox.pool.worker import Job


class Pool(Backend):
    """`num_workers` slots and their queue; `submit` waits while `max_pending` programs are queued."""

    def __init__(self, num_workers: int, isolation: str, max_pending: int) -> None:
        self._max_pending = max_pending
        self._owner = os.getpid()
        self._queue: deque[tuple[Job, Future[Outcome]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        established: Future[Plan] = Future()
        # The first slot's own thread probes the layers, because a worker dies with the thread that starts it.
        first = Slot(0, self._next, established, lambda: establish(isolation))
        self.slots = [first, *(Slot(index, self._next, established) for index in range(1, num_workers))]
        first.start()
        try:
            self.plan = established.result()
        except BaseException:
            self.close()
            raise
        for slot in self.slots[1:]:
            slot.start()

    @property
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""
        return self.plan.describe()

    def submit(self, jobs: Sequence[Job]) -> list[Future[Outcome]]:
        """Queue programs; a callback in a slot's thread never waits, because that slot could not make room."""
        for job in jobs:
            self._check_tools(job)
        in_slot = threading.current_thread() in {slot.thread for slot in self.slots}
        futures: list[Future[Outcome]] = []
        for job in jobs:
            future: Future[Outcome] = Future()
            with self._changed:
                self._check_open()
                while len(self._queue) >= self._max_pending and not in_slot:
                    self._changed.wait()
                    self._check_open()
                self._queue.append((job, future))
                self._changed.notify_all()
            futures.append(future)
        return futures

    def close(self) -> None:
        """Cancel what is queued or running and end every worker; nothing of them is left when this returns."""
        with self._changed:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for _, future in waiting:
            future.cancel()
        if os.getpid() != self._owner:
            return  # a fork of the trainer: the workers are the parent's
        for slot in self.slots:
            slot.stop()

    def _check_open(self) -> None:
        check_owner(self._owner)
        if self._closed:
            raise closed()

    def _check_tools(self, job: Job) -> None:
        if job.language is not None:
            commands(job.language)  # raises where the tools are missing
            if not self.plan.landlock:
                raise SandboxError(
                    f"programs in {job.language.title} need Landlock, which denies them what their compiler may do; the "
                    f"isolation here is {self.isolation}"
                )

    def _next(self) -> tuple[Job, Future[Outcome]] | None:
        """The next program for a slot; None once the pool is closed."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            item = self._queue.popleft()
            self._changed.notify_all()
            return item
