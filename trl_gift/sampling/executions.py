"""Shared executions: the sandbox does not run a program again that it has run with the same tests.

A model that has learned a task writes the same program again and again, and the programs of one step are often equal. A
verdict is a function of program and tests, so equal programs get the outcome of the first, with its cost in time and
memory. A program that arrives while an equal one still runs waits for that one. An execution that failed for lack of a
sandbox says nothing about the program and is not shared.

Not covered: programs whose verdict changes from run to run. All equal programs that are remembered get one verdict.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future

from trl_gift.sandbox import Outcome, Sandbox, Status, Tests

# Outcomes take a kilobyte or two each.
_REMEMBERED = 16_384


class SharedExecutions:
    """Outcomes from a sandbox, with one execution for each distinct pair of program and tests.

    Args:
        sandbox: Runs the programs.
        remembered: Number of outcomes to keep; the least recently requested outcomes are dropped first.

    Attributes:
        count: Number of programs given to the sandbox.
    """

    def __init__(self, sandbox: Sandbox, remembered: int = _REMEMBERED) -> None:
        self.count = 0
        self._sandbox = sandbox
        self._remembered = remembered
        self._futures: OrderedDict[bytes, Future[Outcome]] = OrderedDict()

    def submit_all(self, pairs: Sequence[tuple[str, Tests]]) -> list[Future[Outcome]]:
        """The outcomes of programs, immediately where they are known; blocks while the sandbox's queue is full."""
        keys = [_key(program, tests) for program, tests in pairs]
        unknown = {
            key: pair
            for key, pair in zip(keys, pairs, strict=True)
            if (future := self._futures.get(key)) is None or _says_nothing(future)
        }
        self.count += len(unknown)
        self._futures.update(zip(unknown, self._sandbox.submit_all(list(unknown.values())), strict=True))
        futures = [self._futures[key] for key in keys]
        for key in keys:
            self._futures.move_to_end(key)
        while len(self._futures) > self._remembered:
            self._futures.popitem(last=False)
        return futures


def _key(program: str, tests: Tests) -> bytes:
    digest = hashlib.blake2b(program.encode("utf-8", "surrogatepass"), digest_size=16)
    digest.update(tests.fingerprint.encode())
    return digest.digest()


def _says_nothing(future: Future[Outcome]) -> bool:
    if not future.done():
        return False
    return future.cancelled() or future.exception() is not None or future.result().status is Status.INFRASTRUCTURE
