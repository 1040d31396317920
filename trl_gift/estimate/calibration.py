"""A short run on this machine: how long completions are, how fast they come, how long programs and training take.

It uses what the run itself will use: the trainer's engine, prompts and chain, the sandbox, and one round of the
trainer's own fine-tuning on what was just sampled. The trainer is thrown away afterwards, its weights are changed.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean

import torch
from transformers import PrinterCallback

from trl_gift.config import GiFTConfig
from trl_gift.estimate.work import Lengths, spread
from trl_gift.generation.engine import Engine, GenerationRequest, GenerationResult
from trl_gift.prompts import Example
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainContext
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sandbox import LocalSandbox
from trl_gift.tasks import Task
from trl_gift.trainer import GiFTTrainer
from trl_gift.training.pairs import IGNORED, TrainingPair, TrainingPairs

DEFAULT_TASKS = 16
_WARM_UP_TOKENS = 16
# Where the longest completions would take longer than this, they are cut and only the speed is measured.
_BUDGET_S = 60.0
_TIMED_STEPS = 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the run measured.

    Attributes:
        tasks: Tasks whose chains were run.
        codes: Codes sampled.
        descriptions: Descriptions sampled.
        rows: Completions that were generated at once, at most.
        code_length: Mean tokens of a code.
        description_length: Mean tokens of a description; None if none was sampled.
        tokens_per_s: Tokens sampled in a second of the engine's time, prefill and scoring included.
        program_s: Mean wall seconds of a program; None if none was run.
        passed: Share of the codes that passed; None if nothing was run.
        record_bytes: Mean bytes of a sample's line in the store.
        training_tokens_per_s: Tokens trained in a second, padding left out; None if it was not measured.
        seconds: What the calibration took.
        cut_at: Tokens at which completions were cut because this machine is slow; their lengths then say nothing.
    """

    tasks: int
    codes: int
    descriptions: int
    rows: int
    code_length: float
    description_length: float | None
    tokens_per_s: float
    program_s: float | None
    passed: float | None
    record_bytes: float
    training_tokens_per_s: float | None
    seconds: float
    cut_at: int | None = None

    def lengths(self, assumed: Lengths) -> Lengths:
        """Mean lengths; the assumed one for descriptions if none was sampled."""
        if self.cut_at is not None:
            return replace(assumed, source=f"{assumed.source} (the calibration was cut at {self.cut_at} tokens)")
        source = f"measured: {self.codes} codes and {self.descriptions} descriptions of {self.tasks} tasks"
        if self.description_length is None:
            return Lengths(self.code_length, assumed.description, f"{source}; length of descriptions assumed")
        return Lengths(self.code_length, self.description_length, source)


def calibration_config(config: GiFTConfig, folder: Path) -> GiFTConfig:
    """The options for the trainer that is calibrated: as those of the run, but nothing is reported or saved.

    Args:
        config: The run's options; not changed.
        folder: A temporary folder, for whatever a library wants to write.
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


def calibrate(trainer: GiFTTrainer, num_tasks: int = DEFAULT_TASKS) -> Calibration:
    """Runs two steps of the chains of a few tasks, then a few training steps on what came out.

    Args:
        trainer: Made with `calibration_config`; its weights are changed.
        num_tasks: Tasks to take, evenly spread over all.

    Raises:
        IsolationUnavailable: if programs cannot be isolated on this machine.
    """
    started = time.monotonic()
    config = trainer.args
    tasks = spread(trainer.tasks, num_tasks)
    samples: list[CodeSample] = []
    with _executing(config) as sandbox, trainer.rollouts.engine() as own:
        engine = _TimedEngine(own)
        # The first call of everything is slower than all others. Each run has a length of its own, shorter than those
        # that follow: with the same parameters an engine may know beforehand what will be drawn.
        for most_tokens in (_WARM_UP_TOKENS - 2, _WARM_UP_TOKENS - 1):
            engine.forget()
            _run_chains(trainer, tasks[:1], engine, sandbox, [], steps=1, most_tokens=most_tokens)
        cut_at = _affordable_tokens(config, engine.seconds / max((length for _, length in engine.lengths), default=1))
        engine.forget()
        steps = 2 if config.sampler in ("gibbs", "rewrite") else 1
        _run_chains(trainer, tasks, engine, sandbox, samples, steps, cut_at)
    descriptions = [length for kind, length in engine.lengths if kind == "describe"]
    programs = [float(sample.outcome["wall_s"]) for sample in samples if sample.outcome]
    return Calibration(
        tasks=len(tasks),
        codes=len(samples),
        descriptions=len(descriptions),
        rows=min(config.engine_batch_size or len(samples), len(tasks) * config.num_generations),
        code_length=fmean(len(sample.token_ids) for sample in samples),
        description_length=fmean(descriptions) if descriptions else None,
        tokens_per_s=sum(length for _, length in engine.lengths) / engine.seconds,
        program_s=fmean(programs) if programs else None,
        passed=fmean(sample.passed for sample in samples) if config.verify else None,
        record_bytes=fmean(len(json.dumps(sample.to_record(), ensure_ascii=False)) + 1 for sample in samples),
        training_tokens_per_s=_training_speed(trainer, tasks, samples),
        seconds=time.monotonic() - started,
        cut_at=cut_at,
    )


def _executing(config: GiFTConfig) -> AbstractContextManager[LocalSandbox | None]:
    if not config.verify:
        return nullcontext()
    return LocalSandbox(config.sandbox_workers, config.limits(), config.isolation, in_process=False)


class _TimedEngine:
    """An engine that notes its time and the lengths of what it returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds = 0.0
        self.lengths: list[tuple[str, int]] = []

    @property
    def pending(self) -> int:
        return self._engine.pending

    @property
    def tokens_generated(self) -> int:
        return self._engine.tokens_generated

    def submit(self, request: GenerationRequest) -> None:
        self._engine.submit(request)

    def step(self) -> list[GenerationResult]:
        begun = time.monotonic()
        results = self._engine.step()
        self.seconds += time.monotonic() - begun
        for result in results:
            # The chain's keys begin with what is asked for.
            kind = str(result.key[0]) if isinstance(result.key, tuple) else ""
            self.lengths.extend((kind, len(completion.token_ids)) for completion in result.completions)
        return results

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, ...]]:
        begun = time.monotonic()
        scores = self._engine.score(pairs)
        self.seconds += time.monotonic() - begun
        return scores

    def forget(self) -> None:
        """Begins to count anew."""
        self.seconds = 0.0
        self.lengths = []


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
        code, description = settings.code_params, settings.description_params
        settings = replace(
            settings,
            code_params=replace(code, max_new_tokens=min(code.max_new_tokens, most_tokens)),
            description_params=replace(description, max_new_tokens=min(description.max_new_tokens, most_tokens)),
        )
    examples = [Example(task.task_id, task.reference, task.description) for task in trainer.tasks if task.reference]
    tools = ChainContext(settings, trainer.prompts, examples, lambda task_id, step: [], samples.append)
    sampler = SAMPLERS[config.sampler]
    Scheduler(engine, sandbox).run(sampler(task, tools) for task in tasks)


def _affordable_tokens(config: GiFTConfig, step_s: float) -> int | None:
    """Tokens at which completions are cut so that two codes and a description end in time; None if they do anyway."""
    longest = 2 * config.max_completion_length + config.max_description_length
    if longest * step_s <= _BUDGET_S:
        return None
    return max(_WARM_UP_TOKENS, int(_BUDGET_S / step_s / 3))


def _training_speed(trainer: GiFTTrainer, tasks: Sequence[Task], samples: Sequence[CodeSample]) -> float | None:
    """Tokens trained in a second, over a few steps of the trainer's own round; None if memory does not suffice.

    Whether the codes are right does not matter here: their lengths are those of codes that are.
    """
    config = trainer.args
    by_id = {task.task_id: task for task in tasks}
    pairs = []
    for sample in samples:
        task = by_id[sample.task_id]
        prompt = trainer.prompts.write(task, task.description)
        ids = [*prompt, *sample.token_ids][: config.max_length]
        masked = min(len(prompt), len(ids) - 1)
        pairs.append(TrainingPair(ids, [IGNORED] * masked + ids[masked:]))
    speed = None
    trainer.remove_callback(PrinterCallback)
    try:
        for steps in (1, _TIMED_STEPS):
            config.max_steps = steps
            chosen = list(islice(cycle(pairs), steps * config.per_device_train_batch_size))
            begun = time.monotonic()
            trainer.train_round(1, TrainingPairs(chosen, 0, len(chosen), 0, 0), None)
            _wait_for_device()
            speed = sum(len(pair.input_ids) for pair in chosen) / (time.monotonic() - begun)
    except torch.OutOfMemoryError:
        return None
    return speed


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
