"""The scheduler: runs many coroutines at once on one engine and one sandbox, without barriers.

A coroutine asks (`Generate`, `Execute`, `Score`, `Pause`) and the scheduler resumes it with the answer. The engine gets every
request that is waiting; while it works on a batch, the sandbox runs the programs of the batch before. The scheduler uses
no threads, so it works the same in a script, in a notebook and under a launcher.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trl_gift.generation import Completion, Engine, GenerationRequest
from trl_gift.sampling.executions import SharedExecutions
from trl_gift.sandbox import Outcome, Sandbox, Tests


@dataclass(frozen=True, slots=True)
class Generate:
    """Asks the engine for the completions of one request; awaits a tuple of `Completion`."""

    request: GenerationRequest

    def __await__(self) -> Generator[Any, Any, tuple[Completion, ...]]:
        completions: tuple[Completion, ...] = yield self
        return completions


@dataclass(frozen=True, slots=True)
class Execute:
    """Asks the sandbox to run programs; awaits a list of `Outcome` in their order."""

    jobs: tuple[tuple[str, Tests], ...]

    def __await__(self) -> Generator[Any, Any, list[Outcome]]:
        outcomes: list[Outcome] = yield self
        return outcomes


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits for futures that somebody else completes, such as the answers of a teacher; awaits a list of their results."""

    futures: tuple[Future[Any], ...]

    def __await__(self) -> Generator[Any, Any, list[Any]]:
        results: list[Any] = yield self
        return results


@dataclass(frozen=True, slots=True)
class Score:
    """Asks for log-probabilities of completions; awaits one tuple of numbers for each pair."""

    pairs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    def __await__(self) -> Generator[Any, Any, list[tuple[float, ...]]]:
        scores: list[tuple[float, ...]] = yield self
        return scores


@dataclass(frozen=True, slots=True)
class Pause:
    """Waits until no coroutine has anything left to do but to pause; awaits None."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield self


Chain = Coroutine[Any, Any, None]


@dataclass(slots=True)
class SchedulerTimes:
    """How a scheduler spent its time, in seconds. The rest of the total went into its bookkeeping and into the chains.

    Attributes:
        generation: Time in the engine.
        waiting: Time spent waiting for programs to end, with nothing left to generate.
        total: Time in `Scheduler.run`.
    """

    generation: float = 0.0
    waiting: float = 0.0
    total: float = 0.0


class Scheduler:
    """Runs coroutines to their end.

    Args:
        engine: Generates and scores.
        sandbox: Runs programs, equal programs with equal tests once; None if no coroutine executes programs.
        on_step: Called after each step of the engine, for progress.
        on_pause: Called when all coroutines that have not ended are pausing; then they go on.

    Attributes:
        times: How the scheduler spent its time.
        executions: The executed programs; None without a sandbox.
    """

    def __init__(
        self,
        engine: Engine,
        sandbox: Sandbox | None,
        on_step: Callable[[], object] = lambda: None,
        on_pause: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_step = on_step
        self._on_pause = on_pause
        self.times = SchedulerTimes()
        self._engine = engine
        self.executions = SharedExecutions(sandbox) if sandbox else None
        self._ready: deque[tuple[Chain, Any]] = deque()
        self._generating: dict[Any, Chain] = {}
        self._asking: list[tuple[Chain, Execute]] = []
        self._executing: dict[Chain, list[Future[Any]]] = {}
        self._scoring: list[tuple[Chain, Score]] = []
        self._pausing: list[Chain] = []
        self._every: list[Chain] = []

    def add(self, chain: Chain) -> None:
        """Runs one more chain, beside the chain that calls this."""
        self._every.append(chain)
        self._ready.append((chain, None))

    def run(self, chains: Iterable[Chain]) -> None:
        """Runs all chains; returns when the last has ended.

        An exception that a chain raises propagates from here, after all chains have been closed.
        """
        started = time.perf_counter()
        for chain in list(chains):
            self.add(chain)
        try:
            with _existing_objects_frozen():
                while self._is_busy or self._pausing:
                    while self._ready:
                        self._advance(*self._ready.popleft())
                    self._execute()
                    began = time.perf_counter()
                    self._score()
                    results = self._engine.step() if self._generating else []
                    self.times.generation += time.perf_counter() - began
                    self._ready.extend((self._generating.pop(result.key), result.completions) for result in results)
                    self._on_step()
                    self._collect()
                    self._resume()
        finally:
            self.times.total += time.perf_counter() - started
            for chain in self._every:
                chain.close()
            for futures in self._executing.values():
                for future in futures:
                    future.cancel()

    @property
    def _is_busy(self) -> bool:
        return bool(self._ready or self._generating or self._executing or self._scoring)

    def _advance(self, chain: Chain, answer: Any) -> None:
        try:
            ask = chain.send(answer)
        except StopIteration:
            return
        match ask:
            case Generate(request):
                self._generating[request.key] = chain
                self._engine.submit(request)
            case Execute():
                self._asking.append((chain, ask))
            case Wait(futures):
                self._executing[chain] = list(futures)
            case Score():
                self._scoring.append((chain, ask))
            case Pause():
                self._pausing.append(chain)
            case _:
                raise TypeError(f"a coroutine awaited {ask!r}, which the scheduler does not know")

    def _execute(self) -> None:
        """Submits the programs of all waiting coroutines together, because one call costs more than one program."""
        if not self._asking:
            return
        assert self.executions is not None, "a coroutine executes, and there is no sandbox"
        asking, self._asking = self._asking, []
        futures = iter(self.executions.submit_all([job for _, ask in asking for job in ask.jobs]))
        self._executing.update((chain, [next(futures) for _ in ask.jobs]) for chain, ask in asking)

    def _score(self) -> None:
        """Scores for all waiting coroutines with one call, so that they share batches."""
        if not self._scoring:
            return
        waiting, self._scoring = self._scoring, []
        scores = iter(self._engine.score([pair for _, ask in waiting for pair in ask.pairs]))
        self._ready.extend((chain, [next(scores) for _ in ask.pairs]) for chain, ask in waiting)

    def _collect(self) -> None:
        """Resumes chains whose programs have all run, or whose answers are there; waits only when there is nothing else to do."""
        if not self._executing:
            return
        if not self._ready and not self._generating:
            began = time.perf_counter()
            wait(_unfinished(self._executing.values()), return_when=FIRST_COMPLETED)
            self.times.waiting += time.perf_counter() - began
        finished = [chain for chain, futures in self._executing.items() if all(future.done() for future in futures)]
        for chain in finished:
            self._ready.append((chain, [future.result() for future in self._executing.pop(chain)]))

    def _resume(self) -> None:
        """Lets the pausing coroutines go on, once there is nothing else to do."""
        if self._pausing and not self._is_busy:
            self._on_pause()
            pausing, self._pausing = self._pausing, []
            self._ready.extend((chain, None) for chain in pausing)


@contextmanager
def _existing_objects_frozen() -> Iterator[None]:
    """Keeps the garbage collector from scanning the objects that exist already.

    A model and its libraries are half a million objects. A scan of them takes a quarter of a second, and the chains
    create enough objects to trigger a scan every few thousand tokens.
    """
    if gc.get_freeze_count():  # the caller has frozen objects for purposes of its own
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _unfinished(groups: Iterable[Sequence[Future[Any]]]) -> list[Future[Any]]:
    return [future for futures in groups for future in futures if not future.done()]
