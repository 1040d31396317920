"""Threads for requests that wait on a network: as many as are needed, none when there is nothing to do.

Unlike an executor of the standard library they take urgent work first, are gone as soon as the work is, and never keep
a program from ending.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """Runs jobs in daemon threads.

    Args:
        most: Most jobs that run at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        # (falling priority, order of submission, future, job)
        self._jobs: list[tuple[float, int, Future[Any], Callable[[], Any]]] = []
        self._submitted = 0
        self._threads = 0

    def start(self, job: Callable[[], T], priority: float = 0.0) -> Future[T]:
        """Queues a job; those of higher priority run first, equals in their order."""
        future: Future[T] = Future()
        with self._lock:
            self._submitted += 1
            heapq.heappush(self._jobs, (-priority, self._submitted, future, job))
            if self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name="completion-request", daemon=True).start()
        return future

    def drop_waiting(self) -> None:
        """Forgets the jobs that no thread has begun; their futures are cancelled."""
        with self._lock:
            jobs, self._jobs = self._jobs, []
        for _, _, future, _ in jobs:
            future.cancel()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                _, _, future, job = heapq.heappop(self._jobs)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - `future.result()` raises it for the caller
                future.set_exception(error)
            else:
                future.set_result(result)
