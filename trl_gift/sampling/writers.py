"""Who writes programs besides the model in training: the interface of a teacher, and an engine of two models.

A writer is a coroutine of the scheduler: a model beside the student awaits `Generate`, a remote endpoint awaits `Wait`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trl_gift.generation import Engine, GenerationRequest, GenerationResult
from trl_gift.prompts import Extraction, Hint, NoProgram
from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class Written:
    """One program that was written for a task.

    Attributes:
        completion: The text that holds it.
        found: The program with its target, as the student would write it; or why there is none. Of another model that samples,
            as that model writes it.
        prompt_hash: Hash of what was asked.
        tokens: Number of tokens that were sampled.
        finish_reason: As in `CodeSample`.
        token_ids: The student's own tokens; empty if another model wrote.
        logprobs: The student's own log-probabilities of exactly the target; None if they are not known.
    """

    completion: str
    found: Extraction | NoProgram
    prompt_hash: str
    tokens: int
    finish_reason: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] | None = None


class Writer(Protocol):
    """Another model than the student, which writes programs in its place."""

    @property
    def name(self) -> str:
        """What records say of it."""
        ...

    def write(
        self, task: Task, description: str, hint: Hint | None, step: int, keys: Sequence[int]
    ) -> Coroutine[Any, Any, list[Written]]:
        """Programs of a description.

        Args:
            task: The task.
            description: The description.
            hint: What is shown besides, such as a wrong program with its failure.
            step: Number of the step within the task, which with the task names the request.
            keys: A stream key for each program.

        Raises:
            TeacherSpent: if the program would cost more than may be spent.
        """
        ...


class TeacherSpent(Exception):
    """What may be spent on a teacher is spent; nothing was asked.

    Attributes:
        limit: The option that says so.
    """

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class TwoModels:
    """An engine over two models: one generates, the other one scores.

    Args:
        generating: Gets the requests.
        scoring: Gets the pairs to score.
    """

    def __init__(self, generating: Engine, scoring: Engine) -> None:
        self._generating = generating
        self._scoring = scoring

    @property
    def pending(self) -> int:
        """Number of requests submitted and not yet returned."""
        return self._generating.pending

    @property
    def tokens_generated(self) -> int:
        """Number of tokens sampled so far."""
        return self._generating.tokens_generated

    def submit(self, request: GenerationRequest) -> None:
        """Queues a request."""
        self._generating.submit(request)

    def step(self) -> list[GenerationResult]:
        """Works on waiting requests and returns those that are finished, possibly none."""
        return self._generating.step()

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, ...]]:
        """Log-probability of each completion token after its prompt under the other model."""
        return self._scoring.score(pairs)
