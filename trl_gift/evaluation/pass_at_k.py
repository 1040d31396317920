"""pass@k without bias, and 95 % intervals.

Source of the estimator: Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374), equation 1.
Tasks are the unit of chance in every interval: another sample of tasks is what would have come out otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trl_gift.common.words import agree, plural

Interval = tuple[float, float]

_Z95 = 1.959963984540054
_RESAMPLES = 10_000
_DRAWN_AT_ONCE = 1 << 20  # 8 MB; the draws are the same however many are made at once


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The probability that at least one of k samples passes, estimated from `num_samples`, `num_correct` of them good.

    `1 - C(n - c, k) / C(n, k)`, as a product so that large n cannot overflow.

    Raises:
        ValueError: if k is not in 1..n or c not in 0..n.
    """
    if not 1 <= k <= num_samples:
        raise ValueError(
            f"pass@{k} needs at least {plural(max(k, 1), 'sample')} a task, there {agree(num_samples, 'is', 'are')} {num_samples}."
        )
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"{num_correct} correct of {num_samples} samples is impossible.")
    missing = num_samples - num_correct
    if missing < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(missing + 1, num_samples + 1))


def wilson_interval(successes: int, trials: int) -> Interval:
    """Wilson's 95 % score interval of a proportion; honest at 0 and at 1, where the normal one has no width.

    Raises:
        ValueError: without trials.
    """
    if trials < 1:
        raise ValueError("an interval needs at least one trial.")
    share = successes / trials
    denominator = 1 + _Z95**2 / trials
    centre = (share + _Z95**2 / (2 * trials)) / denominator
    half = _Z95 * math.sqrt(share * (1 - share) / trials + _Z95**2 / (4 * trials**2)) / denominator
    # At the ends the difference is zero but for rounding, which would leave 2.8e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == trials else min(1.0, centre + half)


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The percentile bootstrap's 95 % interval of the mean of one value a task (a pass@k, or a paired difference).

    Args:
        values: One number for each task.
        seed: The resampling is deterministic.

    Raises:
        ValueError: without values.
    """
    if len(values) == 0:
        raise ValueError("an interval needs at least one task.")
    array = np.asarray(values, dtype=np.float64)
    random = np.random.Generator(np.random.Philox(key=seed))
    at_once = max(1, _DRAWN_AT_ONCE // len(array))
    means = [
        array[random.integers(len(array), size=(min(at_once, _RESAMPLES - done), len(array)))].mean(axis=1)
        for done in range(0, _RESAMPLES, at_once)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)
