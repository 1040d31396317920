"""Chains played without a model: seconds and lengths that can be computed by hand."""

from __future__ import annotations

import math
import random

import pytest

from trl_gift.estimate.schedule import ChainShape, PassCost, extrapolated_lengths, sampling_seconds

EACH = PassCost(whole=1.0, completion=0.1, prompt_token=0.0)
LENGTHS = {"first": [10], "later": [20], "describe": [5]}


def test_the_cost_of_a_pass_is_the_line_through_what_was_measured():
    cost = PassCost.fitted([(1, 1.1), (10, 2.0), (48, 5.8)], 0.25)
    assert (cost.whole, cost.completion, cost.prompt_token) == (pytest.approx(1.0), pytest.approx(0.1), 0.25)


@pytest.mark.parametrize(("passes", "whole", "completion"), [
    ([(4, 2.0), (4, 4.0)], 0.0, 0.75),  # equally many completions: each costs the same
    ([(1, 3.0), (9, 1.0)], 2.0, 0.0),  # more completions never cost less
    ([(1, 1.0), (3, 5.0)], 0.0, 1.5),  # a pass over no completions never costs less than nothing
])  # fmt: skip
def test_no_part_of_the_cost_is_negative(passes, whole, completion):
    cost = PassCost.fitted(passes, 0.0)
    assert (cost.whole, cost.completion) == (pytest.approx(whole), pytest.approx(completion))


def test_a_chain_asks_in_turn():
    assert ChainShape(3, 2, describes=True).requests() == ["first", "describe", "later", "describe", "later"]
    assert ChainShape(2, 2, first_describes=True, describes=True).requests() == [
        "describe",
        "first",
        "describe",
        "later",
    ]
    assert ChainShape(2, 4).requests() == ["first", "later"]


def test_one_chain_waits_for_each_of_its_requests():
    # 10 passes over 3 completions, 5 over one description, 20 over 3.
    seconds = sampling_seconds(1, ChainShape(2, 3, describes=True), 256, LENGTHS, EACH)
    assert seconds == pytest.approx(10 * 1.3 + 5 * 1.1 + 20 * 1.3)


def test_chains_share_passes_as_far_as_there_are_rows():
    shape = ChainShape(1, 2)
    assert sampling_seconds(4, shape, 8, LENGTHS, EACH) == pytest.approx(10 * 1.8)
    assert sampling_seconds(4, shape, 4, LENGTHS, EACH) == pytest.approx(2 * 10 * 1.4)


def test_places_are_taken_at_once_or_when_all_are_free():
    lengths = {"first": [2, 10]}
    cost = PassCost(1.0, 0.0, 0.0)
    at_once, together = (
        sampling_seconds(400, ChainShape(1, 1), 2, lengths, cost, refills) for refills in (True, False)
    )
    assert at_once == pytest.approx(400 * 6 / 2, rel=0.1)
    assert together == pytest.approx(200 * 8, rel=0.1)  # the longer of two: 10 in three cases of four


def test_a_large_run_takes_as_long_in_proportion():
    shape = ChainShape(4, 8, describes=True)
    one, ten = (sampling_seconds(chains, shape, 64, LENGTHS, EACH) for chains in (10_000, 100_000))
    assert ten == pytest.approx(10 * one)


def test_lengths_of_completions_that_have_not_ended_are_extrapolated():
    assert extrapolated_lengths([10, 20], []) == [10, 20]
    assert extrapolated_lengths([], [(5, 64), (5, 32)]) == [64, 32]  # nothing is known: the most that they can have
    # 5 of 100 tokens were the last one, so 20 * (1 - exp(-2)) more are expected of those that have drawn 10 of 50.
    assert extrapolated_lengths([10] * 5, [(10, 50)] * 5)[5:] == [round(10 + 20 * (1 - math.exp(-2)))] * 5
    generator = random.Random(0)
    lengths = [1 + int(generator.expovariate(1 / 60)) for _ in range(4000)]
    ended = [length for length in lengths if length <= 40]
    guessed = extrapolated_lengths(ended, [(40, 512)] * (len(lengths) - len(ended)))
    assert sum(guessed) == pytest.approx(sum(lengths), rel=0.05)
