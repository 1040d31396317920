"""A preallocated key-value cache whose rows come and go.

Rows live in slots 0..n-1 of one buffer per layer and share the column of the next token: a row that joins late is laid
so that its prompt ends where the others stand (its first column is its `start`). A step writes in place; rows that part are
copied into free slots, the slot of a row that is finished is taken by another; nothing is ever concatenated. When the
columns run out, all rows move left over the columns that no row needs any more, and only if that is not enough the
buffer grows. Whenever it is copied, only rows in flight and the columns that they need are; when few rows are left, it
shrinks.

A layer with a sliding window gets the last columns of the same buffer. As all rows end in the same column, these are the
last tokens of every row. States that every token changes (linear attention, Mamba, short convolutions) have no columns:
there is one for each row, in the layer of transformers' cache that the model knows, and it is copied and dropped with the
row's keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache, DynamicLayer

from trl_gift.generation.compact.layers import FULL, RECURRENT, SLIDING, Layer, keeps_keys
from trl_gift.generation.compact.states import append_states, take_states

_COLUMN_STEP = 64
SPARE = 4


class SlotCache(Cache):
    """Keys and values of the rows in flight, as transformers' models expect a cache.

    Slots are added as rows come and given back as they go, so that what bounds the tokens in flight bounds the memory: the
    buffers hold at most `SPARE` times as many slots as there were rows since they were last copied.

    Args:
        layers: What each layer of the model keeps; if not given, each keeps keys and values and attends to all.
    """

    def __init__(self, layers: Sequence[Layer] = ()) -> None:
        super().__init__(layers=[DynamicLayer() for _ in layers])
        self._recurrent = [place for place, layer in enumerate(layers) if layer.recurs]
        self._windows = [layer.window for layer in layers]
        # The different windows of all layers with keys and values; None stands for all tokens.
        self._different = {layer.window for layer in layers if layer.attends} or {None}
        self._slots = 0
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._starts: list[int] = []
        self._low = 0
        self._column = 0
        self._mask = torch.empty(0)

    @property
    def rows(self) -> int:
        """Number of rows in flight."""
        return len(self._starts)

    def begin_step(self) -> torch.Tensor | Mapping[str, torch.Tensor | None]:
        """Makes room for one more token a row.

        Returns:
            The additive attention mask `(rows, 1, 1, columns)` that goes with the next forward pass; if layers differ, the
            masks of the kinds of layers by the names that transformers' models know.
        """
        if self._column == self._width:
            self._make_room(1)
        self._low = min(self._starts)
        if len(self._different) == 1:
            (window,) = self._different
            return self._mask_of(window)
        masks = {SLIDING if window else FULL: self._mask_of(window) for window in self._different}
        return {**dict.fromkeys(RECURRENT), **masks}

    def end_step(self) -> None:
        """Moves on to the next column."""
        self._column += 1

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one token a row in place and returns views of all columns that any row needs."""
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        rows, column = self.rows, self._column
        keys[:rows, :, column] = key_states[:, :, 0]
        values[:rows, :, column] = value_states[:, :, 0]
        first = self._first(self._windows[layer_idx]) if self._windows else self._low
        return keys[:rows, :, first : column + 1], values[:rows, :, first : column + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns written so far; positions are given explicitly and never derived from this."""
        return self._column

    def admit(self, prefill: DynamicCache, lengths: Sequence[int], places: torch.Tensor, most: int) -> None:
        """Adds rows from a prefill that was padded on the left.

        Args:
            prefill: Keys and values of prompts, `(prompts, heads, columns, size)` per layer, and states. States cannot be
                padded: prompts of a model with states have the same length.
            lengths: Number of tokens of each prompt.
            places: Which prompt each new row begins with, `(rows,)`, on the model's device.
            most: Rows that there can be before others join.
        """
        if not self._slots:
            self._allocate(prefill, len(places), max(lengths) + _COLUMN_STEP, places.device)
        first, last = self.rows, self.rows + len(places)
        if not self._starts:
            self._column = 0
        longest = max(lengths)
        if longest > self._column:
            self._shift_right(longest - self._column)
        self._grow(last, most)
        columns = slice(self._column - longest, self._column)
        starts = [self._column - lengths[place] for place in places.tolist()]
        self._starts.extend(starts)
        for row, start in enumerate(starts, first):
            self._mask[row, :start] = -torch.inf
            self._mask[row, start:] = 0.0
        # What stands in columns before a row's start must be finite: the mask hides it, and zero times NaN is NaN.
        padding = (self._mask[first:last, columns] != 0)[:, None, :, None]
        for place, keys in self._keys.items():
            layer, values = prefill.layers[place], self._values[place]
            keys[first:last, :, columns] = layer.keys.index_select(0, places).masked_fill_(padding, 0.0)
            values[first:last, :, columns] = layer.values.index_select(0, places).masked_fill_(padding, 0.0)
        self._join_states(prefill, first, places)

    def arrange(self, count: int, slots: Sequence[int], sources: Sequence[int], most: int) -> None:
        """Leaves `count` rows: those in `slots` become copies of what stood in `sources`, the others stay.

        Args:
            count: Rows in flight from now on.
            slots: Slots to write, below `count`.
            sources: For each of them the slot to copy, at the same time.
            most: Rows that there can be before others join.
        """
        self._grow(count, most)
        self._arrange_states(count, slots, sources)
        starts = [self._starts[source] for source in sources]
        if starts:
            device = self._mask.device
            to, of = torch.tensor(slots, device=device), torch.tensor(sources, device=device)
            columns = slice(min(starts), self._column)
            for buffer in (*self._keys.values(), *self._values.values()):
                window = buffer[:, :, columns]
                window.index_copy_(0, to, window.index_select(0, of))
            self._mask.index_copy_(0, to, self._mask.index_select(0, of))
        self._starts = (self._starts + [0] * count)[:count]
        for slot, start in zip(slots, starts, strict=True):
            self._starts[slot] = start
        if self._slots > SPARE * max(count, 1):
            self._copy(max(count, 1), self._width)

    @property
    def _width(self) -> int:
        return int(self._mask.shape[1])

    def _allocate(self, prefill: DynamicCache, slots: int, width: int, device: torch.device) -> None:
        self._slots = slots
        for place, layer in enumerate(prefill.layers):
            if not keeps_keys(layer):
                continue
            _, heads, _, size = layer.keys.shape
            self._keys[place] = layer.keys.new_zeros(slots, heads, width, size)
            _, heads, _, size = layer.values.shape
            self._values[place] = layer.values.new_zeros(slots, heads, width, size)
        first = next(iter(self._keys.values()), torch.empty(0, device=device))
        self._mask = first.new_zeros(slots, width)

    def _grow(self, count: int, most: int) -> None:
        """Sees to it that there are `count` slots, and at most `most`; the rows in flight stay where they are."""
        if count <= self._slots:
            return
        # Rows join and part a few at a time, and adding a slot copies the buffers: at least double them.
        self._copy(min(max(count, 2 * self._slots), most), self._width)

    def _make_room(self, columns: int) -> None:
        """Moves left over unused columns; grows the buffer where that frees too few."""
        unused = min(self._starts, default=self._column)
        if unused >= max(columns, self._width // 4):
            self._move(unused, 0)
        else:
            self._widen(columns)

    def _widen(self, columns: int) -> None:
        """Grows the buffer by at least this many columns; slots without a row are given back."""
        self._copy(max(self.rows, 1), self._width + max(columns, self._width // 2, _COLUMN_STEP))

    def _copy(self, slots: int, width: int) -> None:
        """Copies the rows into buffers of another size, one at a time: old and new stand side by side for one layer only."""
        rows, columns = self.rows, slice(min(self._starts, default=0), self._column)
        for buffers in (self._keys, self._values):
            for layer, old in buffers.items():
                new = old.new_zeros(slots, old.shape[1], width, old.shape[3])
                new[:rows, :, columns] = old[:rows, :, columns]
                buffers[layer] = new
        mask = self._mask.new_zeros(slots, width)
        mask[:rows, : self._width] = self._mask[:rows]
        self._mask, self._slots = mask, slots

    def _shift_right(self, columns: int) -> None:
        """Makes the next column a later one, so that a longer prompt fits before it."""
        # Unused columns on the left are no help: the prompt needs as many columns before its end as it has tokens.
        if self._column + columns > self._width:
            self._widen(self._column + columns - self._width)
        if self._starts:
            self._move(0, columns)
        else:
            self._column += columns

    def _move(self, source: int, target: int) -> None:
        """Moves the columns in use from `source` to `target` in all rows."""
        rows, length = self.rows, self._column - source
        for buffer in (*self._keys.values(), *self._values.values()):
            # The ranges may overlap: copy out first.
            buffer[:rows, :, target : target + length] = buffer[:rows, :, source : source + length].clone()
        shift = target - source
        self._column += shift
        self._starts = [start + shift for start in self._starts]
        for row, start in enumerate(self._starts):
            self._mask[row, :start] = -torch.inf
            self._mask[row, start:] = 0.0

    def _first(self, window: int | None) -> int:
        """The first column that layers with this window see."""
        return self._low if window is None else max(self._low, self._column + 1 - window)

    def _mask_of(self, window: int | None) -> torch.Tensor:
        return self._mask[: self.rows, None, None, self._first(window) : self._column + 1]

    def _join_states(self, prefill: DynamicCache, first: int, places: torch.Tensor) -> None:
        """Takes over the states of new rows, which come after the `first` ones."""
        for place in self._recurrent:
            new = prefill.layers[place]
            take_states(new, places)
            if first:
                append_states(self.layers[place], new)
            else:
                new.keys = new.values = None  # copied already; a layer can have both
                self.layers[place] = new

    def _arrange_states(self, count: int, slots: Sequence[int], sources: Sequence[int]) -> None:
        if not self._recurrent or (count == self.rows and not slots):
            return
        of = list(range(count))
        for slot, source in zip(slots, sources, strict=True):
            of[slot] = source
        rows = torch.tensor(of, dtype=torch.int64, device=self._mask.device)
        for place in self._recurrent:
            take_states(self.layers[place], rows)
