"""Selection: K codes a task, the rare preferred by perplexity.

GiFT (arXiv 2502.11466, section 3.3): from a task's pool of eligible codes (the passing ones, or all that were found if
the run does not verify), K are drawn with replacement with weights
`softmax(perplexity_weight * perplexity)`. The weight multiplies: larger values prefer the tail more, zero is uniform
(the ablation); it is an inverse temperature.

Guard: the exponential lets one odd code with a huge perplexity swallow all the mass. Within a pool a perplexity counts
at most `perplexity_cap` above the pool's lowest, so no code is more than `exp(perplexity_weight * perplexity_cap)`
times as likely as the most ordinary one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trl_gift.common.randomness import generator, stream_key
from trl_gift.sampling.records import CodeSample
from trl_gift.tasks import codetext


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """How codes are selected.

    Attributes:
        num_selected: K, the draws for each task; None for the whole pool, each code once.
        perplexity_weight: The factor of the perplexity in the softmax; 0 for uniform draws.
        perplexity_cap: How far above its pool's lowest a perplexity may count.
        pool: `"continuing"` (the codes that a chain went on from, the authors' choice) or `"all"` eligible ones.
        deduplicate: Keep one of the codes that share a normalised syntax tree.
        with_replacement: Whether a code may be drawn more than once; if not, a task gets at most its pool.
        seed: The run's `samples_seed`.
        round: Self-training round, from 1.
    """

    num_selected: int | None = 8
    perplexity_weight: float = 2.0
    perplexity_cap: float = 2.0
    pool: str = "continuing"
    deduplicate: bool = False
    with_replacement: bool = True
    seed: int = 0
    round: int = 0


@dataclass(frozen=True, slots=True)
class SelectedCode:
    """A code of a task's pool with its weight and the number of times that it was drawn (possibly none)."""

    sample: CodeSample
    weight: float
    count: int


def select(samples: Mapping[str, Sequence[CodeSample]], settings: SelectionSettings) -> list[SelectedCode]:
    """Draws K codes for each task that has an eligible one.

    Args:
        samples: The samples of all rounds that count, by task.
        settings: How to draw.

    Returns:
        The pools of all tasks, in the order of tasks and samples, each code with its count.
    """
    selected: list[SelectedCode] = []
    for task_id in sorted(samples):
        candidates = pool(samples[task_id], settings.pool, settings.deduplicate)
        if not candidates:
            continue
        weights = softmax_weights(
            [candidate.perplexity for candidate in candidates], settings.perplexity_weight, settings.perplexity_cap
        )
        counts = _counts(weights, settings, task_id)
        selected.extend(
            SelectedCode(candidate, float(weight), int(number))
            for candidate, weight, number in zip(candidates, weights, counts, strict=True)
        )
    return selected


def _counts(weights: np.ndarray, settings: SelectionSettings, task_id: str) -> np.ndarray:
    """How often each code of a task is drawn, shape `(len(weights),)`."""
    size = len(weights)
    if settings.num_selected is None:
        return np.ones(size, dtype=np.int64)
    random = generator(stream_key(settings.seed, settings.round, task_id, "selection"))
    count = settings.num_selected if settings.with_replacement else min(settings.num_selected, size)
    drawn = random.choice(size, size=count, replace=settings.with_replacement, p=weights)
    return np.bincount(drawn, minlength=size)


def pool(samples: Iterable[CodeSample], kind: str, deduplicate: bool = False) -> list[CodeSample]:
    """The codes of one task that may be selected, in the order of the chain."""
    chosen = [sample for sample in samples if sample.eligible and (kind == "all" or sample.continues)]
    if not deduplicate:
        return chosen
    first: dict[str, CodeSample] = {}
    for sample in chosen:
        first.setdefault(codetext.normalise(sample.code or ""), sample)
    return list(first.values())


def softmax_weights(perplexities: Sequence[float | None], weight: float, cap: float) -> np.ndarray:
    """`softmax(weight * perplexity)` with the guard of this module, shape `(len(perplexities),)`.

    Raises:
        ValueError: if `weight` is not zero and a perplexity is unknown.
    """
    if weight == 0.0:
        return np.full(len(perplexities), 1.0 / len(perplexities))
    if any(value is None for value in perplexities):
        raise ValueError("a passing code has no perplexity; it cannot be weighted.")
    values = np.array([value for value in perplexities if value is not None], dtype=np.float64)
    excess = np.minimum(values - values.min(), cap)
    weights: np.ndarray = np.exp(weight * (excess - excess.max()))
    weights /= weights.sum()
    return weights
