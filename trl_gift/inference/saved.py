"""Evaluations on disk, and what an earlier one of the same tasks says.

    DIR/evaluation.json       schema, what was measured, options, versions; of each set its tasks, metrics and outcomes
    DIR/evaluation.parquet    every attempt: completion, program, verdict

The JSON file is written last, so a folder that holds it is complete. An earlier evaluation is such a folder, or a record of a
run: `OUT/_gift/base.json` for the untrained model, `OUT/_gift/round-N` for the model of a round.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trl_gift import __version__
from trl_gift.common.files import whole_file, write_json
from trl_gift.common.words import agree, plural
from trl_gift.errors import ConfigError
from trl_gift.evaluation import Attempt, Comparison, Evaluation, EvaluationSettings, compare
from trl_gift.inference.loading import ModelFacts
from trl_gift.run.sets import of_set, views
from trl_gift.tasks import Task, fingerprint

SCHEMA_VERSION = 1
# The words of earlier evaluations about how a model was asked, and those of today.
_EARLIER_WORDS = (
    ("base prompts", "prompts for base models"), ("chat prompts", "prompts for chat models"),
    ("imports of references not pinned", "imports of the reference not shown"),
    ("imports of references pinned", "imports of the reference shown"),
)  # fmt: skip
_JSON, _PARQUET = "evaluation.json", "evaluation.parquet"
_LIBRARIES = ("torch", "transformers", "peft", "datasets")
_TURN = pa.struct(
    [
        ("prompt", pa.string()), ("completion", pa.string()), ("code", pa.string()), ("status", pa.string()),
        ("message", pa.string()), ("failing_test", pa.string()), ("trusted", pa.bool_()), ("isolation", pa.string()),
        ("tokens", pa.int32()),
    ]
)  # fmt: skip
_ATTEMPTS = pa.schema(
    [
        ("dataset", pa.string()), ("task_id", pa.string()), ("index", pa.int32()), ("completion", pa.string()),
        ("program", pa.string()), ("status", pa.string()), ("message", pa.string()), ("failing_test", pa.string()),
        ("trusted", pa.bool_()), ("isolation", pa.string()), ("tokens", pa.int32()), ("turns", pa.list_(_TURN)),
    ],
    metadata={"trl_gift.schema": str(SCHEMA_VERSION)},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EarlierSet:
    """An earlier evaluation of one set of tasks.

    Attributes:
        convention: How the model was asked, in words.
        fingerprint: Fingerprint of the tasks; None if it is not recorded.
        task_ids: The tasks that were attempted.
        greedy: Whether the greedy program of each task passed, as `Evaluation.greedy`.
        max_completion_length: Largest number of tokens of a completion; None if it is not recorded.
    """

    convention: str
    fingerprint: str | None
    task_ids: frozenset[str]
    greedy: Mapping[str, bool]
    max_completion_length: int | None


def check_folder(folder: str | Path) -> None:
    """Checks, before anything is measured, that an evaluation can be saved in a folder, which is made.

    Raises:
        ConfigError: if it cannot be made, or holds an evaluation already.
    """
    path = Path(folder)
    if (path / _JSON).exists() or (path / _PARQUET).exists():
        raise ConfigError(f"save={str(folder)!r} holds an evaluation already; give another folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with whole_file(path / ".writable") as probe:
            probe.touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise ConfigError(
            f"save={str(folder)!r} cannot be written to ({error.strerror or error}); give another folder."
        ) from error


def fresh_folder(run: Path) -> Path:
    """The folder for an evaluation of a run: `evaluation` in it, or with a number if there are others."""
    number, folder = 1, run / "evaluation"
    while folder.exists() and any(folder.iterdir()):
        number += 1
        folder = run / f"evaluation-{number}"
    return folder


def save_evaluation(
    folder: str | Path,
    evaluations: Mapping[str, Evaluation],
    sets: Mapping[str, Sequence[Task]],
    facts: ModelFacts,
    settings: EvaluationSettings,
    execution: Mapping[str, Any],
) -> None:
    """Writes `evaluation.parquet` and `evaluation.json`.

    Args:
        folder: An existing folder.
        evaluations: The evaluation of each set by its name.
        sets: The tasks of each set that were attempted.
        facts: What was measured.
        settings: How completions were drawn.
        execution: How programs were run, for the record.
    """
    rows = [{"dataset": name, **_row(attempt)} for name, found in evaluations.items() for attempt in found.attempts]
    with whole_file(Path(folder) / _PARQUET) as path:
        pq.write_table(pa.Table.from_pylist(rows, schema=_ATTEMPTS), path, compression="zstd")
    write_json(
        Path(folder) / _JSON,
        {
            "schema": SCHEMA_VERSION,
            "measured": facts.to_record(),
            "options": {**asdict(settings), **execution},
            "sets": {
                name: {
                    "tasks": {"count": len(sets[name]), "fingerprint": fingerprint(sets[name])},
                    "convention": found.convention,
                    "metrics": found.metrics(),
                    "left_out": list(found.left_out),
                    "outcomes": found.outcomes,
                    "tokens": found.tokens,
                    "refinement_tokens": found.refinement_tokens,
                    "seconds": found.seconds,
                }
                for name, found in evaluations.items()
            },
            "versions": {"python": platform.python_version(), "trl_gift": __version__}
            | {library: version(library) for library in _LIBRARIES},
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        },
    )


def read_evaluation(folder: str | Path) -> dict[str, Evaluation]:
    """The evaluations that `save_evaluation` wrote, by the names of their sets.

    Raises:
        ConfigError: if the folder holds none that this version reads.
    """
    content = _json(Path(folder) / _JSON)
    if content.get("schema") != SCHEMA_VERSION or "sets" not in content:
        raise ConfigError(
            f"{folder}/{_JSON} has schema {content.get('schema')!r}; this version reads {SCHEMA_VERSION}: measure again."
        )
    attempts: dict[str, list[Attempt]] = {name: [] for name in content["sets"]}
    for row in pq.read_table(Path(folder) / _PARQUET).to_pylist():
        attempts[row.pop("dataset")].append(_attempt(row))
    k = tuple(content["options"]["k"])
    return {
        name: Evaluation(
            tuple(attempts[name]),
            k,
            found["convention"],
            found["seconds"],
            tuple(found.get("left_out", ())),
            content["options"].get("refine_steps", 0),
        )
        for name, found in content["sets"].items()
    }


def read_earlier(path: str | Path) -> dict[str, EarlierSet]:
    """An earlier evaluation, to compare with.

    Args:
        path: A folder that `save_evaluation` wrote, a run's `_gift/base.json`, or its `_gift/round-N`.

    Returns:
        Its sets by their names; an only set of a run may have an empty name.

    Raises:
        ConfigError: for anything else.
    """
    place = Path(path)
    if (place / "_gift").is_dir() or place.name == "_gift":
        root = place if place.name == "_gift" else place / "_gift"
        raise ConfigError(
            f"compare={str(path)!r} is the folder of a run, which holds several evaluations; give one: "
            f"{root}/base.json, {root}/round-N, or a folder that --save wrote."
        )
    if place.name == "base.json" and place.is_file():
        return _of_run(place.parent, _json(place), _json(place))
    if (place / "metrics.json").is_file() and place.parent.name == "_gift":
        found = _json(place / "metrics.json")
        if "greedy" not in found:
            raise ConfigError(f"compare={str(path)!r}: this round was not measured; give another.")
        attempts = _json(place / _JSON) if (place / _JSON).is_file() else {}
        return _of_run(place.parent, found, attempts)
    if (place / _JSON).is_file() and (place / _PARQUET).is_file():
        content = _json(place / _JSON)
        return {
            name: EarlierSet(
                found.convention,
                content["sets"][name]["tasks"]["fingerprint"],
                frozenset(attempt.task_id for attempt in found.attempts),
                found.greedy,
                content["options"]["max_completion_length"],
            )
            for name, found in read_evaluation(place).items()
        }
    if place.name == "base.json" and place.parent.name == "_gift":
        raise ConfigError(
            f"compare={str(path)!r} is not there: the run has not measured its base model. Measure that with --save, and give the "
            "folder."
        )
    raise ConfigError(
        f"compare={str(path)!r} holds no evaluation; give a folder that --save wrote, or a run's _gift/base.json or "
        "_gift/round-N."
    )


def compare_sets(
    evaluations: Mapping[str, Evaluation],
    sets: Mapping[str, Sequence[Task]],
    earlier: Mapping[str, EarlierSet],
) -> dict[str, Comparison]:
    """Compares each evaluation with the earlier one of the same tasks.

    Args:
        evaluations: The evaluation of each set by its name.
        sets: The tasks of each set.
        earlier: What `check_comparable` has accepted.

    Returns:
        By set; sets without a task that both could execute are absent.
    """
    pairs = {name: (found.greedy, _counterpart(name, sets, earlier).greedy) for name, found in evaluations.items()}
    return {name: compare(after, before) for name, (after, before) in pairs.items() if after.keys() & before.keys()}


def check_comparable(
    sets: Mapping[str, Sequence[Task]], convention: str, earlier: Mapping[str, EarlierSet], path: str
) -> None:
    """Checks, before anything is measured, that two evaluations can be compared.

    Args:
        sets: The tasks that are going to be measured, by the names of their sets.
        convention: How the model is going to be asked.
        earlier: The earlier evaluation.
        path: Where it is, for the error.

    Raises:
        ConfigError: if the tasks or the conventions differ.
    """
    for name, tasks in sets.items():
        other = _counterpart(name, sets, earlier)
        mine = {task.task_id for task in tasks}
        shared = len(mine & other.task_ids)
        if mine != other.task_ids:
            raise ConfigError(
                f"compare={path!r} measured other tasks: {shared} {agree(shared, 'is', 'are')} shared, of {len(mine)} of {name!r} here and "
                f"{len(other.task_ids)} there; measure both on the same tasks."
            )
        if other.fingerprint is not None and other.fingerprint != fingerprint(tasks):
            raise ConfigError(
                f"compare={path!r} measured tasks of the same names whose contents differ (all {plural(shared, 'name')} {agree(shared, 'is', 'are')} "
                "shared); measure both on the same version of the tasks."
            )
        if _as_now_written(other.convention) != convention:
            raise ConfigError(
                f"compare={path!r} asked otherwise ({other.convention}; here: {convention}), with {shared} shared tasks; "
                "give the same options of the prompts."
            )


def _as_now_written(convention: str) -> str:
    """How a model was asked, in the words of this version."""
    for before, now in _EARLIER_WORDS:
        convention = convention.replace(before, now)
    return convention


def _counterpart(name: str, sets: Mapping[str, Any], earlier: Mapping[str, EarlierSet]) -> EarlierSet:
    if len(sets) == len(earlier) == 1:  # whatever they are called
        return next(iter(earlier.values()))
    if name not in earlier:
        raise ConfigError(
            f"the earlier evaluation has no set {name!r} (it has {', '.join(map(repr, earlier))}); measure the same sets."
        )
    return earlier[name]


def _of_run(root: Path, found: Mapping[str, Any], attempts: Mapping[str, Any]) -> dict[str, EarlierSet]:
    """The sets of a record of a run; one of an older version holds no attempts."""
    run = _json(root / "run.json")
    sets = {}
    for name, view, _ in views(found, []):
        assert view is not None
        attempted = {attempt["task_id"] for attempt in of_set(attempts, name).get("attempts", ())}
        tasks = run.get("eval_sets", {}).get(name) or run["eval_tasks"]
        sets[name] = EarlierSet(
            found["convention"],
            tasks["fingerprint"],
            frozenset(attempted or view["greedy"]),
            view["greedy"],
            run["options"].get("max_completion_length"),
        )
    return sets


def _attempt(row: Mapping[str, Any]) -> Attempt:
    record = dict(row)
    return Attempt.from_record({"code": record.pop("program"), **record})


def _row(attempt: Attempt) -> dict[str, Any]:
    record = attempt.to_record()
    return {"program": record.pop("code"), **record}


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read ({reason}); measure again, or give another folder.") from error
    return content
