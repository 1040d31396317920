from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift.training.selection import SelectionSettings, pool, select, softmax_weights

WRITE, READ, _ = joint_world(3, 4, 0.2)


def make_samples(perplexities, task_id="t"):
    (template, *_) = sample([make_task(task_id)], TableEngine(WRITE, READ), num_steps=1)
    return [
        replace(
            template, index=i, code=f"x = {i}", target=f"x = {i}", status="passed", continues=True,
            logprob_sum=-4 * math.log(value), num_scored=4,
        )
        for i, value in enumerate(perplexities)
    ]  # fmt: skip


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_selection_follows_the_softmax_of_perplexity(weight):
    """Law 4: over many tasks, the draws have the frequencies of softmax(weight * perplexity)."""
    perplexities = [1.05, 1.3, 1.8, 2.6]
    samples = {f"t{i}": make_samples(perplexities, f"t{i}") for i in range(1000)}
    chosen = select(samples, SelectionSettings(num_selected=8, perplexity_weight=weight))
    counts = np.zeros(4)
    for code in chosen:
        counts[code.sample.index] += code.count
    expected = np.exp(weight * np.array(perplexities))
    assert counts.sum() == 8000
    assert chisquare(counts, expected / expected.sum() * 8000).pvalue > 1e-3
    assert [code.weight for code in chosen[:4]] == pytest.approx(list(expected / expected.sum()))


def test_larger_weights_prefer_the_rare():
    assert softmax_weights([1.0, 2.0], 2.0, 9.0)[1] > softmax_weights([1.0, 2.0], 1.0, 9.0)[1] > 0.5


@given(st.lists(st.floats(1.0, 1e300), min_size=1, max_size=20), st.floats(0.0, 5.0), st.floats(0.0, 4.0))
def test_the_guard_bounds_every_ratio(perplexities, weight, cap):
    """No perplexity, however huge, makes a code more than exp(weight * cap) times as likely as the most ordinary."""
    weights = softmax_weights(perplexities, weight, cap)
    assert weights.sum() == pytest.approx(1.0)
    assert weights.max() <= weights.min() * math.exp(weight * cap) * (1 + 1e-9)


def test_within_a_round_perplexities_count_from_their_round_s_lowest():
    """A later model finds every program more likely; that makes no earlier program rare."""
    together = softmax_weights([2.0, 3.0, 1.1, 2.1], 1.0, 9.0)
    apart = softmax_weights([2.0, 3.0, 1.1, 2.1], 1.0, 9.0, [1, 1, 2, 2])
    assert together[0] > 2 * together[2]
    assert apart[0] == pytest.approx(apart[2])
    assert apart[1] / apart[0] == pytest.approx(math.e)
    assert apart[3] / apart[2] == pytest.approx(math.e)
    assert list(softmax_weights([2.0, 3.0], 1.0, 9.0, [1, 1])) == list(softmax_weights([2.0, 3.0], 1.0, 9.0))


def test_a_selection_within_rounds_prefers_no_round():
    samples = make_samples([2.0, 3.0, 1.1, 2.1])
    samples = [replace(one, round=1 + place // 2) for place, one in enumerate(samples)]
    settings = SelectionSettings(perplexity_weight=1.0, perplexity_cap=9.0, within_round=True)
    weights = [one.weight for one in select({"t": samples}, settings)]
    assert weights == pytest.approx(list(softmax_weights([2.0, 3.0, 1.1, 2.1], 1.0, 9.0, [1, 1, 2, 2])))
    together = [one.weight for one in select({"t": samples}, replace(settings, within_round=False))]
    assert together == pytest.approx(list(softmax_weights([2.0, 3.0, 1.1, 2.1], 1.0, 9.0)))
    assert together != pytest.approx(weights)


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -math.inf])
def test_an_unknown_perplexity_counts_as_the_lowest_and_leaves_the_others_alone(unknown):
    known = softmax_weights([1.5, 1.5, 2.0], 2.0, 2.0)
    assert list(softmax_weights([unknown, 1.5, 2.0], 2.0, 2.0)) == list(known)
    assert list(softmax_weights([unknown, unknown], 2.0, 2.0)) == [0.5, 0.5]
    assert list(softmax_weights([1.0, unknown], 0.0, 2.0)) == [0.5, 0.5]
    # A round of which nothing is known is as ordinary as the lowest of the other rounds.
    apart = softmax_weights([unknown, unknown, 1.5, 2.0], 1.0, 9.0, [1, 1, 2, 2])
    assert list(apart) == list(softmax_weights([1.5, 1.5, 1.5, 2.0], 1.0, 9.0))


def test_a_sample_of_a_broken_model_is_drawn_like_the_most_ordinary_one():
    samples = make_samples([1.5, 1.5, 2.0])
    samples[0] = replace(samples[0], logprob_sum=math.nan)
    ordinary = select({"t": make_samples([1.5, 1.5, 2.0])}, SelectionSettings(num_selected=8))
    chosen = select({"t": samples}, SelectionSettings(num_selected=8))
    assert [one.weight for one in chosen] == [one.weight for one in ordinary]
    assert [one.count for one in chosen] == [one.count for one in ordinary]


def test_draws_depend_on_names_alone():
    samples = {f"t{i}": make_samples([1.1, 1.2, 1.9], f"t{i}") for i in range(20)}
    one = select(samples, SelectionSettings())
    two = select(dict(reversed(samples.items())), SelectionSettings())
    assert [(c.sample.sample_id, c.count) for c in one] == [(c.sample.sample_id, c.count) for c in two]
    other = select(samples, SelectionSettings(round=2))
    assert [c.count for c in one] != [c.count for c in other]


def test_pools():
    samples = make_samples([1.1, 1.2, 1.3, 1.4])
    samples[1] = replace(samples[1], continues=False)
    samples[2] = replace(samples[2], status="failed", continues=False)
    samples[3] = replace(samples[3], code="y = 0\n# the same as x = 0")
    assert [s.index for s in pool(samples, "continuing")] == [0, 3]
    assert [s.index for s in pool(samples, "all")] == [0, 1, 3]
    assert [s.index for s in pool(samples, "all", deduplicate=True)] == [0, 1]


def test_without_replacement_nothing_comes_twice():
    samples = {"t": make_samples([1.1, 1.2, 1.3])}
    chosen = select(samples, SelectionSettings(num_selected=8, with_replacement=False))
    assert [code.count for code in chosen] == [1, 1, 1]
    chosen = select(samples, SelectionSettings(num_selected=2, with_replacement=False))
    assert sorted(code.count for code in chosen) == [0, 1, 1]


def test_all_of_the_pool_once():
    samples = {"t": make_samples([1.1, 1.2, 1.3]), "u": make_samples([1.4], "u")}
    chosen = select(samples, SelectionSettings(num_selected=None, with_replacement=False))
    assert [code.count for code in chosen] == [1, 1, 1, 1]


def test_unverified_codes_may_be_selected_and_failed_ones_never():
    samples = make_samples([1.1, 1.2, 1.3])
    samples[0] = replace(samples[0], status="unverified", outcome=None)
    samples[1] = replace(samples[1], status="failed")
    assert [s.index for s in pool(samples, "all")] == [0, 2]


def test_tasks_without_a_passing_code_have_no_draws():
    failed = [replace(s, status="failed", continues=False) for s in make_samples([1.1])]
    assert select({"t": failed, "u": []}, SelectionSettings()) == []
