"""Attempts at tasks: pass@1 of greedy programs and the unbiased pass@k of sampled programs.

The sandbox executes every program, and every completion is kept. An execution that failed for lack of a sandbox never
counts as a wrong answer: the figures leave it out and report the number of such attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trl_gift.common.randomness import stream_key
from trl_gift.evaluation.pass_at_k import bootstrap_interval, pass_at_k, wilson_interval
from trl_gift.generation import Engine, GenerationRequest, SamplingParams
from trl_gift.prompts import PromptFormat
from trl_gift.sampling.scheduler import Execute, Generate, Scheduler
from trl_gift.sandbox import Sandbox, Status
from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is measured.

    Attributes:
        max_completion_length: Largest number of tokens of a completion.
        num_generations: Sampled completions of each task, besides the greedy one; 0 for the greedy one only.
        k: The values of k for pass@k of the sampled programs.
        temperature: Temperature of the sampled completions.
        seed: Seed of their streams.
    """

    max_completion_length: int = 512
    num_generations: int = 0
    k: tuple[int, ...] = (1,)
    temperature: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One evaluated completion.

    Attributes:
        task_id: The task.
        index: Index among the sampled completions of the task, from 0; -1 for the greedy one.
        completion: The text that the model wrote.
        code: The program in it; None if it holds none.
        status: A status of the sandbox, or `"no_code"`.
    """

    task_id: str
    index: int
    completion: str
    code: str | None
    status: str

    @property
    def passed(self) -> bool:
        """Whether the program passed every test."""
        return self.status == Status.PASSED

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All attempts at a set of tasks.

    Attributes:
        attempts: The attempts, in the order of task and index.
        k: The values of k for pass@k of the sampled programs.
        convention: How the model was asked, in words.
    """

    attempts: tuple[Attempt, ...]
    k: tuple[int, ...]
    convention: str = ""

    @property
    def greedy(self) -> dict[str, bool]:
        """Whether the greedy program of each task passed; tasks that could not be executed are absent."""
        return {attempt.task_id: attempt.passed for attempt in self._valid if attempt.index < 0}

    @property
    def infrastructure_failures(self) -> int:
        """Number of attempts that could not be executed."""
        return len(self.attempts) - len(self._valid)

    def metrics(self) -> dict[str, float]:
        """`pass@1` of the greedy programs, `sampled_pass@k`, each with its 95 % interval as `_low` and `_high`."""
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
    sandbox: Sandbox,
    prompts: PromptFormat,
    settings: EvaluationSettings,
    on_attempt: Callable[[Attempt], None] = lambda attempt: None,
    on_step: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Attempts every task greedily and, if asked, by sampling.

    Args:
        tasks: What to solve.
        engine: Writes the programs.
        sandbox: Runs them.
        prompts: How the model is asked.
        settings: What is measured.
        on_attempt: Called with each attempt as it is done, for progress.
        on_step: Called after each step of the engine, for progress.
    """
    attempts: list[Attempt] = []

    async def attempt(task: Task, indices: Sequence[int], params: SamplingParams) -> None:
        keys = tuple(stream_key(settings.seed, "evaluation", task.task_id, index) for index in indices)
        prompt = prompts.write(task, task.description)
        params = replace(params, stop=prompt.stop, fence=prompt.fence)
        request = GenerationRequest(("evaluate", task.task_id, indices), prompt.ids, params, keys)
        completions = await Generate(request)
        found = [prompts.extract(task, prompt.after(completion.text)) for completion in completions]
        jobs = tuple((extraction.code, task.all_tests) for extraction in found if extraction)
        outcomes = iter(await Execute(jobs)) if jobs else iter(())
        for index, completion, extraction in zip(indices, completions, found, strict=True):
            status = str(next(outcomes).status) if extraction else "no_code"
            code = extraction.code if extraction else None
            attempts.append(Attempt(task.task_id, index, completion.text, code, status))
            on_attempt(attempts[-1])

    greedy = SamplingParams(settings.max_completion_length, temperature=0.0)
    sampled = replace(greedy, temperature=settings.temperature)
    sampled_indices = tuple(range(settings.num_generations))
    chains = [attempt(task, (-1,), greedy) for task in tasks]
    chains += [attempt(task, sampled_indices, sampled) for task in tasks if sampled_indices]
    Scheduler(engine, sandbox, on_step).run(chains)
    attempts.sort(key=lambda item: (item.task_id, item.index))
    return Evaluation(tuple(attempts), settings.k, prompts.convention)


def paired_difference(after: dict[str, bool], before: dict[str, bool]) -> tuple[float, tuple[float, float]]:
    """Mean difference of two greedy evaluations over the tasks they share, with its 95 % bootstrap interval.

    Raises:
        ValueError: if they share no task.
    """
    shared = sorted(after.keys() & before.keys())
    differences = [float(after[task_id]) - float(before[task_id]) for task_id in shared]
    if not differences:
        raise ValueError("the two evaluations share no task.")
    return sum(differences) / len(differences), bootstrap_interval(differences)


def _put(figures: dict[str, float], name: str, value: float, interval: tuple[float, float]) -> None:
    figures[name] = value
    figures[f"{name}_low"], figures[f"{name}_high"] = interval
