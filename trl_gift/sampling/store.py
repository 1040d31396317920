"""The append-only store: one `CodeSample` a line, flushed as soon as it exists.

A run that is killed leaves at most one torn line, the last. The store cuts it off when it opens the file again, and the
sample is taken again. An `infrastructure` outcome says nothing about the program, so such a sample is taken again as well.
At the end of a round the lines of all processes are written into one Parquet file, whole or not at all; its existence says
that the round's sampling is complete.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

from trl_gift.common.files import whole_file
from trl_gift.sampling.records import INFRASTRUCTURE, PASSED, CodeSample

SAMPLES, REPAIRS = "samples", "repairs"
_PARQUET = "samples.parquet"
_ROW_GROUP = 4096
_BATCH = 512


class SampleStore:
    """The samples of one round, written by one process.

    Args:
        folder: The round's folder; made if absent.
        rank: Index of this process; each writes a file of its own.
        name: Begins the file's name: what the sampler drew is in `samples-RANK.jsonl`, what a teacher wrote in
            `repairs-RANK.jsonl`.
    """

    def __init__(self, folder: Path, rank: int = 0, name: str = SAMPLES) -> None:
        self._folder = folder
        self._path = folder / f"{name}-{rank}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(self._path)
        self._file = self._path.open("a", encoding="utf-8")

    def __enter__(self) -> SampleStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def append(self, sample: CodeSample) -> None:
        """Writes one sample; it survives the death of this process once this returns."""
        self._file.write(json.dumps(sample.to_record(), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file; no sample is in flight after `append` has returned."""
        self._file.close()


class OtherProcesses:
    """Counts what the other processes add to a round, for the progress bar of one of them.

    Args:
        folder: The round's folder.
        rank: Index of this process.
        name: As for `SampleStore`.
    """

    def __init__(self, folder: Path, rank: int, name: str = SAMPLES) -> None:
        self._folder = folder
        self._name = name
        self._own = f"{name}-{rank}.jsonl"
        self._places = {path: path.stat().st_size for path in self._paths()}

    def new(self) -> int:
        """Number of samples since the last call, or since this object was made."""
        count = 0
        for path in self._paths():
            with path.open("rb") as file:
                file.seek(self._places.get(path, 0))
                added = file.read()
            whole = added.rfind(b"\n") + 1
            count += added.count(b"\n")
            self._places[path] = self._places.get(path, 0) + whole
        return count

    def _paths(self) -> list[Path]:
        return [path for path in self._folder.glob(f"{self._name}-*.jsonl") if path.name != self._own]


class SampleIndex:
    """Where each sample of a round stands, of all processes; in constant memory however many there are.

    One pass over the lines puts (task, step, index) and the line's place into a temporary database on disk. Torn last
    lines and samples whose execution failed for want of a sandbox are left out; of two lines for one sample the first
    counts.

    Args:
        folder: The round's folder.
        names: As `name` of `SampleStore`: which files to read.
    """

    def __init__(self, folder: Path, names: Sequence[str] = (SAMPLES, REPAIRS)) -> None:
        self._paths = [path for name in names for path in sorted(folder.glob(f"{name}-*.jsonl"))]
        self._files = [path.open("rb") for path in self._paths]
        self._database = sqlite3.connect("")  # on disk, private, gone when closed
        self._database.execute(
            "CREATE TABLE lines (task TEXT, step INTEGER, number INTEGER, file INTEGER, place INTEGER, "
            "PRIMARY KEY (task, step, number)) WITHOUT ROWID"
        )
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO lines VALUES (?, ?, ?, ?, ?)", self._lines())

    def __enter__(self) -> SampleIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        (count,) = self._database.execute("SELECT COUNT(*) FROM lines").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[CodeSample]:
        """All samples, by task, step and index."""
        places = self._database.execute("SELECT file, place FROM lines ORDER BY task, step, number")
        return (self._read(file, place) for file, place in places)

    def count(self, task_id: str) -> int:
        """Number of samples of one task."""
        (count,) = self._database.execute("SELECT COUNT(*) FROM lines WHERE task = ?", (task_id,)).fetchone()
        return int(count)

    def step(self, task_id: str, step: int) -> list[CodeSample]:
        """The samples of one step of one task, by index."""
        places = self._database.execute(
            "SELECT file, place FROM lines WHERE task = ? AND step = ? ORDER BY number", (task_id, step)
        )
        return [self._read(file, place) for file, place in places]

    def close(self) -> None:
        """Closes the files; the index is gone."""
        self._database.close()
        for file in self._files:
            file.close()

    def _lines(self) -> Iterator[tuple[str, int, int, int, int]]:
        for number, file in enumerate(self._files):
            place = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                record = json.loads(line)
                if record["status"] != INFRASTRUCTURE:
                    yield record["task_id"], record["step"], record["index"], number, place
                place += len(line)

    def _read(self, file: int, place: int) -> CodeSample:
        self._files[file].seek(place)
        return CodeSample.from_record(json.loads(self._files[file].readline()))


def read_samples(folder: Path) -> Iterator[CodeSample]:
    """All samples of a round, of all processes, by task, step and index; one at a time.

    The Parquet file of a complete round is read in its order. The lines of an incomplete round need an index first.
    """
    if not is_complete(folder):
        with SampleIndex(folder) as index:
            yield from index
        return
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(folder / _PARQUET) as file:
        for batch in file.iter_batches(batch_size=_BATCH):
            for record in batch.to_pylist():
                yield CodeSample.from_record({**record, "outcome": json.loads(record["outcome"])})


def passed_tasks(folder: Path) -> set[str]:
    """The tasks that a sample of a round has solved."""
    if not is_complete(folder):
        return {sample.task_id for sample in read_samples(folder) if sample.passed}
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / _PARQUET, columns=["task_id"], filters=[("status", "=", PASSED)])
    return set(table.column("task_id").to_pylist())


def count_samples(folder: Path) -> int:
    """Number of samples of a round, without reading them where the round is complete."""
    if not is_complete(folder):
        with SampleIndex(folder) as index:
            return len(index)
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(folder / _PARQUET).num_rows)


def write_parquet(folder: Path) -> Path:
    """Writes `samples.parquet` from the lines of a round and returns its path; the lines stay."""
    import pyarrow
    import pyarrow.parquet

    target = folder / _PARQUET
    schema = _parquet_schema()
    with (
        SampleIndex(folder) as index,
        whole_file(target) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema) as writer,
    ):
        samples = iter(index)
        while group := list(islice(samples, _ROW_GROUP)):
            records = [sample.to_record() for sample in group]
            for record in records:
                record["outcome"] = json.dumps(record["outcome"])  # one column type whatever the tests
            writer.write_table(pyarrow.Table.from_pylist(records, schema=schema))
    return target


def is_complete(folder: Path) -> bool:
    """Whether the round's sampling has ended."""
    return (folder / _PARQUET).exists()


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        content_end = file.seek(0, os.SEEK_END)
        # Search backwards in blocks: the file may be large, a line is not.
        position, block = content_end, 1 << 16
        while position > 0:
            start = max(0, position - block)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            position = start
        file.truncate(0)


def _parquet_schema() -> object:
    import pyarrow as pa

    return pa.schema(
        [
            ("schema", pa.int32()),
            ("sample_id", pa.string()),
            ("task_id", pa.string()),
            ("round", pa.int32()),
            ("step", pa.int32()),
            ("index", pa.int32()),
            ("parent", pa.string()),
            ("sampler", pa.string()),
            ("hint", pa.string()),
            ("description", pa.string()),
            ("description_tokens", pa.int32()),
            ("description_tries", pa.int32()),
            ("description_leaks", pa.int32()),
            ("read_reference", pa.bool_()),
            ("prompt_hash", pa.string()),
            ("completion", pa.string()),
            ("code", pa.string()),
            ("target", pa.string()),
            ("no_code_kind", pa.string()),
            ("no_code_reason", pa.string()),
            ("token_ids", pa.list_(pa.int32())),
            ("finish_reason", pa.string()),
            ("logprob_sum", pa.float64()),
            ("num_scored", pa.int32()),
            ("scored", pa.bool_()),
            ("status", pa.string()),
            ("outcome", pa.string()),
            ("continues", pa.bool_()),
            ("model_hash", pa.string()),
            ("seed", pa.int64()),
            ("created", pa.float64()),
            ("kind", pa.string()),
            ("teacher_tokens", pa.int32()),
            ("perplexity", pa.float64()),
        ]
    )
