"""Rows of an instruction dataset as rows of edit sequences, through `datasets.map` too."""

from __future__ import annotations

import datasets
import pytest

from tests.support.instructions import GOOD, ROWS
from trl_gift.errors import ConfigError
from trl_gift.lintseq import resolve
from trl_gift.lintseq.rows import EditRows


def test_a_row_becomes_one_row_for_each_sequence():
    edited = EditRows(num_sequences=3).edited(ROWS[0], 0)
    assert edited.problem is None
    assert [row["sequence"] for row in edited.rows] == [0, 1, 2]
    for row in edited.rows:
        assert {name: row[name] for name in ROWS[0]} == ROWS[0]
        assert resolve(row["edits"]) == GOOD
        assert row["num_edits"] == row["edits"].count("<|diff|>")


def test_the_python_in_fenced_blocks_is_the_program():
    edited = EditRows(num_sequences=1).edited(ROWS[2], 0)
    assert resolve(edited.rows[0]["edits"]).strip() == GOOD.strip()


@pytest.mark.parametrize("invalid", ["keep", "drop"])
def test_rows_without_a_program_are_counted_and_kept_or_dropped(invalid):
    work = EditRows(num_sequences=2, max_lines=20, invalid=invalid)
    edited = [work.edited(row, index) for index, row in enumerate(ROWS)]
    problems = [one.problem for one in edited]
    assert problems == [None, "does not compile", None, "is not text", "is too long", "does not compile"]
    for row, one in zip(ROWS, edited, strict=True):
        if one.problem and invalid == "keep":
            assert one.rows == ({**row, "edits": row["code"], "num_edits": 0, "sequence": 0},)
        elif one.problem:
            assert one.rows == ()


def test_map_gives_the_same_rows_as_the_rows_alone():
    dataset = datasets.Dataset.from_list(ROWS)
    work = EditRows(num_sequences=2, seed=3)
    mapped = dataset.map(work, batched=True, batch_size=2, with_indices=True, load_from_cache_file=False)
    assert mapped.to_list() == [dict(row) for index, one in enumerate(ROWS) for row in work.edited(one, index).rows]
    assert mapped.column_names == ["instruction", "code", "edits", "num_edits", "sequence"]


def test_the_column_itself_may_be_rewritten():
    row = EditRows(into="code", num_sequences=1).edited(ROWS[0], 0).rows[0]
    assert resolve(row["code"]) == GOOD


def test_rows_have_draws_of_their_own():
    long = "\n".join(f"x{number} = {number}" for number in range(12))
    first, second = (EditRows(column="c", num_sequences=1).edited({"c": long}, index).rows[0] for index in (0, 1))
    assert first["edits"] != second["edits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_sequences": 0}, "num_sequences=0: must be at least 1"),
        ({"invalid": "raise"}, "invalid='raise': use one of keep, drop"),
        ({"linter": "flake8"}, "linter='flake8' is not known"),
    ],
)
def test_mistakes_are_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        EditRows(**options)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="column='program': the rows have 'instruction', 'code'; name one of these"):
        EditRows(column="program").edited(ROWS[0], 0)
