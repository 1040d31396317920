"""A run on disk as one object: its options and figures, and tables of its rounds, steps, samples and attempts.

An unfinished run has the figures that exist so far. The tables are pandas DataFrames; each is made when it is first asked
for, and only then is pandas imported. Samples are read one at a time, and their token ids are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_gift.common.words import plural
from trl_gift.errors import ConfigError
from trl_gift.report.rendering import render
from trl_gift.report.rounds import RoundLine, round_lines
from trl_gift.run.ending import left_out_lines
from trl_gift.run.folder import SCHEMA_VERSION, RunFolder, drawn_by
from trl_gift.run.sets import of_set
from trl_gift.run.wording import AS_PYTHON, Wording, recorded_wording
from trl_gift.sampling.records import PASSED, CodeSample
from trl_gift.sampling.store import read_samples

if TYPE_CHECKING:
    import pandas

Record = Mapping[str, Any]
BASE = 0
"""The round of what the untrained model did."""

_ROWS = 4096
_CATEGORIES = ("task_id", "kind", "sampler", "hint", "status", "finish_reason", "isolation", "model_hash")
_SAMPLE_COLUMNS = (
    "sample_id", "task_id", "round", "step", "index", "kind", "parent", "sampler", "hint", "description", "completion", "code",
    "status", "passed", "message", "first_failure", "perplexity", "num_tokens", "finish_reason", "continues",
    "read_reference", "cpu_s", "isolation", "trusted", "model_hash", "created",
)  # fmt: skip
_ATTEMPT_COLUMNS = ("round", "task_id", "index", "completion", "code", "status", "passed", "message", "failing_test")
_SELECTED_COLUMNS = ("trained_round", "sample_id", "task_id", "round", "perplexity", "weight", "count", "code")


@dataclass(frozen=True, repr=False)
class Run:
    """A run, as `load_run` reads it. What a round has not written yet is absent.

    Attributes:
        output_dir: The run's output folder.
        model: Name or folder of the model that training began with.
        options: The resolved options of `GiFTConfig`.
        training: The options of `SFTConfig` that the weights depend on.
        seeds: The resolved seeds.
        versions: Library versions.
        num_tasks: Number of tasks to learn from.
        num_eval_tasks: Number of tasks to measure on.
        base: Figures of the untrained model by name, such as `pass@1`, `pass@1_low` and `pass@1_high` (shares from 0 to
            1); empty if nothing was measured.
        base_greedy: Whether the untrained model's greedy program of each evaluation task passed.
        measured: The content of `metrics.json` of each finished round, in order.
        final_round: The round whose weights the run has ended with; None if it does not say.
        eval_set: Name of the set that `base`, `base_greedy` and the figures of `measured` are of; empty if it has none.
        other_base: Figures of the untrained model on each further set, by its name.
        left_out: A sentence for each set of tasks of which some were too long for the model.
        wording: How the run has spoken to its user.
        drawn_by: Another model that sampled, with its fingerprint; None if the model in training did.
    """

    output_dir: Path
    model: str
    options: Record
    training: Record
    seeds: Record
    versions: Mapping[str, str]
    num_tasks: int
    num_eval_tasks: int
    base: Mapping[str, float]
    base_greedy: Mapping[str, bool]
    measured: tuple[Record, ...]
    final_round: int | None = None
    eval_set: str = ""
    other_base: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    wording: Wording = AS_PYTHON
    drawn_by: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of the run's records, `output_dir/_gift`."""
        return self.output_dir / "_gift"

    @property
    def round_numbers(self) -> list[int]:
        """The rounds that have begun, from 1."""
        numbers: list[int] = []
        while any(self.round_folder(len(numbers) + 1).glob("*")):
            numbers.append(len(numbers) + 1)
        return numbers

    @property
    def verified(self) -> bool:
        """Whether the run executes its samples."""
        return bool(self.options.get("verify", True))

    @property
    def lines(self) -> list[RoundLine]:
        """The base model and each finished round as a line of a table."""
        return round_lines(self.base, self.measured, self.verified, self.final_round)

    def lines_of(self, name: str) -> list[RoundLine]:
        """The same of a further set."""
        records = [of_set(record, name) for record in self.measured]
        return round_lines(self.other_base[name], records, self.verified, self.final_round)

    def round_folder(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder / f"round-{number}"

    @cached_property
    def rounds(self) -> pandas.DataFrame:
        """One row for each finished round: all figures of its `metrics.json`.

        Shares are between 0 and 1. The gain over the base model and its 95 % interval are `gain`, `gain_low` and
        `gain_high`; wall time in seconds is `seconds_STAGE`. The figures of a further set of evaluation tasks begin with its name.
        """
        return _frame([_round_row(record) for record in self.measured], ("round",))

    @cached_property
    def steps(self) -> pandas.DataFrame:
        """One row for each step of each finished round's chains, as `trl_gift.run.samples.ChainStep` has them."""
        rows = [{"round": record["round"], **step} for record in self.measured for step in record.get("chain", ())]
        return _frame(rows, ("round", "step"))

    @cached_property
    def samples(self) -> pandas.DataFrame:
        """One row for each sample of all rounds, by round, task, step and index; also those of an unfinished round."""
        import pyarrow

        rows = (_sample_row(sample) for number in self.round_numbers for sample in self.read_samples(number))
        schema = _sample_schema()
        parts = [schema.empty_table()]
        while part := list(islice(rows, _ROWS)):
            parts.append(pyarrow.Table.from_pylist(part, schema))
        table: pandas.DataFrame = pyarrow.concat_tables(parts).to_pandas()
        return table.astype(dict.fromkeys(_CATEGORIES, "category") | {"first_failure": "Int64", "trusted": "boolean"})

    @cached_property
    def selected(self) -> pandas.DataFrame:
        """One row for each program of the pools: `trained_round` drew it `count` times, each time with the chance `weight`.

        `round` is the round that sampled it; `count` may be 0.
        """
        rows = (
            {"trained_round": number, **row} for number in self.round_numbers for row in self.read_selection(number)
        )
        return _frame(list(rows), _SELECTED_COLUMNS)

    @cached_property
    def attempts(self) -> pandas.DataFrame:
        """One row for each evaluated completion; round 0 is the base model, and index -1 the greedy program."""
        rounds = (BASE, *self.round_numbers)
        rows = [{"round": number, **row} for number in rounds for row in self.read_attempts(number)]
        return _frame(rows, _ATTEMPT_COLUMNS)

    def read_samples(self, number: int) -> Iterator[CodeSample]:
        """The samples of a round, by task, step and index; one at a time.

        Raises:
            ConfigError: if they cannot be read.
        """
        yield from _readable(self.round_folder(number), lambda: read_samples(self.round_folder(number)))

    def read_selection(self, number: int) -> Iterator[dict[str, Any]]:
        """The rows of a round's `selection.parquet`, one at a time; none before it is written.

        Raises:
            ConfigError: if they cannot be read.
        """
        path = self.round_folder(number) / "selection.parquet"
        if path.exists():
            yield from _readable(path, lambda: _parquet_rows(path, _SELECTED_COLUMNS[1:]))

    def read_attempts(self, number: int) -> list[dict[str, Any]]:
        """The evaluation after a round, or with 0 that of the base model, as records of attempts.

        Where only the verdict was kept, `completion`, `code` and `status` are None.
        """
        name = "base.json" if number == BASE else f"round-{number}/evaluation.json"
        record = _read_json(self.folder / name) if (self.folder / name).exists() else {}
        if "attempts" in record:
            return [{**row, "passed": row["status"] == PASSED} for row in record["attempts"]]
        return [
            {"task_id": task_id, "index": -1, "completion": None, "code": None, "status": None, "passed": passed}
            for task_id, passed in record.get("greedy", {}).items()
        ]

    def greedy(self, number: int) -> Mapping[str, bool]:
        """Whether the greedy program of each evaluation task passed after a finished round, or with 0 for the base model."""
        return self.base_greedy if number == BASE else self.measured[number - 1].get("greedy", {})

    def __repr__(self) -> str:
        return f"Run({str(self.output_dir)!r}, {len(self.measured)} of {plural(int(self.options.get('num_rounds', 1)), 'round')})"

    def _repr_html_(self) -> str:
        """A small table of the rounds, for notebooks."""
        return render(
            "notebook.html",
            model=self.model,
            done=len(self.measured),
            num_rounds=self.options["num_rounds"],
            num_tasks=self.num_tasks,
            num_eval_tasks=self.num_eval_tasks,
            lines=self.lines,
        )


def load_run(output_dir: str | Path) -> Run:
    """Reads a run for people to look at, finished or not.

    Args:
        output_dir: The run's `output_dir`, or the `_gift` folder in it.

    Raises:
        ConfigError: if the folder holds no run, or one that this version cannot read.
    """
    given = Path(output_dir).expanduser()
    root = given.parent if given.name == "_gift" and not (given / "_gift").exists() else given
    folder = RunFolder(root)
    if not folder.exists:
        raise ConfigError(f"{given} holds no run (it has no _gift/run.json); give the output_dir of a run.")
    run = _read_json(folder.root / "run.json")
    if run.get("schema") != SCHEMA_VERSION:
        raise ConfigError(
            f"{folder.root}/run.json has schema {run.get('schema')!r} and this version reads {SCHEMA_VERSION}; use the "
            f"version that wrote it{_version_in_words(run)}."
        )
    base = _read_json(folder.root / "base.json") if folder.has("base.json") else {}
    final = _read_json(folder.root / "final.json") if folder.has("final.json") else {}
    return Run(
        output_dir=root,
        model=run["model"],
        options=run["options"],
        training=run["training"],
        seeds=run["seeds"],
        versions=run["versions"],
        num_tasks=run["tasks"]["count"],
        num_eval_tasks=run["eval_tasks"]["count"],
        base=base.get("metrics", {}),
        base_greedy=base.get("greedy", {}),
        measured=tuple(
            _read_json(folder.root / f"round-{number}/metrics.json")
            for number in range(1, folder.num_measured_rounds + 1)
        ),
        final_round=final.get("round"),
        eval_set=base.get("eval_set", ""),
        other_base={name: record["metrics"] for name, record in base.get("other_sets", {}).items()},
        left_out=tuple(left_out_lines(base, run.get("left_out", {}).get("tasks", ()))),
        wording=recorded_wording(run),
        drawn_by=drawn_by(run),
    )


def _version_in_words(run: Record) -> str:
    written = run.get("versions", {}).get("trl_gift")
    return f", trl_gift {written}" if written else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}); restore it, or give another run.") from error
    return content


def _readable(path: Path, rows: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """The rows of a file or folder; what is wrong with them is said in one line that names it."""
    try:
        yield from rows()
    except (ValueError, KeyError) as error:  # another schema, a damaged line, a damaged Parquet file
        raise ConfigError(f"{path} cannot be read: {error}; restore it, or give another run.") from error


def _parquet_rows(path: Path, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
            yield from batch.to_pylist()


def _round_row(record: Record) -> dict[str, Any]:
    gain, metrics = record.get("gain"), dict(record.get("metrics", {}))
    row = {
        name: value
        for name, value in record.items()
        if name not in ("schema", "convention") and (value is None or isinstance(value, int | float))
    }
    if metrics:
        row["measured_tasks"] = int(metrics.pop("num_tasks"))
    row |= metrics
    if gain:
        row |= {"gain": gain["pass@1"], "gain_low": gain["low"], "gain_high": gain["high"]}
    for name, other in record.get("other_sets", {}).items():
        gain = {"gain": other["gain"]["pass@1"], "gain_low": other["gain"]["low"], "gain_high": other["gain"]["high"]}
        row |= {f"{name}_{figure}": value for figure, value in {**other["metrics"], **gain}.items()}
    return row | {f"seconds_{stage}": seconds for stage, seconds in record.get("seconds", {}).items()}


def _sample_row(sample: CodeSample) -> dict[str, Any]:
    outcome = sample.outcome or {}
    return {
        **sample.to_record(),
        "passed": sample.passed,
        "message": sample.message or None,
        "num_tokens": sample.num_tokens,
        **{name: outcome.get(name) for name in ("first_failure", "cpu_s", "isolation", "trusted")},
    }


def _sample_schema() -> Any:
    import pyarrow as pa

    types = dict.fromkeys(_SAMPLE_COLUMNS, pa.string())
    types |= dict.fromkeys(("round", "step", "index", "first_failure", "num_tokens"), pa.int64())
    types |= dict.fromkeys(("passed", "continues", "read_reference", "trusted"), pa.bool_())
    types |= dict.fromkeys(("perplexity", "cpu_s", "created"), pa.float64())
    return pa.schema(list(types.items()))


def _frame(rows: list[dict[str, Any]], first: tuple[str, ...]) -> pandas.DataFrame:
    """A table; its columns are the names of `first`, also where there is no row, and then all others that a row has."""
    import pandas

    others = dict.fromkeys(name for row in rows for name in row if name not in first)
    return pandas.DataFrame(rows, columns=[*first, *others])
