"""The default engine: our own decoding loop, which computes nothing twice and never pays for a finished row.

Completions whose prompt and tokens so far are equal are one row: they share the prefill, and every decoding step until
their draws differ. Each draws the next token from the row's distribution with its own stream. Those that drew another
token than the rest continue in a row of their own. A completion comes out as if it had been alone. Rows decode together
over a preallocated cache (`slot_cache`); a finished row leaves at once and waiting requests take the free places. The
beginning of a prompt is taken from earlier prompts that began alike (`prefix_cache`), and tokens that an earlier
completion drew with the same numbers are not drawn again (`replay`). Sampling log-probabilities come with the tokens.

Layers with sliding windows see the last columns of the cache. States that every token changes (linear attention, Mamba,
short convolutions) belong to a row as its keys and values do. They cannot be padded and hold nothing of a prompt's beginning
alone, so with them prompts of one length share a pass, and every prompt goes through the model from its first token.

Not covered: what `layers` refuses, with a pointer to the `generate` engine.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from trl_gift.errors import ConfigError
from trl_gift.generation import decoding, scoring
from trl_gift.generation.compact.layers import Decoder, decoder_of, fresh_cache, keeps_keys
from trl_gift.generation.compact.prefix_cache import PrefixCache
from trl_gift.generation.compact.replay import Trace, Traces, in_common
from trl_gift.generation.compact.rows import Flight, Row, Strand, next_numbers
from trl_gift.generation.compact.sizes import DEFAULT_ROWS, REFILL_SHARE, affordable_tokens, most_kept_tokens
from trl_gift.generation.compact.slot_cache import SlotCache
from trl_gift.generation.compact.states import state_bytes
from trl_gift.generation.engine import Completion, GenerationRequest, GenerationResult, SamplingParams
from trl_gift.generation.model import end_ids, evaluation_mode, free_bytes
from trl_gift.generation.stops import StopFinder, TokenTexts

logger = logging.getLogger(__name__)

# What a forward pass costs on a CPU besides its tokens, in tokens of a small model. On a GPU it costs far more.
_PASS_IN_TOKENS = 64
# After running out of memory, this many decoding steps without an error double the number of places again.
_CALM_STEPS = 512

# States of rows take at most this part of the free memory: one in so many.
_STATES_SHARE = 4

# So many tokens of each completion in flight, at most, between two looks of the caller at what it does beside.
_TOKENS_PER_STEP = 32


class CompactEngine:
    """Continuous batching over slots.

    Running out of memory loses nothing: the completions in flight wait again (their streams give the same tokens), the
    number of places is halved, and grows back after a calm while.

    Args:
        model: A causal language model that `check_layers` accepts, with or without an adapter.
        tokenizer: Its tokenizer, with an end token.
        batch_size: Most completions in flight, and so most rows; 256 if not given.
        token_budget: Most tokens (prompt and longest completion) of all completions in flight; if not given, what half
            of a GPU's free memory holds, or half of what a CPU's memory leaves beside the weights. One completion is
            always let in. The first prompts show the size of a token: on a GPU one completion is let in until then, on a
            CPU as many as `batch_size` allows. Up to an eighth as many tokens of earlier prompts are kept besides.

    Raises:
        ConfigError: for a model that it cannot decode.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int | None = None,
        token_budget: int | None = None,
    ) -> None:
        self._decoder = decoder_of(model)
        self._model = model
        self._tokenizer = tokenizer
        self._most_places = batch_size or DEFAULT_ROWS
        self._places = self._most_places
        self._token_budget = token_budget
        self._end_ids = end_ids(model, tokenizer)
        self._texts = TokenTexts(tokenizer)
        # (falling priority, order of submission, flight): what waits, first of all the longest way to go.
        self._waiting: list[tuple[int, int, Flight]] = []
        self._submitted = 0
        self._pending = 0
        self._cache = SlotCache(self._decoder.layers)
        self._rows: list[Row] = []
        # Rows that are about to join, each with the number of its tokens that the model must compute; the largest number last.
        self._joining: list[tuple[int, Row]] = []
        self._on_cpu = model.device.type == "cpu"
        self._most_padding = _PASS_IN_TOKENS if self._on_cpu else math.inf
        if self._decoder.recurs:
            self._most_padding = 0
        self._prefixes = PrefixCache(0)
        self._is_measured = False
        # Completions of all rows; they bound the rows, however soon they part.
        self._in_flight = 0
        self._traces = Traces()
        self._done: list[GenerationResult] = []
        self._calm = 0
        self.tokens_generated = 0

    @property
    def pending(self) -> int:
        """Requests submitted and not yet returned."""
        return self._pending

    def submit(self, request: GenerationRequest) -> None:
        """Queues a request."""
        self._pending += 1
        self._submitted += 1
        self._queue(Flight(request, list(range(len(request.stream_keys)))), self._submitted)

    @property
    def tokens_in_flight(self) -> int:
        """Tokens of completions that are not finished yet."""
        return sum(len(row.token_ids) * len(row.strands) for row in self._rows)

    def lengths_so_far(self) -> tuple[dict[Hashable, list[int]], dict[Hashable, list[int]]]:
        """By the keys of requests that are not finished: tokens of their completions that are, and of those that are not.

        A completion that waits for a place has none.
        """
        going: dict[Hashable, list[int]] = {}
        flights = {flight.request.key: flight for _, _, flight in self._waiting}
        for row in self._rows:
            for strand in row.strands:
                flights[strand.flight.request.key] = strand.flight
                going.setdefault(strand.flight.request.key, []).append(len(row.token_ids))
        for key, flight in flights.items():
            going.setdefault(key, []).extend([0] * len(flight.waiting))
        ended = {key: [len(one.token_ids) for one in flight.finished.values()] for key, flight in flights.items()}
        return ended, going

    def step(self) -> list[GenerationResult]:
        """Decodes until a request is finished, or for a number of tokens; then it may return nothing."""
        with evaluation_mode(self._model), torch.inference_mode():
            for _ in range(_TOKENS_PER_STEP):
                if self._done or not self._pending:
                    break
                try:
                    self._admit()
                    if self._rows:
                        self._decode()
                except torch.OutOfMemoryError:
                    if self._places == 1:
                        raise
                    self._retreat()
        done, self._done = self._done, []
        self._pending -= len(done)
        return done

    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, ...]]:
        """Log-probability of each completion token after its prompt."""
        batch_size = self._places
        with evaluation_mode(self._model):
            while True:
                try:
                    return scoring.score(self._model, pairs, batch_size)
                except torch.OutOfMemoryError:
                    if batch_size == 1:
                        raise
                    batch_size //= 2

    def _queue(self, flight: Flight, order: int) -> None:
        heapq.heappush(self._waiting, (-flight.request.priority, order, flight))

    def _admit(self) -> None:
        """Lets waiting completions in once enough places are free."""
        free = self._places - self._in_flight
        if not self._waiting or (self._rows and free < self._places * REFILL_SHARE):
            return
        tokens = sum(strand.budget for row in self._rows for strand in row.strands)
        budget = self._token_budget
        if budget is None and not (self._is_measured or self._on_cpu):
            budget = 0  # how much fits is not known yet, so only one completion is let in
        joining: dict[tuple[tuple[int, ...], SamplingParams], list[tuple[Strand, Trace]]] = {}
        while self._waiting and free > 0:
            flight = self._waiting[0][-1]
            request = flight.request
            strand = Strand.next_of(flight)
            known = self._traces.follow(request.prompt_ids, request.params, strand.uniforms)
            if known.completion is None:
                tokens += strand.budget
                if budget is not None and tokens > budget and (joining or self._rows):
                    break
                joining.setdefault((request.prompt_ids, request.params), []).append((strand, known))
                free -= 1
            else:
                self._deliver(strand, known.completion)
            flight.waiting.pop(0)
            if not flight.waiting:
                heapq.heappop(self._waiting)
        # From here on they count as in flight: should memory run out, they are among those that wait again.
        self._in_flight += sum(len(together) for together in joining.values())
        rows = [
            Row.after(
                in_common([known for _, known in together]),
                [strand for strand, _ in together],
                StopFinder(self._texts, params),
            )
            for (_, params), together in joining.items()
        ]
        self._joining = [(row.length - self._prefixes.known(row.ids), row) for row in rows]
        self._joining.sort(key=lambda new: new[0])
        while self._joining:
            self._prefill(self._next_to_join())

    def _next_to_join(self) -> list[Row]:
        """The rows whose prefill takes longest, and others as long as padding costs less than another pass."""
        rows: list[Row] = []
        width, padding = self._joining[-1][0], 0
        while self._joining:
            new = self._joining[-1][0]
            padding += width - new
            if padding > self._most_padding or (new == 1 < width):
                break
            rows.append(self._joining.pop()[1])
        return rows

    def _prefill(self, rows: list[Row]) -> None:
        """One forward pass over the prompts of rows that join, and over what is known of their completions.

        Beginnings of prompts are copied from earlier prompts, so that the pass is only as wide as the largest number of new tokens.
        """
        self._rows.extend(rows)
        device = self._model.device
        prompts = list(dict.fromkeys(row.ids for row in rows))
        place = {prompt: place for place, prompt in enumerate(prompts)}
        places = torch.tensor([place[row.ids] for row in rows], device=device)
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        width = max(len(prompt) - self._prefixes.known(prompt) for prompt in prompts)
        if self._decoder.recurs:
            prefill = fresh_cache(self._model.config)
        else:
            prefill = self._prefixes.past(prompts, [max(length - width, 0) for length in lengths])
        if width == 1 < min(lengths):
            # Only the last token is new: the decoding step that follows takes it along.
            self._cache.admit(prefill, [length - 1 for length in lengths], places, most=self._in_flight)
            return
        pad = min(self._end_ids)
        input_ids = [[pad] * (width - len(prompt)) + list(prompt[-width:]) for prompt in prompts]
        mask = torch.tensor([[0] * (longest - length) + [1] * length for length in lengths], device=device)
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        logits = self._logits(torch.tensor(input_ids, device=device), mask, positions[:, -width:], prefill)
        if not self._is_measured:
            self._measure(prefill, max(strand.budget for row in rows for strand in row.strands))
        self._prefixes.add(prompts, prefill)
        self._cache.admit(prefill, lengths, places, most=self._in_flight)
        self._draw(len(self._rows) - len(rows), logits.index_select(0, places))

    def _measure(self, prefill: DynamicCache, longest: int) -> None:
        """Finds out how much may be in flight and how much may be kept, now that the size of a token is known."""
        if self._token_budget is None:
            self._token_budget = _affordable_tokens(prefill, self._model)
        if self._decoder.recurs:
            self._most_places = min(self._most_places, _affordable_rows(prefill, self._model, self._decoder))
            self._places = min(self._places, self._most_places)
        else:
            kept = most_kept_tokens(self._on_cpu, self._token_budget, self._places * longest)
            self._prefixes = PrefixCache(kept)
        self._is_measured = True

    def _decode(self) -> None:
        """One token for every completion in flight."""
        device = self._model.device
        mask = self._cache.begin_step()
        input_ids = torch.tensor([[row.last_id] for row in self._rows], device=device)
        positions = torch.tensor([[row.length - 1] for row in self._rows], device=device)
        logits = self._logits(input_ids, mask, positions, self._cache)
        self._cache.end_step()
        self._draw(0, logits)
        self._advance()

    def _logits(
        self,
        input_ids: torch.Tensor,
        mask: torch.Tensor | Mapping[str, torch.Tensor | None],
        positions: torch.Tensor,
        past: Cache,
    ) -> torch.Tensor:
        """The logits after the last token of each row, `(rows, vocabulary)`."""
        inputs: dict[str, Any] = {self._decoder.cache: past}
        if self._decoder.attends:
            inputs["attention_mask"] = mask
        if self._decoder.takes_positions:
            inputs["position_ids"] = positions
        if self._decoder.routes:
            inputs["output_router_logits"] = False  # TRL switches it on for the training
        output = self._model(input_ids=input_ids, use_cache=True, logits_to_keep=1, **inputs)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _draw(self, first: int, logits: torch.Tensor) -> None:
        """Draws the next token of every strand of the rows from `first` on; rows part and leave accordingly."""
        rows = self._rows[first:]
        groups: dict[SamplingParams, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.params, []).append(place)
        grown: list[list[Row]] = [[]] * len(rows)
        for params, places in groups.items():
            chosen = logits if len(places) == len(rows) else logits[torch.tensor(places, device=logits.device)]
            together = [rows[place] for place in places]
            contexts = [row.ids for row in together] if params.repetition_penalty != 1.0 else ()
            draws = decoding.draw_tokens(chosen, next_numbers(together), params, contexts)
            # One transfer from the device; a token's number is exact in any of these types.
            every = torch.stack([draws.tokens.to(draws.low.dtype), *draws[1:]], dim=-1).tolist()
            for place, drawn in zip(places, every, strict=True):
                grown[place] = rows[place].extended(drawn[: len(rows[place].strands)])
        self._settle(first, grown)

    def _settle(self, first: int, grown: Sequence[Sequence[Row]]) -> None:
        """Gives every continuing row a slot, its old slot where possible; finished rows leave.

        Args:
            first: The slot of the first row that grew.
            grown: What became of the rows from that slot on.
        """
        going: list[tuple[Row, int]] = []
        finished: list[Row] = []
        for slot, rows in enumerate(grown, first):
            for row in rows:
                if self._is_finished(row):
                    finished.append(row)
                else:
                    going.append((row, slot))
        count = first + len(going)
        settled: dict[int, Row] = {}
        moving: list[tuple[Row, int]] = []
        for row, slot in going:
            if slot < count and slot not in settled:
                settled[slot] = row
            else:
                moving.append((row, slot))
        free = [slot for slot in range(first, count) if slot not in settled]
        settled.update(zip(free, (row for row, _ in moving), strict=True))
        self._rows[first:] = [settled[slot] for slot in range(first, count)]
        for row in finished:
            self._finish(row)
        # Last, because memory may run out here: the rows must stand as they are to wait again.
        self._cache.arrange(count, free, [slot for _, slot in moving], most=self._in_flight)

    def _is_finished(self, row: Row) -> bool:
        return row.stopped or row.token_ids[-1] in self._end_ids or len(row.token_ids) >= row.params.max_new_tokens

    def _finish(self, row: Row) -> None:
        completion = decoding.completion_from(
            self._tokenizer, row.prompt_ids, row.token_ids, row.logprobs, self._end_ids, row.params
        )
        self._traces.add(row.prompt_ids, row.params, row.trace(completion))
        self._in_flight -= len(row.strands)
        for strand in row.strands:
            self._deliver(strand, completion)

    def _deliver(self, strand: Strand, completion: Completion) -> None:
        self.tokens_generated += len(completion.token_ids)
        flight = strand.flight
        flight.finished[strand.index] = completion
        wanted = len(flight.request.stream_keys)
        if len(flight.finished) == wanted:
            completions = tuple(flight.finished[index] for index in range(wanted))
            self._done.append(GenerationResult(flight.request.key, completions))

    def _retreat(self) -> None:
        """Puts the completions in flight back into the queue, and continues with half the places.

        They leave traces: what all completions of a prompt began with is not drawn again.
        """
        queued = {id(flight) for _, _, flight in self._waiting}
        rows = [*self._rows, *(row for _, row in self._joining)]
        for row in rows:
            if len(row.token_ids) > 1:
                # The last token may have ended the row, and a trace without a completion must be continuable.
                self._traces.add(row.prompt_ids, row.params, row.trace().first(len(row.token_ids) - 1))
        for strand in (strand for row in rows for strand in row.strands):
            strand.flight.waiting.append(strand.index)
            if id(strand.flight) not in queued:
                queued.add(id(strand.flight))
                self._submitted += 1
                self._queue(strand.flight, self._submitted)
        self._rows, self._joining = [], []
        self._in_flight = 0
        self._places = max(1, self._places // 2)
        self._calm = 0
        self._cache = SlotCache(self._decoder.layers)
        self._prefixes = PrefixCache(self._prefixes.most_tokens // 2)
        logger.warning("out of memory; generating %d completions at once from now on", self._places)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _advance(self) -> None:
        """Doubles the places after a calm while, up to what was asked for."""
        self._calm += 1
        if self._places < self._most_places and self._calm >= _CALM_STEPS:
            self._places = min(self._most_places, 2 * self._places)
            self._calm = 0


def _affordable_tokens(prefill: DynamicCache, model: PreTrainedModel) -> int | None:
    """Tokens whose keys and values take half of the device's free memory; None where that is not known."""
    free = free_bytes(model)
    token_bytes: int = sum(
        tensor.element_size() * tensor.shape[1] * tensor.shape[3]
        for layer in prefill.layers
        if keeps_keys(layer)
        for tensor in (layer.keys, layer.values)
    )
    return affordable_tokens(free, token_bytes) if free is not None and token_bytes else None


def _affordable_rows(prefill: DynamicCache, model: PreTrainedModel, decoder: Decoder) -> int:
    """Rows whose states take a quarter of the device's free memory, at least one."""
    free = free_bytes(model)
    row_bytes = sum(
        state_bytes(layer) for layer, kind in zip(prefill.layers, decoder.layers, strict=True) if kind.recurs
    )
    if row_bytes == 0:
        raise ConfigError(
            f"generation_engine='compact' cannot decode this model ({model.config.model_type}): it puts no states into the "
            "cache; use generation_engine='generate'."
        )
    return max(1, int(free // (_STATES_SHARE * row_bytes))) if free is not None else DEFAULT_ROWS
