"""The driver: runs many coroutines at once on one engine and one sandbox, without barriers.

A coroutine asks (`Generate`, `Execute`, `Score`) and is resumed with the answer. The engine gets whatever is waiting;
while it works on a batch, the sandbox runs the programs of the batch before. No thread is involved on this side, so
the driver works the same in a script, a notebook and under a launcher.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Coroutine, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trl_gift.generation.engine import Completion, Engine, GenerationRequest
from trl_gift.sampling.executions import Verdicts
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
class Score:
    """Asks for log-probabilities of completions; awaits one tuple of numbers for each pair."""

    pairs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    def __await__(self) -> Generator[Any, Any, list[tuple[float, ...]]]:
        scores: list[tuple[float, ...]] = yield self
        return scores


Chain = Coroutine[Any, Any, None]


@dataclass(slots=True)
class Clock:
    """Where a driver's time went, in seconds; what is left of the total is its own bookkeeping and the chains'.

    Attributes:
        generation: In the engine.
        waiting: For programs to end, with nothing left to generate in the meantime.
        total: Of `Driver.run`.
    """

    generation: float = 0.0
    waiting: float = 0.0
    total: float = 0.0


class Driver:
    """Runs coroutines to their end.

    Args:
        engine: Generates and scores.
        sandbox: Runs programs, equal ones with equal tests once; None if no coroutine will ask for that.

    Attributes:
        clock: Where the time went.
        verdicts: What came of the programs; None without a sandbox.
    """

    def __init__(self, engine: Engine, sandbox: Sandbox | None) -> None:
        self.clock = Clock()
        self._engine = engine
        self.verdicts = Verdicts(sandbox) if sandbox else None
        self._ready: deque[tuple[Chain, Any]] = deque()
        self._generating: dict[Any, Chain] = {}
        self._asking: list[tuple[Chain, Execute]] = []
        self._executing: dict[Chain, list[Future[Outcome]]] = {}
        self._scoring: list[tuple[Chain, Score]] = []

    def run(self, chains: Iterable[Chain]) -> None:
        """Runs all chains; returns when the last has ended.

        Whatever a chain raises propagates from here, after all chains have been closed.
        """
        started = time.perf_counter()
        every = list(chains)
        self._ready.extend((chain, None) for chain in every)
        try:
            with _long_lived_objects_left_alone():
                while self._ready or self._generating or self._executing or self._scoring:
                    while self._ready:
                        self._advance(*self._ready.popleft())
                    self._execute()
                    began = time.perf_counter()
                    self._score()
                    results = self._engine.step() if self._generating else []
                    self.clock.generation += time.perf_counter() - began
                    self._ready.extend((self._generating.pop(result.key), result.completions) for result in results)
                    self._collect()
        finally:
            self.clock.total += time.perf_counter() - started
            for chain in every:
                chain.close()
            for futures in self._executing.values():
                for future in futures:
                    future.cancel()

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
            case Score():
                self._scoring.append((chain, ask))
            case _:
                raise TypeError(f"a coroutine awaited {ask!r}, which the driver does not know")

    def _execute(self) -> None:
        """Hands the programs of all waiting asks to the sandbox, together: each time costs more than each program."""
        if not self._asking:
            return
        assert self.verdicts is not None, "a coroutine executes, and there is no sandbox"
        asking, self._asking = self._asking, []
        futures = iter(self.verdicts.submit_all([job for _, ask in asking for job in ask.jobs]))
        self._executing.update((chain, [next(futures) for _ in ask.jobs]) for chain, ask in asking)

    def _score(self) -> None:
        """Answers all waiting scoring asks with one call, so that they share batches."""
        if not self._scoring:
            return
        waiting, self._scoring = self._scoring, []
        scores = iter(self._engine.score([pair for _, ask in waiting for pair in ask.pairs]))
        self._ready.extend((chain, [next(scores) for _ in ask.pairs]) for chain, ask in waiting)

    def _collect(self) -> None:
        """Resumes chains whose programs have all run; waits for one only when there is nothing else to do."""
        if not self._executing:
            return
        if not self._ready and not self._generating:
            began = time.perf_counter()
            wait(_unfinished(self._executing.values()), return_when=FIRST_COMPLETED)
            self.clock.waiting += time.perf_counter() - began
        finished = [chain for chain, futures in self._executing.items() if all(future.done() for future in futures)]
        for chain in finished:
            self._ready.append((chain, [future.result() for future in self._executing.pop(chain)]))


@contextmanager
def _long_lived_objects_left_alone() -> Iterator[None]:
    """Spares the garbage collector what was there before.

    The libraries around a model are half a million objects; looking through them takes a quarter of a second each time,
    and chains make enough objects of their own for that to happen every few thousand tokens.
    """
    if gc.get_freeze_count():  # somebody else's arrangement
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _unfinished(groups: Iterable[Sequence[Future[Outcome]]]) -> list[Future[Outcome]]:
    return [future for futures in groups for future in futures if not future.done()]
