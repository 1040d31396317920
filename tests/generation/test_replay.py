"""Traces of earlier completions: followed exactly as far as the numbers say, and never further."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.generation import Memory, ids, requests_for, run
from trl_gift.generation import Completion, GenerateEngine, GenerationRequest, SamplingParams
from trl_gift.generation.compact import CompactEngine
from trl_gift.generation.compact.replay import NOTHING, Trace, Traces, in_common
from trl_gift.generation.decoding import draw_tokens

PARAMS = SamplingParams(8)


def trace(tokens, low=None, high=None, completion=None):
    count = len(tokens)
    return Trace(
        tuple(tokens),
        (-1.0,) * count,
        np.zeros(count) if low is None else np.array(low),
        np.ones(count) if high is None else np.array(high),
        completion,
    )


@given(
    logits=st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    number=st.floats(0, 1, exclude_max=True),
    other=st.floats(0, 1, exclude_max=True),
    params=st.sampled_from(
        [
            SamplingParams(1),
            SamplingParams(1, temperature=0.5),
            SamplingParams(1, top_p=0.7),
            SamplingParams(1, top_k=2),
            SamplingParams(1, temperature=0.0),
        ]
    ),
)
@settings(max_examples=300, deadline=None)
def test_bounds_say_which_numbers_draw_a_token(logits, number, other, params):
    draws = draw_tokens(torch.tensor([logits]), torch.tensor([[number, other]], dtype=torch.float64), params)
    (first, second), (low, _), (high, _) = (part[0].tolist() for part in (draws.tokens, draws.low, draws.high))
    assert low <= number <= high
    if min(abs(other - low), abs(other - high)) > 1e-12:
        assert (first == second) == (low <= other < high)


def test_numbers_close_to_one_lie_within_the_bounds_of_the_token_that_they_draw():
    numbers = torch.tensor([[0.5, 1 - 2**-52]], dtype=torch.float64)
    draws = draw_tokens(torch.tensor([[8.0, -6.0]]), numbers, SamplingParams(1, temperature=0.5))
    assert draws.tokens.tolist() == [[0, 0]]
    assert draws.high.tolist() == [[1.0, 1.0]]


def test_a_trace_is_followed_to_the_first_other_number():
    known = trace([5, 6, 7], low=[0.2, 0.0, 0.5], high=[0.4, 0.1, 1.0])
    assert known.shared(np.array([0.2, 0.05, 0.9, 0.0])) == 3
    assert known.shared(np.array([0.3, 0.1, 0.9, 0.0])) == 1
    assert known.shared(np.array([0.4, 0.05, 0.9, 0.0])) == 0
    assert known.first(2).token_ids == (5, 6)


def test_the_longest_known_beginning_is_found():
    traces = Traces()
    assert traces.follow((1,), PARAMS, np.full(8, 0.3)) is NOTHING
    done = Completion("x", (5, 6), (-1.0, -1.0), "eos")
    traces.add((1,), PARAMS, trace([5, 6], low=[0.0, 0.5], high=[0.5, 1.0], completion=done))
    traces.add((1,), PARAMS, trace([5, 7, 8], low=[0.0, 0.0, 0.0], high=[0.5, 0.5, 0.2]))
    assert traces.follow((1,), PARAMS, np.array([0.1, 0.9] * 4)).completion is done
    partly = traces.follow((1,), PARAMS, np.array([0.1, 0.1, 0.9] + [0.0] * 5))
    assert partly.token_ids == (5, 7)
    assert partly.completion is None
    assert traces.follow((1,), PARAMS, np.full(8, 0.9)).token_ids == ()
    # Another prompt, or other parameters, have traces of their own.
    assert traces.follow((2,), PARAMS, np.full(8, 0.1)) is NOTHING
    assert traces.follow((1,), SamplingParams(8, top_p=0.9), np.full(8, 0.1)) is NOTHING


def test_the_record_is_bounded():
    traces = Traces(most_tokens=10)
    for prompt in range(5):
        traces.add((prompt,), PARAMS, trace([1, 2, 3]))
        traces.add((prompt,), PARAMS, trace([1, 2, 3]))
        traces.follow((0,), PARAMS, np.zeros(8))
    known = [prompt for prompt in range(5) if traces.follow((prompt,), PARAMS, np.zeros(8)).token_ids]
    assert known == [0, 3, 4]


def test_what_traces_have_in_common():
    assert in_common([trace([1, 2, 3]), trace([1, 2, 4, 5])]).token_ids == (1, 2)
    assert in_common([trace([1, 2]), trace([1, 2, 4])]).token_ids == (1, 2)
    assert in_common([trace([1]), trace([])]).token_ids == ()


class Counting(Memory):
    """Counts the rows of all forward passes."""

    rows = 0

    def before(self, module, args, kwargs):
        super().before(module, args, kwargs)
        self.rows += len(kwargs["input_ids"])


@pytest.mark.parametrize(
    "params", [SamplingParams(24), SamplingParams(24, temperature=0.7, top_p=0.9), SamplingParams(24, temperature=0.0)]
)
def test_nothing_is_computed_twice(model, tokenizer, params):
    requests = requests_for(tokenizer, params)
    engine = CompactEngine(model, tokenizer)
    with Counting(model) as first:
        expected = run(engine, requests)
    with Counting(model) as second:
        assert run(engine, requests) == expected
    assert first.rows > 0
    assert second.rows == 0, "the same numbers draw the same tokens, without the model"
    assert engine.tokens_generated == 2 * sum(len(c.token_ids) for cs in expected.values() for c in cs)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_what_others_drew_does_not_change_a_sample(model_factory, tokenizer, batch_size):
    """A model of few words, so that completions share much, asked for the same prompts again with other numbers."""
    model = model_factory(seed=2)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(4.0)
    prompt = requests_for(tokenizer)[0].prompt_ids
    stop = SamplingParams(20, stop=("e",))
    rounds = [
        [GenerationRequest((turn, i), prompt, params, tuple(range(100 * turn + 10 * i, 100 * turn + 10 * i + 4)))
         for i, params in enumerate((SamplingParams(20), stop, SamplingParams(20, top_p=0.9)))]
        for turn in range(4)
    ]  # fmt: skip
    engine = CompactEngine(model, tokenizer, batch_size=batch_size)
    counted = []
    for requests in rounds:
        with Counting(model) as memory:
            results = run(engine, requests)
        counted.append(memory.rows)
        reference = run(GenerateEngine(model, tokenizer, batch_size=1), requests)
        assert ids(results) == ids(reference)
        for key, completions in reference.items():
            assert [c.text for c in results[key]] == [c.text for c in completions]
            assert [c.finish_reason for c in results[key]] == [c.finish_reason for c in completions]
            for ours, theirs in zip(results[key], completions, strict=True):
                np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=1e-4, atol=1e-5)
    assert counted[-1] < counted[0]


def test_completions_share_rows_until_they_part(model, tokenizer):
    prompt = requests_for(tokenizer)[0].prompt_ids
    params = SamplingParams(24)
    alone = GenerationRequest("one", prompt, params, (3,))
    copies = GenerationRequest("three", prompt, params, (3, 3, 3))
    with Counting(model) as one:
        single = run(CompactEngine(model, tokenizer), [alone])["one"]
    with Counting(model) as three:
        triple = run(CompactEngine(model, tokenizer), [copies])["three"]
    assert triple == single * 3
    assert three.rows == one.rows
    # Two requests for one prompt are prefilled once.
    with Counting(model) as both:
        run(CompactEngine(model, tokenizer), [alone, GenerationRequest("two", prompt, params, (3,))])
    assert both.rows == one.rows


def test_rows_that_run_out_of_memory_begin_where_they_were(model, tokenizer):
    requests = requests_for(tokenizer, copies=1)
    with Counting(model) as plain:
        expected = ids(run(CompactEngine(model, tokenizer, batch_size=32), requests))
    with Counting(model, fail_at=(15,)) as failing:
        assert ids(run(CompactEngine(model, tokenizer, batch_size=32), requests)) == expected
    assert failing.failures == 1
    # One row more for each that was in flight, not all their tokens again.
    assert failing.rows <= plain.rows + 9
