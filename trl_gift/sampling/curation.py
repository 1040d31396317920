"""Curation: keeps the tasks that the untrained model solves sometimes, by the measured pass rate of its programs.

A task that the model always solves teaches it little, and one that it never solves gives no program of its own to learn from.
The rate of a task is measured before the first round, on programs drawn from its description as those of the round are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trl_gift.common.randomness import stream_key
from trl_gift.common.words import plural
from trl_gift.errors import ConfigError
from trl_gift.sampling.context import ChainSettings
from trl_gift.sampling.pilot import draw
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.rollouts import Rollouts, tokens_of
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class CurationSettings:
    """Which tasks are kept.

    Attributes:
        above: The pass rate of a kept task lies above this.
        below: And below this.
        num_generations: Programs that are drawn for each task.
    """

    above: float = 0.0
    below: float = 1.0
    num_generations: int = 8

    def keeps(self, rate: float) -> bool:
        """Whether a task with this pass rate is kept."""
        return self.above < rate < self.below


@dataclass(frozen=True, slots=True)
class Curation:
    """What was measured, and what it came to.

    Attributes:
        settings: Which tasks are kept.
        rates: The pass rate of each task, between 0 and 1.
    """

    settings: CurationSettings
    rates: dict[str, float]

    def kept(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks to train on.

        Raises:
            ConfigError: if there is none.
        """
        found = [task for task in tasks if self.settings.keeps(self.rates[task.task_id])]
        if not found:
            raise ConfigError(
                f"curate=True leaves none of {plural(len(tasks), 'task')} ({self._counts(tasks)}); give other tasks, or widen the bounds."
            )
        return found

    def line(self, tasks: Sequence[Task]) -> str:
        """What was kept, in one line."""
        return f"curation keeps {len(self.kept(tasks))} of {plural(len(tasks), 'task')} ({self._counts(tasks)})."

    def _counts(self, tasks: Sequence[Task]) -> str:
        rates = [self.rates[task.task_id] for task in tasks]
        low = sum(rate <= self.settings.above for rate in rates)
        high = sum(rate >= self.settings.below for rate in rates)
        return (
            f"by the pass rate of {plural(self.settings.num_generations, 'program')} each; at most {self.settings.above:.0%}: {low}, "
            f"at least {self.settings.below:.0%}: {high}"
        )

    def record(self) -> dict[str, Any]:
        """A JSON object, from which `read` restores the curation."""
        return {**asdict(self.settings), "rates": self.rates}

    @classmethod
    def read(cls, record: dict[str, Any]) -> Curation:
        """The inverse of `record`."""
        settings = CurationSettings(record["above"], record["below"], record["num_generations"])
        return cls(settings, dict(record["rates"]))


def measure_rates(
    rollouts: Rollouts, tasks: Sequence[Task], chain: ChainSettings, settings: CurationSettings
) -> Curation:
    """Draws and runs programs of every task; each process has its share of the tasks, and gets the rates of all.

    Args:
        rollouts: The model, its engine and the sandbox, of this process.
        tasks: The tasks of the run.
        chain: How the programs of the first round are to be drawn.
        settings: How many programs are drawn, and which tasks are kept.
    """
    mine, count = rollouts.share(tasks), settings.num_generations
    passed: dict[str, int] = {}
    with (
        rollouts.engine() as engine,
        SamplingProgress("curation: sampling", len(mine) * count, rollouts.quiet) as progress,
    ):

        async def measure(task: Task) -> None:
            keys = tuple(stream_key(chain.seed, "curation", task.task_id, index) for index in range(count))
            drawn = await draw(task, rollouts.prompts, chain.code_params, ("curation", task.task_id), keys)
            passed[task.task_id] = sum(outcome for _, outcome in drawn)
            for _, outcome in drawn:
                progress.add(outcome, tokens_of(engine))

        Scheduler(engine, rollouts.sandbox, lambda: progress.tick(tokens_of(engine))).run(map(measure, mine))
    every = dict(rollouts.gather(list(passed.items())))
    return Curation(settings, {task.task_id: every[task.task_id] / count for task in tasks})
