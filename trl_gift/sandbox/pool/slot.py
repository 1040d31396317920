"""A slot: one thread, and the workers that run its programs one after another.

A worker that dies is replaced and its program tried once more; if that fails too, the outcome is `infrastructure`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from trl_gift.sandbox.base import settle
from trl_gift.sandbox.confine.plan import Plan
from trl_gift.sandbox.languages import Language
from trl_gift.sandbox.outcome import Outcome, SandboxError
from trl_gift.sandbox.pool.report import JudgeDied
from trl_gift.sandbox.pool.worker import PRELOAD, Job, LayerUnavailable, Worker, WorkerDied
from trl_gift.sandbox.status import Status

_NUMPY = re.compile(r"\b(numpy|pandas|scipy|sklearn|sympy)\b")
_ATTEMPTS = 2


class Slot:
    """A thread with up to three workers, each started when first needed: plain, with numpy loaded, other languages.

    Args:
        index: Number of the slot, for the thread's name.
        next_job: Waits for the next program with its future; returns None when the slot must end.
        plan: The pool's layers; settled before any slot but the first one starts.
        establish: Given to the first slot only: finds the layers, and the slot settles `plan` with them.
    """

    def __init__(
        self,
        index: int,
        next_job: Callable[[], tuple[Job, Future[Outcome]] | None],
        plan: Future[Plan],
        establish: Callable[[], Plan] | None = None,
    ) -> None:
        self.thread = threading.Thread(target=self._loop, name=f"sandbox-slot-{index}", daemon=True)
        self._next_job = next_job
        self._plan = plan
        self._establish = establish
        self._workers: dict[str, Worker] = {}
        self._languages: dict[str, Language] = {}
        self._busy: tuple[Worker, Future[Outcome]] | None = None
        self._stopping = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the running program, then the thread; the thread itself may call this too."""
        with self._lock:
            self._stopping = True  # a program that is about to start sees this; a running one is ended below
            busy = self._busy
        if busy:  # without the lock, because cancelling runs the callbacks of others
            busy[1].cancel()
            busy[0].kill()
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join()

    def _loop(self) -> None:
        if self._establish is not None:
            try:
                self._plan.set_result(self._establish())
            except BaseException as error:  # noqa: BLE001  the caller who waits for the plan raises it
                self._plan.set_exception(error)
                return
        from trl_gift.sandbox.confine import kernel  # only now: the module cannot be imported where there is no Linux

        kernel.ask_for_short_slices()
        try:
            while (item := self._next_job()) is not None:
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
                worker = self._worker(kind, job)
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
        isolation = self._plan.result().describe()
        return Outcome(Status.INFRASTRUCTURE, message=message, isolation=isolation, attempts=_ATTEMPTS)

    def _worker(self, kind: str, job: Job) -> Worker:
        if job.language is not None and self._languages.get(job.language.name) != job.language:
            self._languages[job.language.name] = job.language
            self._discard(kind)  # what a worker may read is settled when it starts
        if kind not in self._workers:
            preload = [*PRELOAD, "numpy"] if kind == "numpy" else PRELOAD
            languages = tuple(self._languages.values()) if kind == "native" else ()
            self._workers[kind] = Worker(self._plan.result(), preload, languages)
        return self._workers[kind]

    def _discard(self, kind: str) -> None:
        worker = self._workers.pop(kind, None)
        if worker is not None:
            worker.close()


def _kind(job: Job) -> str:
    """Which of a slot's workers suits a program; the lightest forks fastest."""
    if job.language is not None:
        return "native"
    return "numpy" if _NUMPY.search(job.program) else "plain"
