"""Keys and values of earlier prompts: what is taken over is what would have been computed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from tests.support.generation import Memory, ids, requests_for, run
from trl_gift.generation import GenerateEngine, GenerationRequest, SamplingParams
from trl_gift.generation.compact import CompactEngine, most_kept_tokens
from trl_gift.generation.compact.prefix_cache import PrefixCache

PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)


def states(prompt):
    """Stand-ins for keys: each token's depends on all tokens up to it, as a model's do. `(tokens,)`"""
    code, numbers = 1, []
    for token in prompt:
        code = 3 * code + token
        numbers.append(float(code))
    return numbers


def prefill_of(prompts):
    """Two layers' keys and values for prompts padded on the left, `(prompts, 1, columns, 1)` each."""
    width = max(map(len, prompts))
    rows = [[-1.0] * (width - len(prompt)) + states(prompt) for prompt in prompts]
    keys = torch.tensor(rows)[:, None, :, None]
    prefill = DynamicCache()
    for layer in range(2):
        prefill.update(keys + 1000 * layer, -keys - 1000 * layer, layer)
    return prefill


def in_common(one, other):
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


@given(batches=st.lists(st.lists(PROMPTS, min_size=1, max_size=4, unique=True), max_size=12), room=st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_what_is_known_is_right_and_the_newest_is_known(batches, room):
    cache = PrefixCache(room)
    seen = []
    for batch in batches:
        counts = [cache.known(prompt) for prompt in batch]
        longest = [max((in_common(prompt[:-1], old) for old in seen), default=0) for prompt in batch]
        assert all(count <= most for count, most in zip(counts, longest, strict=True))
        if sum(map(len, seen)) <= room:
            assert counts == longest, "nothing had to leave yet"
        past = cache.past(batch, counts)
        width = max(counts)
        assert past.get_seq_length() == width
        for row, (prompt, count) in enumerate(zip(batch, counts, strict=True)):
            wanted = torch.tensor(states(prompt)[:count])[:, None]
            for layer, kept in enumerate(past.layers):
                assert torch.equal(kept.keys[row, 0, width - count :], wanted + 1000 * layer)
                assert torch.equal(kept.values[row, 0, width - count :], -wanted - 1000 * layer)
        new = [prompt for prompt, count in zip(batch, counts, strict=True) if count < len(prompt) - 1]
        cache.add(batch, prefill_of(batch))
        seen.extend(batch)
        if sum(map(len, batch)) <= room:
            assert [cache.known(prompt) for prompt in new] == [len(prompt) - 1 for prompt in new]


class Widths(Memory):
    """Notes the shape of each forward pass."""

    def __init__(self, model, fail_at=()):
        super().__init__(model, fail_at)
        self.shapes = []

    def before(self, module, args, kwargs):
        super().before(module, args, kwargs)
        self.shapes.append(tuple(kwargs["input_ids"].shape))

    @property
    def prefilled(self):
        return sum(rows * width for rows, width in self.shapes if width > 1)


def examples(tokenizer, count):
    """Prompts with long instructions in common, and the first of them again."""
    shared = "### Description\nadd the numbers\n### Code\nreturn sum(xs)\n" * 3
    prompts = [tuple(tokenizer(shared + "#" * i + " more")["input_ids"]) for i in range(count)]
    return len(tokenizer(shared)["input_ids"]), [
        GenerationRequest(i, prompt, SamplingParams(12), (10 * i, 10 * i + 1))
        for i, prompt in enumerate([*prompts, prompts[0]])
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_a_shared_beginning_goes_through_the_model_once(model_factory, tokenizer, kind):
    model = model_factory(kind=kind)
    shared, requests = examples(tokenizer, 6)
    reference = run(GenerateEngine(model, tokenizer, batch_size=1), requests)
    engine = CompactEngine(model, tokenizer)
    results = {}
    for request in requests:
        with Widths(model) as seen:
            results.update(run(engine, [request]))
        new = len(request.prompt_ids) if request is requests[0] else len(request.prompt_ids) - shared + 2
        assert seen.prefilled <= new
    assert seen.prefilled == 0, "a prompt that is asked again needs no pass of its own"
    assert ids(results) == ids(reference)
    for key, completions in reference.items():
        for ours, theirs in zip(results[key], completions, strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("batch_size", "budget"), [(1, None), (7, None), (64, None), (64, 400)])
def test_what_was_kept_does_not_change_a_sample(model, tokenizer, batch_size, budget):
    _, requests = examples(tokenizer, 6)
    requests += [
        GenerationRequest(("more", request.key), request.prompt_ids, request.params, (70 + number,))
        for number, request in enumerate(requests_for(tokenizer))
    ]
    expected = ids(run(GenerateEngine(model, tokenizer, batch_size=1), requests))
    engine = CompactEngine(model, tokenizer, batch_size=batch_size, token_budget=budget)
    assert (
        ids(run(engine, requests[: len(requests) // 2])) | ids(run(engine, requests[len(requests) // 2 :])) == expected
    )


def test_running_out_of_memory_gives_half_of_it_back(model, tokenizer):
    _, requests = examples(tokenizer, 6)
    expected = ids(run(GenerateEngine(model, tokenizer, batch_size=1), requests))
    engine = CompactEngine(model, tokenizer, batch_size=8)
    before = most_kept_tokens(True, None, 0)
    with Widths(model, fail_at=(4,)) as seen:
        assert ids(run(engine, requests)) == expected
    assert seen.failures == 1
    assert engine._prefixes.most_tokens == before // 2


def test_room_for_prompts_is_a_share_of_the_budget():
    assert most_kept_tokens(True, None, 1) == 16_384
    assert most_kept_tokens(True, 8_000, 1) == 1_000
    assert most_kept_tokens(False, None, 1_000_000) == 4_096
    assert most_kept_tokens(False, None, 16_000) == 2_000
    assert most_kept_tokens(False, 8_000, 16_000) == 1_000
