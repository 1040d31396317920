"""`load_tasks`: a Hub name, a local file, or a dataset in memory, as a list of tasks.

No row is skipped silently: the first row that is not a valid task raises an error. With `skip_invalid=True` such rows are
left out, and their number and the first reason are logged.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_gift.common.words import plural
from trl_gift.errors import ConfigError, TaskError
from trl_gift.sandbox import ToolchainMissing, languages
from trl_gift.sandbox.digits import any_number_of_digits
from trl_gift.tasks.comparison import Comparison, compared_by, parse_comparison
from trl_gift.tasks.filters import Candidate, Filter, as_filter
from trl_gift.tasks.formats import Format, recognise
from trl_gift.tasks.sources import (
    BYTE_ORDER_MARK,
    ONLY_SPLIT,
    PlacedRow,
    as_rows,
    numbered,
    placed_rows,
    read_text,
    what,
)
from trl_gift.tasks.task import Task, bad, untested, with_checker
from trl_gift.tasks.unknown import explain, refuse_similar_names

if TYPE_CHECKING:
    import datasets

_UNTESTED_COLUMNS = {"task_id", "description"}
_logger = logging.getLogger(__name__)


def load_tasks(
    source: str | Path | datasets.Dataset | Mapping[str, Any] | Iterable[Mapping[str, Any]],
    split: str | None = "train",
    name: str | None = None,
    limit: int | None = None,
    filter: str | Filter | None = None,
    *,
    revision: str | None = None,
    streaming: bool = False,
    skip_invalid: bool = False,
    require_tests: bool = True,
    column_mapping: Mapping[str, str] | None = None,
    output_comparison: str | None = None,
    language_file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    require_tools: bool = True,
    on_skipped: Callable[[str], object] | None = None,
    on_task: Callable[[str, str], object] | None = None,
) -> list[Task]:
    """Tasks from a dataset whose columns are known.

    Args:
        source: A path to a `.jsonl`, `.json`, `.parquet` or `.csv` file; a dataset name on the Hub, or
            `name@revision`; a `datasets.Dataset`, `IterableDataset` or `DatasetDict`; a pandas `DataFrame`; rows; or a mapping
            of columns.
        split: The split of a Hub dataset, of a folder of files or of a `DatasetDict`; None means "train". A file or rows
            have only the split "train", and another one is refused.
        name: The configuration of a Hub dataset.
        limit: Take at most this many of the tasks that pass the filter; None takes all.
        filter: An expression such as `'difficulty == "easy" and len(tests) >= 3'` over the columns of the row and the
            fields of the task, or a function of such a mapping (see `trl_gift.tasks.filters`).
        revision: Branch, tag or commit of a Hub dataset.
        streaming: Read a Hub dataset row by row instead of downloading it; `limit` then also limits what is read.
        skip_invalid: Leave out rows that are not valid tasks, and repeated `task_id`s, instead of raising an error.
        require_tests: Whether rows in the canonical columns without `tests` are refused; only a run with `verify=False`
            accepts such tasks.
        column_mapping: Your names of columns, each with the name that it is read under, such as
            `{"question": "description"}`.
        output_comparison: How printed output is compared, instead of the rule of the set: a rule of `StdioTests` such as
            `"tokens"`, with a tolerance for decimal numbers as in `"lines:1e-6"`. A row's own `checker` still decides.
        language_file: Your own file of a language, or several ([other languages](sandbox.md#other-languages)); the sandboxes
            of this process then run it, too.
        require_tools: Whether tasks in a language whose compiler or interpreter is not installed here are refused. Give
            False where the programs run on another machine.
        on_skipped: Called with the reason for each row that `skip_invalid` leaves out; the reason names the row.
        on_task: Called with the name of each task and the place of its row, such as "tasks.jsonl, line 3".

    Returns:
        The tasks, in the order of the rows.

    Raises:
        TaskError: if the source is absent or empty, lacks the split, has unknown columns, or holds a malformed row or the
            same `task_id` twice; the message names the place, the value and the fix.
        ConfigError: for a filter that cannot be parsed, a limit below 1, an unknown `output_comparison`, or a language file
            with a mistake.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit!r} is out of range; take at least 1 task, or leave it out for all.")
    try:
        for own in [language_file] if isinstance(language_file, str | os.PathLike) else language_file:
            languages.add_language_file(own)
    except languages.LanguageFileError as error:
        raise ConfigError(str(error)) from None
    keep = as_filter(filter)
    comparison = parse_comparison(output_comparison) if output_comparison is not None else None
    unreadable: list[TaskError] = []
    rows = placed_rows(source, split, name, revision, streaming, unreadable.append if skip_invalid else None)
    if column_mapping:
        rows = _renamed(rows, column_mapping)
    if isinstance(source, str | Path) and (path := Path(source).expanduser()).is_file():
        rows = _with_test_files(rows, path.parent)
    tasks = _tasks(
        _candidates(rows, require_tests),
        what(source),
        keep,
        limit,
        skip_invalid,
        unreadable,
        on_skipped,
        require_tools=require_tools,
        on_task=on_task,
    )
    return tasks if comparison is None else [_compared_by(task, comparison) for task in tasks]


def tasks_from_rows(
    rows: str | os.PathLike[str] | Iterable[Task | Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    what: str = "the dataset",
    require_tests: bool = True,
    split: str = ONLY_SPLIT,
) -> list[Task]:
    """Tasks from a trainer's dataset.

    Args:
        rows: Tasks; rows in a known format, also as a `datasets.Dataset`, a pandas `DataFrame` or a mapping of columns; a file,
            or the name of a dataset on the Hub, as for `load_tasks`.
        what: The name of the dataset in error messages.
        require_tests: As in `load_tasks`.
        split: The split of a dataset on the Hub.

    Raises:
        TaskError: as `load_tasks`; also for a dictionary of splits, because the trainer cannot choose one, and for what
            is not a sequence.
    """
    if isinstance(rows, Task):
        raise TaskError(f"{what} is one Task; give a list, such as [task].")
    if isinstance(rows, str | os.PathLike):
        is_file = Path(rows).expanduser().is_file()
        return load_tasks(os.fspath(rows), None if is_file else split, require_tests=require_tests)
    if not isinstance(rows, Iterable):
        raise TaskError(f"{what} is {rows!r}, not a sequence of tasks; give the result of load_tasks, or rows.")
    given: Any = as_rows(rows, what)
    if isinstance(given, Mapping) and not given:
        raise TaskError(f"{what} is an empty dictionary; give the result of load_tasks, or rows.")
    if isinstance(given, Mapping):
        splits = ", ".join(map(repr, given))
        raise TaskError(
            f"{what} is a dictionary with {splits}; give one of them, such as dataset[{next(iter(given))!r}]."
        )
    items = list(given)
    if items and all(isinstance(item, Task) for item in items):
        tasks = [item for item in items if isinstance(item, Task)]
        _refuse_duplicates(tasks, what)
        for task in tasks if require_tests else ():
            if task.tests is None:
                raise untested(f"{what}, task {task.task_id!r}")
        return tasks
    return _tasks(
        _candidates(numbered(items, f"{what}, row"), require_tests), what, as_filter(None), None, skip_invalid=False
    )


def is_task_sets(given: object) -> bool:
    """Whether a dataset is several sets of tasks by name, `{"mbpp": ..., "humaneval": ...}`, and not columns."""
    return isinstance(given, Mapping) and len(given) > 0 and as_rows(given) is given


def task_sets(given: Any, what: str = "eval_dataset", split: str = "test") -> dict[str, list[Task]]:
    """The evaluation tasks of a trainer: one set, which has the empty name, or several by name.

    Args:
        given: What `tasks_from_rows` takes, or a dictionary of that.
        what: The name of the argument in error messages.
        split: The split of a dataset on the Hub.

    Raises:
        TaskError: as `tasks_from_rows`; also for a `DatasetDict`, whose splits for training are no evaluation tasks.
    """
    loaded = sys.modules.get("datasets")  # whoever has a DatasetDict has imported it
    is_splits = loaded is not None and isinstance(given, loaded.DatasetDict)
    if is_splits or not is_task_sets(given):
        return {"": tasks_from_rows(given, what, split=split)}
    return {str(name): tasks_from_rows(rows, f"{what}[{name!r}]", split=split) for name, rows in given.items()}


def filter_tasks(tasks: Iterable[Task], filter: str | Filter | None, limit: int | None = None) -> list[Task]:
    """The tasks that pass a filter of their fields, at most `limit` of them.

    Raises:
        ConfigError: for a filter that cannot be parsed or evaluated.
    """
    keep = as_filter(filter)
    return [task for task in tasks if keep(Candidate(_returning(task), {}, f"task {task.task_id!r}"))][:limit]


def _compared_by(task: Task, comparison: Comparison) -> Task:
    tests, hidden = (compared_by(suite, comparison) for suite in (task.tests, task.hidden_tests))
    readings = tuple(replace(reading, tests=compared_by(reading.tests, comparison)) for reading in task.readings)
    return replace(task, tests=tests, hidden_tests=hidden, readings=readings)


def _renamed(rows: Iterable[PlacedRow], names: Mapping[str, str]) -> Iterator[PlacedRow]:
    for where, row in rows:
        absent = [name for name in names if name not in row]
        if absent:
            raise TaskError(
                f"{where}: column_mapping names {absent[0]!r}, and the row has {', '.join(map(repr, row))}; name one of these."
            )
        others = {name: value for name, value in row.items() if name not in names and name not in names.values()}
        yield where, {**others, **{names[name]: row[name] for name in names}}


def _with_test_files(rows: Iterable[PlacedRow], folder: Path) -> Iterator[PlacedRow]:
    """Rows of a data file with the text of each test file that they name; the file must lie in the data file's folder."""
    for where, row in rows:
        texts = {}
        for field in ("tests", "hidden_tests"):
            value = row.get(field)
            if isinstance(value, str) and value.strip().endswith(".py") and "\n" not in value.strip():
                path = (folder / value.strip()).resolve()
                if not path.is_relative_to(folder.resolve()) or not path.is_file():
                    raise bad(where, field, value, f"no such file in {folder}; give its path from there, or its text")
                texts[field] = read_text(path)
        yield where, {**row, **texts}


def _candidates(rows: Iterable[PlacedRow], require_tests: bool) -> Iterator[Candidate]:
    known: Format | None = None
    for where, row in rows:
        if not require_tests and row.keys() >= _UNTESTED_COLUMNS and row.get("tests") is None:
            yield Candidate(partial(Task.from_row, row, where, require_tests=False), row, where)
            continue
        # Only some rows of a set may name their task.
        if known is None or not known.columns <= row.keys() or ("task_id" in row) != ("task_id" in known.columns):
            known = recognise(row)
        yield Candidate(_reading(known, row, where, require_tests), row, where)


def _reading(known: Format | None, row: Mapping[str, Any], where: str, require_tests: bool) -> Callable[[], Task]:
    def read() -> Task:
        if known is None:
            raise TaskError(f"{where}: columns {sorted(row)} do not match a known format: {explain(row)}.")
        if known.name.startswith("canonical"):
            refuse_similar_names(row, where)
        try:
            with any_number_of_digits():
                plain = {name: _without_mark(value) for name, value in row.items()}
                task = known.read(plain, where)
                if task.tests is None and require_tests:
                    raise untested(where)
                return with_checker(task, plain.get("checker"), where)
        except TaskError:
            raise
        except RecursionError:
            raise TaskError(f"{where} ({known.name}): nested too deeply to be read; leave the row out.") from None
        except ValueError as error:
            # The test classes refuse some values when they are built; their messages name the value and the fix.
            raise TaskError(f"{where} ({known.name}): {error}.") from error

    return read


def _without_mark(value: Any) -> Any:
    """A text, or a list of texts, without the byte-order mark that files of Windows begin with."""
    if isinstance(value, str):
        return value.removeprefix(BYTE_ORDER_MARK)
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [_without_mark(item) for item in value]
    return value


def _returning(task: Task) -> Callable[[], Task]:
    return lambda: task


def _tasks(
    candidates: Iterable[Candidate],
    what: str,
    keep: Callable[[Candidate], bool],
    limit: int | None,
    skip_invalid: bool,
    unreadable: Sequence[TaskError] = (),
    on_skipped: Callable[[str], object] | None = None,
    require_tools: bool = False,
    on_task: Callable[[str, str], object] | None = None,
) -> list[Task]:
    tasks: dict[str, Task] = {}
    skipped: list[str] = []
    seen = 0
    for candidate in candidates:
        seen += 1
        try:
            if not keep(candidate):
                continue
            task = candidate.task
            if require_tools:
                _check_tools(task, candidate.where)
            if task.task_id in tasks:
                raise TaskError(f"{what}: task_id {task.task_id!r} occurs twice; make every task_id unique.")
        except TaskError as error:
            if not skip_invalid:
                raise
            skipped.append(str(error))
            continue
        tasks[task.task_id] = task
        if on_task is not None:
            on_task(task.task_id, candidate.where)
        if limit is not None and len(tasks) >= limit:
            break
    skipped = [*map(str, unreadable), *skipped]  # it has grown while the rows were read
    seen += len(unreadable)
    if on_skipped is not None:
        for reason in skipped:
            on_skipped(reason)
    if skipped:
        _logger.warning(
            "%s: %d of %s left out; the first error: %s", what, len(skipped), plural(seen, "row"), skipped[0]
        )
    together = [task for task in tasks.values() if task.tests is not None and task.tests.in_one_process]
    if together:
        _logger.warning(
            "%s: the tests of %d of %s run in the program's own process, because they are code in another language, or "
            "classes, mocks, files and functions do not cross between processes; a program could forge such a verdict, and its "
            "outcome says trusted=False. The first is task %r.",
            what, len(together), plural(len(tasks), "task"), together[0].task_id,
        )  # fmt: skip
    if not tasks and skipped:
        raise TaskError(f"{what}: none of {plural(seen, 'row')} is a valid task; the first error: {skipped[0]}")
    if not tasks and seen:
        raise TaskError(f"{what}: none of {plural(seen, 'row')} passes the filter; widen it.")
    if not tasks:
        raise TaskError(f"{what} holds no tasks; give at least one row.")
    return list(tasks.values())


def _check_tools(task: Task, where: str) -> None:
    try:
        languages.require(task.language)
    except ToolchainMissing as error:
        raise bad(where, "language", task.language, str(error)) from None


def _refuse_duplicates(tasks: list[Task], what: str) -> None:
    seen: set[str] = set()
    for task in tasks:
        if task.task_id in seen:
            raise TaskError(f"{what}: task_id {task.task_id!r} occurs twice; make every task_id unique.")
        seen.add(task.task_id)
