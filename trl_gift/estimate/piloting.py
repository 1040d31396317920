"""Draws the programs of `trl-gift estimate --pilot N`, as a round of the run would draw them; `forecast` says what they mean.

The model is the untrained one, or the run's `sampling_model` as the run loads and asks it. No sample is recorded, and no stream is
one of the run's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trl_gift.common.randomness import generator, stream_key
from trl_gift.common.words import plural
from trl_gift.generation import Engine
from trl_gift.prompts import Example, Hint, PromptFormat
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainContext, ChainSettings
from trl_gift.sampling.drawing import Drawing
from trl_gift.sampling.pilot import PilotResult, best_temperature, draw, try_temperatures
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sandbox import Sandbox
from trl_gift.tasks import Task
from trl_gift.trainer import GiFTTrainer

DRAWN = 16
"""Programs of each task from its own description."""
HINTED = 4
"""Programs of each task with a reference, with the reference as a hint."""
CHAIN_STEPS, CHAIN_WIDTH = 4, 3
"""Steps of a chain, and programs of a step."""


@dataclass(frozen=True, slots=True)
class PilotSamples:
    """What a pilot has drawn.

    Attributes:
        temperatures: What each temperature gave.
        temperature: That of all that follows.
        plain: By task, 16 programs from its own description, and whether each passed.
        plain_tokens: Tokens generated for these.
        chains: The samples of the short chains.
        hinted: By task with a reference, the pass rate of four programs with the reference as a hint.
        drawn_by: Another model that has drawn all of it; None for the model in training.
    """

    temperatures: tuple[PilotResult, ...]
    temperature: float
    plain: Mapping[str, Sequence[tuple[str, bool]]]
    plain_tokens: int
    chains: Sequence[CodeSample]
    hinted: Mapping[str, float]
    drawn_by: str | None = None


def draw_pilot(trainer: GiFTTrainer, num_tasks: int, say: Callable[[str], None]) -> PilotSamples:
    """Draws the programs; arguments and errors are those of `run_forecast`."""
    args = trainer.args
    places = generator(stream_key(args.sampling_seed, "forecast")).permutation(len(trainer.tasks))[:num_tasks]
    tasks = [trainer.tasks[place] for place in sorted(places)]
    with (
        trainer.rollouts.executing(),
        trainer.drawing() as drawing,
        drawing.rollouts.engine() as engine,
    ):
        settings = drawing.chain(replace(args.chain_settings(1, ""), steps={}, max_tokens=None))
        pilot = _Pilot(drawing, engine, trainer.rollouts.sandbox, trainer.examples)
        say(f"pilot: temperatures, {plural(len(tasks), 'task')}")
        temperatures = try_temperatures(
            tasks, engine, pilot.sandbox, drawing.rollouts.prompts, settings, learner=pilot.learner
        )
        chosen = best_temperature(temperatures) if isinstance(args.temperature, str) else args.temperature
        settings = replace(settings, code_params=replace(settings.code_params, temperature=chosen))
        say(f"pilot: {DRAWN} programs of each task")
        before = engine.tokens_generated
        plain = pilot.plain(tasks, settings)
        plain_tokens = engine.tokens_generated - before
        say(f"pilot: chains of {CHAIN_STEPS} steps")
        chains = pilot.chains(tasks, settings)
        referenced = [task for task in tasks if task.reference is not None]
        if referenced:
            say("pilot: references as hints")
        hinted = pilot.hinted(referenced, settings)
    return PilotSamples(tuple(temperatures), chosen, plain, plain_tokens, chains, hinted, drawing.drawn_by)


@dataclass(frozen=True, slots=True)
class _Pilot:
    """Draws the parts of a pilot.

    Attributes:
        drawing: The model that draws.
        engine: Its engine.
        sandbox: Runs the programs.
        examples: Programs with summaries for the model that reads.
    """

    drawing: Drawing
    engine: Engine
    sandbox: Sandbox
    examples: Sequence[Example]

    @property
    def learner(self) -> PromptFormat | None:
        """The prompts of the model in training, if another one draws."""
        return None if self.drawing.learner is None else self.drawing.learner.prompts

    def plain(self, tasks: Sequence[Task], settings: ChainSettings) -> dict[str, list[tuple[str, bool]]]:
        """Programs of each task from its own description, and whether each passed."""
        found: dict[str, list[tuple[str, bool]]] = {}

        async def attempt(task: Task) -> None:
            keys = tuple(stream_key(settings.seed, "forecast", task.task_id, index) for index in range(DRAWN))
            found[task.task_id] = await self._draw(task, settings, ("forecast", task.task_id), keys)

        Scheduler(self.engine, self.sandbox).run(map(attempt, tasks))
        return {task.task_id: found[task.task_id] for task in tasks}

    def chains(self, tasks: Sequence[Task], settings: ChainSettings) -> list[CodeSample]:
        """The samples of short chains, whatever sampler the run has. No round is numbered 0, so no stream is one of the run's."""
        samples: list[CodeSample] = []
        settings = replace(settings, sampler="gibbs", round=0, num_steps=CHAIN_STEPS, num_generations=CHAIN_WIDTH)
        context = ChainContext(
            settings,
            self.drawing.rollouts.prompts,
            self.examples,
            lambda task_id, step: [],
            samples.append,
            learner=self.drawing.learner,
        )
        Scheduler(self.engine, self.sandbox).run(SAMPLERS["gibbs"](task, context) for task in tasks)
        return samples

    def hinted(self, tasks: Sequence[Task], settings: ChainSettings) -> dict[str, float]:
        """The pass rate of each task with its reference as a hint."""
        rates: dict[str, float] = {}

        async def attempt(task: Task) -> None:
            keys = tuple(stream_key(settings.seed, "forecast", task.task_id, "hint", index) for index in range(HINTED))
            hint = Hint("reference", task.reference or "")
            found = await self._draw(task, settings, ("hint", task.task_id), keys, hint)
            rates[task.task_id] = sum(passed for _, passed in found) / HINTED

        Scheduler(self.engine, self.sandbox).run(map(attempt, tasks))
        return {task.task_id: rates[task.task_id] for task in tasks}

    def _draw(
        self,
        task: Task,
        settings: ChainSettings,
        name: tuple[str, ...],
        keys: tuple[int, ...],
        hint: Hint | None = None,
    ) -> Coroutine[Any, Any, list[tuple[str, bool]]]:
        return draw(task, self.drawing.rollouts.prompts, settings.code_params, name, keys, hint, self.learner)
