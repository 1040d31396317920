"""A short run on this machine: how long completions are, how fast they come, how long programs and training take.

The calibration uses what the run itself uses: the trainer's engine, prompts and chain with the run's own options, the
sandbox, and one round of the trainer's own fine-tuning on what was just sampled. The caller throws the trainer away
afterwards, because its weights are changed.

A budget in seconds bounds the calibration. When the time for sampling is up, sampling stops before the next forward pass;
for completions that have not ended by then the rest is extrapolated. The passes over many and over few completions say
what a pass costs over any number of them. Not bounded: the first call of the engine (a few tokens of one task), loading the
weights, and one training step on one example. A completion server is asked to the end of a request.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from trl_gift.estimate.schedule import DESCRIBE, FIRST, KINDS, LATER, PassCost, extrapolated_lengths
from trl_gift.estimate.work import Lengths, spread
from trl_gift.generation import Engine, GenerationRequest, GenerationResult
from trl_gift.generation.compact import CompactEngine
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainContext
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sampling.workers import default_sandbox_workers
from trl_gift.sandbox import LocalSandbox
from trl_gift.tasks import Task
from trl_gift.trainer import GiFTTrainer
from trl_gift.training.pairs import IGNORED, TrainingPair, TrainingPairs

DEFAULT_TASKS, DEFAULT_SECONDS = 16, 120.0
_WARM_UP_TOKENS = 4
_SAMPLING_SHARE = 0.75
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
        lengths: By kind of request (`ChainShape.requests`), the tokens of each completion; those of unfinished ones are
            extrapolated.
        pass_cost: What forward passes cost; None for an engine without a model here.
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
    lengths: Mapping[str, tuple[int, ...]]
    pass_cost: PassCost | None
    tokens_per_s: float
    execution_s: float | None
    passed: float | None
    record_bytes: float | None
    training_tokens_per_s: float | None
    training_batch: int
    seconds: float

    def mean_lengths(self, assumed: Lengths, steps: int) -> Lengths:
        """Mean lengths over chains of some steps; the assumed one for what was not sampled."""
        source = (
            f"measured: {plural(self.programs, 'program')} and {plural(self.descriptions, 'description')} of "
            f"{plural(self.tasks, 'task')}"
        )
        if self.unfinished:
            source += f"; the lengths of {self.unfinished} more, not finished in time, are extrapolated"
        first, later, described = (fmean(self.lengths[kind]) if self.lengths[kind] else None for kind in KINDS)
        if described is None:
            source += "; length of descriptions assumed"
        first = first or later or assumed.program
        return Lengths((first + (steps - 1) * (later or first)) / steps, described or assumed.description, source)


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
            _run_chains(trainer, tasks, engine, sandbox, samples, steps)
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
        programs=engine.count(FIRST, LATER),
        descriptions=engine.count(DESCRIBE),
        unfinished=engine.unfinished,
        rows=min(config.engine_batch_size or len(tasks) * config.num_generations, len(tasks) * config.num_generations),
        lengths={kind: engine.lengths(kind) for kind in KINDS},
        pass_cost=engine.pass_cost(),
        tokens_per_s=engine.tokens / engine.seconds,
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
    """Ends the block before the first forward pass after the deadline, and tells the engine of each pass until then."""

    def before_forward(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if time.monotonic() > deadline:
            raise _TimeIsUp
        ids = kwargs.get("input_ids")
        if ids is not None:
            engine.begin_pass(*ids.shape)

    handle = model.register_forward_pre_hook(before_forward, with_kwargs=True)
    try:
        yield
    except _TimeIsUp:
        pass
    finally:
        handle.remove()


class _TimedEngine:
    """An engine that notes the cost of its forward passes, and the lengths of what it writes.

    Attributes:
        seconds: Time in the engine.
        passes: Of each forward pass that draws one token a row, its rows and the seconds until the next pass.
        prompt_seconds: Seconds of the passes over prompts.
        prompt_tokens: Tokens of the requests' prompts.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds = 0.0
        self.passes: list[tuple[int, float]] = []
        self.prompt_seconds = 0.0
        self.prompt_tokens = 0
        self._pass: tuple[int, float] | None = None
        self._ended: list[tuple[str, int]] = []
        # With the number of passes before each of them.
        self._requests: dict[Any, tuple[GenerationRequest, int]] = {}

    @property
    def pending(self) -> int:
        return self._engine.pending

    @property
    def tokens_generated(self) -> int:
        return self._engine.tokens_generated

    @property
    def tokens(self) -> int:
        """Tokens sampled."""
        ended, going = self._lengths()
        return sum(length for _, length in ended) + sum(so_far for _, so_far, _ in going)

    @property
    def unfinished(self) -> int:
        """Completions that have not ended."""
        return len(self._lengths()[1])

    def count(self, *kinds: str) -> int:
        """Completions of some kinds of requests that have ended."""
        return sum(kind in kinds for kind, _ in self._lengths()[0])

    def lengths(self, kind: str) -> tuple[int, ...]:
        """Tokens of each completion of a kind of request; extrapolated for those that have not ended."""
        ended, going = self._lengths()
        open_ends = [(so_far, most) for asked, so_far, most in going if asked == kind]
        return tuple(extrapolated_lengths([length for asked, length in ended if asked == kind], open_ends))

    def pass_cost(self) -> PassCost | None:
        """What forward passes cost; None for an engine without a model here."""
        if not self.passes:
            return None
        # Completions that are equal so far are one row.
        rows = sum(rows for rows, _ in self.passes)
        together = max(1.0, self.tokens / rows)
        return PassCost.fitted(
            [(rows * together, seconds) for rows, seconds in self.passes],
            self.prompt_seconds / self.prompt_tokens,
        )

    def begin_pass(self, rows: int, columns: int) -> None:
        """A forward pass begins, and so the one before it has ended.

        Args:
            rows: Its rows.
            columns: Its tokens in a row.
        """
        self._end_pass()
        self._pass = (rows if columns == 1 else 0, time.monotonic())

    def submit(self, request: GenerationRequest) -> None:
        self._requests[request.key] = (request, len(self.passes))
        self.prompt_tokens += len(request.prompt_ids)
        self._engine.submit(request)

    def step(self) -> list[GenerationResult]:
        with self._timed():
            results = self._engine.step()
        for result in results:
            del self._requests[result.key]
            self._ended.extend((_kind(result.key), len(completion.token_ids)) for completion in result.completions)
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
            self._end_pass()
            self.seconds += time.monotonic() - begun

    def _end_pass(self) -> None:
        if self._pass is not None:
            rows, begun = self._pass
            if rows:
                self.passes.append((rows, time.monotonic() - begun))
            else:
                self.prompt_seconds += time.monotonic() - begun
        self._pass = None

    def _lengths(self) -> tuple[list[tuple[str, int]], list[tuple[str, int, int]]]:
        """Kind and tokens of each completion that has ended; kind, tokens so far and most tokens of each that has not."""
        ended = list(self._ended)
        going: list[tuple[str, int, int]] = []
        # Another engine does not say.
        of_ended, of_going = self._engine.lengths_so_far() if isinstance(self._engine, CompactEngine) else ({}, {})
        for key, (request, before) in self._requests.items():
            kind, most, wanted = _kind(key), request.params.max_new_tokens, len(request.stream_keys)
            done = of_ended.get(key, [])
            # Each pass since the request draws a token of each completion, but for those that wait.
            so_far = of_going.get(key, [min(len(self.passes) - before, most)] * (wanted - len(done)))
            ended.extend((kind, length) for length in done)
            going.extend((kind, length, most) for length in so_far)
        return ended, going


def _kind(key: Any) -> str:
    """A kind of request, as `ChainShape` names it, from the chain's key: what is asked for, the task, the step."""
    asked, _, step = key[:3]
    return DESCRIBE if asked == "describe" else LATER if step else FIRST


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
