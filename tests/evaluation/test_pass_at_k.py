from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest

from trl_gift.metrics import bootstrap_interval, pass_at_k, wilson_interval


@pytest.mark.parametrize(
    ("n", "c", "k"), [(5, 0, 1), (5, 2, 1), (5, 2, 2), (6, 3, 4), (7, 7, 3), (7, 1, 7), (6, 3, 3)]
)
def test_pass_at_k_is_the_share_of_subsets_with_a_passing_one(n, c, k):
    subsets = list(itertools.combinations(range(n), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(min(subset) < c for subset in subsets) / len(subsets))


def test_pass_at_k_is_unbiased():
    random = np.random.default_rng(0)
    share, k = 0.3, 3
    estimates = [pass_at_k(10, int(random.binomial(10, share)), k) for _ in range(20_000)]
    assert np.mean(estimates) == pytest.approx(1 - (1 - share) ** k, abs=0.01)


@pytest.mark.parametrize(("n", "c", "k"), [(0, 0, 1), (3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_impossible_counts(n, c, k):
    with pytest.raises(ValueError):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(8, 10, 0.49016, 0.94332), (1, 10, 0.01788, 0.40415), (50, 100, 0.40383, 0.59617), (0, 20, 0.0, 0.16113)],
)
def test_wilson_s_interval_by_hand(successes, trials, low, high):
    """The roots p of (p - successes / trials)² = z² p (1 - p) / trials, with z = 1.95996 for 95 %."""
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-6)
    z = statistics.NormalDist().inv_cdf(0.975)
    for bound in wilson_interval(successes, trials):
        assert (bound - successes / trials) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / trials, abs=1e-9)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_wilson_covers(share):
    random = np.random.default_rng(1)
    covered = 0
    for successes in random.binomial(100, share, size=2000):
        low, high = wilson_interval(int(successes), 100)
        covered += low <= share <= high
    assert 0.92 <= covered / 2000 <= 0.98


def test_bootstrap_covers(monkeypatch):
    monkeypatch.setattr(
        "trl_gift.evaluation.pass_at_k._RESAMPLES", 1000
    )  # the law is the same, in a tenth of the time
    random = np.random.default_rng(2)
    covered = 0
    for trial in range(60):
        low, high = bootstrap_interval(random.normal(0.5, 1.0, size=60), seed=trial)
        covered += low <= 0.5 <= high
    assert 0.85 <= covered / 60 <= 1.0


def test_intervals_need_data():
    with pytest.raises(ValueError):
        wilson_interval(0, 0)
    with pytest.raises(ValueError):
        bootstrap_interval([])


@pytest.mark.parametrize("trials", [*range(1, 60), 164, 400, 974])
def test_an_interval_ends_exactly_at_none_and_at_all(trials):
    """Rounding left a lower bound of 2.8e-17."""
    assert wilson_interval(0, trials)[0] == 0.0
    assert wilson_interval(trials, trials)[1] == 1.0
    assert 0 < wilson_interval(0, trials)[1] < 1
    assert 0 < wilson_interval(trials, trials)[0] < 1
