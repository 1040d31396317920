"""The interface between `LocalSandbox` and what runs its programs: threads of this process, or a host process.

`Pool` and `HostedPool` are the two backends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future

from trl_gift.sandbox.outcome import Outcome
from trl_gift.sandbox.pool.worker import Job


class Backend(ABC):
    """A running pool of workers."""

    @property
    @abstractmethod
    def isolation(self) -> str:
        """The layers in force, as outcomes record them."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> list[Future[Outcome]]:
        """Queue programs and return their futures; waits while the queue is full."""

    @abstractmethod
    def close(self) -> None:
        """Cancel what is queued or running and end every process; may be called again, and in a fork of the owner."""
