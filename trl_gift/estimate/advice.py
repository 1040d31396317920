"""Which options would make a run fit, and the predicted memory after each change.

Changes are tried in a fixed order, the ones that cost least first: smaller batches give the same result, gradient
checkpointing costs time, LoRA and 4-bit weights change the run, a shorter `max_length` leaves examples out. Each is
kept only if the phase that does not fit becomes smaller by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trl_gift.estimate.memory import DTYPE_HALF, FLOAT32
from trl_gift.estimate.model import ModelShape, Trainable
from trl_gift.estimate.plan import Setting, admitted_prompts, sampling_plan, training_plan

_SHORTEST_MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting with what is trained under it."""

    setting: Setting
    trainable: Trainable


@dataclass(frozen=True, slots=True)
class Change:
    """One change of options and the peaks after it and all before it.

    Attributes:
        options: The options as they would be written, such as `engine_batch_size=16`.
        sampling: Predicted peak of sampling in bytes.
        training: Predicted peak of training in bytes.
        fits: Whether both now fit.
    """

    options: str
    sampling: float
    training: float
    fits: bool


def changes_that_fit(
    shape: ModelShape,
    start: Candidate,
    usable: float,
    num_generations: int,
    lora: Callable[[], Trainable],
) -> list[Change]:
    """The changes that make a run fit, in order; the last one's `fits` says whether they are enough.

    Args:
        shape: The model.
        start: The run as it is.
        usable: Bytes that the run may take.
        num_generations: Codes of a step; a batch does not become smaller.
        lora: What is trained with a LoRA adapter of rank 16 on all linear layers.
    """

    def apply(tries: Sequence[_Try]) -> list[tuple[_Try, Change]]:
        """Applies those of `tries` that help, until everything fits."""
        kept: list[tuple[_Try, Change]] = []
        current = start
        sampling, training = _peaks(shape, current)
        for attempt in tries:
            if sampling <= usable and training <= usable:
                break
            new = attempt.step(current)
            if new is None:
                continue
            after = _peaks(shape, new)
            if (sampling > usable and after[0] < sampling) or (training > usable and after[1] < training):
                current, (sampling, training) = new, after
                fits = sampling <= usable and training <= usable
                kept.append((attempt, Change(attempt.written(new), sampling, training, fits)))
        return kept

    chosen = apply(_tries(shape, start, usable, num_generations, lora))
    if not chosen or not chosen[-1][1].fits:
        return [change for _, change in chosen]
    # What a later change made unnecessary goes; batches come last and are as large as the others leave room for.
    tries = sorted((attempt for attempt, _ in chosen), key=lambda attempt: attempt.is_size)
    for attempt in list(tries):
        without = [other for other in tries if other is not attempt]
        fewer = apply(without)
        if fewer and fewer[-1][1].fits:
            tries = without
    return [change for _, change in apply(tries)]


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """A change to try: how it is written, the candidate after it (None if it does not apply), whether it is a size."""

    written: Callable[[Candidate], str]
    step: Callable[[Candidate], Candidate | None]
    is_size: bool = False


def _tries(
    shape: ModelShape, start: Candidate, usable: float, num_generations: int, lora: Callable[[], Trainable]
) -> list[_Try]:
    """What to try, in order."""

    def sampling_fits(candidate: Candidate) -> bool:
        return sampling_plan(shape, candidate.trainable, candidate.setting).peak <= usable

    def training_fits(candidate: Candidate) -> bool:
        return training_plan(shape, candidate.trainable, candidate.setting).peak <= usable

    def fewer_rows(candidate: Candidate) -> Candidate | None:
        rows = candidate.setting.rows
        smaller = candidate
        while not sampling_fits(smaller) and rows > num_generations:
            rows = max(num_generations, rows // 2)
            smaller = _with_rows(candidate, rows, num_generations)
        return smaller if rows != candidate.setting.rows else None

    def checkpointing(candidate: Candidate) -> Candidate | None:
        return None if candidate.setting.checkpointing else _with(candidate, checkpointing=True)

    def smaller_batch(candidate: Candidate) -> Candidate | None:
        if candidate.setting.train_batch == 1:
            return None
        while not training_fits(candidate) and candidate.setting.train_batch > 1:
            batch = candidate.setting.train_batch
            accumulation = candidate.setting.accumulation * batch // (batch // 2)
            candidate = _with(candidate, train_batch=batch // 2, accumulation=accumulation)
        return candidate

    def adapter(candidate: Candidate) -> Candidate | None:
        return None if candidate.trainable.is_adapter else replace(candidate, trainable=lora())

    def half_weights(candidate: Candidate) -> Candidate | None:
        wide = candidate.setting.dtype_bytes >= FLOAT32 and candidate.trainable.is_adapter
        return _with(candidate, dtype_bytes=DTYPE_HALF, compute_bytes=DTYPE_HALF) if wide else None

    def four_bit(candidate: Candidate) -> Candidate | None:
        possible = candidate.trainable.is_adapter and candidate.setting.quantization in ("none", "8bit")
        return _with(candidate, quantization="4bit") if possible else None

    def shorter(candidate: Candidate) -> Candidate | None:
        if candidate.setting.max_length <= _SHORTEST_MAX_LENGTH:
            return None
        while not training_fits(candidate) and candidate.setting.max_length > _SHORTEST_MAX_LENGTH:
            length = max(_SHORTEST_MAX_LENGTH, candidate.setting.max_length // 2)
            candidate = _with(candidate, max_length=length)
        return candidate

    return [
        _Try(_written_rows, fewer_rows, is_size=True),
        _Try(lambda new: "gradient_checkpointing=true", checkpointing),
        _Try(_written_batch, smaller_batch, is_size=True),
        _Try(lambda new: "use_peft=true lora_target_modules=all-linear (LoRA of rank 16)", adapter),
        _Try(lambda new: "dtype=bfloat16 (frozen weights)", half_weights),
        _Try(lambda new: "load_in_4bit=true", four_bit),
        _Try(lambda new: f"max_length={new.setting.max_length}", shorter, is_size=True),
    ]


def _written_rows(new: Candidate) -> str:
    return f"engine_batch_size={new.setting.rows}"


def _written_batch(new: Candidate) -> str:
    setting = new.setting
    return f"per_device_train_batch_size={setting.train_batch} gradient_accumulation_steps={setting.accumulation}"


def _with(candidate: Candidate, **values: object) -> Candidate:
    return replace(candidate, setting=replace(candidate.setting, **values))  # type: ignore[arg-type]


def _with_rows(candidate: Candidate, rows: int, num_generations: int) -> Candidate:
    admitted = admitted_prompts(rows, num_generations, candidate.setting.engine)
    return _with(candidate, rows=rows, admitted=admitted, scored_rows=min(rows, candidate.setting.scored_rows))


def _peaks(shape: ModelShape, candidate: Candidate) -> tuple[float, float]:
    sampling = sampling_plan(shape, candidate.trainable, candidate.setting).peak
    return sampling, training_plan(shape, candidate.trainable, candidate.setting).peak
