"""What happens to one task: its failed programs are written again, or the task is solved anew.

Coroutines for the scheduler, as the chains are. Each program is drawn by a key of its own, which names the task and a step
after those of its chain.
"""

from __future__ import annotations

from collections import Counter

from trl_gift.distillation.plan import Job, TeachingSettings
from trl_gift.sampling.chain import Origin
from trl_gift.sampling.context import ChainContext
from trl_gift.sampling.hints import hint_for
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.stopped import BUDGET
from trl_gift.sampling.writers import TeacherSpent


async def work(
    job: Job,
    settings: TeachingSettings,
    context: ChainContext,
    stopped: Counter[str],
    reads_reference: bool = False,
    varies: bool = True,
) -> None:
    """Works on a task until a program passes, or its turns or what may be spent are over.

    Args:
        job: The task with its failed programs.
        settings: What the teacher is asked for.
        context: Prompts, engine, sandbox and record.
        stopped: Counts the task by the limit that stops the work on it.
        reads_reference: Whether the teacher sees the reference of the task.
        varies: Whether the same question may get another answer.
    """
    shown = reads_reference and job.task.reference is not None
    try:
        if job.failed:
            await _repair(job, settings, context, shown, varies)
        else:
            await _solve(job, settings, context, shown)
    except TeacherSpent as spent:  # what is on record stays; the rest was not asked for
        stopped[spent.limit] += 1


async def _repair(
    job: Job, settings: TeachingSettings, context: ChainContext, reads_reference: bool, varies: bool
) -> None:
    """Rewrites each failed program for some turns; a turn without a program, or with the same one, asks the same again."""
    for attempt, failed in enumerate(job.failed):
        wrong: CodeSample = failed
        for turn in range(settings.turns):
            hint = hint_for("repair", job.task, [wrong])
            if hint is None:  # what is wrong now fails a hidden test alone
                break
            origin = Origin(job.task.description, wrong.sample_id, hint=hint, read_reference=reads_reference)
            number = attempt * settings.turns + turn + 1
            sample = await _write(job, context, origin, number)
            if sample is None or sample.passed:
                return
            asks_the_same = sample.code in (None, wrong.code)
            wrong = wrong if sample.code is None else sample
            if asks_the_same and not varies:
                break


async def _solve(job: Job, settings: TeachingSettings, context: ChainContext, reads_reference: bool) -> None:
    origin = Origin(job.task.description, read_reference=reads_reference)
    for number in range(1, settings.attempts + 1):
        sample = await _write(job, context, origin, number)
        if sample is None or sample.passed:
            return


async def _write(job: Job, context: ChainContext, origin: Origin, number: int) -> CodeSample | None:
    """The program of one turn, on record; None if the model's positions do not allow it.

    Raises:
        TeacherSpent: if a limit does not allow it.
    """
    if not context.fits(job.task, origin):
        return None
    if not await context.affords(job.task, number):
        raise TeacherSpent(BUDGET)
    (sample,) = await context.write(job.task, origin, context.steps(job.task) + number - 1)
    context.record([sample], sample if sample.passed else None)
    return sample
