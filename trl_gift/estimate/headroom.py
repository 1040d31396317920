"""pass@k beyond the number of samples that were drawn: a beta-binomial fit over the tasks.

Up to the number of samples of a task, pass@k has an estimator without bias (`trl_gift.evaluation.pass_at_k`). Beyond it, the pass
rates of the tasks are taken to follow a Beta(a, b) distribution, whose likelihood of the counts is maximised on a grid. Then

    pass@k = 1 - E[(1 - p)^k] = 1 - B(a, b + k) / B(a, b).

Intervals resample the tasks and fit again. Not covered: chains, whose samples of one task depend on each other; tasks that no
number of samples would solve count as tasks with a very small rate, so a far extrapolation is too high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trl_gift.evaluation.pass_at_k import Interval

_GRID = 40
_RESAMPLES = 400


def extrapolated_pass_at_k(passed: Sequence[int], drawn: int, k: int, seed: int = 0) -> tuple[float, Interval]:
    """pass@k of tasks of which each had `drawn` programs, with its 95 % bootstrap interval over the tasks.

    Args:
        passed: Of each task, how many of its programs passed; at least one task.
        drawn: Programs of each task.
        k: Any number of programs, at least 1.
        seed: The resampling is deterministic.

    Raises:
        ValueError: without tasks.
    """
    if not passed:
        raise ValueError("an extrapolation needs at least one task.")
    # Means are spaced by their odds, so that rare successes are told apart as well.
    means, sizes = 1 / (1 + np.exp(np.linspace(-8.0, 8.0, 4 * _GRID))), np.geomspace(0.05, 200.0, _GRID)
    mean, size = (axis.ravel() for axis in np.meshgrid(means, sizes, indexing="ij"))
    a, b = mean * size, (1 - mean) * size
    counts = np.arange(drawn + 1)
    # The likelihood of a count, but for the binomial coefficient, which no parameter changes: shape (parameters, counts).
    likelihood = (
        _log_gamma(a[:, None] + counts)
        + _log_gamma(b[:, None] + drawn - counts)
        - _log_gamma(a + b + drawn)[:, None]
        - (_log_gamma(a) + _log_gamma(b) - _log_gamma(a + b))[:, None]
    )
    reached = 1 - np.exp(_log_gamma(b + k) - _log_gamma(b) + _log_gamma(a + b) - _log_gamma(a + b + k))
    seen = np.bincount(np.asarray(passed), minlength=drawn + 1)
    random = np.random.Generator(np.random.Philox(key=seed))
    resampled = random.multinomial(len(passed), seen / len(passed), size=_RESAMPLES)
    values = reached[np.argmax(likelihood @ resampled.T, axis=0)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(reached[np.argmax(likelihood @ seen)]), (float(low), float(high))


def _log_gamma(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.vectorize(math.lgamma, otypes=[float])(values))
