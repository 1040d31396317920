"""What the chains of a round are drawn with: the model in training, or another one that samples in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trl_gift.generation import Engine
from trl_gift.prompts import Example
from trl_gift.sampling.context import ChainSettings
from trl_gift.sampling.learner import Learner
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.rollouts import Rollouts
from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class Drawing:
    """The model that draws, with its engine and what its chains depend on.

    Attributes:
        rollouts: Its engine and prompts, and the sandbox.
        positions: The most tokens of a prompt and its completion; None if that is not known.
        drawn_by: What samples say of another model than the one in training; None for that one.
        learner: The model in training, if another one draws.
        scorer: The engine of the model in training, if perplexities are its own and another one draws.
    """

    rollouts: Rollouts
    positions: int | None
    drawn_by: str | None = None
    learner: Learner | None = None
    scorer: Engine | None = None

    def chain(self, settings: ChainSettings) -> ChainSettings:
        """The settings of a chain with what depends on the model that draws."""
        return replace(settings, model_hash=self.drawn_by or settings.model_hash, positions=self.positions)

    def sample(
        self,
        tasks: Sequence[Task],
        settings: ChainSettings,
        folder: Path,
        examples: Sequence[Example],
        earlier: Mapping[str, CodeSample],
    ) -> int:
        """Samples and executes a round; arguments and result are those of `Rollouts.sample`."""
        chain = self.chain(settings)
        return self.rollouts.sample(tasks, chain, folder, examples, earlier, self.learner, self.scorer)
