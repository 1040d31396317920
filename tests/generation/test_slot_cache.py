"""The cache of the compact engine holds what each row has seen, however rows come, go and part."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from trl_gift.generation.compact.layers import Layer
from trl_gift.generation.compact.slot_cache import SPARE, SlotCache

WINDOW = 5
LAYERS = (Layer(), Layer(window=WINDOW), Layer(attends=False, recurs=True))


class States:
    """The layer of transformers' cache that holds states; this one sums up the tokens of a row, and keeps the last."""

    def __init__(self, sums, last):
        self.conv_states = {0: last}
        self.recurrent_states = {0: sums, 1: None}


def prefill_with_states(prompts):
    """As `prefill`, of prompts of one length, with a layer with a window and one with a state."""
    cache = prefill(prompts)
    cache.update(cache.layers[0].keys, cache.layers[0].values, 1)
    tokens = torch.tensor(prompts, dtype=torch.float64)
    cache.layers.append(States(tokens.sum(dim=1), tokens[:, -1:]))
    return cache


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
    if isinstance(mask, torch.Tensor):
        assert keys.shape[2] == mask.shape[3]
    else:
        seen, _ = cache.update(new, -new, 1)
        assert seen.shape[2] == min(WINDOW, keys.shape[2])
        assert torch.equal(seen, keys[:, :, -WINDOW:])
        assert [masks.shape[3] for masks in (mask["full_attention"], mask["sliding_attention"])] == [
            keys.shape[2], seen.shape[2]
        ]  # fmt: skip
        assert torch.equal(mask["sliding_attention"], mask["full_attention"][..., -WINDOW:])
        assert mask["linear_attention"] is None
        states = cache.layers[2]
        states.recurrent_states[0] += new[:, 0, 0, 0]
        states.conv_states[0].copy_(new[:, 0, 0])
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
@given(st.booleans(), st.data())
def test_rows_come_go_and_part(several, data):
    """With keys and values of all layers alike, or with windows and states."""
    cache, rows, number = SlotCache(LAYERS if several else ()), [], 1
    for _ in range(data.draw(st.integers(1, 12))):
        actions = ["admit"] if not rows else ["admit", "step", "steps", "leave", "part"]
        match data.draw(st.sampled_from(actions)):
            case "admit":
                lengths = data.draw(st.lists(st.integers(1, 150), min_size=1, max_size=3))
                lengths = [lengths[0]] * len(lengths) if several else lengths
                prompts = []
                for length in lengths:
                    prompts.append(list(range(number, number + length)))
                    number += length
                cache.admit(
                    (prefill_with_states if several else prefill)(prompts),
                    lengths,
                    torch.arange(len(prompts)),
                    most=64,
                )
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
        if several:
            states = cache.layers[2]
            assert states.recurrent_states[0].tolist() == [sum(row) for row in rows]
            assert states.conv_states[0].tolist() == [[row[-1]] for row in rows]
        assert cache._slots <= SPARE * max(len(rows), 1)
        assert all(
            len(buffer) == cache._slots for buffer in (*cache._keys.values(), *cache._values.values(), cache._mask)
        )
