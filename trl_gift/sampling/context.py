"""The context of the chains of one round: prompts, random streams, execution, perplexity, the record.

Every answer is a function of (seed, round, task, step, index), or comes from the record of an earlier, interrupted run of
the same round. So nothing is sampled twice, and chains continue where they stopped.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trl_gift import codetext
from trl_gift.common.randomness import generator, stream_key
from trl_gift.errors import StageUnavailable
from trl_gift.generation import Completion, GenerationRequest, SamplingParams
from trl_gift.prompts import Example, Extraction, Hint, NoProgram, Prompt, PromptFormat
from trl_gift.sampling.chain import Origin
from trl_gift.sampling.hints import hint_for
from trl_gift.sampling.leaks import gives_away, is_copy
from trl_gift.sampling.learner import Learner, as_learned
from trl_gift.sampling.records import CHAIN, COPIED, INFRASTRUCTURE, NO_CODE, PASSED, REFERENCE, UNVERIFIED, CodeSample
from trl_gift.sampling.scheduler import Execute, Generate, Pause, Score
from trl_gift.sampling.writers import Writer, Written
from trl_gift.sandbox import Outcome
from trl_gift.tasks import Task

if TYPE_CHECKING:
    from trl_gift.sampling.budget import TokenBudget

# Abort after this many consecutive infrastructure failures; a single failure is bad luck.
MAX_INFRASTRUCTURE_FAILURES = 20


class ExecutionUnavailable(StageUnavailable):
    """The sandbox has failed many times in a row; the samples so far are in the store."""


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """The part of a run's options that decides what is sampled.

    Attributes:
        sampler: Name of the sampler.
        seed: The run's `samples_seed`.
        round: Self-training round, from 1.
        num_steps: Steps of a chain, where `steps` does not say otherwise.
        num_generations: Completions of a step.
        code_params: How programs are sampled.
        description_params: How descriptions are sampled.
        perplexity_condition: `"chain"` (the description that produced the program) or `"seed"` (the task's own).
        num_description_examples: In-context examples for a model that reads.
        model_hash: Fingerprint of the trainable weights, or name and fingerprint of another model that samples.
        verify: Whether programs are executed; if not, every program that was found is eligible.
        hint: What a hint shows, `"reference"` or `"failing_test"`.
        max_description_tries: How often a step draws a description before it starts from the task's own words.
        allow_copies: Whether a program may pass that equals a reference which its chain has read.
        positions: Number of tokens that the model can take, completion included; None if that is not known.
        steps: By task, the steps of its chain.
        max_tokens: Tokens that the round samples, programs and descriptions together; None for as many as the steps cost.
        kind: What the samples are, as in `CodeSample`.
    """

    sampler: str
    seed: int
    round: int
    num_steps: int
    num_generations: int
    code_params: SamplingParams
    description_params: SamplingParams
    perplexity_condition: str = "chain"
    num_description_examples: int = 1
    model_hash: str = ""
    verify: bool = True
    hint: str = "reference"
    max_description_tries: int = 3
    allow_copies: bool = False
    positions: int | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    max_tokens: int | None = None
    kind: str = CHAIN

    def steps_of(self, task: Task) -> int:
        """Number of steps of a task's chain."""
        return self.steps.get(task.task_id, self.num_steps)

    def completions_of(self, tasks: Sequence[Task]) -> int:
        """Number of programs that are sampled for these tasks."""
        return sum(map(self.steps_of, tasks)) * self.num_generations


class ChainContext:
    """The `Context` of a run, over a scheduler's engine and sandbox and over a store.

    Args:
        settings: What is sampled.
        prompts: How the model is asked.
        examples: Programs with summaries to show to a reader; never one that is the program to read, or the reference.
        recorded: Returns the samples of one step of one task that an interrupted run of this round left.
        append: Writes one sample into the store.
        earlier: By task, the program that its chain of an earlier round ended at, where a chain is to go on from it.
        budget: Who may draw a next step; None if the round's tokens are not limited.
        writer: Writes the programs in the student's place; None for the student itself.
        learner: The model in training, where the engine and the prompts are those of another model; None where they are its own.
    """

    def __init__(
        self,
        settings: ChainSettings,
        prompts: PromptFormat,
        examples: Sequence[Example],
        recorded: Callable[[str, int], Sequence[CodeSample]],
        append: Callable[[CodeSample], None],
        earlier: Mapping[str, CodeSample] = MappingProxyType({}),
        budget: TokenBudget | None = None,
        writer: Writer | None = None,
        learner: Learner | None = None,
    ) -> None:
        self._settings = settings
        self._prompts = prompts
        self._end_id = prompts.end_id
        self._examples = [(example, codetext.normalise(example.code)) for example in examples]
        self._recorded = recorded
        self._append = append
        self._earlier = earlier
        self._budget = budget
        self._writer = writer
        self._learner = learner
        self._failures_in_a_row = 0
        # By task, the indices of the samples of its step that are not yet on record.
        self._missing: dict[str, list[int]] = {}
        # Chains that start again, and plain sampling, need the same prompt at every step.
        self._task_prompts: dict[str, Prompt] = {}

    def steps(self, task: Task) -> int:
        """Number of steps of the task's chain."""
        return self._settings.steps_of(task)

    async def affords(self, task: Task, step: int) -> bool:
        """Whether the task's chain may draw a step; waits for the next wave of the budget, where there is one."""
        if self._budget is None:
            return True
        while not self._budget.grants(task.task_id, step):
            if self._budget.is_over:
                return False
            await Pause()
        return True

    def earlier(self, task: Task) -> CodeSample | None:
        """The program that the task's chain of an earlier round ended at, if this chain is to go on from it."""
        return self._earlier.get(task.task_id)

    async def write(self, task: Task, origin: Origin, step: int) -> list[CodeSample]:
        """Samples c ~ P(c | d), executed; samples on record are taken from there."""
        indices = range(self._settings.num_generations)
        done = {sample.index: sample for sample in self._recorded(task.task_id, step)}
        missing = self._missing[task.task_id] = [index for index in indices if index not in done]
        if missing:
            fresh = await self._sample(task, origin, step, missing)
            done.update(zip(missing, fresh, strict=True))
        return [done[index] for index in indices]

    async def read(self, task: Task, continuing: CodeSample | None, step: int) -> Origin:
        """A description d ~ P(d | c) of the continuing sample, or of the reference, for the samples of `step`."""
        if (known := self._known_origin(task, step)) is not None:
            return known
        code = continuing.code if continuing else task.reference
        assert code is not None, "a chain reads a passing program or a reference"
        prompt = self._prompts.read(task, code, self._pick_examples(task, code, step))
        described = Origin(
            "", continuing.sample_id if continuing else REFERENCE,
            read_reference=continuing.read_reference if continuing else True,
        )  # fmt: skip
        return await self._describe(task, prompt, step, described, code)

    async def rewrite(self, task: Task, step: int) -> Origin:
        """A paraphrase of the task's own description, for the samples of `step`."""
        if (known := self._known_origin(task, step)) is not None:
            return known
        return await self._describe(task, self._prompts.rewrite(task), step, Origin(""))

    def hint(self, task: Task, tries: Sequence[CodeSample]) -> Hint | None:
        """The hint that the settings allow for a task that `tries` did not solve."""
        return hint_for(self._settings.hint, task, tries)

    def fits(self, task: Task, origin: Origin) -> bool:
        """Whether the prompt of an origin leaves the student room for a program; another model sees other prompts."""
        return self._writer is not None or self._fits(self._write_prompt(task, origin), self._settings.code_params)

    def choose(self, task: Task, eligible: list[CodeSample], step: int) -> CodeSample | None:
        """One of the eligible samples, drawn uniformly by the stream of this step."""
        if len(eligible) < 2:
            return eligible[0] if eligible else None
        return eligible[int(generator(self._key(task, step, "continue")).integers(len(eligible)))]

    def record(self, samples: list[CodeSample], continuing: CodeSample | None) -> None:
        """Appends the samples that are not yet on record; marks the continuing one. The budget counts all of them."""
        if self._budget is not None:
            self._budget.spend(samples[0].step, tokens_of_step(samples))
        for index in self._missing.pop(samples[0].task_id):
            sample = samples[index]
            chosen = continuing is not None and continuing.index == index
            self._append(replace(sample, continues=True) if chosen else sample)

    async def _sample(self, task: Task, origin: Origin, step: int, indices: Sequence[int]) -> list[CodeSample]:
        keys = tuple(self._key(task, step, "code", index) for index in indices)
        if self._writer is None:
            written = await self._write(task, origin, step, keys)
        else:
            written = await self._writer.write(task, origin.description, origin.hint, step, keys)
        # What is scored is what the model that scores would write; what is recorded and learned, what the model in training would.
        scored = [one.found for one in written]
        if self._learner is not None:
            written = [replace(one, found=as_learned(task, one.found, self._learner.prompts)) for one in written]
            scored = [one.found for one in written] if self._learner.scores else scored
        outcomes = await self._execute(task, [one.found for one in written])
        samples = [
            self._draft(task, origin, step, index, one, outcome)
            for index, one, outcome in zip(indices, written, outcomes, strict=True)
        ]
        return await self._with_perplexities(task, origin, samples, scored)

    async def _write(self, task: Task, origin: Origin, step: int, keys: tuple[int, ...]) -> list[Written]:
        """What the student itself writes."""
        settings = self._settings
        prompt = self._write_prompt(task, origin)
        params = replace(settings.code_params, stop=prompt.stop, fence=prompt.fence)
        request = GenerationRequest(
            ("write", task.task_id, step), prompt.ids, params, keys, priority=2 * (settings.steps_of(task) - step)
        )
        scores = self._learner is None or not self._learner.scores
        is_condition = scores and settings.code_params.is_untouched and self._is_condition(task, origin)
        return [self._written(task, prompt, completion, is_condition) for completion in await Generate(request)]

    def _written(self, task: Task, prompt: Prompt, completion: Completion, is_condition: bool) -> Written:
        found = self._prompts.extract(task, prompt.after(completion.text))
        # The sampled tokens give the perplexity only if they, end token included, are exactly the program.
        exact = (
            isinstance(found, Extraction)
            and found.verbatim
            and completion.text.startswith(prompt.left)
            and completion.finish_reason == "eos"
            # Some models know several end tokens; a target ends with one.
            and (self._end_id is None or self._end_id == completion.token_ids[-1])
            and is_condition
        )
        return Written(
            completion.text,
            found,
            hash_ids(prompt.ids),
            len(completion.token_ids),
            completion.finish_reason,
            completion.token_ids,
            completion.logprobs if exact else None,
        )

    async def _execute(self, task: Task, extractions: Sequence[Extraction | NoProgram]) -> list[Outcome | None]:
        if not self._settings.verify:
            return [None] * len(extractions)
        jobs = tuple(
            (extraction.code, task.all_tests) for extraction in extractions if isinstance(extraction, Extraction)
        )
        results = iter(await Execute(jobs)) if jobs else iter(())
        outcomes = [next(results) if isinstance(extraction, Extraction) else None for extraction in extractions]
        for outcome in outcomes:
            if outcome is None:  # nothing was executed
                continue
            failed = outcome.status == INFRASTRUCTURE
            self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
            if self._failures_in_a_row >= MAX_INFRASTRUCTURE_FAILURES:
                raise ExecutionUnavailable(
                    f"{self._failures_in_a_row} consecutive executions failed for lack of a sandbox (last: "
                    f"{outcome.message}); see `trl-gift doctor`. The samples so far are kept; resume the run."
                )
        return outcomes

    def _draft(
        self, task: Task, origin: Origin, step: int, index: int, written: Written, outcome: Outcome | None
    ) -> CodeSample:
        settings = self._settings
        program = written.found if isinstance(written.found, Extraction) else None
        missing = written.found if isinstance(written.found, NoProgram) else None
        return CodeSample(
            task_id=task.task_id,
            round=settings.round,
            step=step,
            index=index,
            parent=origin.parent,
            sampler=settings.sampler,
            hint=origin.hint.kind if origin.hint else None,
            description=origin.description,
            description_tokens=origin.tokens,
            description_tries=origin.tries,
            description_leaks=origin.leaks,
            read_reference=_read_reference(origin),
            prompt_hash=written.prompt_hash,
            completion=written.completion,
            code=program.code if program else None,
            target=program.target if program else None,
            no_code_kind=missing.kind if missing else None,
            no_code_reason=missing.reason if missing else None,
            token_ids=written.token_ids,
            finish_reason=written.finish_reason,
            logprob_sum=None if written.logprobs is None else sum(written.logprobs),
            num_scored=len(written.logprobs or ()),
            scored=False,
            status=self._status(task, origin, written.found, outcome),
            outcome=_plain(outcome) if outcome else None,
            continues=False,
            model_hash=settings.model_hash if self._writer is None else self._writer.name,
            seed=settings.seed,
            created=time.time(),
            kind=settings.kind,
            teacher_tokens=0 if self._writer is None else written.tokens,
        )

    def _status(self, task: Task, origin: Origin, extraction: Extraction | NoProgram, outcome: Outcome | None) -> str:
        if isinstance(extraction, NoProgram):
            return NO_CODE
        status = str(outcome.status) if outcome else UNVERIFIED
        if status not in (PASSED, UNVERIFIED) or self._settings.allow_copies:
            return status
        copied = _read_reference(origin) and task.reference is not None and is_copy(extraction.code, task.reference)
        return COPIED if copied else status

    async def _with_perplexities(
        self, task: Task, origin: Origin, samples: list[CodeSample], found: Sequence[Extraction | NoProgram]
    ) -> list[CodeSample]:
        """Scores the eligible samples whose sampling did not give their perplexity; only eligible ones are ever selected.

        Args:
            task: The task.
            origin: What they were written from.
            samples: The samples of a step.
            found: The same as the model that scores would write them.
        """
        missing = [i for i, sample in enumerate(samples) if sample.eligible and sample.logprob_sum is None]
        if not missing:
            return samples
        condition, learner = self._condition(task, origin), self._learner
        if learner is not None and learner.scores:
            prompts = learner.prompts
            prompt = prompts.write(task, condition.description, condition.hint)
        else:
            prompts, prompt = self._prompts, self._write_prompt(task, condition)
        pairs: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for i in missing:
            one = found[i]
            assert isinstance(one, Extraction), "an eligible sample has a program"
            before, after = map(tuple, prompts.encode(prompt, one.target))
            # What another model was told may be longer than this one can take; the perplexity then stays unknown.
            if learner is None or not learner.scores or learner.fits(before, after):
                pairs[i] = (before, after)
        if not pairs:
            return samples
        for i, logprobs in zip(pairs, await Score(tuple(pairs.values())), strict=True):
            samples[i] = replace(samples[i], logprob_sum=sum(logprobs), num_scored=len(logprobs), scored=True)
        return samples

    async def _describe(
        self, task: Task, prompt: Prompt, step: int, described: Origin, code: str | None = None
    ) -> Origin:
        """Draws descriptions until one gives away neither `code` nor the reference; after too many, takes the task's own.

        So it does where the prompt, or that of the next program, would not fit into the model.

        Args:
            task: The task.
            prompt: Asks for the description.
            step: The step whose samples are written from it.
            described: Where the description comes from.
            code: The program that is described; None for the task's own words.
        """
        params = replace(self._settings.description_params, stop=prompt.stop, fence=prompt.fence)
        # Before the completions of the same step, which are sampled from this description.
        priority = 2 * (self._settings.steps_of(task) - step) + 1
        secrets = (code, task.reference)
        tokens = leaks = 0
        tries = self._settings.max_description_tries if self._fits(prompt, self._settings.description_params) else 0
        for attempt in range(tries):
            keys = (self._key(task, step, "description", attempt),)
            name = ("describe", task.task_id, step, attempt)
            (completion,) = await Generate(GenerationRequest(name, prompt.ids, params, keys, priority))
            written = prompt.after(completion.text)
            text = self._prompts.describe(written, completion.finish_reason in ("eos", "stop"))
            tokens += len(completion.token_ids)
            leaks += gives_away(written, secrets, task.signature)
            if (
                text
                and not gives_away(text, secrets, task.signature)
                and self._fits(self._write_prompt(task, Origin(text)), self._settings.code_params)
            ):
                return replace(described, description=text, tokens=tokens, tries=attempt + 1, leaks=leaks)
        return Origin(task.description, tokens=tokens, tries=tries, leaks=leaks)

    def _fits(self, prompt: Prompt, params: SamplingParams) -> bool:
        positions = self._settings.positions
        return positions is None or len(prompt.ids) + params.max_new_tokens <= positions

    def _condition(self, task: Task, origin: Origin) -> Origin:
        """The condition of perplexities: the step's description with its hint, or the task's own description alone."""
        return Origin(task.description) if self._settings.perplexity_condition == "seed" else origin

    def _is_condition(self, task: Task, origin: Origin) -> bool:
        condition = self._condition(task, origin)
        return (condition.description, condition.hint) == (origin.description, origin.hint)

    def _write_prompt(self, task: Task, origin: Origin) -> Prompt:
        if origin.hint is not None or origin.description != task.description:
            return self._prompts.write(task, origin.description, origin.hint)
        if task.task_id not in self._task_prompts:
            self._task_prompts[task.task_id] = self._prompts.write(task, task.description)
        return self._task_prompts[task.task_id]

    def _pick_examples(self, task: Task, code: str, step: int) -> list[Example]:
        secrets = {codetext.normalise(program) for program in (code, task.reference) if program is not None}
        others = [example for example, normal in self._examples if normal not in secrets]
        count = min(self._settings.num_description_examples, len(others))
        if count == 0:
            return []
        chosen = generator(self._key(task, step, "example")).choice(len(others), size=count, replace=False)
        return [others[int(place)] for place in chosen]

    def _known_origin(self, task: Task, step: int) -> Origin | None:
        for known in self._recorded(task.task_id, step):
            return Origin(
                known.description, known.parent, known.description_tokens, tries=known.description_tries,
                leaks=known.description_leaks, read_reference=known.read_reference,
            )  # fmt: skip
        return None

    def _key(self, task: Task, step: int, purpose: str, index: int = 0) -> int:
        return stream_key(self._settings.seed, self._settings.round, task.task_id, step, index, purpose)


def tokens_of_step(samples: Sequence[CodeSample]) -> int:
    """Tokens sampled in a step: its programs, and its description with those that were rejected before it."""
    return samples[0].description_tokens + sum(sample.num_tokens for sample in samples)


def _read_reference(origin: Origin) -> bool:
    """Whether the prompt of a step goes back to the reference."""
    return origin.read_reference or (origin.hint is not None and origin.hint.kind == "reference")


def _plain(outcome: Outcome) -> dict[str, Any]:
    """The outcome in JSON types, so that a sample equals its record."""
    values = outcome.to_dict()
    return {**values, "status": str(values["status"]), "results": list(values["results"])}


def hash_ids(ids: Sequence[int]) -> str:
    """A short hash of token ids."""
    return hashlib.blake2b(array("q", ids).tobytes(), digest_size=8).hexdigest()
