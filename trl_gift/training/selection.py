"""Selection: K samples for each task, rare programs preferred by perplexity.

GiFT (arXiv 2502.11466, section 3.3): from a task's pool of eligible samples (those that passed, or all that hold a
program if the run does not verify), K are drawn with replacement with weights
`softmax(perplexity_weight * perplexity)`. The weight multiplies: larger values prefer the tail more, and zero draws
uniformly (the ablation). The weight is an inverse temperature.

Guard: with the plain exponential one odd program with a huge perplexity would take all the mass. Within a pool a perplexity
counts at most `perplexity_cap` above the pool's lowest, so a program is at most `exp(perplexity_weight * perplexity_cap)`
times as likely as the most ordinary one.

Each round's model scores its own programs, and a trained model finds all programs more likely. `within_round` therefore
counts a perplexity from the lowest of its own round in the pool, so that the programs of an earlier round are not preferred
because an earlier model scored them.

A program whose perplexity is not known passed its tests like the others, and nothing says that it is rare: it counts as the
lowest of its pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trl_gift import codetext
from trl_gift.common.files import whole_file
from trl_gift.common.randomness import generator, stream_key
from trl_gift.sampling.records import CodeSample

_SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """How samples are selected.

    Attributes:
        num_selected: K, the draws for each task; None for the whole pool, each sample once.
        perplexity_weight: The factor of the perplexity in the softmax; 0 for uniform draws.
        perplexity_cap: How far above its pool's lowest a perplexity may count.
        within_round: Whether a perplexity counts from the lowest of its round in the pool, instead of the whole pool's.
        pool: `"continuing"` (the samples that a chain continued from, the authors' choice) or `"all"` eligible samples.
        deduplicate: Keep one of the samples whose programs share a normalised syntax tree.
        with_replacement: Whether a sample may be drawn more than once; if not, a task gets at most its pool.
        seed: The run's `samples_seed`.
        round: Self-training round, from 1.
    """

    num_selected: int | None = 8
    perplexity_weight: float = 2.0
    perplexity_cap: float = 2.0
    within_round: bool = False
    pool: str = "continuing"
    deduplicate: bool = False
    with_replacement: bool = True
    seed: int = 0
    round: int = 0


@dataclass(frozen=True, slots=True)
class SelectedSample:
    """A sample of a task's pool.

    Attributes:
        sample: The sample.
        weight: Its probability in one draw.
        count: How often it was drawn; may be 0.
    """

    sample: CodeSample
    weight: float
    count: int


def select(samples: Mapping[str, Sequence[CodeSample]], settings: SelectionSettings) -> list[SelectedSample]:
    """Draws K samples for each task that has an eligible one.

    Args:
        samples: The samples of all rounds that count, by task.
        settings: How to draw.

    Returns:
        The pools of all tasks, in the order of tasks and samples, each sample with its count.
    """
    selected: list[SelectedSample] = []
    for task_id in sorted(samples):
        candidates = pool(samples[task_id], settings.pool, settings.deduplicate)
        if not candidates:
            continue
        weights = softmax_weights(
            [candidate.perplexity for candidate in candidates],
            settings.perplexity_weight,
            settings.perplexity_cap,
            [candidate.round for candidate in candidates] if settings.within_round else None,
        )
        counts = _counts(weights, settings, task_id)
        selected.extend(
            SelectedSample(candidate, float(weight), int(number))
            for candidate, weight, number in zip(candidates, weights, counts, strict=True)
        )
    return selected


def _counts(weights: np.ndarray, settings: SelectionSettings, task_id: str) -> np.ndarray:
    """How often each sample of a task is drawn, shape `(len(weights),)`."""
    size = len(weights)
    if settings.num_selected is None:
        return np.ones(size, dtype=np.int64)
    random = generator(stream_key(settings.seed, settings.round, task_id, "selection"))
    count = settings.num_selected if settings.with_replacement else min(settings.num_selected, size)
    drawn = random.choice(size, size=count, replace=settings.with_replacement, p=weights)
    return np.bincount(drawn, minlength=size)


def pool(samples: Iterable[CodeSample], kind: str, deduplicate: bool = False) -> list[CodeSample]:
    """The samples of one task that may be selected, in the order of the chain."""
    chosen = [sample for sample in samples if sample.eligible and (kind == "all" or sample.continues)]
    if not deduplicate:
        return chosen
    first: dict[str, CodeSample] = {}
    for sample in chosen:
        first.setdefault(codetext.normalise(sample.code or ""), sample)
    return list(first.values())


def softmax_weights(
    perplexities: Sequence[float | None], weight: float, cap: float, rounds: Sequence[int] | None = None
) -> np.ndarray:
    """`softmax(weight * perplexity)` with the guard of this module, shape `(len(perplexities),)`.

    Args:
        perplexities: Those of one pool; one that is None or not finite counts as the lowest.
        weight: The factor in the softmax.
        cap: How far above the lowest a perplexity may count.
        rounds: The round of each program, if a perplexity counts from the lowest of its round; None to count it from the
            lowest of all.
    """
    if weight == 0.0:
        return np.full(len(perplexities), 1.0 / len(perplexities))
    values = np.array([np.nan if value is None else value for value in perplexities], dtype=np.float64)
    known = np.isfinite(values)
    groups = np.zeros(len(values), dtype=np.int64) if rounds is None else np.asarray(rounds)
    excess = np.zeros(len(values))
    for group in np.unique(groups[known]):
        chosen = known & (groups == group)
        excess[chosen] = np.minimum(values[chosen] - values[chosen].min(), cap)
    weights: np.ndarray = np.exp(weight * (excess - excess.max()))
    weights /= weights.sum()
    return weights


def write_selection(path: Path, selected: Sequence[SelectedSample]) -> None:
    """Writes the pools with their weights and counts as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet

    rows = [
        {
            "schema": _SCHEMA_VERSION,
            "sample_id": item.sample.sample_id,
            "task_id": item.sample.task_id,
            "round": item.sample.round,
            "perplexity": item.sample.perplexity,
            "weight": item.weight,
            "count": item.count,
            "code": item.sample.code,
        }
        for item in selected
    ]
    schema = pa.schema(
        [
            ("schema", pa.int32()),
            ("sample_id", pa.string()),
            ("task_id", pa.string()),
            ("round", pa.int32()),
            ("perplexity", pa.float64()),
            ("weight", pa.float64()),
            ("count", pa.int32()),
            ("code", pa.string()),
        ]
    )
    with whole_file(path) as temporary:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
