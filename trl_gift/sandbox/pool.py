"""`LocalSandbox`: a pool of worker slots on this machine.

One thread per slot takes programs from a bounded queue and gives them to the slot's worker; the thread only waits, so a
trainer that is busy in C loses nothing. A worker that dies is replaced and the program tried once more; if that fails
too, the outcome is `infrastructure`. Nothing outlives the pool: workers die with the slot's thread, and so with the
trainer, however it ends.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from trl_gift.sandbox.base import BaseSandbox, check_job, check_owner, closed, settle
from trl_gift.sandbox.cases import StdioTests, Tests
from trl_gift.sandbox.isolation import establish
from trl_gift.sandbox.languages import commands
from trl_gift.sandbox.outcome import Limits, Outcome, SandboxError
from trl_gift.sandbox.plan import Plan
from trl_gift.sandbox.slot import PRELOAD, Job, LayerUnavailable, Worker, WorkerDied
from trl_gift.sandbox.status import Status
from trl_gift.sandbox.verdict import JudgeDied

_NUMPY = re.compile(r"\b(numpy|pandas|scipy|sklearn|sympy)\b")
_ATTEMPTS = 2


class LocalSandbox(BaseSandbox):
    """Runs programs against tests, each program confined in a process of its own.

    Args:
        num_workers: programs that run at the same time; by default the CPUs that this process may use.
        limits: what each program may use; `submit` and `run` take others for single programs.
        isolation: `"required"` refuses to start where programs cannot be confined (`IsolationUnavailable`);
            `"none"` runs them unconfined, says so in every outcome, and needs the environment variable
            `TRL_GIFT_ALLOW_NO_ISOLATION=1` as well.
        max_pending: `submit` waits while so many programs are queued; by default 64 per worker.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        limits: Limits | None = None,
        isolation: str = "required",
        max_pending: int | None = None,
    ) -> None:
        if num_workers is None:
            num_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if num_workers < 1:
            raise ValueError(
                f"LocalSandbox(num_workers={num_workers}): at least one is needed; leave it out for one per CPU"
            )
        self.num_workers = num_workers
        self.limits = limits or Limits()
        self.window = 4 * num_workers
        self._max_pending = max_pending or 64 * num_workers
        self._owner = os.getpid()
        self._queue: deque[tuple[Job, Future[Outcome]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._slots = [_Slot(self, index) for index in range(num_workers)]
        self._plan: Future[Plan] = Future()
        self._slots[0].start(
            lambda: establish(isolation)
        )  # in its thread: workers die with the thread that starts them
        try:
            self.plan = self._plan.result()
        except BaseException:
            self.close()
            raise
        for slot in self._slots[1:]:
            slot.start(None)
        _open_pools.add(self)

    @property
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""
        return self.plan.describe()

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Queue one program and return at once; waits while the queue is full.

        `cancel()` of the future works before the program runs and while it runs (it is then killed). Callbacks of the
        future run in the slot's thread; they may submit.
        """
        self._check_job(program, tests)
        future: Future[Outcome] = Future()
        job = Job(program, tests, limits or self.limits, stop_at_first_failure)
        inside = threading.current_thread() in {slot.thread for slot in self._slots}
        with self._changed:
            self._check_open()
            while len(self._queue) >= self._max_pending and not inside:
                self._changed.wait()
                self._check_open()
            self._queue.append((job, future))
            self._changed.notify_all()
        return future

    def close(self) -> None:
        """Cancel what is queued or running and end every worker; returns when nothing is left of them."""
        with self._changed:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for _, future in waiting:
            future.cancel()
        if os.getpid() != self._owner:
            return  # a fork of the trainer: the workers are the parent's
        for slot in self._slots:
            slot.stop()
        _open_pools.discard(self)

    def _check_open(self) -> None:
        check_owner(self._owner)
        if self._closed:
            raise closed()

    def _check_job(self, program: str, tests: Tests) -> None:
        check_job(program, tests)
        if isinstance(tests, StdioTests) and tests.language != "python":
            commands(tests.language)  # raises where the tools are missing
            if not self.plan.landlock:
                raise SandboxError(
                    f"programs in {tests.language} need Landlock, which keeps them from what their compiler may do; the "
                    f"isolation here is {self.isolation}"
                )

    def _next(self) -> tuple[Job, Future[Outcome]] | None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            item = self._queue.popleft()
            self._changed.notify_all()
            return item


class _Slot:
    """A thread and the workers that it keeps: a plain one, and from the first need on one with numpy loaded, and one
    for other languages.
    """

    def __init__(self, pool: LocalSandbox, index: int) -> None:
        self.pool = pool
        self.thread = threading.Thread(target=self._loop, name=f"sandbox-slot-{index}", daemon=True)
        self._workers: dict[str, Worker] = {}
        self._establish: Callable[[], Plan] | None = None
        self._busy: tuple[Worker, Future[Outcome]] | None = None
        self._stopping = False
        self._lock = threading.Lock()

    def start(self, establish_plan: Callable[[], Plan] | None) -> None:
        self._establish = establish_plan
        self.thread.start()

    def stop(self) -> None:
        """End the running program, then the thread; safe to call from the thread itself."""
        with self._lock:
            self._stopping = True  # a program that is about to start will see it, one that runs is ended here
            busy = self._busy
        if busy:  # without the lock: cancelling runs the callbacks of others
            busy[1].cancel()
            busy[0].kill()
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join()

    def _loop(self) -> None:
        if self._establish is not None:
            try:
                self.pool._plan.set_result(self._establish())
            except BaseException as error:  # noqa: BLE001  the caller who waits raises it
                self.pool._plan.set_exception(error)
                return
        from trl_gift.sandbox import kernel  # only now: the module cannot be imported where there is no Linux

        kernel.ask_for_short_slices()
        try:
            while (item := self.pool._next()) is not None:
                job, future = item
                if future.cancelled():
                    continue
                try:
                    settle(future, self._run(job, future))
                except Exception as error:  # noqa: BLE001  a bug must reach the caller who waits, not end this thread
                    settle(future, error)
        finally:
            for worker in self._workers.values():
                worker.close()

    def _run(self, job: Job, future: Future[Outcome]) -> Outcome:
        kind = _kind(job)
        reason = ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                worker = self._worker(kind)
            except (SandboxError, LayerUnavailable, OSError) as error:
                reason = str(error)
                continue
            with self._lock:
                if self._stopping:
                    future.cancel()
                    break
                self._busy = (worker, future)
            future.add_done_callback(lambda done, worker=worker: worker.cancel() if done.cancelled() else None)  # type: ignore[misc]
            try:
                outcome = worker.run(job, future.cancelled)
            except (WorkerDied, JudgeDied) as error:
                reason = f"{type(error).__name__}: {error}"
                if isinstance(error, WorkerDied):
                    self._discard(kind)
                if future.cancelled() or self._stopping:
                    break
            else:
                return replace(outcome, attempts=attempt)
            finally:
                with self._lock:
                    self._busy = None
        message = f"{reason} (tried {_ATTEMPTS} times)"
        return Outcome(Status.INFRASTRUCTURE, message=message, isolation=self.pool.isolation, attempts=_ATTEMPTS)

    def _worker(self, kind: str) -> Worker:
        if kind not in self._workers:
            preload = [*PRELOAD, "numpy"] if kind == "numpy" else PRELOAD
            self._workers[kind] = Worker(self.pool.plan, preload, other_languages=kind == "native")
        return self._workers[kind]

    def _discard(self, kind: str) -> None:
        worker = self._workers.pop(kind, None)
        if worker is not None:
            worker.close()


def _kind(job: Job) -> str:
    """Which of a slot's workers suits a program; the lightest forks fastest."""
    if isinstance(job.tests, StdioTests) and job.tests.language != "python":
        return "native"
    return "numpy" if _NUMPY.search(job.program) else "plain"


_open_pools: weakref.WeakSet[LocalSandbox] = weakref.WeakSet()


@atexit.register
def _close_open_pools() -> None:
    for pool in list(_open_pools):
        pool.close()
