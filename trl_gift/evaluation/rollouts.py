"""Evaluation of a model by its rollouts, shared among the processes that hold it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trl_gift.evaluation.attempts import Evaluation, EvaluationSettings, attempt_tasks
from trl_gift.evaluation.refining import refiner_of
from trl_gift.generation import Engine
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.rollouts import Rollouts, tokens_of
from trl_gift.tasks import Task


def evaluate_rollouts(
    rollouts: Rollouts, tasks: Sequence[Task], settings: EvaluationSettings, heading: str = "evaluating"
) -> Evaluation:
    """Each process attempts its share of the tasks; every process gets all attempts.

    Args:
        rollouts: The model, its engine and the sandbox.
        tasks: The tasks of all processes.
        settings: What is measured.
        heading: Heading of the progress bar.
    """
    return evaluate_sets(rollouts, {heading: tasks}, settings)[heading]


def evaluate_sets(
    rollouts: Rollouts, sets: Mapping[str, Sequence[Task]], settings: EvaluationSettings
) -> dict[str, Evaluation]:
    """As `evaluate_rollouts` for several sets of tasks, with one engine: a server starts once.

    Args:
        rollouts: The model, its engine and the sandbox.
        sets: The tasks of all processes by the name of their set, which heads its progress bar.
        settings: What is measured.

    Returns:
        The evaluation of each set, by its name. Each is what `evaluate_rollouts` returns for the set alone.
    """
    needed = any(task.tests is not None for tasks in sets.values() for task in tasks)
    with rollouts.executing(needed), rollouts.engine() as engine:
        return {
            name: _evaluate(rollouts, engine, tasks, settings, name, executes=needed) for name, tasks in sets.items()
        }


def _evaluate(
    rollouts: Rollouts,
    engine: Engine,
    tasks: Sequence[Task],
    settings: EvaluationSettings,
    heading: str,
    executes: bool,
) -> Evaluation:
    started, before = time.monotonic(), tokens_of(engine)
    mine = rollouts.share(tasks)
    mine = rollouts.settled(mine) if executes else mine
    total = len(mine) * (settings.greedy + settings.num_generations)
    with SamplingProgress(heading, total, rollouts.quiet, executes) as progress:
        result = attempt_tasks(
            mine,
            engine,
            rollouts.sandbox if executes else None,
            rollouts.prompts,
            settings,
            on_attempt=lambda attempt: progress.add(attempt.passed, tokens_of(engine) - before),
            on_step=lambda: progress.tick(tokens_of(engine) - before),
            refiner=refiner_of(rollouts.prompts),
        )
    attempts = sorted(rollouts.gather(result.attempts), key=lambda item: (item.task_id, item.index))
    return replace(result, attempts=tuple(attempts), seconds=time.monotonic() - started)
