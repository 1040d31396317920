"""`RaySandbox`: a `LocalSandbox` on every node of a Ray cluster, behind one queue.

One actor per node holds that node's pool; programs go to the node with the least to do. An actor that dies (a node that
is lost, memory that ran out) is replaced on a node that is alive and its programs are tried once more elsewhere; a
second loss is `infrastructure`. Verdicts are as trustworthy as each node's own isolation: a node that cannot confine
programs is refused when the sandbox is made.

Not covered: nodes that join the cluster later.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trl_gift.sandbox.base import BaseSandbox, check_job, closed, settle
from trl_gift.sandbox.cases import Tests
from trl_gift.sandbox.outcome import IsolationUnavailable, Limits, Outcome
from trl_gift.sandbox.pool import LocalSandbox
from trl_gift.sandbox.status import Status

_ATTEMPTS = 2


class _Pool:
    """The pool of one node; lives in an actor."""

    def __init__(self, num_workers: int, limits: Limits, isolation: str) -> None:
        self._sandbox = LocalSandbox(num_workers, limits, isolation)
        self._running: dict[int, Future[Outcome]] = {}

    def isolation(self) -> str:
        return self._sandbox.isolation

    def run(self, number: int, program: str, tests: Tests, limits: Limits, stop: bool) -> Outcome:
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
    """One node as this side sees it: its actor, and how many programs it has."""

    def __init__(self, node_id: str, workers: int, limits: Limits, isolation: str) -> None:
        self.node_id = node_id
        self.workers = workers
        self.load = 0
        # Threads of the actor: one per program in flight, and some for cancellations.
        options = {"num_cpus": 0, "max_concurrency": 4 * workers + 4}
        strategy = NodeAffinitySchedulingStrategy(node_id, soft=True)
        actor = ray.remote(_Pool).options(scheduling_strategy=strategy, **options)
        self.actor: Any = actor.remote(workers, limits, isolation)


class RaySandbox(BaseSandbox):
    """Runs programs on every node of a Ray cluster.

    Args:
        workers_per_node: programs that run at the same time on each node; by default the node's CPUs.
        limits: what each program may use.
        isolation: as for `LocalSandbox`, on every node.
        address: the cluster to join where this process has not joined one yet.
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
        self._isolation: str = min(layers, key=len)  # the weakest node speaks for all

    @property
    def isolation(self) -> str:
        """The layers in force on the weakest node; outcomes record those of their own node."""
        return self._isolation

    @property
    def num_nodes(self) -> int:
        """How many nodes have a pool."""
        return len(self._nodes)

    def submit(
        self, program: str, tests: Tests, *, limits: Limits | None = None, stop_at_first_failure: bool = True
    ) -> Future[Outcome]:
        """Send one program to the least busy node; waits while every node has four programs per worker."""
        check_job(program, tests)
        if self._closed:
            raise closed()
        self._room.acquire()
        future: Future[Outcome] = Future()
        future.add_done_callback(lambda _: self._room.release())
        self._send(future, (program, tests, limits or self.limits, stop_at_first_failure), attempt=1)
        return future

    def close(self) -> None:
        """End every node's pool and its actor."""
        self._closed = True
        if not ray.is_initialized():
            return
        closing = [node.actor.close.remote() for node in self._nodes]
        ray.wait(closing, num_returns=len(closing), timeout=10)
        for node in self._nodes:
            ray.kill(node.actor)

    def _send(self, future: Future[Outcome], job: tuple[Any, ...], attempt: int, fresh: _Node | None = None) -> None:
        with self._lock:
            node = fresh or min(self._nodes, key=lambda node: node.load / node.workers)
            node.load += 1
            number = next(self._numbers)
            reference = node.actor.run.remote(number, *job)

        def landed(result: Future[Outcome]) -> None:
            with self._lock:
                node.load -= 1
            if future.cancelled():
                return
            error = result.exception()
            if error is None:
                settle(future, replace(result.result(), attempts=attempt))
            elif attempt < _ATTEMPTS and not self._closed:
                self._send(future, job, attempt + 1, self._replace(node))  # nothing is known of the other nodes
            else:
                message = f"{type(error).__name__}: {str(error).splitlines()[0]} (tried {attempt} times)"
                settle(future, Outcome(Status.INFRASTRUCTURE, message=message, attempts=attempt))

        def ended(done: Future[Outcome]) -> None:
            if done.cancelled() and not self._closed:
                node.actor.cancel.remote(number)

        future.add_done_callback(ended)
        reference.future().add_done_callback(landed)

    def _replace(self, lost: _Node) -> _Node | None:
        """Give a node whose actor died a new one; where the node itself is gone, on another node."""
        with self._lock:
            if lost not in self._nodes:
                return None  # replaced already, for another program that was lost with it
            self._nodes.remove(lost)
            self._nodes.append(_Node(lost.node_id, lost.workers, *self._settings))
            return self._nodes[-1]
