"""`estimate_run`: what a run will cost, before anything long starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel

from trl_gift.common.words import plural
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.estimate import work
from trl_gift.estimate.advice import Candidate, Change, changes_that_fit
from trl_gift.estimate.calibration import Calibration
from trl_gift.estimate.device import Device, this_device
from trl_gift.estimate.memory import (
    UNCERTAINTY,
    MemoryOptions,
    StageMemory,
    beside,
    host_bytes,
    memory_options,
    optimizer_bytes,
    sampling_memory,
    token_budget,
    trained_bytes,
    training_memory,
)
from trl_gift.estimate.model import ModelShape, Quantization, Trained, model_shape, quantization_kind, trained_part
from trl_gift.estimate.schedule import FIRST, KINDS, ChainShape, sampling_seconds
from trl_gift.generation import end_ids
from trl_gift.inference.sources import find_source
from trl_gift.sampling.workers import default_sandbox_workers
from trl_gift.tasks import Task
from trl_gift.trainer import GiFTTrainer
from trl_gift.training.checks import load_config

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedTokenizerBase

_HOUR = 3600.0


@dataclass(frozen=True)
class RunParts:
    """What an estimate is made from; no weights are needed.

    Attributes:
        config: The run's options.
        model_config: The model's config.
        tokenizer: Its tokenizer.
        tasks: The tasks to sample for, at least one.
        eval_tasks: Evaluation tasks.
        dtype: The type that the weights are loaded in.
        peft_config: The adapter; None for full fine-tuning.
        quantization: Quantization of the weights.
        name: The model's name; the one in its config if not given.
        end_ids: The tokens that end its completions.
    """

    config: GiFTConfig
    model_config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    tasks: Sequence[Task]
    eval_tasks: Sequence[Task] = ()
    dtype: torch.dtype = torch.float32
    peft_config: PeftConfig | None = None
    quantization: BitsAndBytesConfig | None = None
    name: str | None = None
    end_ids: frozenset[int] = frozenset()

    @classmethod
    def of_trainer(cls, trainer: GiFTTrainer) -> RunParts:
        """The parts of a trainer that has been made."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        adapter = model.active_peft_config if isinstance(model, PeftModel) else None
        # With an adapter the config is still that of the model underneath.
        return cls(
            config=trainer.args,
            model_config=model.config,
            tokenizer=trainer.processing_class,
            tasks=trainer.tasks,
            eval_tasks=[task for tasks in trainer.eval_sets.values() for task in tasks],
            dtype=model.dtype if model.dtype.is_floating_point else torch.float32,
            peft_config=adapter,
            end_ids=end_ids(model, trainer.processing_class),
        )


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the whole run. Programs run beside generation, so the longer of these two counts.

    Attributes:
        generation: Sampling programs and descriptions.
        execution: Executing the programs of the rounds.
        training: Fine-tuning, at most; None if its speed is not known.
        evaluation: All evaluations.
        repairs: Repairs of a teacher, at most, at the speed of the model in training; 0 for a chat endpoint, whose time is not known.
    """

    generation: float
    execution: float
    training: float | None
    evaluation: float
    repairs: float = 0.0

    @property
    def total(self) -> float | None:
        """The whole run."""
        if self.training is None:
            return None
        return max(self.generation, self.execution) + self.repairs + self.training + self.evaluation


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a run will cost.

    Attributes:
        model: Name of the model.
        parameters: Its parameters.
        trained_parameters: Those that are trained.
        num_tasks: Tasks to sample for.
        rounds: Rounds.
        lengths: Mean lengths of completions and where they come from.
        sampling: One round's sampling.
        repairs: What a teacher writes in a round, at most; None without a teacher.
        training: One round's fine-tuning, at most.
        evaluation: One evaluation.
        evaluations: How many there are.
        hours: Time; None without a calibration run.
        device: The device that the run has to fit on.
        sampling_memory: Peak of sampling by item.
        training_memory: Peak of fine-tuning by item.
        host_memory: RAM besides, in bytes.
        changes: Which options would make it fit; empty if it does.
        disk: Bytes on disk.
        calibration: What the calibration run measured, if there was one.
        notes: What was assumed.
    """

    model: str
    parameters: int
    trained_parameters: int
    num_tasks: int
    rounds: int
    lengths: work.Lengths
    sampling: work.SamplingWork
    repairs: work.SamplingWork | None
    training: work.TrainingWork
    evaluation: work.SamplingWork
    evaluations: int
    hours: Hours | None
    device: Device
    sampling_memory: StageMemory
    training_memory: StageMemory
    host_memory: float
    changes: tuple[Change, ...]
    disk: work.Disk
    calibration: Calibration | None
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether both phases fit on the device."""
        return max(self.sampling_memory.peak, self.training_memory.peak) <= self.device.usable

    @property
    def completion_tokens(self) -> float:
        """Tokens sampled in the whole run, those of a teacher included."""
        return sum(amount.completion_tokens * times for amount, times in self._amounts)

    @property
    def prompt_tokens(self) -> float:
        """Tokens of prompts in the whole run."""
        return sum(amount.prompt_tokens * times for amount, times in self._amounts)

    @property
    def executions(self) -> int:
        """Programs executed in the whole run, at most."""
        return sum(amount.executions * times for amount, times in self._amounts)

    @property
    def _amounts(self) -> list[tuple[work.SamplingWork, int]]:
        """All that is sampled, and how often."""
        repairs = [] if self.repairs is None else [(self.repairs, self.rounds)]
        return [(self.sampling, self.rounds), *repairs, (self.evaluation, self.evaluations)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: every field, and what follows from them."""
        content = asdict(self)
        content["fits"] = self.fits
        content["memory_uncertainty"] = UNCERTAINTY
        content["device"]["usable"] = self.device.usable
        content["sampling_memory"]["peak"] = self.sampling_memory.peak
        content["training_memory"]["peak"] = self.training_memory.peak
        content["disk"]["total"] = self.disk.total
        content["total"] = {
            "completion_tokens": self.completion_tokens,
            "prompt_tokens": self.prompt_tokens,
            "executions": self.executions,
            "hours": self.hours.total if self.hours else None,
        }
        return content


def estimate_run(
    parts: RunParts | GiFTTrainer, device: Device | None = None, calibration: Calibration | None = None
) -> RunEstimate:
    """Estimates a run.

    Args:
        parts: The parts of the run, or a trainer.
        device: The device that it has to fit on; that of this machine if not given.
        calibration: What a calibration run measured; without it lengths are assumed and no hours are given.

    Raises:
        ConfigError: for a model that cannot be estimated.

    Examples:
        ```python
        print(estimate_text(estimate_run(trainer)))
        ```
    """
    if isinstance(parts, GiFTTrainer):
        parts = RunParts.of_trainer(parts)
    if not parts.tasks:
        raise ConfigError("there are no tasks to estimate a run of; give dataset_name.")
    config = parts.config
    here = this_device(config.use_cpu)
    device = device or here
    shape, trained = model_shape(parts.model_config), trained_part(parts.model_config, parts.peft_config)
    quantization = _quantization(parts)
    prompts = work.prompt_lengths(
        config.prompts(parts.tokenizer, parts.end_ids), parts.tasks, parts.eval_tasks, config
    )
    assumed = work.assumed_lengths(config, prompts)
    lengths = calibration.mean_lengths(assumed, config.num_steps).cut(config) if calibration else assumed
    options = memory_options(
        config, prompts, parts.dtype.itemsize, quantization, device, len(parts.tasks), len(parts.eval_tasks)
    )
    sampling = work.sampling_work(config, len(parts.tasks), prompts, lengths)
    repairs = work.repair_work(config, len(parts.tasks), prompts, lengths)
    evaluation = work.evaluation_work(config, len(parts.eval_tasks), prompts, lengths)
    num_references = sum(task.reference is not None for task in parts.tasks)
    training = work.training_work(config, len(parts.tasks), num_references, prompts, lengths, config.world_size)
    evaluations = 1 + config.num_rounds if parts.eval_tasks else 0
    line = (calibration and calibration.record_bytes) or work.record_bytes(prompts, lengths)
    saved = float(trained.parameters * trained_bytes(trained, options))
    return RunEstimate(
        model=parts.name or str(parts.model_config.name_or_path),
        parameters=shape.parameters,
        trained_parameters=trained.parameters,
        num_tasks=len(parts.tasks),
        rounds=config.num_rounds,
        lengths=lengths,
        sampling=sampling,
        repairs=repairs,
        training=training,
        evaluation=evaluation,
        evaluations=evaluations,
        hours=_hours(config, options.rows, sampling, repairs, training, evaluation, evaluations, calibration),
        device=device,
        sampling_memory=_sampling_memory(config, shape, trained, options),
        training_memory=training_memory(shape, trained, options),
        host_memory=host_bytes(trained, options),
        changes=tuple(
            changes_that_fit(
                shape,
                Candidate(options, trained),
                device.usable,
                config.num_generations,
                lora=lambda: trained_part(parts.model_config, LoraConfig(r=16, target_modules="all-linear")),
            )
        ),
        disk=work.Disk(
            samples=config.num_rounds
            * (sampling.programs + (repairs.programs if repairs else 0))
            * line
            * (1 + work.PARQUET_SHARE),
            checkpoint=saved + (0.0 if config.save_only_model else optimizer_bytes(trained, options)[0]),
            checkpoints=work.checkpoint_count(config, training.steps),
            final=saved,
        ),
        calibration=calibration,
        notes=(
            *_notes(parts, options, quantization, calibration, None if device == here else device),
            *_budget_note(options, token_budget(shape, trained, options)),
        ),
    )


def _hours(
    config: GiFTConfig,
    rows: int,
    sampling: work.SamplingWork,
    repairs: work.SamplingWork | None,
    training: work.TrainingWork,
    evaluation: work.SamplingWork,
    evaluations: int,
    calibration: Calibration | None,
) -> Hours | None:
    """The chains played with the measured cost of a pass; all else is amounts divided by measured speeds.

    Processes share the work, one device each.
    """
    if calibration is None:
        return None
    processes, speed, cost = int(config.world_size), calibration.tokens_per_s, calibration.pass_cost
    # Time is that of this machine, whatever device is asked about.
    workers = config.sandbox_workers or default_sandbox_workers(this_device(config.use_cpu).kind == "cpu")
    describes = config.sampler in ("gibbs", "rewrite")
    chain = ChainShape(config.num_steps, config.num_generations, config.sampler == "rewrite", describes)
    evaluated = ChainShape(1, 1 + config.eval_num_generations)

    def generated(amount: work.SamplingWork, shape: ChainShape) -> float:
        planned = shape.completions * shape.steps
        chains = math.ceil(amount.programs / planned / processes)
        if cost is None or not chains:
            return amount.completion_tokens / speed / processes / _HOUR
        refills = config.generation_engine != "generate"
        decoding = sampling_seconds(chains, shape, rows, _drawn(calibration), cost, refills)
        return (decoding + amount.prompt_tokens / processes * cost.prompt_token) / _HOUR

    def executed(amount: work.SamplingWork) -> float:
        return amount.executions * (calibration.execution_s or 0.0) / workers / _HOUR

    repaired = 0.0
    if repairs is not None and not config.asks_endpoint:
        repaired = max(generated(repairs, ChainShape(config.teaching_settings().most, 1)), executed(repairs))
    trained = None
    if calibration.training_tokens_per_s:
        trained = config.num_rounds * training.tokens / calibration.training_tokens_per_s / processes / _HOUR
    return Hours(
        generation=config.num_rounds * generated(sampling, chain),
        execution=config.num_rounds * executed(sampling),
        training=trained,
        evaluation=evaluations * max(generated(evaluation, evaluated), executed(evaluation)),
        repairs=config.num_rounds * repaired,
    )


def _sampling_memory(config: GiFTConfig, shape: ModelShape, trained: Trained, options: MemoryOptions) -> StageMemory:
    """The fullest of the stages that sample: the model in training, a teacher beside it, another model that samples.

    A model that samples has the place of the one in training, unless that one scores; on a CPU both stay. A server's memory is its
    own.
    """
    stages = [sampling_memory(shape, trained, options)]
    if config.teacher != "self" and not config.asks_endpoint:
        stages.append(beside(stages[0], "teacher", _shape_of(config.teacher, config), options))
    if config.sampling_model is not None and config.generation_engine != "server":
        loaded = replace(options, quantization="none", weight_bytes=4 if options.on_cpu else 2)
        other = sampling_memory(_shape_of(config.sampling_model, config), Trained(0, is_adapter=False), loaded)
        named = StageMemory({f"{name} (sampling_model)": size for name, size in other.items.items()})
        both = options.on_cpu or config.perplexity_model == "trained"
        stages.append(beside(named, "model in training", shape, options) if both else named)
    return max(stages, key=lambda stage: stage.peak)


def _shape_of(name: str, config: GiFTConfig) -> ModelShape:
    source = find_source(name)
    return model_shape(load_config(source.model, source.revision, config.trust_remote_code))


def _drawn(calibration: Calibration) -> dict[str, Sequence[int]]:
    """Lengths to draw from; those of the first programs where the calibration did not come to another kind."""
    return {kind: calibration.lengths[kind] or calibration.lengths[FIRST] for kind in KINDS}


def _quantization(parts: RunParts) -> Quantization:
    """What the run asks for, or what the checkpoint comes with."""
    stored = parts.model_config.to_dict().get("quantization_config")
    return quantization_kind(parts.quantization.to_dict() if parts.quantization else stored or {})


def _notes(
    parts: RunParts,
    options: MemoryOptions,
    quantization: Quantization,
    calibration: Calibration | None,
    elsewhere: Device | None,
) -> list[str]:
    """The assumptions of this estimate, in words."""
    notes = ["training is the most there can be: every task solved, no pair too long."]
    if parts.config.max_tokens_per_round:
        notes.append(f"a round stops sampling at {parts.config.max_tokens_per_round:,} tokens (max_tokens_per_round).")
    config = parts.config
    if config.distillation != "none":
        notes.append(
            "repairs are the most there can be: every task fails, and so does every repair; their lessons are not counted."
        )
    if config.asks_endpoint:
        notes.append(f"the time of {config.teacher} is not counted.")
    elif config.teacher != "self":
        notes.append(f"repairs are counted with the speed of the model in training, not that of {config.teacher}.")
    if config.sampling_model is not None:
        notes.append(
            f"{config.sampling_model} samples; its prompts, lengths and speed are counted as those of the model in training"
            f"{', and its memory is that of the server' if config.generation_engine == 'server' else ''}."
        )
    count = len(parts.tasks) * parts.config.curate_generations
    if parts.config.curate:
        notes.append(f"curate draws {count:,} more programs first; the rounds then have only the tasks that it keeps.")
    elif parts.config.step_allocation == "uncertain":
        notes.append(f"step_allocation='uncertain' draws {count:,} more programs first.")
    if calibration is None:
        notes.append("no calibration run: lengths are assumed and no hours are given.")
    else:
        if elsewhere is not None:
            notes.append(f"time is that of this machine, not of {elsewhere.name}.")
        if calibration.rows < options.rows and calibration.pass_cost is None:
            notes.append(
                f"speed was measured with {plural(calibration.rows, 'completion')} at once; the run has up to {options.rows}, "
                "which is faster."
            )
        if calibration.training_batch < options.train_batch:
            notes.append(
                f"training was timed with batches of {calibration.training_batch}; the run has batches of "
                f"{options.train_batch}, which are faster."
            )
        if calibration.training_tokens_per_s is None:
            notes.append("training did not fit during calibration; its hours are not known.")
    if parts.model_config.to_dict().get("quantization_config") and quantization == "none":
        notes.append("the kind of quantization in the checkpoint is unknown; counted as if it had none.")
    return notes


def _budget_note(options: MemoryOptions, budget: int | None) -> list[str]:
    """That `compact` limits itself, where it does."""
    if budget is None or budget == options.token_budget or budget >= options.rows * options.longest_row:
        return []
    return [
        f"`compact` limits itself to {budget:,} tokens in flight, whose keys and values take half of the free memory; "
        f"{options.rows} completions of {options.longest_row} tokens would be more."
    ]
