"""Which options would make a run fit, and the predicted memory after each change.

Changes are tried in a fixed order, from the one that costs least: smaller batches give the same result, gradient
checkpointing costs time, LoRA and 4-bit weights change the run, a shorter `max_length` leaves examples out. A change is
kept only if it makes the stage that does not fit smaller. A change that a later one made unnecessary is dropped again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trl_gift.estimate.memory import MemoryOptions, sampling_memory, training_memory
from trl_gift.estimate.model import ModelShape, Trained

_SHORTEST_MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """Options, and what is trained under them."""

    options: MemoryOptions
    trained: Trained

    def peaks(self, shape: ModelShape) -> tuple[float, float]:
        """Predicted peaks of sampling and training in bytes."""
        sampling = sampling_memory(shape, self.trained, self.options).peak
        return sampling, training_memory(shape, self.trained, self.options).peak

    def with_options(self, **values: object) -> Candidate:
        """The same with other options."""
        return replace(self, options=replace(self.options, **values))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of options, and the peaks after it and all before it.

    Attributes:
        options: The options as a user writes them, such as `engine_batch_size=16`.
        sampling: Predicted peak of sampling in bytes.
        training: Predicted peak of training in bytes.
        fits: Whether both now fit.
    """

    options: str
    sampling: float
    training: float
    fits: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """A change to try.

    Attributes:
        step: Changes a candidate once; returns None if there is nothing to change. It is repeated while it helps.
        written: The changed options as a user writes them.
        is_size: Whether it reduces a size.
    """

    step: Callable[[Candidate], Candidate | None]
    written: Callable[[MemoryOptions], str]
    is_size: bool = False


def changes_that_fit(
    shape: ModelShape, start: Candidate, usable: float, num_generations: int, lora: Callable[[], Trained]
) -> list[Change]:
    """The changes that make a run fit, in order; the last one's `fits` says whether they are enough.

    Args:
        shape: The model.
        start: The run as it is.
        usable: Bytes that the run may take.
        num_generations: Completions of a step; `engine_batch_size` is not reduced below this.
        lora: Counts what is trained with a LoRA adapter of rank 16 on all linear layers.
    """

    def apply(tries: Sequence[_Try]) -> list[tuple[_Try, Change]]:
        """Applies the changes that help, until everything fits."""
        kept: list[tuple[_Try, Change]] = []
        current, peaks = start, start.peaks(shape)
        for attempt in tries:
            before = current
            while max(peaks) > usable and (changed := attempt.step(current)) is not None:
                after = changed.peaks(shape)
                if not any(peak > usable and new < peak for peak, new in zip(peaks, after, strict=True)):
                    break
                current, peaks = changed, after
            if current is not before:
                kept.append((attempt, Change(attempt.written(current.options), *peaks, fits=max(peaks) <= usable)))
        return kept

    chosen = apply(_tries(num_generations, lora))
    if not chosen or not chosen[-1][1].fits:
        return [change for _, change in chosen]
    # Sizes come last, so that they stay as large as the other changes leave room for.
    tries = sorted((attempt for attempt, _ in chosen), key=lambda attempt: attempt.is_size)
    for attempt in list(tries):
        without = [other for other in tries if other is not attempt]
        fewer = apply(without)
        if fewer and fewer[-1][1].fits:
            tries = without
    return [change for _, change in apply(tries)]


def _tries(num_generations: int, lora: Callable[[], Trained]) -> list[_Try]:
    """The changes to try, in order."""

    def fewer_rows(candidate: Candidate) -> Candidate | None:
        rows = max(num_generations, candidate.options.rows // 2)
        return candidate.with_options(rows=rows) if rows < candidate.options.rows else None

    def checkpointing(candidate: Candidate) -> Candidate | None:
        return None if candidate.options.checkpointing else candidate.with_options(checkpointing=True)

    def smaller_batch(candidate: Candidate) -> Candidate | None:
        batch, accumulation = candidate.options.train_batch, candidate.options.accumulation
        half = batch // 2
        return candidate.with_options(train_batch=half, accumulation=accumulation * batch // half) if half else None

    def adapter(candidate: Candidate) -> Candidate | None:
        return None if candidate.trained.is_adapter else replace(candidate, trained=lora())

    def half_weights(candidate: Candidate) -> Candidate | None:
        wide = candidate.trained.is_adapter and candidate.options.weight_bytes > 2
        return candidate.with_options(weight_bytes=2) if wide else None

    def four_bits(candidate: Candidate) -> Candidate | None:
        possible = candidate.trained.is_adapter and candidate.options.quantization in ("none", "8bit")
        return candidate.with_options(quantization="4bit") if possible else None

    def shorter(candidate: Candidate) -> Candidate | None:
        length = max(_SHORTEST_MAX_LENGTH, candidate.options.max_length // 2)
        return candidate.with_options(max_length=length) if length < candidate.options.max_length else None

    return [
        _Try(fewer_rows, lambda options: f"engine_batch_size={options.rows}", is_size=True),
        _Try(checkpointing, lambda options: "gradient_checkpointing=true"),
        _Try(
            smaller_batch,
            lambda options: (
                f"per_device_train_batch_size={options.train_batch} gradient_accumulation_steps={options.accumulation}"
            ),
            is_size=True,
        ),
        _Try(adapter, lambda options: "use_peft=true lora_target_modules=all-linear (LoRA of rank 16)"),
        _Try(half_weights, lambda options: "dtype=bfloat16 (frozen weights)"),
        _Try(four_bits, lambda options: "load_in_4bit=true"),
        _Try(shorter, lambda options: f"max_length={options.max_length}", is_size=True),
    ]
