"""Keys and values of prompts that went through the model, for later prompts that begin alike.

What a token's keys and values are depends on the tokens before it alone. Prompts of a run have long beginnings in common:
instructions and examples, a task's signature, and all of a prompt that is asked again for completions that parted from
those before. Such a beginning need not go through the model a second time.

Tokens are kept in a ring: a new prompt takes the place of the oldest ones. A beginning that several prompts share is kept
with each of them, which takes room but keeps what is in use young.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from transformers import DynamicCache


class PrefixCache:
    """Keys and values of the prompts that were seen last.

    Args:
        most_tokens: Tokens that it keeps at most.
    """

    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self._tokens = 0
        self._head = 0
        # One buffer `(tokens, heads, size)` for the keys and one for the values of each layer.
        self._buffers: list[torch.Tensor] = []
        # In order of their tokens: of all prompts, one beside the place of another has most in common with it.
        self._sorted: list[tuple[int, ...]] = []
        self._starts: dict[tuple[int, ...], int] = {}
        self._oldest: deque[tuple[int, ...]] = deque()

    def known(self, prompt: tuple[int, ...]) -> int:
        """How many tokens of a prompt are kept, but for its last, whose logits are wanted."""
        return self._find(prompt)[0]

    def past(self, prompts: Sequence[tuple[int, ...]], counts: Sequence[int]) -> DynamicCache:
        """Keys and values of the first tokens of each prompt, padded on the left.

        Args:
            prompts: Token ids.
            counts: How many tokens of each, no more than are `known`.
        """
        width = max(counts)
        past = DynamicCache()
        if width == 0:
            return past
        places = np.zeros((len(prompts), width), dtype=np.int64)
        for row, (prompt, count) in enumerate(zip(prompts, counts, strict=True)):
            if count:
                places[row, width - count :] = self._places(self._find(prompt)[1], count)
        index = torch.from_numpy(places.ravel()).to(self._buffers[0].device)
        for layer in range(len(self._buffers) // 2):
            keys, values = (
                buffer.index_select(0, index).view(*places.shape, *buffer.shape[1:]).transpose(1, 2)
                for buffer in self._buffers[2 * layer : 2 * layer + 2]
            )
            past.update(keys, values, layer)
        return past

    def add(self, prompts: Sequence[tuple[int, ...]], prefill: DynamicCache) -> None:
        """Keeps prompts in the place of the oldest ones.

        Args:
            prompts: Token ids.
            prefill: Their keys and values, `(prompts, heads, columns, size)` per layer, padded on the left.
        """
        kept: list[tuple[int, tuple[int, ...]]] = []
        room = self.most_tokens
        for row, prompt in enumerate(prompts):
            if prompt not in self._starts and len(prompt) <= room:
                kept.append((row, prompt))
                room -= len(prompt)
        if not kept:
            return
        places = np.concatenate([self._enter(prompt) for _, prompt in kept])
        rows = np.concatenate([np.full(len(prompt), row) for row, prompt in kept])
        columns = np.concatenate([np.arange(-len(prompt), 0) for _, prompt in kept])
        states = [tensor for layer in prefill.layers for tensor in (layer.keys, layer.values)]
        if not self._buffers:
            self._buffers = [state.new_zeros(self.most_tokens, state.shape[1], state.shape[3]) for state in states]
        device = states[0].device
        to, of, at = (torch.from_numpy(index).to(device) for index in (places, rows, columns))
        for buffer, state in zip(self._buffers, states, strict=True):
            buffer.index_copy_(0, to, state.transpose(1, 2)[of, at])

    def _find(self, prompt: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """The number of tokens to take over, and the prompt to take them from."""
        place = bisect.bisect(self._sorted, prompt)
        beside = self._sorted[max(place - 1, 0) : place + 1]
        return max(((_in_common(prompt[:-1], kept), kept) for kept in beside), default=(0, ()))

    def _enter(self, prompt: tuple[int, ...]) -> np.ndarray:
        """The places of a new prompt."""
        while self._tokens + len(prompt) > self.most_tokens:
            old = self._oldest.popleft()
            self._tokens -= len(old)
            del self._starts[old]
            del self._sorted[bisect.bisect_left(self._sorted, old)]
        self._starts[prompt] = self._head
        self._oldest.append(prompt)
        bisect.insort(self._sorted, prompt)
        self._tokens += len(prompt)
        self._head = (self._head + len(prompt)) % self.most_tokens
        return self._places(prompt, len(prompt))

    def _places(self, prompt: tuple[int, ...], count: int) -> np.ndarray:
        return (self._starts[prompt] + np.arange(count)) % self.most_tokens


def _in_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
