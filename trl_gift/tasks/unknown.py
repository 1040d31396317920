"""What to say about rows that no format reads: what they are instead, what they lack, which name was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

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
    mapping = "column_mapping={'yours': 'description'} reads a column under another name"
    if _share(closest, present) < 0.5:
        known = ", ".join(dict.fromkeys(form.name for form in FORMATS))
        return f"none is near; give 'description' and 'tests' ({mapping}), or a dataset in one of the formats {known}"
    missing = sorted(closest.columns - present)
    mapping = f"column_mapping={{'yours': {missing[0]!r}}} reads a column under another name"
    similar = {name: difflib.get_close_matches(name, missing, 1, _SIMILAR) for name in sorted(present)}
    renamed = [f"{name!r} to {found[0]!r}" for name, found in similar.items() if found]
    cure = f"rename {', '.join(renamed)}" if renamed else "add them"
    return f"the closest format, {closest.name}, also has {', '.join(map(repr, missing))}; {cure} ({mapping})"


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
