"""Reads rows from local files, the Hub and `datasets` objects. Each row comes with its place, for error messages.

Rows are read one by one, so that a caller that stops early reads no further than needed.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from trl_gift.common.models import why_unreachable
from trl_gift.common.words import json_reason
from trl_gift.errors import TaskError
from trl_gift.sandbox.digits import any_number_of_digits
from trl_gift.sandbox.values.show import show

if TYPE_CHECKING:
    import datasets

PlacedRow = tuple[str, Mapping[str, Any]]
ONLY_SPLIT = "train"  # what `datasets` calls the split of a file

HUB_NAMES = {
    "code_contests": ("deepmind/code_contests", None),
    "humaneval": ("openai/openai_humaneval", None),
    "humanevalplus": ("evalplus/humanevalplus", None),
    "mbpp": ("google-research-datasets/mbpp", "full"),
    "mbpp-sanitized": ("google-research-datasets/mbpp", "sanitized"),
    "mbppplus": ("evalplus/mbppplus", None),
    "taco": ("BAAI/TACO", "ALL"),
}
"""Short names of datasets, each with its repository on the Hub and its configuration."""


def placed_rows(
    source: str | Path | datasets.Dataset | Mapping[str, Any] | Iterable[Mapping[str, Any]],
    split: str | None = "train",
    name: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    on_error: Callable[[TaskError], object] | None = None,
) -> Iterator[PlacedRow]:
    """The rows of a source, each with its place; see `load_tasks` for the arguments.

    `on_error` is called with the error of each line of JSON that cannot be read, which is then left out; without it the first
    such line raises its error.

    Raises:
        TaskError: if there is no such file, dataset or split, or a file cannot be read.
    """
    if isinstance(source, str | Path):
        return _named(str(source), split, name, revision, streaming, on_error)
    source = as_rows(source)
    if isinstance(source, Mapping):
        split = split or ONLY_SPLIT
        if split not in source:
            raise TaskError(f"split {split!r}: the dataset has {', '.join(map(repr, source))}; name one of these.")
        return numbered(source[split])
    # A `datasets.Dataset` knows which split it was.
    if split not in (None, ONLY_SPLIT, str(getattr(source, "split", None))):
        raise TaskError(
            f"split {split!r}: the dataset is one split already; give the split that you mean, without a name."
        )
    return numbered(source)


def as_rows(source: Any, what: str = "the dataset") -> Any:
    """The rows of a pandas `DataFrame` or of a mapping of columns; anything else as it is.

    A cell without a value is None, and arrays are lists. A mapping of lists of rows is one of splits, not of columns.

    Raises:
        TaskError: for columns of different lengths.
    """
    source = _in_python(source)
    pandas = sys.modules.get("pandas")  # whoever has a DataFrame has imported it
    if pandas is not None and isinstance(source, pandas.DataFrame):
        absent = (pandas.NA, pandas.NaT)
        return [
            {str(name): None if _is_absent(cell, absent) else plain_value(cell) for name, cell in row.items()}
            for row in source.to_dict("records")
        ]
    if not isinstance(source, Mapping) or not all(isinstance(column, list | tuple) for column in source.values()):
        return source
    if not any(isinstance(cell, _CELLS) or cell is None for column in source.values() for cell in column[:1]):
        return source
    lengths = {str(name): len(column) for name, column in source.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name!r}: {count}" for name, count in lengths.items())
        raise TaskError(
            f"{what} is a dictionary of columns of different lengths ({counts}); give each row a value in each."
        )
    return [dict(zip(lengths, cells, strict=True)) for cells in zip(*source.values(), strict=True)]


_CELLS = (str, int, float, list, tuple)  # what stands in a column; a split holds tasks or mappings


_PLAIN = frozenset({str, int, float, bool, type(None), bytes})


def _is_absent(cell: Any, others: tuple[Any, ...]) -> bool:
    return any(cell is one for one in others) or (isinstance(cell, float) and math.isnan(cell))


def plain_value(value: Any) -> Any:
    """A value without the types of numpy and torch: arrays and tensors as lists, their numbers as Python's."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        if _PLAIN.issuperset(map(type, value)):
            return value  # most are, and some are long
        return type(value)([plain_value(one) for one in value]) if type(value) in (list, tuple) else value
    if isinstance(value, Mapping):
        return {name: plain_value(one) for name, one in value.items()}
    if isinstance(value, _numeric_types()):
        return plain_value(value.tolist())
    return value


def _numeric_types() -> tuple[Any, ...]:
    """The types of arrays, their scalars and tensors; whoever has one has imported its library."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    arrays = (numpy.ndarray, numpy.generic) if numpy is not None else ()
    return (*arrays, torch.Tensor) if torch is not None else arrays


def _in_python(source: Any) -> Any:
    """A dataset of `datasets` whose rows are mappings of Python's types, whatever its format; anything else as it is."""
    datasets = sys.modules.get("datasets")
    if datasets is None:
        return source
    formatted = (
        isinstance(source, datasets.Dataset) and source.format["type"] != "custom"
    )  # a transform makes the rows
    return source.with_format(None) if formatted or isinstance(source, datasets.IterableDataset) else source


def what(source: object) -> str:
    """The name of a source in messages."""
    return str(source) if isinstance(source, str | Path) else "the dataset"


def numbered(rows: Iterable[object], place: str = "row") -> Iterator[PlacedRow]:
    """Rows in memory, each with its number."""
    for index, row in enumerate(_in_python(rows)):
        if not isinstance(row, Mapping):
            raise TaskError(f"{place} {index}: {show(row, 60)!r} is not a row; give mappings of columns to values.")
        yield f"{place} {index}", {name: plain_value(value) for name, value in row.items()}


def _named(
    source: str,
    split: str | None,
    name: str | None,
    revision: str | None,
    streaming: bool,
    on_error: Callable[[TaskError], object] | None,
) -> Iterator[PlacedRow]:
    path = Path(source).expanduser()
    reader = _READERS.get(path.suffix)
    if reader is not None:
        if not path.is_file():
            raise TaskError(f"{path}: no such file; check the path.")
        if split not in (None, ONLY_SPLIT):
            raise TaskError(
                f"split {split!r}: {source} is a file, which has only the split {ONLY_SPLIT!r}; leave the split out."
            )
        return _json(path, on_error) if reader is _json else reader(path)
    if path.is_file():
        raise TaskError(f"{source}: a local dataset must be one of {', '.join(_READERS)}; convert it to one of these.")
    for folder in (path, path / (split or ONLY_SPLIT)):
        if _is_codeinsight(folder):
            return _codeinsight(folder)
    if source == "playground":
        raise TaskError(
            "'playground' is a name of the command line; in Python, trl_gift.playground.playground_tasks('train') returns its tasks."
        )
    return _hub(source, split or ONLY_SPLIT, name, revision, streaming)


def _is_codeinsight(folder: Path) -> bool:
    """Whether a folder holds CodeInsight as its authors publish it: a numbered folder for each example."""
    return any((child / "code.txt").is_file() and (child / "unit_tests").is_dir() for child in _numbered(folder))


def _numbered(folder: Path) -> list[Path]:
    """The parts of a folder whose names end in a number, in the order of the numbers."""
    numbers = (
        {child: "".join(filter(str.isdecimal, child.stem)) for child in folder.iterdir()} if folder.is_dir() else {}
    )
    return sorted((child for child in numbers if numbers[child]), key=lambda child: int(numbers[child]))


def _codeinsight(folder: Path) -> Iterator[PlacedRow]:
    for example in _numbered(folder):
        texts = {name: example / f"{name}.txt" for name in ("nl", "code")}
        missing = [path.name for path in texts.values() if not path.is_file()]
        if missing:
            raise TaskError(f"{example}: {', '.join(missing)} is missing; leave the folder out.")
        yield (
            str(example),
            {
                "id": example.name,
                "intent": read_text(texts["nl"]).strip(),
                "code": read_text(texts["code"]),
                "unit_tests": [read_text(path) for path in _numbered(example / "unit_tests")],
            },
        )


BYTE_ORDER_MARK = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def _text_of(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """An open text file in UTF-8, with or without a byte-order mark.

    Raises:
        TaskError: within the block, for another encoding.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        with path.open("rb") as raw:
            name = "UTF-16" if raw.read(2) in _UTF16 else "another encoding, such as Latin-1"
        tool = "iconv -f UTF-16" if name == "UTF-16" else "iconv -f LATIN1"
        raise TaskError(
            f"{path}: not UTF-8 but {name} (byte 0x{error.object[error.start]:02x}); convert it, as with `{tool} -t UTF-8`."
        ) from None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without its byte-order mark.

    Raises:
        TaskError: for another encoding.
    """
    with _text_of(path) as file:
        return file.read()


def _json(path: Path, on_error: Callable[[TaskError], object] | None = None) -> Iterator[PlacedRow]:
    """One JSON object a line, or one list of objects."""
    with _text_of(path) as lines:
        first = next((line.strip() for line in lines if line.strip()), "")
    return _json_list(path) if first.startswith("[") else _json_lines(path, on_error)


def _value(text: str, where: str, cure: str) -> Any:
    try:
        with any_number_of_digits():
            return json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: not JSON ({json_reason(error)}); {cure}.") from None
    except RecursionError:
        raise TaskError(f"{where}: JSON that is nested too deeply to be read; leave it out.") from None


def _json_list(path: Path) -> Iterator[PlacedRow]:
    rows = _value(read_text(path), str(path), "write a list of objects, or one object a line")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise TaskError(f"{path}, row {index}: {show(row, 60)!r} is not a JSON object; write a list of objects.")
        yield f"{path}, row {index}", row


def _json_lines(path: Path, on_error: Callable[[TaskError], object] | None) -> Iterator[PlacedRow]:
    with _text_of(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = _object(line, where)
            except TaskError as error:
                if on_error is None:
                    raise
                on_error(error)
            else:
                yield where, row


def _object(line: str, where: str) -> Mapping[str, Any]:
    row = _value(line, where, "write one JSON object a line")
    if not isinstance(row, dict):
        raise TaskError(f"{where}: {line.strip()[:60]!r} is not a JSON object; write one JSON object a line.")
    return row


def _csv(path: Path) -> Iterator[PlacedRow]:
    """All cells are texts, and an empty cell is None; columns of lists hold JSON."""
    csv.field_size_limit(sys.maxsize)  # tests may be longer than the default limit of 128 KiB
    with _text_of(path, newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            for row in reader:
                yield f"{path}, line {reader.line_num}", {name: cell or None for name, cell in row.items() if name}
        except csv.Error as error:
            raise TaskError(f"{path}, line {reader.line_num}: not CSV ({error}); convert it again.") from None


def _parquet(path: Path) -> Iterator[PlacedRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise TaskError(f"{path}: not a Parquet file ({error}); convert it again.") from None
    index = 0
    for batch in file.iter_batches(batch_size=256):
        for row in batch.to_pylist():
            yield f"{path}, row {index}", row
            index += 1


_READERS = {".jsonl": _json, ".json": _json, ".parquet": _parquet, ".csv": _csv}


def _hub(source: str, split: str, name: str | None, revision: str | None, streaming: bool) -> Iterator[PlacedRow]:
    import datasets

    repository, _, tag = source.partition("@")
    if tag and revision and tag != revision:
        raise TaskError(f"dataset {source!r} with revision {revision!r}: two revisions; give one of them.")
    path, configuration = HUB_NAMES.get(repository, (repository, None))
    try:
        dataset = datasets.load_dataset(
            path, name or configuration, split=split, revision=revision or tag or None, streaming=streaming
        )
    except (FileNotFoundError, ConnectionError, ValueError, RuntimeError) as error:
        # `datasets` raises a RuntimeError if the dataset is a script, which it no longer runs.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if reason.startswith(("Unknown split", "Bad split")):
            raise TaskError(
                f"dataset {source!r} has no split {split!r} ({reason}); name a split that it has."
            ) from None
        if why := why_unreachable(error):
            raise TaskError(
                f"dataset {source!r} is no file here, is not in the cache, and {why}; check the name and the network, or give the "
                f"path of a file ({', '.join(_READERS)})."
            ) from None
        raise TaskError(
            f"dataset {source!r} (split {split!r}): {reason} Give the path of a file ({', '.join(_READERS)}), or a "
            "dataset name that the Hub has."
        ) from None
    for index, row in enumerate(dataset):
        yield f"{source}[{split}] row {index}", row
