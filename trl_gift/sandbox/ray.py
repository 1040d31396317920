"""`RaySandbox`: a `LocalSandbox` on every node of a Ray cluster, with one `submit` for all of them.

One actor per node holds that node's sandbox, and a program goes to the node with the lowest load. An actor that dies
(because its node was lost or its memory ran out) is replaced on a node that is alive, and its programs are tried once
more; if an actor dies again, the outcome is `infrastructure`. Verdicts are as trustworthy as each node's own isolation:
if a node cannot confine programs, making the sandbox fails.

Not covered: nodes that join the cluster later.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trl_gift.sandbox.base import BaseSandbox, check_job, closed, settle
from trl_gift.sandbox.cases import StdioTests, Tests
from trl_gift.sandbox.languages import Language, ToolchainMissing, add_language, own_language
from trl_gift.sandbox.local import LocalSandbox
from trl_gift.sandbox.outcome import IsolationUnavailable, Limits, Outcome
from trl_gift.sandbox.status import Status

_ATTEMPTS = 2


class _NodeSandbox:
    """The sandbox of one node; lives in an actor."""

    def __init__(self, num_workers: int, limits: Limits, isolation: str) -> None:
        self._sandbox = LocalSandbox(num_workers, limits, isolation)
        self._running: dict[int, Future[Outcome]] = {}

    def isolation(self) -> str:
        return self._sandbox.isolation

    def run(
        self, number: int, program: str, tests: Tests, limits: Limits, stop: bool, own: Language | None
    ) -> Outcome:
        if own is not None:
            add_language(own)
        future = self._sandbox.submit(program, tests, limits=limits, stop_at_first_failure=stop)
        self._running[number] = future
        try:
            return future.result()
        finally:
            del self._running[number]

    def cancel(self, number: int) -> None:
        if number in self._running:
            self._running[number].cancel()

    def close(self) -> None:
        self._sandbox.close()


class _Node:
    """One node as the trainer sees it: its actor, and the number of programs that it has."""

    def __init__(self, node_id: str, workers: int, limits: Limits, isolation: str) -> None:
        self.node_id = node_id
        self.workers = workers
        self.load = 0
        # The actor's threads: one per program in flight, and some for cancellations.
        options = {"num_cpus": 0, "max_concurrency": 4 * workers + 4}
        strategy = NodeAffinitySchedulingStrategy(node_id, soft=True)
        actor = ray.remote(_NodeSandbox).options(scheduling_strategy=strategy, **options)
        self.actor: Any = actor.remote(workers, limits, isolation)


class RaySandbox(BaseSandbox):
    """Runs programs on every node of a Ray cluster.

    Args:
        workers_per_node: Number of programs that run at the same time on each node; by default the node's CPUs.
        limits: What each program may use, by default `Limits()`.
        isolation: As for `LocalSandbox`, on every node; `"required"` by default.
        address: Address of the cluster to join if this process has not joined one yet; `"auto"` by default.

    Raises:
        IsolationUnavailable: A node cannot confine programs.
    """

    def __init__(
        self,
        workers_per_node: int | None = None,
        limits: Limits | None = None,
        isolation: str = "required",
        address: str = "auto",
    ) -> None:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False)
        self.limits = limits or Limits()
        self._settings = (self.limits, isolation)
        self._nodes = [
            _Node(node["NodeID"], workers_per_node or max(1, int(node["Resources"].get("CPU", 1))), *self._settings)
            for node in ray.nodes()
            if node["Alive"]
        ]
        self.window = sum(4 * node.workers for node in self._nodes)
        self._room = threading.Semaphore(self.window)
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._closed = False
        try:
            layers = ray.get([node.actor.isolation.remote() for node in self._nodes])
        except RayError as error:
            self.close()
            raise IsolationUnavailable(f"a node of the Ray cluster cannot run programs safely: {error}") from error
        self._isolation: str = min(layers, key=len)  # that of the weakest node

    @property
    def isolation(self) -> str:
        """The layers in force on the weakest node; outcomes record those of their own node."""
        return self._isolation

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Send one program to the node with the lowest load; waits while there are four programs per worker.

        The future raises `ToolchainMissing` if the node lacks the tools of the program's language.
        """
        check_job(program, tests)
        if self._closed:
            raise closed()
        self._room.acquire()
        future: Future[Outcome] = Future()
        future.add_done_callback(lambda _: self._room.release())
        # The user's language files are on this machine only.
        own = own_language(tests.language) if isinstance(tests, StdioTests) else None
        self._send(future, (program, tests, limits or self.limits, stop_at_first_failure, own), attempt=1)
        return future

    def close(self) -> None:
        """End every node's sandbox and its actor."""
        self._closed = True
        if not ray.is_initialized():
            return
        closing = [node.actor.close.remote() for node in self._nodes]
        ray.wait(closing, num_returns=len(closing), timeout=10)
        for node in self._nodes:
            ray.kill(node.actor)

    def _send(
        self, future: Future[Outcome], job: tuple[Any, ...], attempt: int, replacement: _Node | None = None
    ) -> None:
        with self._lock:
            node = replacement or min(self._nodes, key=lambda node: node.load / node.workers)
            node.load += 1
            number = next(self._numbers)
            reference = node.actor.run.remote(number, *job)

        def finished(result: Future[Outcome]) -> None:
            with self._lock:
                node.load -= 1
            if future.cancelled():
                return
            error = result.exception()
            if isinstance(error, RayTaskError):
                error = error.cause
            if error is None:
                settle(future, replace(result.result(), attempts=attempt))
            elif isinstance(error, ToolchainMissing):
                settle(future, ToolchainMissing(f"on a node of the Ray cluster: {error}"))
            elif attempt < _ATTEMPTS and not self._closed:
                self._send(future, job, attempt + 1, self._replace(node))  # the other nodes may be lost as well
            else:
                message = f"{type(error).__name__}: {str(error).splitlines()[0]} (tried {attempt} times)"
                settle(future, Outcome(Status.INFRASTRUCTURE, message=message, attempts=attempt))

        def ended(done: Future[Outcome]) -> None:
            if done.cancelled() and not self._closed:
                node.actor.cancel.remote(number)

        future.add_done_callback(ended)
        reference.future().add_done_callback(finished)

    def _replace(self, lost: _Node) -> _Node | None:
        """Start a new actor for a node whose actor died; on another node if the node itself was lost."""
        with self._lock:
            if lost not in self._nodes:
                return None  # replaced already, for another program of the same actor
            self._nodes.remove(lost)
            self._nodes.append(_Node(lost.node_id, lost.workers, *self._settings))
            return self._nodes[-1]
