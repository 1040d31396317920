"""The stage between sampling and selection: a teacher works on the tasks that the round's samples have not solved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trl_gift.distillation.plan import SOLVING, TeachingSettings, plan_jobs, turns_of
from trl_gift.distillation.teachers import Teacher
from trl_gift.distillation.working import work
from trl_gift.sampling.budget import Spent, TokenBudget
from trl_gift.sampling.context import ChainContext, ChainSettings
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.records import REPAIR, SOLUTION, CodeSample
from trl_gift.sampling.rollouts import Rollouts, tokens_of
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sampling.stopped import forget_stopped, write_stopped
from trl_gift.sampling.store import REPAIRS, SAMPLES, OtherProcesses, SampleIndex, SampleStore
from trl_gift.tasks import Task


def teach(
    rollouts: Rollouts,
    tasks: Sequence[Task],
    chain: ChainSettings,
    folder: Path,
    teacher: Teacher,
    settings: TeachingSettings,
) -> int:
    """Lets a teacher work on a sampled round; returns when every process has worked on its share of the tasks.

    Args:
        rollouts: The student's engine and the sandbox.
        tasks: The tasks of all processes.
        chain: How the round was sampled; its temperature and limits are those of the repairs.
        folder: The round's folder. Programs that it already holds are not asked for again.
        teacher: The teacher.
        settings: What it is asked for.

    Returns:
        The number of tokens that were written for this process.
    """
    kind = SOLUTION if settings.distillation in SOLVING else REPAIR
    # Its programs are learned for the task's own description, so their perplexity is conditioned on it.
    own = replace(chain, kind=kind, num_generations=1, perplexity_condition="seed", max_tokens=None)
    with SampleIndex(folder, (SAMPLES,)) as sampled, SampleIndex(folder, (REPAIRS,)) as recorded:
        jobs = plan_jobs(settings, tasks, sampled)
        turns = turns_of(jobs, settings, chain)
        by_id = {job.task.task_id: job for job in jobs}
        mine = [by_id[task.task_id] for task in rollouts.share([job.task for job in jobs])]
        heading = f"round {chain.round}: {'solving' if kind == SOLUTION else 'repairing'}"
        others = OtherProcesses(folder, rollouts.rank, REPAIRS)
        if rollouts.is_main:
            forget_stopped(folder)
        rollouts.begin_waves(folder)
        stopped: Counter[str] = Counter()
        with (
            SamplingProgress(heading, len(turns), rollouts.quiet) as progress,
            SampleStore(folder, rollouts.rank, REPAIRS) as store,
            rollouts.engine() as student,
            teacher.opened(student, rollouts.prompts, rollouts.device, rollouts.rank) as (writer, engine),
        ):
            tokens = 0

            def append(sample: CodeSample) -> None:
                nonlocal tokens
                store.append(sample)
                tokens += sample.num_tokens
                progress.add(sample.passed, tokens)

            def tick() -> None:
                if progress.tick(tokens_of(engine)):
                    progress.skip(others.new())

            def exchange(wave: int, spent: Spent) -> list[Spent]:
                return rollouts.exchange(folder, wave, spent, lambda: progress.skip(others.new()))

            def next_wave() -> None:
                assert budget is not None, "coroutines pause for a budget alone"
                budget.next_wave()
                progress.expect(budget.expected_turns)

            varies = teacher.varies(chain.code_params.temperature)
            budget = None
            if settings.budget is not None:
                budget = TokenBudget(settings.budget, turns, chain.code_params.max_new_tokens, 0, exchange)
            context = ChainContext(own, rollouts.prompts, (), recorded.step, append, budget=budget, writer=writer)
            Scheduler(engine, rollouts.sandbox, tick, next_wave).run(
                work(job, settings, context, stopped, teacher.reads_reference, varies) for job in mine
            )
            while budget is not None and not budget.is_over:
                next_wave()
        write_stopped(folder, rollouts.rank, stopped)
        rollouts.wait_for_all_shares(folder, lambda: progress.skip(others.new()))
    return tokens
