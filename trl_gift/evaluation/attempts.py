"""Attempts at tasks: pass@1 of greedy programs and the unbiased pass@k of sampled programs.

The sandbox executes every program, and every completion is kept. An execution that failed for lack of a sandbox never
counts as a wrong answer: the figures leave it out and report the number of such attempts.

An attempt may go on: a program that fails the visible tests is refined (`trl_gift.evaluation.refining`). Its first program counts
for pass@1 and pass@k as ever, its last one for the figures of the whole procedure, `refined_pass@1` and the like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trl_gift.common.randomness import stream_key
from trl_gift.evaluation.pass_at_k import bootstrap_interval, pass_at_k, wilson_interval
from trl_gift.evaluation.refining import Refiner, Turn
from trl_gift.generation import Completion, Engine, GenerationRequest, SamplingParams
from trl_gift.prompts import Extraction, NoProgram, Prompt, PromptFormat
from trl_gift.prompts.edits import edit_text_of
from trl_gift.sampling.records import NO_CODE, UNVERIFIED
from trl_gift.sampling.scheduler import Execute, Generate, Scheduler
from trl_gift.sampling.showing import show_test
from trl_gift.sandbox import Outcome, Sandbox, Status
from trl_gift.tasks import Task
from trl_gift.tasks.visible import visible_tests


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is measured.

    Attributes:
        max_completion_length: Largest number of tokens of a completion.
        num_generations: Sampled completions of each task, besides the greedy one; 0 for the greedy one only.
        k: The values of k for pass@k of the sampled programs.
        temperature: Temperature of the sampled completions.
        seed: Seed of their streams.
        greedy: Whether there is a greedy completion.
        refine_steps: How often a program that fails the visible tests may be refined.
        visible_tests: Of a task without hidden tests, how many of its tests are visible to refinements; None for all.
        positions: The most tokens of a prompt with its completion; None for any number. A refinement that would be longer is left out.
    """

    max_completion_length: int = 512
    num_generations: int = 0
    k: tuple[int, ...] = (1,)
    temperature: float = 1.0
    seed: int = 0
    greedy: bool = True
    refine_steps: int = 0
    visible_tests: int | None = 1
    positions: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One evaluated completion.

    Attributes:
        task_id: The task.
        index: Index among the sampled completions of the task, from 0; -1 for the greedy one.
        completion: The text that the model wrote.
        code: The program in it; None if it holds none.
        status: A status of the sandbox; `"no_code"`; `"unverified"` for a program of a task without tests.
        message: Why the program did not pass, or why there is none; empty if it passed or was not run.
        failing_test: The first test that it failed, as a person would write it; None if it failed none.
        trusted: Whether the program could not forge the verdict; None if it was not run.
        isolation: The isolation that was in force, such as `"landlock+seccomp+namespaces"`; None if it was not run.
        tokens: Number of tokens of the completion.
        turns: The refinements that came after it, in order.
    """

    task_id: str
    index: int
    completion: str
    code: str | None
    status: str
    message: str = ""
    failing_test: str | None = None
    trusted: bool | None = None
    isolation: str | None = None
    tokens: int = 0
    turns: tuple[Turn, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the program passed every test."""
        return self.status == Status.PASSED

    @property
    def refined(self) -> Attempt:
        """The attempt as it ended: with the program of the last refinement that holds one, and the tokens of all."""
        last = next((turn for turn in reversed(self.turns) if turn.code is not None), self)
        return Attempt(
            self.task_id,
            self.index,
            last.completion,
            last.code,
            last.status,
            last.message,
            last.failing_test,
            last.trusted,
            last.isolation,
            self.tokens + sum(turn.tokens for turn in self.turns),
        )

    def to_record(self) -> dict[str, Any]:
        """A JSON object; without `turns` if there are none."""
        record = asdict(self)
        if not record["turns"]:
            del record["turns"]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Attempt:
        """The attempt of a JSON object that `to_record` made."""
        return cls(**{**record, "turns": tuple(Turn(**turn) for turn in record.get("turns") or ())})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All attempts at a set of tasks.

    Attributes:
        attempts: The attempts, in the order of task and index.
        k: The values of k for pass@k of the sampled programs.
        convention: How the model was asked, in words.
        seconds: Wall time of the measurement; not compared by `==`.
        left_out: The tasks of the set that were not attempted, because prompt and completion exceed the model's positions.
        refine_steps: How often a program could be refined.
    """

    attempts: tuple[Attempt, ...]
    k: tuple[int, ...]
    convention: str = ""
    seconds: float = field(default=0.0, compare=False)
    left_out: tuple[str, ...] = ()
    refine_steps: int = 0

    @property
    def refined(self) -> Evaluation:
        """The evaluation of the whole procedure: each attempt as it ended."""
        return replace(self, attempts=tuple(attempt.refined for attempt in self.attempts), refine_steps=0)

    @property
    def greedy(self) -> dict[str, bool]:
        """Whether the greedy program of each task passed; tasks that could not be executed are absent."""
        return {attempt.task_id: attempt.passed for attempt in self._valid if attempt.index < 0}

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of attempts by status, the most frequent first."""
        return dict(Counter(attempt.status for attempt in self.attempts).most_common())

    @property
    def tokens(self) -> int:
        """Number of tokens of all completions, without those of refinements."""
        return sum(attempt.tokens for attempt in self.attempts)

    @property
    def refinement_tokens(self) -> int:
        """Number of tokens of all refinements."""
        return sum(turn.tokens for attempt in self.attempts for turn in attempt.turns)

    @property
    def infrastructure_failures(self) -> int:
        """Number of attempts that could not be executed."""
        return len(self.attempts) - len(self._valid)

    def metrics(self) -> dict[str, float]:
        """`pass@1` of the greedy programs, `sampled_pass@k`, each with its 95 % interval as `_low` and `_high`.

        `num_tasks` counts the tasks of these figures. If there are any, `left_out` counts the tasks that were not attempted,
        and `infrastructure_failures` the attempts that could not be executed. `edits` is the share of the completions that are
        in the form of edits (`target_format="edits"`), malformed or not, if there are any. With refinements, `refined_pass@1` and
        `refined_sampled_pass@k` are those of the whole procedure, and `tokens` and `refinement_tokens` what both took.
        """
        greedy = self.greedy
        figures: dict[str, float] = {"num_tasks": float(len(greedy))}
        if greedy:
            passed = sum(greedy.values())
            _put(figures, "pass@1", passed / len(greedy), wilson_interval(passed, len(greedy)))
        counts = self._sampled_counts()
        for k in self.k if counts else ():
            # A task that lost attempts to infrastructure may have too few left for this k.
            values = [pass_at_k(total, correct, k) for total, correct in counts.values() if total >= k]
            if values:
                _put(figures, f"sampled_pass@{k}", sum(values) / len(values), bootstrap_interval(values))
        if self.infrastructure_failures:
            figures["infrastructure_failures"] = float(self.infrastructure_failures)
        if edits := sum(edit_text_of(attempt.completion) is not None for attempt in self.attempts):
            figures["edits"] = edits / len(self.attempts)
        if self.left_out:
            figures["left_out"] = float(len(self.left_out))
        if self.refine_steps:
            figures |= {f"refined_{name}": value for name, value in self.refined.metrics().items() if "pass@" in name}
            figures |= {"tokens": float(self.tokens), "refinement_tokens": float(self.refinement_tokens)}
        return figures

    @property
    def _valid(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.status != Status.INFRASTRUCTURE]

    def _sampled_counts(self) -> dict[str, tuple[int, int]]:
        counts: dict[str, tuple[int, int]] = {}
        for attempt in self._valid:
            if attempt.index >= 0:
                total, correct = counts.get(attempt.task_id, (0, 0))
                counts[attempt.task_id] = (total + 1, correct + attempt.passed)
        return counts


def attempt_tasks(
    tasks: Sequence[Task],
    engine: Engine,
    sandbox: Sandbox | None,
    prompts: PromptFormat,
    settings: EvaluationSettings,
    on_attempt: Callable[[Attempt], None] = lambda attempt: None,
    on_step: Callable[[], object] = lambda: None,
    refiner: Refiner | None = None,
) -> Evaluation:
    """Attempts every task greedily and, if asked, by sampling.

    Args:
        tasks: What to solve. The programs of a task without tests are not run.
        engine: Writes the programs.
        sandbox: Runs them; may be None if no task has tests.
        prompts: How the model is asked.
        settings: What is measured.
        on_attempt: Called with each attempt as it is done, for progress.
        on_step: Called after each step of the engine, for progress.
        refiner: Asks for refinements, if the settings have any.
    """
    attempts: list[Attempt] = []

    async def attempt(task: Task, indices: Sequence[int], params: SamplingParams) -> None:
        keys = tuple(stream_key(settings.seed, "evaluation", task.task_id, index) for index in indices)
        prompt = prompts.write(task, task.description)
        params = replace(params, stop=prompt.stop, fence=prompt.fence)
        request = GenerationRequest(("evaluate", task.task_id, indices), prompt.ids, params, keys)
        completions = await Generate(request)
        found = [prompts.extract(task, prompt.after(completion.text)) for completion in completions]
        jobs = tuple(
            (extraction.code, task.all_tests)
            for extraction in found
            if isinstance(extraction, Extraction) and task.tests
        )
        outcomes = iter(await Execute(jobs)) if jobs else iter(())
        for index, completion, extraction in zip(indices, completions, found, strict=True):
            outcome = next(outcomes) if isinstance(extraction, Extraction) and task.tests else None
            made = _attempt(task, index, completion, extraction, outcome)
            if refiner is not None and settings.refine_steps and outcome is not None and not made.passed:
                scheduler.add(refine(refiner, task, made, params))
            else:
                keep(made)

    async def refine(refiner: Refiner, task: Task, made: Attempt, params: SamplingParams) -> None:
        visible, code = visible_tests(task, settings.visible_tests), str(made.code)
        assert visible is not None, "only what was executed is refined"
        (seen,) = await Execute(((code, visible),))
        turns: list[Turn] = []
        for number in range(settings.refine_steps):
            if seen.status in (Status.PASSED, Status.INFRASTRUCTURE):
                break
            prompt = refiner(task, code, seen, visible)
            if settings.positions is not None and len(prompt.ids) + params.max_new_tokens > settings.positions:
                break
            params = replace(params, stop=prompt.stop, fence=prompt.fence)
            key = stream_key(settings.seed, "refinement", task.task_id, made.index, number)
            name = ("refine", task.task_id, made.index, number)
            (completion,) = await Generate(GenerationRequest(name, prompt.ids, params, (key,)))
            extraction = prompts.extract(task, prompt.after(completion.text))
            if isinstance(extraction, NoProgram):
                turns.append(_turn(prompt, _attempt(task, made.index, completion, extraction, None)))
                break
            program = extraction.code
            verdict, seen = await Execute(((program, task.all_tests), (program, visible)))
            turns.append(_turn(prompt, _attempt(task, made.index, completion, extraction, verdict)))
            if program == code and params.temperature == 0:
                break  # the next one would be the same
            code = program
        keep(replace(made, turns=tuple(turns)))

    def keep(made: Attempt) -> None:
        attempts.append(made)
        on_attempt(made)

    greedy = SamplingParams(settings.max_completion_length, temperature=0.0)
    sampled = replace(greedy, temperature=settings.temperature)
    sampled_indices = tuple(range(settings.num_generations))
    chains = [attempt(task, (-1,), greedy) for task in tasks if settings.greedy]
    chains += [attempt(task, sampled_indices, sampled) for task in tasks if sampled_indices]
    scheduler = Scheduler(engine, sandbox, on_step)
    scheduler.run(chains)
    attempts.sort(key=lambda item: (item.task_id, item.index))
    return Evaluation(tuple(attempts), settings.k, prompts.convention, refine_steps=settings.refine_steps)


def _attempt(
    task: Task, index: int, completion: Completion, extraction: Extraction | NoProgram, outcome: Outcome | None
) -> Attempt:
    tokens = len(completion.token_ids)
    if isinstance(extraction, NoProgram):
        return Attempt(task.task_id, index, completion.text, None, NO_CODE, extraction.reason, tokens=tokens)
    seen = Attempt(task.task_id, index, completion.text, extraction.code, UNVERIFIED, tokens=tokens)
    if outcome is None:
        return seen
    # What does not compile fails no test in particular.
    failing = None if outcome.status == Status.SYNTAX_ERROR else outcome.first_failure
    return replace(
        seen,
        status=str(outcome.status),
        message=outcome.message,
        failing_test=None if failing is None else show_test(task.all_tests, failing),
        trusted=outcome.trusted,
        isolation=outcome.isolation,
    )


def _turn(prompt: Prompt, made: Attempt) -> Turn:
    return Turn(
        prompt.text,
        made.completion,
        made.code,
        made.status,
        made.message,
        made.failing_test,
        made.trusted,
        made.isolation,
        made.tokens,
    )


def _put(figures: dict[str, float], name: str, value: float, interval: tuple[float, float]) -> None:
    figures[name] = value
    figures[f"{name}_low"], figures[f"{name}_high"] = interval
