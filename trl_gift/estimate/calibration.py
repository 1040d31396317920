"""A short run on this machine: how long completions are, how fast they come, how long programs and training take.

The calibration uses what the run itself uses: the trainer's engine, prompts and chain with the run's own options, the
sandbox, and one round of the trainer's own fine-tuning on what was just sampled. The caller throws the trainer away
afterwards, because its weights are changed.

A budget in seconds bounds the calibration. The chains of a few tasks run first, to their end: a slow machine, too, then knows
how long completions are. All others run together and show the speed of a full batch. When the time for sampling is up,
sampling stops before the next forward pass; for completions that have not ended by then the rest is extrapolated. Not
bounded: the first call of the engine (a few tokens of one task), loading the weights, and one training step on one
example. A completion server is asked to the end of a request.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import PrinterCallback

from trl_gift.common.words import plural
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.estimate.work import Lengths, spread
from trl_gift.generation import Engine, GenerationRequest, GenerationResult
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainContext
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sampling.workers import default_sandbox_workers
from trl_gift.sandbox import LocalSandbox
from trl_gift.tasks import Task
from trl_gift.trainer import GiFTTrainer
from trl_gift.training.pairs import IGNORED, TrainingPair, TrainingPairs

DEFAULT_TASKS, DEFAULT_SECONDS = 16, 60.0
_WARM_UP_TOKENS = 4
_SAMPLING_SHARE = 0.6
_FIRST_TASKS = 2
# The speed is that of the full batch alone if it had at least this share of the engine's time.
_ENOUGH = 0.2
_TIMED_STEPS = 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the calibration measured.

    Attributes:
        tasks: Tasks whose chains were run.
        programs: Completions of write prompts that ended.
        descriptions: Completions of read and rewrite prompts that ended.
        unfinished: Completions that had not ended when the time was up.
        rows: Completions that were generated at once, at most.
        program_length: Mean tokens of a program; extrapolated for those that are unfinished. None without any.
        description_length: Mean tokens of a description, likewise. None without any.
        tokens_per_s: Tokens sampled in a second of the engine's time, reading prompts and scoring included.
        execution_s: Mean wall seconds of a program's execution; None if none was executed.
        passed: Share of the executed programs that passed; None if none was executed.
        record_bytes: Mean bytes of a sample's line in the store; None without any.
        training_tokens_per_s: Tokens trained in a second, without padding; None if memory did not suffice.
        training_batch: Examples of the training step that was timed; fewer than the run's if those took too long.
        seconds: What the calibration took.
    """

    tasks: int
    programs: int
    descriptions: int
    unfinished: int
    rows: int
    program_length: float | None
    description_length: float | None
    tokens_per_s: float
    execution_s: float | None
    passed: float | None
    record_bytes: float | None
    training_tokens_per_s: float | None
    training_batch: int
    seconds: float

    def lengths(self, assumed: Lengths) -> Lengths:
        """Mean lengths; the assumed one for what was not sampled."""
        source = (
            f"measured: {plural(self.programs, 'program')} and {plural(self.descriptions, 'description')} of "
            f"{plural(self.tasks, 'task')}"
        )
        if self.unfinished:
            source += f"; the lengths of {self.unfinished} more, not finished in time, are extrapolated"
        if self.description_length is None:
            source += "; length of descriptions assumed"
        program = assumed.program if self.program_length is None else self.program_length
        description = assumed.description if self.description_length is None else self.description_length
        return Lengths(program, description, source)


def calibration_config(config: GiFTConfig, folder: Path) -> GiFTConfig:
    """The options for the trainer that is calibrated: those of the run, but nothing is reported or saved.

    Args:
        config: The run's options; not changed.
        folder: A temporary folder for what libraries write.
    """
    short = copy.copy(config)
    short.output_dir = str(folder)
    short.logging_dir = str(folder)
    short.report_to = []
    short.save_strategy = type(config.save_strategy)("no")
    short.logging_strategy = type(config.logging_strategy)("no")
    short.push_to_hub = False
    short.disable_tqdm = True
    short.gradient_accumulation_steps = 1
    short.warmup_steps = 0
    return short


def calibrate(
    trainer: GiFTTrainer,
    num_tasks: int = DEFAULT_TASKS,
    budget_s: float = DEFAULT_SECONDS,
    say: Callable[[str], None] = lambda line: None,
) -> Calibration:
    """Runs two steps of the chains of a few tasks, then a few training steps on what came out.

    Args:
        trainer: Made with `calibration_config`; its weights are changed.
        num_tasks: Tasks to take, evenly spread over all.
        budget_s: Seconds to take, about.
        say: Gets a line for people before each stage.

    Raises:
        ConfigError: if no token could be sampled within the budget.
        IsolationUnavailable: if programs cannot be isolated on this machine.
    """
    started = time.monotonic()
    config = trainer.args
    tasks = spread(trainer.tasks, num_tasks)
    samples: list[CodeSample] = []
    with _executing(config) as sandbox, trainer.rollouts.engine() as own:
        say(f"calibration: sampling for {plural(len(tasks), 'task')}, at most {_SAMPLING_SHARE * budget_s:.0f} s")
        # The first call of everything is slower than all others. It has a length of its own: with the same parameters an
        # engine may know beforehand what will be drawn.
        _run_chains(trainer, tasks[:1], own, sandbox, [], steps=1, most_tokens=_WARM_UP_TOKENS)
        engine = _TimedEngine(own)
        steps = 2 if config.sampler in ("gibbs", "rewrite") else 1
        deadline = time.monotonic() + _SAMPLING_SHARE * budget_s
        with _stopping_at(deadline, trainer.accelerator.unwrap_model(trainer.model), engine):
            _run_chains(trainer, tasks[:_FIRST_TASKS], engine, sandbox, samples, steps)
            engine.begin_full_batch()
            if tasks[_FIRST_TASKS:]:
                _run_chains(trainer, tasks[_FIRST_TASKS:], engine, sandbox, samples, steps)
    if not engine.tokens:
        raise ConfigError(
            f"calibration: {budget_s:g} s were not enough to sample a token; raise --calibration-seconds, or use "
            "--no-calibration."
        )
    say("calibration: training a few steps")
    trained_per_s, batch = _training_speed(trainer, tasks, samples, started + budget_s)
    executed = [sample for sample in samples if sample.outcome]
    return Calibration(
        tasks=len(tasks),
        programs=sum(kind != "describe" for kind, _ in engine.ended),
        descriptions=sum(kind == "describe" for kind, _ in engine.ended),
        unfinished=sum(len(request.stream_keys) for request in engine.unfinished.values()),
        rows=min(config.engine_batch_size or len(tasks) * config.num_generations, len(tasks) * config.num_generations),
        program_length=engine.mean_length(lambda kind: kind != "describe"),
        description_length=engine.mean_length(lambda kind: kind == "describe"),
        tokens_per_s=engine.tokens_per_s,
        execution_s=fmean(float(sample.outcome["wall_s"]) for sample in executed if sample.outcome)
        if executed
        else None,
        passed=fmean(sample.passed for sample in executed) if executed else None,
        record_bytes=fmean(_line_bytes(sample) for sample in samples) if samples else None,
        training_tokens_per_s=trained_per_s,
        training_batch=batch,
        seconds=time.monotonic() - started,
    )


def _line_bytes(sample: CodeSample) -> int:
    return len(json.dumps(sample.to_record(), ensure_ascii=False)) + 1


def _executing(config: GiFTConfig) -> AbstractContextManager[LocalSandbox | None]:
    if not config.verify:
        return nullcontext()
    workers = config.sandbox_workers or default_sandbox_workers(config.device.type == "cpu")
    return LocalSandbox(num_workers=workers, limits=config.limits(), isolation=config.isolation, in_process=False)


class _TimeIsUp(Exception):
    """Raised before a forward pass once the time for sampling is up."""


@contextmanager
def _stopping_at(deadline: float, model: torch.nn.Module, engine: _TimedEngine) -> Iterator[None]:
    """Ends the block before the first forward pass after the deadline, and counts the tokens that are drawn until then."""

    def before_forward(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if time.monotonic() > deadline:
            raise _TimeIsUp
        ids = kwargs.get("input_ids")
        if ids is not None and ids.shape[1] == 1:
            engine.decoded += ids.shape[0]

    handle = model.register_forward_pre_hook(before_forward, with_kwargs=True)
    try:
        yield
    except _TimeIsUp:
        pass
    finally:
        handle.remove()


class _TimedEngine:
    """An engine that notes its time, and the lengths of what it returns.

    Attributes:
        seconds: Time in the engine.
        decoded: Rows of all forward passes that draw one more token: the tokens sampled where completions are unfinished.
        ended: Kind of prompt and tokens of each completion that ended.
        unfinished: Requests without an answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds = 0.0
        self.decoded = 0
        self._before_full_batch = (0, 0.0)
        self.ended: list[tuple[str, int]] = []
        self.unfinished: dict[Any, GenerationRequest] = {}

    @property
    def pending(self) -> int:
        return self._engine.pending

    @property
    def tokens_generated(self) -> int:
        return self._engine.tokens_generated

    @property
    def tokens(self) -> int:
        """Tokens sampled."""
        return max(sum(length for _, length in self.ended), self.decoded if self.unfinished else 0)

    def begin_full_batch(self) -> None:
        """From now on the speed is that of the run."""
        self._before_full_batch = (self.tokens, self.seconds)

    @property
    def tokens_per_s(self) -> float:
        """Tokens sampled in a second of the engine's time."""
        tokens, seconds = self._before_full_batch
        if self.tokens > tokens and self.seconds - seconds >= _ENOUGH * self.seconds:
            return (self.tokens - tokens) / (self.seconds - seconds)
        return self.tokens / self.seconds

    def mean_length(self, is_meant: Callable[[str], bool]) -> float | None:
        """Mean tokens of the completions of some kinds; None without any.

        Args:
            is_meant: Whether a kind of prompt counts.
        """
        ended = [length for kind, length in self.ended if is_meant(kind)]
        open_ends = [
            request.params.max_new_tokens
            for key, request in self.unfinished.items()
            if is_meant(_kind(key))
            for _ in request.stream_keys
        ]
        if not ended and not open_ends:
            return None
        drawn = self.tokens - sum(length for _, length in self.ended)
        under_way = sum(len(request.stream_keys) for request in self.unfinished.values())
        return extrapolated_mean(ended, open_ends, drawn / under_way if under_way else 0.0)

    def submit(self, request: GenerationRequest) -> None:
        self.unfinished[request.key] = request
        self._engine.submit(request)

    def step(self) -> list[GenerationResult]:
        with self._timed():
            results = self._engine.step()
        for result in results:
            del self.unfinished[result.key]
            self.ended.extend((_kind(result.key), len(completion.token_ids)) for completion in result.completions)
        return results

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, ...]]:
        with self._timed():
            return self._engine.score(pairs)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - begun


def extrapolated_mean(ended: Sequence[int], most: Sequence[int], so_far: float) -> float:
    """The mean length of completions of which some have not ended.

    A completion is taken to end with the same probability at every token: that of the completions that have ended, among all
    tokens drawn (the maximum likelihood of censored geometric lengths). Where none has ended, the most tokens allowed count.

    Args:
        ended: Tokens of each completion that has ended.
        most: The most tokens of each completion that has not.
        so_far: Tokens of each of these until now, on average.
    """
    drawn = sum(ended) + so_far * len(most)
    rate = len(ended) / drawn if drawn else 0.0
    rest = [(1 - math.exp(-rate * max(0.0, top - so_far))) / rate if rate else top - so_far for top in most]
    return (drawn + sum(rest)) / (len(ended) + len(most))


def _kind(key: Any) -> str:
    # The chain's keys begin with what is asked for.
    return str(key[0]) if isinstance(key, tuple) else ""


def _run_chains(
    trainer: GiFTTrainer,
    tasks: Sequence[Task],
    engine: Engine,
    sandbox: LocalSandbox | None,
    samples: list[CodeSample],
    steps: int,
    most_tokens: int | None = None,
) -> None:
    config = trainer.args
    settings = replace(config.chain_settings(1, ""), num_steps=steps)
    if most_tokens is not None:
        program, description = (
            replace(params, max_new_tokens=min(params.max_new_tokens, most_tokens))
            for params in (settings.code_params, settings.description_params)
        )
        settings = replace(settings, code_params=program, description_params=description)
    tools = ChainContext(settings, trainer.prompts, trainer.examples, lambda task_id, step: [], samples.append)
    sampler = SAMPLERS[config.sampler]
    Scheduler(engine, sandbox).run(sampler(task, tools) for task in tasks)


def _training_speed(
    trainer: GiFTTrainer, tasks: Sequence[Task], samples: Sequence[CodeSample], deadline: float
) -> tuple[float | None, int]:
    """Tokens trained in a second, and examples of a step, over a few steps of the trainer's own round.

    The speed is None if memory does not suffice.

    Whether the programs are right does not matter here: they are about as long as those that are. Without a sample,
    completions of full length are made of the prompt's tokens. The first step, on one example, says how many examples fit
    into the time that is left.
    """
    config = trainer.args
    by_id = {task.task_id: task for task in tasks}
    sampled: list[tuple[str, tuple[int, ...] | None]] = [(sample.task_id, sample.token_ids) for sample in samples]
    pairs = []
    for task_id, completion in sampled or [(task.task_id, None) for task in tasks]:
        prompt = trainer.prompts.write(by_id[task_id], by_id[task_id].description).ids
        if completion is None:
            completion = tuple(islice(cycle(prompt), config.completion_length))
        ids = [*prompt, *completion][: config.max_length]
        masked = min(len(prompt), len(ids) - 1)
        pairs.append(TrainingPair(ids, [IGNORED] * masked + ids[masked:]))
    full_batch = config.per_device_train_batch_size
    trainer.remove_callback(PrinterCallback)

    def speed(batch: int, steps: int) -> float:
        config.per_device_train_batch_size, config.max_steps = batch, steps
        chosen = list(islice(cycle(pairs), steps * batch))
        begun = time.monotonic()
        trainer.train_round(1, TrainingPairs(chosen, 0, len(chosen), 0, 0), None)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return sum(len(pair.input_ids) for pair in chosen) / (time.monotonic() - begun)

    try:
        first = speed(1, 1)
        affordable = first * (deadline - time.monotonic()) / max(len(pair.input_ids) for pair in pairs)
        batch = min(full_batch, int(affordable / _TIMED_STEPS))
        # The first step of a batch allocates; the steps after it are those of the run.
        return (speed(batch, _TIMED_STEPS), batch) if batch >= 1 else (first, 1)
    except torch.OutOfMemoryError:
        return None, full_batch
    finally:
        config.per_device_train_batch_size = full_batch
