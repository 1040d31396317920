"""What to say about rows that no format reads: what they are instead, what they lack, which name was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trl_gift.common.words import agree
from trl_gift.tasks.formats import FORMATS, Format
from trl_gift.tasks.task import bad

CANONICAL = (
    "task_id", "description", "signature", "reference", "prelude", "tests", "hidden_tests", "language", "examples",
    "checker",
)  # fmt: skip
_SIMILAR = 0.8
# Columns of rows for other trainers, with the trainer that they are for.
_OTHERS = (
    ({"prompt", "chosen", "rejected"}, "preference pairs, as DPOTrainer takes them"),
    ({"chosen", "rejected"}, "preference pairs, as RewardTrainer takes them"),
    ({"prompt", "completion"}, "examples to imitate, as SFTTrainer takes them"),
    ({"messages"}, "conversations, as SFTTrainer takes them"),
    ({"conversations"}, "conversations, as SFTTrainer takes them"),
    ({"instruction", "output"}, "examples to imitate, as SFTTrainer takes them"),
    ({"text"}, "texts, as SFTTrainer takes them"),
)


def explain(columns: Collection[str]) -> str:
    """Why rows with these columns are not tasks, and what to do about it, without a full stop."""
    present = set(columns)
    for needed, what in _OTHERS:
        if needed <= present and not any("test" in name for name in present):
            return (
                f"these are {what}; a task has tests instead of answers: give 'description' and 'tests', and the answer as "
                "'reference'"
            )
    closest = max(FORMATS, key=lambda form: (_share(form, present), -len(form.columns)))
    if _share(closest, present) < 0.5:
        known = ", ".join(dict.fromkeys(form.name for form in FORMATS))
        return (
            "none is near; give each row a 'description' and 'tests' (column_mapping={'yours': 'description'} reads a column under "
            f"another name), or a dataset in one of the formats {known}"
        )
    missing = sorted(closest.columns - present)
    lacks = f"the nearest is {_in_words(closest)}, and these rows lack its {_listed(missing)}"
    similar = {name: difflib.get_close_matches(name, missing, 1, _SIMILAR) for name in sorted(present)}
    mapping = {name: found[0] for name, found in similar.items() if found}
    if mapping:
        renamed = _listed([f"{name!r} to {found!r}" for name, found in mapping.items()], quoted=False)
        return f"{lacks}; rename {renamed}, or give column_mapping={mapping!r}"
    return f"{lacks}; add {agree(len(missing), 'it', 'them')}, or name the columns that hold {agree(len(missing), 'it', 'them')}, as in column_mapping={{'yours': {missing[0]!r}}}"


def _in_words(form: Format) -> str:
    return "our own format" if form.name.startswith("canonical") else f"that of {form.name}"


def _listed(names: Sequence[str], quoted: bool = True) -> str:
    *first, last = [repr(name) if quoted else name for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _share(form: Format, present: Collection[str]) -> float:
    return len(form.columns.intersection(present)) / len(form.columns)


def refuse_similar_names(row: Mapping[str, Any], where: str) -> None:
    """Refuses a column whose name is nearly that of an optional column that is absent: it would be ignored silently.

    Raises:
        TaskError: naming the column and the one that is meant.
    """
    absent = [name for name in CANONICAL if name not in row]
    for name, value in row.items():
        if name in CANONICAL or value is None:
            continue
        near = difflib.get_close_matches(name, absent, 1, _SIMILAR)
        if near:
            raise bad(where, name, value, f"no such field; did you mean {near[0]!r}? Rename it, or leave it out")
