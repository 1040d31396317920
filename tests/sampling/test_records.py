"""The perplexity of a sample, and which samples may be selected."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift.sampling.records import sample_id

WRITE, READ, _ = joint_world(3, 4, 0.5)


def a_sample(**changes):
    (one, *_) = sample([make_task()], TableEngine(WRITE, READ), num_steps=1)
    return replace(one, **changes)


def test_perplexity_is_of_the_mean_token():
    assert a_sample(logprob_sum=-6.0, num_scored=4).perplexity == pytest.approx(math.exp(1.5))
    assert a_sample(logprob_sum=0.0, num_scored=4).perplexity == 1.0
    assert a_sample(logprob_sum=None, num_scored=0).perplexity is None


def test_what_is_not_a_number_is_no_perplexity():
    """It would make the mean of its step and of its round, and the weights of its pool, not numbers either."""
    broken = a_sample(logprob_sum=math.nan, num_scored=4)
    assert broken.perplexity is None
    assert broken.to_record()["perplexity"] is None


def test_a_huge_perplexity_is_a_number():
    for logprob_sum in (-1e4, -1e300, -math.inf):
        perplexity = a_sample(logprob_sum=logprob_sum, num_scored=1).perplexity
        assert math.isfinite(perplexity)
        assert perplexity > 1e300
    assert a_sample(logprob_sum=-650.0, num_scored=1).perplexity == pytest.approx(math.exp(650))


@pytest.mark.parametrize(
    ("status", "passed", "eligible"),
    [
        ("passed", True, True),
        ("unverified", False, True),
        ("failed", False, False),
        ("no_code", False, False),
        ("infrastructure", False, False),
    ],
)
def test_what_counts_as_passed_and_what_may_be_selected(status, passed, eligible):
    one = a_sample(status=status)
    assert (one.passed, one.eligible) == (passed, eligible)


def test_names_of_samples_differ():
    names = {
        sample_id(number, task, step, index)
        for number in (1, 2)
        for task in "tu"
        for step in (0, 1)
        for index in (0, 1)
    }
    assert len(names) == 16
