"""The pilot of `temperature="auto"`: programs of a few tasks at several temperatures, before the first round.

A small model that solves one task in ten greedily may pass hardly any test at temperature 1, and a strong one repeats itself
at a low temperature. What a round needs is distinct programs that pass, so the temperature with the most of them is chosen;
of equal ones the higher, which goes on to give new programs.

Every temperature draws from the same random streams, so that they differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trl_gift import codetext
from trl_gift.common.randomness import generator, stream_key
from trl_gift.common.words import plural
from trl_gift.generation import Engine, GenerationRequest, SamplingParams
from trl_gift.prompts import Extraction, Hint, PromptFormat
from trl_gift.sampling.context import ChainSettings
from trl_gift.sampling.learner import as_learned
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.records import PASSED
from trl_gift.sampling.rollouts import Rollouts, tokens_of
from trl_gift.sampling.scheduler import Execute, Generate, Scheduler
from trl_gift.sandbox import Sandbox
from trl_gift.tasks import Task

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
_GENERATIONS = 4
_MOST_TASKS = 32
_SHARE_OF_ROUND = 0.1  # of the completions of a round, at most, but never fewer than 4 tasks


@dataclass(frozen=True, slots=True)
class PilotResult:
    """What one temperature gave.

    Attributes:
        temperature: The temperature.
        samples: Number of programs drawn.
        passed: Number of these that passed.
        solved_tasks: Number of tasks with a passing program.
        distinct_programs: Passing programs that differ in their normalised syntax tree, summed over tasks.
    """

    temperature: float
    samples: int
    passed: int
    solved_tasks: int
    distinct_programs: int

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def run_pilot(rollouts: Rollouts, tasks: Sequence[Task], settings: ChainSettings) -> list[PilotResult]:
    """Draws programs from the descriptions of a few tasks at each temperature and runs them.

    Args:
        rollouts: The model, its engine and the sandbox, of this process.
        tasks: The tasks of the run.
        settings: How the programs of the first round are to be drawn, but for the temperature.

    Returns:
        The results of all processes together, by temperature.
    """
    mine = rollouts.share(pilot_tasks(tasks, settings))
    total = len(mine) * len(TEMPERATURES) * _GENERATIONS
    with rollouts.engine() as engine, SamplingProgress("pilot: sampling", total, rollouts.quiet) as progress:
        found = try_temperatures(
            mine,
            engine,
            rollouts.sandbox,
            rollouts.prompts,
            settings,
            lambda passed: progress.add(passed, tokens_of(engine)),
            lambda: progress.tick(tokens_of(engine)),
        )
    return merged(rollouts.gather(found))


def pilot_tasks(tasks: Sequence[Task], settings: ChainSettings) -> list[Task]:
    """The tasks of the pilot: drawn at random, as many as a tenth of the first round's completions allows."""
    budget = _SHARE_OF_ROUND * len(tasks) * settings.num_steps * settings.num_generations
    affordable = int(budget / (_GENERATIONS * len(TEMPERATURES)))
    count = min(len(tasks), _MOST_TASKS, max(4, affordable))
    places = generator(stream_key(settings.seed, "pilot")).choice(len(tasks), size=count, replace=False)
    return [tasks[place] for place in sorted(places)]


def try_temperatures(
    tasks: Sequence[Task],
    engine: Engine,
    sandbox: Sandbox,
    prompts: PromptFormat,
    settings: ChainSettings,
    on_program: Callable[[bool], None] = lambda passed: None,
    on_step: Callable[[], object] = lambda: None,
    learner: PromptFormat | None = None,
) -> list[PilotResult]:
    """The pilot of one process; `on_program` is called with each verdict, `on_step` after each step of the engine.

    The other arguments are those of `draw` and of the `Scheduler`.
    """
    passing: dict[float, list[tuple[str, str]]] = {temperature: [] for temperature in TEMPERATURES}

    async def attempt(task: Task, params: SamplingParams) -> None:
        keys = tuple(stream_key(settings.seed, "pilot", task.task_id, index) for index in range(_GENERATIONS))
        name = ("pilot", task.task_id, params.temperature)
        for program, passed in await draw(task, prompts, params, name, keys, learner=learner):
            if passed:
                passing[params.temperature].append((task.task_id, codetext.normalise(program)))
            on_program(passed)

    Scheduler(engine, sandbox, on_step).run(
        attempt(task, replace(settings.code_params, temperature=temperature))
        for task in tasks
        for temperature in TEMPERATURES
    )
    return [
        PilotResult(
            temperature,
            samples=len(tasks) * _GENERATIONS,
            passed=len(found),
            solved_tasks=len({task_id for task_id, _ in found}),
            distinct_programs=len(set(found)),
        )
        for temperature, found in passing.items()
    ]


async def draw(
    task: Task,
    prompts: PromptFormat,
    params: SamplingParams,
    name: tuple[Any, ...],
    keys: tuple[int, ...],
    hint: Hint | None = None,
    learner: PromptFormat | None = None,
) -> list[tuple[str, bool]]:
    """Draws programs of a task from its description and runs them; a part of a coroutine for the `Scheduler`.

    Args:
        task: The task.
        prompts: How the model is asked.
        params: How the programs are drawn.
        name: Names the request.
        keys: A random stream for each program.
        hint: What the prompt shows besides.
        learner: The prompts of the model in training, if another one draws; what that model cannot write does not count as a program.

    Returns:
        Each program, empty if the completion holds none, and whether it passed.
    """
    prompt = prompts.write(task, task.description, hint)
    params = replace(params, stop=prompt.stop, fence=prompt.fence)
    completions = await Generate(GenerationRequest(name, prompt.ids, params, keys))
    found = [prompts.extract(task, prompt.after(completion.text)) for completion in completions]
    if learner is not None:
        found = [as_learned(task, one, learner) for one in found]
    jobs = tuple((extraction.code, task.all_tests) for extraction in found if isinstance(extraction, Extraction))
    outcomes = iter(await Execute(jobs)) if jobs else iter(())
    return [
        (extraction.code, str(next(outcomes).status) == PASSED) if isinstance(extraction, Extraction) else ("", False)
        for extraction in found
    ]


def merged(results: Sequence[PilotResult]) -> list[PilotResult]:
    """The results of several processes, which had different tasks, as one for each temperature."""
    together: dict[float, PilotResult] = {}
    for result in results:
        before = together.get(result.temperature, PilotResult(result.temperature, 0, 0, 0, 0))
        together[result.temperature] = PilotResult(
            result.temperature,
            before.samples + result.samples,
            before.passed + result.passed,
            before.solved_tasks + result.solved_tasks,
            before.distinct_programs + result.distinct_programs,
        )
    return [together[temperature] for temperature in sorted(together)]


def best_temperature(results: Sequence[PilotResult]) -> float:
    """The temperature with the most distinct passing programs, of equal ones the highest; the lowest if none passed."""
    if not any(result.passed for result in results):
        return min(result.temperature for result in results)
    return max(results, key=lambda result: (result.distinct_programs, result.temperature)).temperature


def pilot_line(results: Sequence[PilotResult], chosen: float) -> str:
    """What the pilot found and chose, in one line."""
    rates = ", ".join(f"{result.passed} at {result.temperature:g}" for result in results)
    line = f"temperature={chosen:g}, chosen by a pilot: of {plural(results[0].samples, 'program')} each passed {rates}"
    if not any(result.passed for result in results):
        return (
            f"{line}. With a pass rate of zero the run will learn from references alone, if at all: try easier tasks, a "
            "larger model, another prompt_format, or a larger max_completion_length."
        )
    return f"{line}; it gave the most distinct ones."
