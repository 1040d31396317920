"""The model in training, where another model samples or writes: what it learns of their programs, and whether it scores them."""

from __future__ import annotations

from dataclasses import dataclass

from trl_gift import codetext
from trl_gift.prompts import Extraction, NoProgram, PromptFormat
from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class Learner:
    """The model that learns from the chains of another one.

    Attributes:
        prompts: Its prompts, of which each program becomes a target.
        scores: Whether perplexities are its own; if not, they are those of the model that samples.
        positions: Number of tokens that it can take; None if that is not known.
    """

    prompts: PromptFormat
    scores: bool = False
    positions: int | None = None

    def fits(self, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
        """Whether it can take a prompt with a target, both as token ids."""
        return self.positions is None or len(before) + len(after) <= self.positions


def as_learned(task: Task, found: Extraction | NoProgram, learner: PromptFormat) -> Extraction | NoProgram:
    """A program that another model wrote, with the target that gives it; none if the learner has no way to write it.

    Args:
        task: The task.
        found: What the other model wrote.
        learner: The prompts of the model that learns it.
    """
    if isinstance(found, NoProgram):
        return found
    # What does not parse fails, and is recorded as it was written.
    if task.language == "python" and codetext.parse(found.code) is None:
        return found
    return learned(task, found.code, learner)


def learned(task: Task, code: str, learner: PromptFormat) -> Extraction | NoProgram:
    """A program with the target that gives it, or that there is none."""
    target = learner.target(task, code)
    if target is None:
        return NoProgram(codetext.NO_CODE, "the program does not fit after the signature")
    return Extraction(code, target, verbatim=False)
