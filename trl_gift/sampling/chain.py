"""The chain and its siblings: which completions are sampled, from which descriptions.

    d_i -> c_1 -> d_1 -> c_2 -> d_2 -> ...

GiFT (arXiv 2502.11466, section 3.2): start from the description d_i of a task, sample completions from the current
description, execute the programs in them, continue from one that passes, read it back into a description, repeat. Plain
rejection sampling (`conditional`) samples every completion from d_i; `rewrite` samples from paraphrases of d_i; `hinted`
tries a task again with a hint if plain sampling has not solved it.

A sampler is a coroutine for one task. It awaits what it needs (text, execution) and knows nothing of batches, of other
tasks or of crashes: `Context` gives each answer as a function of (seed, round, task, step, index) and the record.

Departure from the authors' code: a chain without a passing program in a step falls back to its most recent passing
program. The authors' code meant to do so, but always fell back to the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trl_gift.prompts import Hint
from trl_gift.sampling.records import CodeSample
from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a step's description comes from.

    Attributes:
        description: The description d.
        parent: `sample_id` of the sample that the description was read from, `"reference"`, or None for the task's own
            description or a paraphrase of it.
        tokens: Number of tokens sampled for the description, rejected ones included.
        hint: A hint that the prompt shows besides; None for no hint.
        tries: Number of descriptions that were drawn; 0 for the task's own words.
        leaks: Number of these that gave away a program that they must not show.
        read_reference: Whether the description goes back to the task's reference.
    """

    description: str
    parent: str | None = None
    tokens: int = 0
    hint: Hint | None = None
    tries: int = 0
    leaks: int = 0
    read_reference: bool = False


class Context(Protocol):
    """What a sampler may ask for; see `trl_gift.sampling.context`."""

    def steps(self, task: Task) -> int:
        """Number of steps of the task's chain."""
        ...

    async def affords(self, task: Task, step: int) -> bool:
        """Whether the task's chain may draw a step; waits until that is known. False once the round's tokens are spent."""
        ...

    def earlier(self, task: Task) -> CodeSample | None:
        """The program that the task's chain of an earlier round ended at; None to begin with the task's description."""
        ...

    async def write(self, task: Task, origin: Origin, step: int) -> list[CodeSample]:
        """Samples c ~ P(c | d), executed; not yet recorded."""
        ...

    async def read(self, task: Task, continuing: CodeSample | None, step: int) -> Origin:
        """A description d ~ P(d | c) of the continuing sample, or of the task's reference if `continuing` is None.

        Descriptions that give their program away are rejected; if all are, the step starts from the task's own words.
        """
        ...

    async def rewrite(self, task: Task, step: int) -> Origin:
        """A paraphrase of the task's own description."""
        ...

    def hint(self, task: Task, tries: Sequence[CodeSample]) -> Hint | None:
        """The hint for a task that `tries` did not solve; None if the task has nothing to show."""
        ...

    def choose(self, task: Task, eligible: list[CodeSample], step: int) -> CodeSample | None:
        """One of the eligible samples, drawn uniformly; None if there is none."""
        ...

    def record(self, samples: list[CodeSample], continuing: CodeSample | None) -> None:
        """Writes the samples of a step into the store, the continuing one marked."""
        ...


async def gibbs(task: Task, context: Context) -> None:
    """The chain of GiFT.

    If no program of a step passes, the chain continues from its most recent passing program, else from the reference,
    else it starts again from the task's description. A description is sampled when its step begins, so that there is none
    after the last step. A chain that continues one of an earlier round begins with a description of the program that the other
    ended at.
    """
    latest = context.earlier(task)
    for step in range(context.steps(task)):
        if not await context.affords(task, step):
            break
        origin = Origin(task.description)
        if latest is not None or (step > 0 and task.reference is not None):
            origin = await context.read(task, latest, step)
        samples = await context.write(task, origin, step)
        continuing = context.choose(task, _eligible(samples), step)
        context.record(samples, continuing)
        latest = continuing or latest


async def conditional(task: Task, context: Context) -> None:
    """Plain rejection sampling (RFT, arXiv 2308.01825): every completion from the task's description."""
    for step in range(context.steps(task)):
        if not await context.affords(task, step):
            break
        samples = await context.write(task, Origin(task.description), step)
        context.record(samples, context.choose(task, _eligible(samples), step))


async def rewrite(task: Task, context: Context) -> None:
    """RFT+RD: every step samples its completions from a new paraphrase of the task's description."""
    for step in range(context.steps(task)):
        if not await context.affords(task, step):
            break
        samples = await context.write(task, await context.rewrite(task, step), step)
        context.record(samples, context.choose(task, _eligible(samples), step))


async def hinted(task: Task, context: Context) -> None:
    """STaR (arXiv 2203.14465, section 3.2): a task that plain sampling did not solve is tried again with a hint.

    The first half of the steps, rounded up, samples from the task's description. If none of these programs passed, the
    prompts of the other half show a hint besides. A solved task continues as before, so that every task costs the same.
    Training pairs use the task's description alone, which strips the hint. The paper has one try and one retry: two
    steps with one completion each.
    """
    num_steps = context.steps(task)
    plain = (num_steps + 1) // 2
    origin = Origin(task.description)
    tries: list[CodeSample] = []
    for step in range(num_steps):
        if not await context.affords(task, step):
            break
        if step == plain and not _eligible(tries):
            origin = Origin(task.description, hint=context.hint(task, tries))
        samples = await context.write(task, origin, step)
        context.record(samples, context.choose(task, _eligible(samples), step))
        tries += samples


def _eligible(samples: Sequence[CodeSample]) -> list[CodeSample]:
    return [sample for sample in samples if sample.eligible]


Sampler = Callable[[Task, Context], Coroutine[Any, Any, None]]
SAMPLERS: Mapping[str, Sampler] = {
    "gibbs": gibbs,
    "conditional": conditional,
    "rewrite": rewrite,
    "hinted": hinted,
}
