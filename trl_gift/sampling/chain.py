"""The chain and its siblings: which codes are drawn, from which descriptions.

    d_i -> c_1 -> d_1 -> c_2 -> d_2 -> ...

GiFT (arXiv 2502.11466, section 3.2): starting from the seed description d_i of a task, draw codes from the current
description, execute them, go on from one that passes, read it back into a description, repeat. Plain rejection
sampling (`conditional`) draws every code from d_i; `rewrite` draws each from a paraphrase of d_i; `hinted` tries again
with a hint where plain tries failed.

A sampler is a coroutine for one task. It awaits what it needs (text, execution) and knows nothing of batches, of other
tasks or of crashes: `ChainTools` gives each answer as a function of (seed, round, task, step, index) and the record.

Departure from the authors' code: the fall-back to the most recent passing code of the chain, which it meant but did
not do (it used the reference), is done.
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
        parent: `sample_id` of the code that it was read from, `"reference"`, or None for the seed's words.
        tokens: Number of tokens sampled for it.
        hint: What is given away besides; None for nothing.
    """

    description: str
    parent: str | None = None
    tokens: int = 0
    hint: Hint | None = None


class ChainTools(Protocol):
    """What a sampler may ask for; see `trl_gift.sampling.context`."""

    num_steps: int

    async def write(self, task: Task, origin: Origin, step: int) -> list[CodeSample]:
        """Codes ~ P(c | d), executed; not yet recorded."""
        ...

    async def read(self, task: Task, continuing: CodeSample | None, step: int) -> Origin:
        """A description ~ P(d | c) of the continuing code, or of the task's reference where it is None."""
        ...

    async def rewrite(self, task: Task, step: int) -> Origin:
        """The seed description in other words."""
        ...

    def hint(self, task: Task, tries: Sequence[CodeSample]) -> Hint | None:
        """What to give away of a task that `tries` did not solve; None if there is nothing."""
        ...

    def choose(self, task: Task, eligible: list[CodeSample], step: int) -> CodeSample | None:
        """One of the eligible codes, uniformly; None if there is none."""
        ...

    def record(self, samples: list[CodeSample], continuing: CodeSample | None) -> None:
        """Writes the samples of a step into the store, the continuing one marked."""
        ...


async def gibbs(task: Task, tools: ChainTools) -> None:
    """The chain of GiFT.

    Where no code of a step passes, the chain goes on from its most recent passing code, else from the reference, else
    it starts again from the seed description. The description after the last step would never be used and is not
    drawn.
    """
    origin = Origin(task.description)
    latest: CodeSample | None = None
    for step in range(tools.num_steps):
        codes = await tools.write(task, origin, step)
        continuing = tools.choose(task, _eligible(codes), step)
        tools.record(codes, continuing)
        latest = continuing or latest
        if step + 1 == tools.num_steps:
            break
        if latest is None and task.reference is None:
            origin = Origin(task.description)
        else:
            origin = await tools.read(task, latest, step + 1)


async def conditional(task: Task, tools: ChainTools) -> None:
    """Plain rejection sampling (RFT, arXiv 2308.01825): every code from the seed description."""
    for step in range(tools.num_steps):
        codes = await tools.write(task, Origin(task.description), step)
        tools.record(codes, tools.choose(task, _eligible(codes), step))


async def rewrite(task: Task, tools: ChainTools) -> None:
    """RFT+RD: every step draws its codes from a fresh paraphrase of the seed description."""
    for step in range(tools.num_steps):
        codes = await tools.write(task, await tools.rewrite(task, step), step)
        tools.record(codes, tools.choose(task, _eligible(codes), step))


async def hinted(task: Task, tools: ChainTools) -> None:
    """STaR (arXiv 2203.14465, section 3.2): what plain tries did not solve is tried again with the answer as a hint.

    The first half of the steps, rounded up, draws from the seed description. If none of these codes passed, the other
    half sees a hint besides; a solved task goes on as before, so that every task costs the same. Training pairs are
    made from the seed description alone, which strips the hint. The paper has one try and one retry: two steps of one
    code.
    """
    plain = (tools.num_steps + 1) // 2
    origin = Origin(task.description)
    tries: list[CodeSample] = []
    for step in range(tools.num_steps):
        if step == plain and not _eligible(tries):
            origin = Origin(task.description, hint=tools.hint(task, tries))
        codes = await tools.write(task, origin, step)
        tools.record(codes, tools.choose(task, _eligible(codes), step))
        tries += codes


def _eligible(codes: Sequence[CodeSample]) -> list[CodeSample]:
    return [code for code in codes if code.eligible]


Sampler = Callable[[Task, ChainTools], Coroutine[Any, Any, None]]
SAMPLERS: Mapping[str, Sampler] = {
    "gibbs": gibbs,
    "conditional": conditional,
    "rewrite": rewrite,
    "hinted": hinted,
}
