"""`LocalSandbox`: runs programs on this machine, in a pool of confined workers.

The pool's threads live in the process that makes the sandbox, or in a host process of their own
(`in_process=False`). Both backends run the same code, see `pool/`.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence
from concurrent.futures import Future

from trl_gift.sandbox.base import BaseSandbox, check_job
from trl_gift.sandbox.cases import Tests
from trl_gift.sandbox.languages import add_language_file
from trl_gift.sandbox.outcome import IsolationUnavailable, Limits, Outcome
from trl_gift.sandbox.pool.backend import Backend
from trl_gift.sandbox.pool.hosted import HostedPool
from trl_gift.sandbox.pool.isolation import unsupported
from trl_gift.sandbox.pool.pool import Pool
from trl_gift.sandbox.pool.worker import Job

_PENDING_PER_WORKER = 64
_PENDING_HOSTED = 1024


class LocalSandbox(BaseSandbox):
    """Runs programs against tests, each program confined in a process of its own.

    Args:
        num_workers: Number of programs that run at the same time; by default the number of CPUs that this process may
            use.
        limits: What each program may use, by default `Limits()`; `submit`, `run` and `map` take other limits for single
            programs.
        isolation: `"required"` (the default) refuses to start where programs cannot be confined. `"none"` runs programs
            unconfined, records that in every outcome, and needs the environment variable
            `TRL_GIFT_ALLOW_NO_ISOLATION=1` as well.
        max_pending: `submit` waits while this many programs are queued. By default 64 per worker. With
            `in_process=False`, running programs count too, and the default is 1024.
        in_process: Whether the threads that hand programs over live in this process (the default). With `False` they
            live in a process of their own: they then take no interpreter lock from a trainer that computes in Python,
            outcomes come back in batches (at most 20 ms later), and programs keep off one CPU if there are fewer workers
            than CPUs. The host process ends when the sandbox is closed, or within a second of this process's end.
        language_file: Your own file of a language, or several, which `StdioTests` may then name in this process.

    Raises:
        LanguageFileError: A language file has a mistake.
        IsolationUnavailable: No isolation that is safe enough is available here.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        limits: Limits | None = None,
        isolation: str = "required",
        max_pending: int | None = None,
        *,
        in_process: bool = True,
        language_file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        for path in [language_file] if isinstance(language_file, str | os.PathLike) else language_file:
            add_language_file(path)
        if (reason := unsupported()) is not None:
            raise IsolationUnavailable(reason)
        if num_workers is None:
            num_workers = len(os.sched_getaffinity(0))
        if num_workers < 1:
            raise ValueError(
                f"LocalSandbox(num_workers={num_workers}): at least one worker is needed; leave it out for one per CPU"
            )
        self.limits = limits or Limits()
        self.window = 4 * num_workers
        self._backend: Backend
        if in_process:
            self._backend = Pool(num_workers, isolation, max_pending or _PENDING_PER_WORKER * num_workers)
        else:
            self._backend = HostedPool(num_workers, isolation, max_pending or _PENDING_HOSTED)
        _open_backends.add(self._backend)

    @property
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""
        return self._backend.isolation

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Queue one program and return at once; waits while the queue is full.

        `cancel()` of the future works before the program runs and while it runs (the program is then killed). Callbacks
        of the future run in a thread of the sandbox; they may submit.

        Raises:
            SandboxClosed: The sandbox is closed, or belongs to the parent of this process.
            SandboxError: The machine lacks what these tests need (with `in_process=False` the future raises it), or
                the host process has died.
        """
        check_job(program, tests)
        (future,) = self._backend.submit([Job(program, tests, limits or self.limits, stop_at_first_failure)])
        return future

    def submit_all(self, pairs: Sequence[tuple[str, Tests]]) -> list[Future[Outcome]]:
        """Queue many programs with their tests, as `submit` does; with `in_process=False` at the cost of one."""
        for program, tests in pairs:
            check_job(program, tests)
        return self._backend.submit([Job(program, tests, self.limits, True) for program, tests in pairs])

    def close(self) -> None:
        """Cancel what is queued or running and end every worker; nothing of them is left when this returns."""
        self._backend.close()
        _open_backends.discard(self._backend)


_open_backends: weakref.WeakSet[Backend] = weakref.WeakSet()


@atexit.register
def _close_open_backends() -> None:
    for backend in list(_open_backends):
        backend.close()
