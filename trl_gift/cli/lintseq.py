"""`trl-gift lintseq`: rewrites the programs of an instruction dataset as edit sequences (LintSeq).

The rows are written to `OUTPUT.partial` first, one JSON object a line, each with the number of the row that it comes from; the
file's first line says what it was made with. A killed command leaves it, and `--resume` goes on after its last complete row.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from trl_gift.cli.lines import LineParser, check_at_least, printable
from trl_gift.common.files import whole_file
from trl_gift.common.words import plural
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.lintseq import MOST_LINES, check_language
from trl_gift.lintseq.rows import ADDED, INVALID, EditRows
from trl_gift.tasks.sources import placed_rows

FORMATS = (".jsonl", ".parquet")
COLUMNS = ("response", "output", "completion", "answer", "solution", "code", "reference", "canonical_solution")
"""Columns that are taken for the program if no column is named, the first that a dataset has."""

_PER_PROCESS = 64  # rows that a process gets at a time
_BATCH = 1024


@dataclass(frozen=True)
class _Done:
    """A row of the dataset after the work, as it is kept in the partial file."""

    index: int
    rows: list[Mapping[str, Any]]
    problem: str | None


def run(argv: Sequence[str]) -> int:
    """Rewrites; exits with 0 whether or not rows hold no program, the counts say."""
    options = _parser().parse_args(argv)
    check_at_least(
        1, {"--num_sequences": options.num_sequences, "--num_proc": options.num_proc, "--limit": options.limit}
    )
    check_at_least(1, {"--max_lines": options.max_lines})
    check_language(options.language)
    output = Path(options.output)
    _check_output(output, options.resume)
    placed = placed_rows(options.input, options.split, options.name, streaming=options.streaming)
    rows = (row for _, row in islice(placed, options.limit))
    first = next(rows, None)
    if first is None:
        raise ConfigError(f"{options.input}: no rows; check the file or the split.")
    column = _column(options.column, first)
    work = EditRows(
        column=column,
        into=options.into,
        num_sequences=options.num_sequences,
        seed=options.seed,
        linter=options.linter,
        random_lines=options.random_lines,
        max_lines=options.max_lines,
        invalid=options.invalid,
    )
    started = time.monotonic()
    partial = output.with_name(output.name + ".partial")
    with _Partial(
        partial, {"input": options.input, "split": options.split, "name": options.name, **asdict(work)}
    ) as done:
        skipped = done.count
        todo = islice(enumerate(_chained(first, rows)), skipped, None)
        total = _number_of_rows(Path(options.input), options.limit)
        with tqdm(desc="edit sequences", unit="row", total=total, initial=skipped, disable=options.json) as bar:
            for item in _worked(work, todo, options.num_proc):
                done.append(item)
                bar.update()
        counts = done.counts
    written = _write(partial, output)
    partial.unlink()
    repository = (
        _push(options, output, {**counts, "written": written, **asdict(work)}) if options.push_to_hub else None
    )
    summary = {
        "input": options.input,
        "output": str(output),
        "column": column,
        "into": work.into,
        **counts,
        "written": written,
        "resumed_after": skipped,
        "seconds": round(time.monotonic() - started, 3),
        "repository": repository,
    }
    print(json.dumps(summary) if options.json else printable(_text(summary, options)))
    return 0


class _Partial:
    """The file of a command that has not ended: a header, then one line for each row of the dataset.

    A torn last line, or a line that is not whole, is cut off.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any]) -> None:
        self._path = path
        self._made_with = json.loads(json.dumps(made_with))
        self.count = 0
        self._programs = self._sequences = 0
        self._problems: Counter[str] = Counter()

    def __enter__(self) -> _Partial:
        if self._path.exists():
            size = self._read()
            with self._path.open("r+b") as file:
                file.truncate(size)
        else:
            self._path.write_text(json.dumps(self._made_with) + "\n", encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def counts(self) -> dict[str, Any]:
        """What has become of the rows so far."""
        return {
            "rows": self.count,
            "programs": self._programs,
            "sequences": self._sequences,
            "without_sequences": dict(sorted(self._problems.items())),
        }

    def append(self, done: _Done) -> None:
        """Writes what became of a row."""
        try:
            line = json.dumps(asdict(done), ensure_ascii=False)
        except TypeError as error:
            raise ConfigError(
                f"row {done.index}: a column holds what JSON cannot ({error}); leave that column out of the dataset."
            ) from None
        self._file.write(line + "\n")
        self._note(len(done.rows), done.problem)

    def _read(self) -> int:
        """Counts the complete rows; the number of bytes up to the end of the last."""
        with self._path.open("rb") as file:
            header = file.readline()
            if not header.endswith(b"\n") or json.loads(header) != self._made_with:
                raise ResumeError(
                    f"{self._path}: made with other options or from another input; give the same ones, or delete it."
                )
            size = len(header)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                size += len(line)
                item = json.loads(line)
                self._note(len(item["rows"]), item["problem"])
        return size

    def _note(self, rows: int, problem: str | None) -> None:
        self.count += 1
        if problem is None:
            self._programs += 1
            self._sequences += rows
        else:
            self._problems[problem] += 1


def _check_output(output: Path, resume: bool) -> None:
    if output.suffix not in FORMATS:
        raise ConfigError(f"OUTPUT {output}: must end in {' or '.join(FORMATS)}.")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"OUTPUT {output}: no such folder; make it first.")
    if output.exists():
        raise ConfigError(f"OUTPUT {output}: exists; name another file, or delete it.")
    partial = output.with_name(output.name + ".partial")
    if partial.exists() and not resume:
        raise ResumeError(f"{partial}: is left from a command that has not ended; add --resume, or delete it.")


def _column(given: str | None, row: Mapping[str, Any]) -> str:
    """The column of the programs."""
    found = given or next((name for name in COLUMNS if name in row), None)
    if found not in row:
        seen = f"--column {found}: there is no such column" if found else "no column is known to hold programs"
        raise ConfigError(f"{seen}; give --column with one of {', '.join(map(str, row))}.")
    return str(found)


def _number_of_rows(source: Path, limit: int | None) -> int | None:
    """How many rows there will be, for the time left; None if counting would mean reading them."""
    if source.suffix == ".jsonl":
        with source.open("rb") as lines:
            count = sum(1 for line in lines if line.strip())
    elif source.suffix == ".parquet":
        from pyarrow.parquet import read_metadata

        count = int(read_metadata(source).num_rows)
    else:
        return limit
    return count if limit is None else min(count, limit)


def _chained(first: Mapping[str, Any], rest: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    yield first
    yield from rest


def _worked(work: EditRows, rows: Iterator[tuple[int, Mapping[str, Any]]], processes: int) -> Iterator[_Done]:
    """What becomes of the rows, in their order."""
    call = _Call(work)
    with ExitStack() as stack:
        pool = None
        if processes > 1:
            # The libraries that read datasets run threads, so no process may be forked from this one.
            pool = stack.enter_context(multiprocessing.get_context("forkserver").Pool(processes))
        while batch := list(islice(rows, _PER_PROCESS * processes)):
            yield from map(call, batch) if pool is None else pool.imap(call, batch, chunksize=_PER_PROCESS // 8)


@dataclass(frozen=True)
class _Call:
    work: EditRows

    def __call__(self, item: tuple[int, Mapping[str, Any]]) -> _Done:
        index, row = item
        edited = self.work.edited(row, index)
        return _Done(index, list(edited.rows), edited.problem)


def _rows_of(partial: Path) -> Iterator[Mapping[str, Any]]:
    with partial.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            yield from json.loads(line)["rows"]


def _write(partial: Path, output: Path) -> int:
    """Writes the output whole or not at all; the number of its rows."""
    written = 0
    with whole_file(output) as temporary:
        if output.suffix == ".jsonl":
            with temporary.open("w", encoding="utf-8") as file:
                for row in _rows_of(partial):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    written += 1
        else:
            written = _write_parquet(partial, temporary)
    return written


def _write_parquet(partial: Path, target: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    # Rows may lack a column, and its type may show in late rows only.
    schema = None
    for batch in _batches(partial):
        found = pyarrow.Table.from_pylist(batch).schema
        schema = found if schema is None else pyarrow.unify_schemas([schema, found], promote_options="permissive")
    if schema is None:
        raise ConfigError("no row is left; give --invalid keep, or write to a .jsonl file.")
    written = 0
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        for batch in _batches(partial):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            written += len(batch)
    return written


def _batches(partial: Path) -> Iterator[list[Mapping[str, Any]]]:
    rows = _rows_of(partial)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _push(options: argparse.Namespace, output: Path, facts: Mapping[str, Any]) -> str:
    """Pushes the output and its card; the full name of the repository."""
    # Loaded late: it imports what trains models.
    from trl_gift.hub import push_edit_sequences

    return push_edit_sequences(output, options.push_to_hub, options.input, facts, options.private)


def _text(summary: Mapping[str, Any], options: argparse.Namespace) -> str:
    lines = [
        f"{plural(summary['sequences'], 'edit sequence')} of {plural(summary['programs'], 'program')}, "
        f"{plural(summary['written'], 'row')} in {summary['output']}."
    ]
    kept = "kept as they are" if options.invalid == "keep" else "left out"
    lines += [f"{kept}, the program {why}: {count}" for why, count in summary["without_sequences"].items()]
    if summary["repository"]:
        lines.append(f"pushed to the dataset {summary['repository']}")
    return "\n".join(lines)


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift lintseq",
        description="Rewrite the programs of an instruction dataset as edit sequences each of whose states lints clean "
        "(LintSeq), to train a model that writes programs edit by edit. Each row becomes one row for each sequence, with all its "
        f"columns and {' and '.join(ADDED)}. Programs are compiled, never executed.",
        epilog="Exit codes: 0 every row was looked at, also if some hold no program (count them with --json); 1 a failure while "
        "running; 2 bad input.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "input", metavar="INPUT", help="a dataset on the Hub, or a .jsonl, .json, .parquet or .csv file"
    )
    parser.add_argument("output", metavar="OUTPUT", help="new .jsonl or .parquet file")
    parser.add_argument("--split", default="train", help="split of a Hub dataset")
    parser.add_argument("--name", help="configuration of a Hub dataset")
    parser.add_argument("--streaming", action="store_true", help="read a Hub dataset row by row")
    parser.add_argument("--limit", type=int, help="look at this many rows only")
    parser.add_argument(
        "--column", help=f"column with the program; by default the first that there is of {', '.join(COLUMNS)}"
    )
    parser.add_argument(
        "--into",
        metavar="COLUMN",
        default="edits",
        help="column for the text of the edits; it may be that of the program",
    )
    parser.add_argument("--num_sequences", type=int, default=5, help="sequences of each program")
    parser.add_argument("--seed", type=int, default=0, help="of the sequences")
    parser.add_argument(
        "--linter", default="fast", choices=("fast", "pylint"), help="what decides that a state is clean"
    )
    parser.add_argument(
        "--random_lines", action="store_true", help="the paper's ablation: random lines, without a linter"
    )
    parser.add_argument("--max_lines", type=int, default=MOST_LINES, help="a longer program counts as invalid")
    parser.add_argument(
        "--invalid", default="keep", choices=INVALID, help="what to do with a row without a program that compiles"
    )
    parser.add_argument("--language", default="python", help="language of the programs; python is the only one")
    parser.add_argument("--num_proc", type=int, default=1, help="processes that work at once")
    parser.add_argument("--resume", action="store_true", help="go on where a killed command stopped")
    parser.add_argument("--push_to_hub", metavar="NAME", help="also push the output to this dataset on the Hub")
    parser.add_argument("--private", action="store_true", default=None, help="make the new dataset on the Hub private")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
