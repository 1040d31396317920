"""Rows of an instruction dataset as rows of edit sequences, for `datasets.map` and `trl-gift lintseq`.

One row becomes as many rows as its program has sequences. A row that holds no Python program is kept with its text as it is, or
left out; it is never lost without being counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trl_gift.codetext import fenced_blocks
from trl_gift.common.randomness import stream_key
from trl_gift.errors import ConfigError
from trl_gift.lintseq.edits import EditSequence, to_text
from trl_gift.lintseq.linters import linter_of
from trl_gift.lintseq.sampling import MOST_LINES, ProgramError, sample_edit_sequences

Invalid = Literal["keep", "drop"]
ADDED = ("num_edits", "sequence")
INVALID: tuple[Invalid, ...] = ("keep", "drop")
_PYTHON = frozenset({"python", "python3", "py", ""})
_NO_TEXT = "is not text"


@dataclass(frozen=True, slots=True)
class EditedRow:
    """What became of one row.

    Attributes:
        rows: The new rows.
        problem: Why the row has no sequences, in words that can be counted; None if it has.
    """

    rows: tuple[Mapping[str, Any], ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class EditRows:
    """A function for `dataset.map(..., batched=True, with_indices=True)`.

    The new rows have all columns of the old row, and three more: the text of the edits (`into`), `num_edits` and `sequence`, the
    number of the sequence from 0. A row that is kept as it is has its text in `into`, and 0 edits.

    Examples:
        ```python
        from trl_gift.lintseq.rows import EditRows

        edits = dataset.map(EditRows(column="response"), batched=True, with_indices=True, num_proc=8)
        ```

    Args:
        column: The column with the program. Of a text that does not compile, the Python in fenced blocks is the program.
        into: The column for the text of the edits; it may be `column`.
        num_sequences: Sequences of each program.
        seed: With the number of a row and of a sequence, it decides all draws.
        linter: `"fast"` or `"pylint"`.
        random_lines: The paper's ablation: random lines, without a linter.
        max_lines: A longer program counts as invalid.
        invalid: What happens to a row without a program that compiles: `"keep"` or `"drop"`.

    Raises:
        ConfigError: for a value that cannot work.
    """

    column: str = "code"
    into: str = "edits"
    num_sequences: int = 5
    seed: int = 0
    linter: str = "fast"
    random_lines: bool = False
    max_lines: int = MOST_LINES
    invalid: Invalid = "keep"

    def __post_init__(self) -> None:
        if self.num_sequences < 1:
            raise ConfigError(f"num_sequences={self.num_sequences}: must be at least 1.")
        if self.invalid not in INVALID:
            raise ConfigError(f"invalid={self.invalid!r}: use one of {', '.join(INVALID)}.")
        linter_of(self.linter)

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        """The new rows of a batch of rows, as columns."""
        names = list(dict.fromkeys([*batch, self.into, *ADDED]))
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for place, index in enumerate(indices):
            row = {name: values[place] for name, values in batch.items()}
            for new in self.edited(row, index).rows:
                for name in names:
                    columns[name].append(new[name])
        return columns

    def edited(self, row: Mapping[str, Any], index: int) -> EditedRow:
        """What becomes of one row.

        Args:
            row: The row.
            index: Its number in the dataset.

        Raises:
            ConfigError: if the row has no such column.
        """
        if self.column not in row:
            raise ConfigError(f"column={self.column!r}: the rows have {', '.join(map(repr, row))}; name one of these.")
        text = row[self.column]
        if not isinstance(text, str):
            return self._without(row, text, _NO_TEXT)
        seed = stream_key("lintseq row", self.seed, index)
        try:
            sequences = self._sample(text, seed)
        except ProgramError as error:
            program = _fenced(text)
            if program is None:
                return self._without(row, text, error.kind)
            try:
                sequences = self._sample(program, seed)
            except ProgramError as second:
                return self._without(row, text, second.kind)
        return EditedRow(
            tuple(
                {**row, self.into: to_text(sequence), "num_edits": len(sequence.edits), "sequence": number}
                for number, sequence in enumerate(sequences)
            ),
            None,
        )

    def _sample(self, code: str, seed: int) -> list[EditSequence]:
        return sample_edit_sequences(
            code, self.num_sequences, seed, self.linter, random_lines=self.random_lines, max_lines=self.max_lines
        )

    def _without(self, row: Mapping[str, Any], text: Any, problem: str) -> EditedRow:
        if self.invalid == "drop":
            return EditedRow((), problem)
        return EditedRow(({**row, self.into: text, "num_edits": 0, "sequence": 0},), problem)


def _fenced(text: str) -> str | None:
    """The Python in the fenced blocks of an answer, or None."""
    blocks = [block.code for block in fenced_blocks(text) if block.tag in _PYTHON]
    return "\n".join(blocks) if blocks else None
