"""Multi-step inference: a program that fails the visible tests is shown to the model with its failure, to be written again.

Personalised Distillation (arXiv 2310.18628, section 3.4 and appendix): the visible tests run; on a failure the model is asked in
the form of its refinement data; at most n times. The hidden tests see every program and decide, but no prompt and no decision
to refine depends on them.

Departures: a program stands if a refinement holds none; a greedy refinement that changes nothing is the last, because the next
one would be the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trl_gift.prompts import Prompt, PromptFormat
from trl_gift.sampling.feedback import feedback
from trl_gift.sandbox import Outcome, Tests
from trl_gift.tasks import Task


class Refiner(Protocol):
    """Asks for a better version of a program."""

    def __call__(self, task: Task, code: str, outcome: Outcome, tests: Tests) -> Prompt:
        """The prompt that shows a program with its first failure.

        Args:
            task: The task.
            code: The program.
            outcome: What happened to it on `tests`.
            tests: The visible tests.
        """
        ...


def refiner_of(prompts: PromptFormat) -> Refiner:
    """Asks as these prompts do, with the task's own description."""

    def refine(task: Task, code: str, outcome: Outcome, tests: Tests) -> Prompt:
        return prompts.refine(task, task.description, code, feedback(outcome, tests))

    return refine


@dataclass(frozen=True, slots=True)
class Turn:
    """One refinement.

    Attributes:
        prompt: What the model was asked.
        completion: The text that it wrote.
        code: The program in it; None if it holds none.
        status: As in `Attempt`: the verdict of all tests.
        message: As in `Attempt`.
        failing_test: As in `Attempt`.
        trusted: As in `Attempt`.
        isolation: As in `Attempt`.
        tokens: Number of tokens of the completion.
    """

    prompt: str
    completion: str
    code: str | None
    status: str
    message: str = ""
    failing_test: str | None = None
    trusted: bool | None = None
    isolation: str | None = None
    tokens: int = 0
