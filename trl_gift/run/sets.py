"""The records of a run that measures on several sets of tasks.

The first set's figures stand where those of an only set stand, so that whatever reads a record reads the first set. Such a
record also names that set (`eval_set`), and `other_sets` holds the same fields of each further set, by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trl_gift.evaluation import Evaluation

Record = Mapping[str, Any]


def base_record(results: Mapping[str, Evaluation]) -> dict[str, Any]:
    """The content of `base.json`.

    Args:
        results: The evaluation of each set, by its name; the only set of a run may have an empty name.
    """
    return _nested({name: _base(result) for name, result in results.items()})


def attempts_record(results: Mapping[str, Evaluation]) -> dict[str, Any]:
    """The content of a round's `evaluation.json`; the argument is that of `base_record`."""
    return _nested({name: _attempts(result) for name, result in results.items()})


def of_set(record: Record, name: str) -> Record:
    """A record as if the run had measured only on one of its sets; an empty name stands for the first."""
    others = record.get("other_sets", {})
    return {**record, **others[name], "eval_set": name} if name in others else record


def views(base: Record | None, rounds: Sequence[Record]) -> Iterator[tuple[str, Record | None, Sequence[Record]]]:
    """The name of each set in turn, with `base.json` and the content of each `metrics.json` for this set.

    Args:
        base: Content of `base.json`; None if nothing was measured. Then there is one view, without a name.
        rounds: Content of each `metrics.json`.
    """
    yield (base or {}).get("eval_set", ""), base, rounds
    for name in (base or {}).get("other_sets", ()):
        yield name, of_set(base or {}, name), [of_set(item, name) for item in rounds]


def _nested(records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    (name, first), *others = records.items()
    return {**first, "eval_set": name, "other_sets": dict(others)} if name else first


def _base(result: Evaluation) -> dict[str, Any]:
    return {
        "metrics": result.metrics(),
        "convention": result.convention,
        "greedy": result.greedy,
        **_attempts(result),
    }


def _attempts(result: Evaluation) -> dict[str, Any]:
    return {"attempts": [attempt.to_record() for attempt in result.attempts], "left_out": list(result.left_out)}
