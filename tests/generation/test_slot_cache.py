"""The cache of the compact engine holds what each row has seen, however rows come, go and part."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from trl_gift.generation.compact.slot_cache import SPARE, SlotCache


def prefill(prompts):
    """A cache of prompts, padded on the left, whose keys are the numbers of their tokens."""
    longest = max(map(len, prompts))
    rows = torch.tensor([[0.0] * (longest - len(prompt)) + [float(token) for token in prompt] for prompt in prompts])
    states = rows[:, None, :, None]
    cache = DynamicCache()
    cache.update(states, -states, 0)
    return cache


def held(cache, row):
    """The tokens that the cache holds for a row."""
    keys = cache._keys[0][row, 0, cache._starts[row] : cache.get_seq_length(), 0].tolist()
    assert cache._values[0][row, 0, cache._starts[row] : cache.get_seq_length(), 0].tolist() == [-key for key in keys]
    visible = (cache._mask[row, : cache.get_seq_length()] == 0).tolist()
    assert visible == [False] * cache._starts[row] + [True] * len(keys)
    return [int(key) for key in keys]


def step(cache, tokens):
    mask = cache.begin_step()
    new = torch.tensor([float(token) for token in tokens])[:, None, None, None]
    keys, _ = cache.update(new, -new, 0)
    assert keys.shape[2] == mask.shape[3]
    cache.end_step()


def test_a_longer_prompt_joins_after_the_row_before_it_has_left():
    """Free columns on the left do not make room for a longer prompt."""
    cache = SlotCache()
    first = [list(range(1, 101)), list(range(201, 211))]
    cache.admit(prefill(first), [100, 10], torch.tensor([0, 1]), most=4)
    cache.arrange(1, [0], [1], most=4)
    late = list(range(1001, 1181))
    cache.admit(prefill([late]), [180], torch.tensor([0]), most=4)
    assert [held(cache, row) for row in range(2)] == [first[1], late]


@settings(max_examples=150)
@given(st.data())
def test_rows_come_go_and_part(data):
    cache, rows, number = SlotCache(), [], 1
    for _ in range(data.draw(st.integers(1, 12))):
        actions = ["admit"] if not rows else ["admit", "step", "steps", "leave", "part"]
        match data.draw(st.sampled_from(actions)):
            case "admit":
                lengths = data.draw(st.lists(st.integers(1, 150), min_size=1, max_size=3))
                prompts = []
                for length in lengths:
                    prompts.append(list(range(number, number + length)))
                    number += length
                cache.admit(prefill(prompts), lengths, torch.arange(len(prompts)), most=64)
                rows += [list(prompt) for prompt in prompts]
            case "step" | "steps" as action:
                for _ in range(70 if action == "steps" else 1):
                    tokens = list(range(number, number + len(rows)))
                    number += len(rows)
                    step(cache, tokens)
                    for row, token in zip(rows, tokens, strict=True):
                        row.append(token)
            case "leave":  # the last row takes the place of the one that leaves
                place = data.draw(st.integers(0, len(rows) - 1))
                last = len(rows) - 1
                cache.arrange(last, [place] if place < last else [], [last] if place < last else [], most=64)
                rows[place] = rows[last]
                rows.pop()
            case "part":
                place = data.draw(st.integers(0, len(rows) - 1))
                cache.arrange(len(rows) + 1, [len(rows)], [place], most=64)
                rows.append(list(rows[place]))
        assert [held(cache, row) for row in range(len(rows))] == rows
        assert cache._slots <= SPARE * max(len(rows), 1)
        assert all(
            len(buffer) == cache._slots for buffer in (*cache._keys.values(), *cache._values.values(), cache._mask)
        )
