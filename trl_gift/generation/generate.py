"""The reference engine: plain batches through transformers' `generate`.

Every row draws its tokens from its own stream, in a logits processor that leaves only the drawn token standing, so
that `generate` runs greedily and a batch cannot change a sample. The processor also notes the raw log-probabilities.
Slow and simple: a batch lasts as long as its longest row. The other engines are tested against this one. Prompts are padded
on the left; those of models with states (Mamba, linear attention), which padding could enter, share a batch only with
prompts of their length.

Not covered: sharing the prefill among the completions of one step, and refilling a batch while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from trl_gift.common.randomness import uniforms
from trl_gift.generation import decoding, scoring
from trl_gift.generation.engine import Completion, GenerationRequest, GenerationResult, SamplingParams
from trl_gift.generation.model import bears_padding, end_ids, evaluation_mode, without_own_settings
from trl_gift.generation.stops import StopFinder, TokenTexts

_DEFAULT_ROWS = 32


class GenerateEngine:
    """Batches of `model.generate`.

    Args:
        model: A causal language model, with or without an adapter; put into evaluation mode while it generates.
        tokenizer: Its tokenizer, with an end token.
        batch_size: Most rows (completions) of one batch; 32 if not given.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int | None = None
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size or _DEFAULT_ROWS
        self._waiting: dict[SamplingParams, list[GenerationRequest]] = {}
        self._end_ids = end_ids(model, tokenizer)
        self._pads = bears_padding(model)
        self._texts = TokenTexts(tokenizer)
        self.tokens_generated = 0

    @property
    def pending(self) -> int:
        """Requests that wait; none is ever half done between steps."""
        return sum(len(requests) for requests in self._waiting.values())

    def submit(self, request: GenerationRequest) -> None:
        """Queues a request with the others of its sampling parameters."""
        self._waiting.setdefault(request.params, []).append(request)

    def step(self) -> list[GenerationResult]:
        """Runs one batch of the longest queue to its end."""
        if not self._waiting:
            return []
        params = max(self._waiting, key=lambda key: len(self._waiting[key]))
        batch = self._take(params)
        rows = [(request, key) for request in batch for key in request.stream_keys]
        done: list[Completion | None] = [None] * len(rows)
        for places in self._batches(rows):
            for place, completion in zip(places, self._run([rows[place] for place in places], params), strict=True):
                done[place] = completion
        completions = (completion for completion in done if completion is not None)
        return [
            GenerationResult(request.key, tuple(islice(completions, len(request.stream_keys)))) for request in batch
        ]

    def _batches(self, rows: Sequence[tuple[GenerationRequest, int]]) -> Iterator[list[int]]:
        """The places of the rows that run together."""
        together: dict[int, list[int]] = {}
        for place, (request, _) in enumerate(rows):
            together.setdefault(0 if self._pads else len(request.prompt_ids), []).append(place)
        for places in together.values():
            for start in range(0, len(places), self._batch_size):
                yield places[start : start + self._batch_size]

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, ...]]:
        """Log-probability of each completion token after its prompt."""
        with evaluation_mode(self._model):
            return scoring.score(self._model, pairs, self._batch_size)

    def _take(self, params: SamplingParams) -> list[GenerationRequest]:
        """Whole requests that fill a batch; one that is larger than a batch comes alone."""
        queue = self._waiting[params]
        count, rows = 0, 0
        while count < len(queue) and (count == 0 or rows + len(queue[count].stream_keys) <= self._batch_size):
            rows += len(queue[count].stream_keys)
            count += 1
        batch, rest = queue[:count], queue[count:]
        if rest:
            self._waiting[params] = rest
        else:
            del self._waiting[params]
        return batch

    def _run(self, rows: Sequence[tuple[GenerationRequest, int]], params: SamplingParams) -> list[Completion]:
        prompts = [request.prompt_ids for request, _ in rows]
        width = max(len(prompt) for prompt in prompts)
        pad = min(self._end_ids)
        device = self._model.device
        input_ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        attention_mask = torch.tensor(
            [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device
        )
        drawer = _Drawer(rows, params, width)
        stops = [_StopTexts(self._texts, len(rows), width, params)] if params.stop or params.fence is not None else []
        config = GenerationConfig(
            max_new_tokens=params.max_new_tokens, do_sample=False, eos_token_id=sorted(self._end_ids), pad_token_id=pad
        )
        with evaluation_mode(self._model), without_own_settings(self._model), torch.inference_mode():
            output = self._model.generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                generation_config=config,
                logits_processor=LogitsProcessorList([drawer]),
                stopping_criteria=StoppingCriteriaList(stops),
            )
        logprobs = torch.stack(drawer.logprobs, dim=1).tolist()
        completions = []
        for index, prompt in enumerate(prompts):
            ids = output[index, width:].tolist()
            length = self._length(ids, stops[0].ended_at[index] if stops else None)
            self.tokens_generated += length
            completions.append(
                decoding.completion_from(
                    self._tokenizer, prompt, ids[:length], logprobs[index][:length], self._end_ids, params
                )
            )
        return completions

    def _length(self, ids: list[int], stopped_at: int | None) -> int:
        """Number of tokens that were sampled before padding began."""
        ends = [place + 1 for place, token in enumerate(ids) if token in self._end_ids]
        return min([*ends[:1], *([stopped_at] if stopped_at is not None else []), len(ids)])


class _Drawer(LogitsProcessor):
    """Draws each row's next token from its stream and leaves it as the only one possible."""

    def __init__(self, rows: Sequence[tuple[GenerationRequest, int]], params: SamplingParams, width: int) -> None:
        self.logprobs: list[torch.Tensor] = []
        self._params = params
        self._width = width
        self._prompts = [request.prompt_ids for request, _ in rows]
        numbers = np.stack([uniforms(key, params.max_new_tokens) for _, key in rows])
        self._uniforms = torch.from_numpy(numbers)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        position = input_ids.shape[1] - self._width
        contexts: list[list[int]] = []
        if self._params.repetition_penalty != 1.0:
            drawn = input_ids[:, self._width :].tolist()  # the prompts in `input_ids` are padded
            contexts = [[*prompt, *ids] for prompt, ids in zip(self._prompts, drawn, strict=True)]
        draws = decoding.draw_tokens(scores, self._uniforms[:, position, None], self._params, contexts)
        self.logprobs.append(draws.logprobs[:, 0].cpu())
        return torch.full_like(scores, -torch.inf).scatter(-1, draws.tokens, 0.0)


class _StopTexts(StoppingCriteria):
    """Ends a row once its completion has come to an end by its text."""

    def __init__(self, texts: TokenTexts, rows: int, width: int, params: SamplingParams) -> None:
        self.ended_at: list[int | None] = [None] * rows
        self._finders = [StopFinder(texts, params) for _ in range(rows)]
        self._width = width

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        length = input_ids.shape[1] - self._width
        for index, token in enumerate(input_ids[:, -1].tolist()):
            if self.ended_at[index] is None and self._finders[index].add(token):
                self.ended_at[index] = length
        return torch.tensor([place is not None for place in self.ended_at], device=input_ids.device)
