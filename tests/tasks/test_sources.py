"""Where rows come from: files of every kind, `datasets` objects, streams that are read no further than needed."""

from __future__ import annotations

import csv
import json

import datasets
import pytest

from tests.support import rows
from trl_gift import load_tasks
from trl_gift.errors import TaskError
from trl_gift.tasks import tasks_from_rows

ROWS = [rows.HUMANEVAL | {"task_id": f"h/{number}"} for number in range(4)]
IDS = [row["task_id"] for row in ROWS]


def ids(*arguments, **keywords):
    return [task.task_id for task in load_tasks(*arguments, **keywords)]


def test_every_kind_of_file(tmp_path):
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "list.json").write_text(json.dumps(ROWS, indent=1))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    datasets.Dataset.from_list(ROWS).to_parquet(tmp_path / "table.parquet")
    expected = load_tasks(ROWS)
    for name in ("lines.json", "list.json", "table.csv", "table.parquet"):
        assert load_tasks(tmp_path / name) == expected, name


def test_lists_in_csv_cells_are_json(tmp_path):
    row = {"task_id": "a", "description": "Add.", "signature": "def add(a, b):", "tests": '["assert add(1, 2) == 3"]'}
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*row, "reference"])
        writer.writeheader()
        writer.writerow(row | {"reference": ""})
    (task,) = load_tasks(tmp_path / "t.csv")
    assert task.tests.num_tests == 1
    assert task.reference is None


def test_mistakes_in_files(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(TaskError, match=r"list\.json, row 0: '1' is not a JSON object"):
        load_tasks(tmp_path / "list.json")
    (tmp_path / "list.json").write_text("[{]")
    with pytest.raises(TaskError, match="not JSON"):
        load_tasks(tmp_path / "list.json")
    with pytest.raises(TaskError, match="row 0: '3' is not a row"):
        load_tasks([3])


def test_datasets_objects():
    dataset = datasets.Dataset.from_list(ROWS)
    assert ids(dataset) == IDS
    both = datasets.DatasetDict({"train": dataset.select([0]), "test": dataset.select([1, 2])})
    assert ids(both) == IDS[:1]
    assert ids(both, split="test") == IDS[1:3]
    with pytest.raises(TaskError, match="split 'dev': the dataset has 'train', 'test'"):
        load_tasks(both, split="dev")


def test_a_split_that_a_source_does_not_have_is_refused(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    assert ids(path) == ids(path, split="train") == ids(path, split=None) == IDS
    with pytest.raises(
        TaskError, match=r"split 'tset': .*tasks\.jsonl is a file, which has only the split 'train'; leave"
    ):
        load_tasks(path, split="tset")
    with pytest.raises(TaskError, match="split 'tset': the dataset is one split already"):
        load_tasks(ROWS, split="tset")
    named = datasets.load_dataset("json", data_files={"dev": str(path)}, split="dev")
    assert ids(named, split="dev") == ids(named) == ids(named, split=None) == IDS
    with pytest.raises(TaskError, match="split 'tset'"):
        load_tasks(named, split="tset")
    both = datasets.DatasetDict({"train": named.select([0]), "test": named.select([1, 2])})
    assert ids(both, split=None) == IDS[:1]
    with pytest.raises(TaskError, match=r"has no split 'tset' \(Unknown split .* name a split that it has"):
        load_tasks(str(tmp_path), split="tset")
    with pytest.raises(TaskError, match=r"has no split 'tset' \(Bad split"):
        load_tasks(str(tmp_path), split="tset", streaming=True)


def test_a_trainer_takes_one_split_of_rows_or_tasks():
    dataset = datasets.Dataset.from_list(ROWS)
    tasks = tasks_from_rows(dataset, "train_dataset")
    assert tasks == load_tasks(dataset) == tasks_from_rows(tasks)
    with pytest.raises(TaskError, match=r"train_dataset is a dictionary with 'train'; .* dataset\['train'\]"):
        tasks_from_rows(datasets.DatasetDict({"train": dataset}), "train_dataset")
    with pytest.raises(TaskError, match=r"train_dataset, row 4: .* is not a row"):
        tasks_from_rows([*ROWS, tasks[0]], "train_dataset")


def test_a_trainer_takes_files_frames_and_columns(tmp_path):
    import pandas

    row = {
        "task_id": "a", "description": "Add.", "signature": "def add(a, b):",
        "tests": {"entry_point": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]},
    }  # fmt: skip
    rows = [row, row | {"task_id": "b", "reference": "def add(a, b): return a + b"}]
    tasks = tasks_from_rows(rows)
    frame = pandas.DataFrame(rows)  # a cell without a value is NaN
    frame.to_parquet(tmp_path / "tasks.parquet")
    arrays = pandas.read_parquet(tmp_path / "tasks.parquet")  # and lists are arrays
    assert tasks_from_rows(frame) == tasks_from_rows(arrays) == load_tasks(frame) == tasks
    columns = {name: [row.get(name) for row in rows] for name in rows[1]}
    assert tasks_from_rows(columns) == load_tasks(columns) == tasks
    for place in (tmp_path / "tasks.parquet", str(tmp_path / "tasks.parquet")):
        assert tasks_from_rows(place, split="test") == tasks


def test_a_trainer_s_hub_dataset_has_a_split(monkeypatch):
    asked = []
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *args, **kwargs: asked.append((*args, kwargs["split"])) or ROWS
    )
    assert tasks_from_rows("someone/tasks") == tasks_from_rows("someone/tasks", split="test")
    assert asked == [("someone/tasks", None, "train"), ("someone/tasks", None, "test")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.jsonl", r"missing\.jsonl: no such file; check the path"),
        (
            {"task_id": ["a"], "tests": []},
            r"dictionary of columns of different lengths \('task_id': 1, 'tests': 0\); give",
        ),
        ({"train": ROWS}, r"a dictionary with 'train'; give one of them"),
        (7, "train_dataset is 7, not a sequence of tasks"),
    ],
)
def test_mistakes_in_what_a_trainer_is_given(given, message):
    with pytest.raises(TaskError, match=message):
        tasks_from_rows(given, "train_dataset")


def test_a_stream_is_read_no_further_than_needed():
    read = []

    def stream():
        for row in ROWS:
            read.append(row["task_id"])
            yield row

    assert ids(datasets.IterableDataset.from_generator(stream), limit=2) == IDS[:2]
    assert read == IDS[:2]


def test_a_folder_of_files_is_loaded_as_the_hub_would_be(tmp_path):
    for split, some in (("train", ROWS[:1]), ("test", ROWS[1:])):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, some)))
    assert ids(str(tmp_path), split="test") == IDS[1:]
    assert ids(str(tmp_path), split="test", streaming=True, limit=2) == IDS[1:3]


def test_hub_names_revisions_and_configurations(monkeypatch):
    calls = []

    def load_dataset(*arguments, **keywords):
        calls.append((arguments, keywords))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    common = {"split": "train", "streaming": False}
    assert ids("someone/tasks@v2", name="small") == IDS
    assert ids("mbpp", revision="abc", streaming=True, split="test") == IDS
    assert calls == [
        (("someone/tasks", "small"), common | {"revision": "v2"}),
        (("google-research-datasets/mbpp", "full"), {"split": "test", "streaming": True, "revision": "abc"}),
    ]
    with pytest.raises(TaskError, match="two revisions"):
        load_tasks("someone/tasks@v2", revision="v3")


def test_an_absent_dataset_is_one_line(monkeypatch):
    def load_dataset(*arguments, **keywords):
        raise RuntimeError("Dataset scripts are no longer supported, but found x.py\nmore")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(TaskError) as caught:
        load_tasks("someone/tasks")
    assert "no longer supported" in str(caught.value)
    assert "\n" not in str(caught.value)


ROW = {"task_id": "a", "description": "Größe", "signature": "def add(a, b):", "tests": '["assert add(1, 2) == 3"]'}


def written(path, encoding):
    """A file of one row, in the form that its name says."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, list(ROW))
            writer.writeheader()
            writer.writerow(ROW)
    else:
        text = json.dumps(ROW, ensure_ascii=False)
        path.write_text(f"[{text}]" if path.suffix == ".json" else text, encoding=encoding)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_encodings(tmp_path, suffix):
    assert load_tasks(written(tmp_path / f"mark{suffix}", "utf-8-sig")) == load_tasks([ROW])
    for encoding, name in (("latin-1", "another encoding, such as Latin-1"), ("utf-16", "UTF-16")):
        path = written(tmp_path / f"{encoding}{suffix}", encoding)
        with pytest.raises(
            TaskError, match=rf"{encoding}{suffix}: not UTF-8 but {name} \(byte 0x..\); convert it"
        ) as caught:
            load_tasks(path)
        assert "\n" not in str(caught.value)


def test_a_test_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "tests.py").write_text("def test_add():\n    assert add(1, 2) == 3\n", encoding="utf-8-sig")
    (tmp_path / "rows.jsonl").write_text(json.dumps({**ROW, "tests": "tests.py"}))
    assert load_tasks(tmp_path / "rows.jsonl")[0].tests.num_tests == 1


def test_json_that_is_nested_too_deeply_is_one_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text("[" * 200_000)
    with pytest.raises(TaskError, match="nested too deeply to be read"):
        load_tasks(tmp_path / "rows.jsonl")


def test_rows_in_the_formats_of_datasets_and_their_libraries():
    import numpy
    import torch

    tests = {"entry_point": "f", "inputs": [[[1, 2]], [[3, 4]]], "outputs": [1, 3]}
    row = {"task_id": 7, "description": "d", "signature": "def f(x):", "tests": tests}
    dataset = datasets.Dataset.from_list([row])
    expected = load_tasks([row])
    for name in (None, "numpy", "torch", "pandas", "arrow"):
        assert load_tasks(dataset.with_format(name)) == tasks_from_rows(dataset.with_format(name)) == expected, name
        assert load_tasks(dataset.to_iterable_dataset().with_format(name)) == expected, name
    renamed = dataset.with_transform(lambda batch: {**batch, "task_id": ["8"]})
    assert load_tasks(renamed)[0].task_id == "8"
    arrays = {"entry_point": "f", "inputs": [[numpy.array([1, 2])], [[torch.tensor(3), numpy.int64(4)]]]}
    mixed = {**row, "task_id": numpy.int32(7), "tests": {**arrays, "outputs": torch.tensor([1, 3])}}
    assert load_tasks([mixed]) == expected


def test_tuples_of_rows_in_memory_stay_tuples():
    row = {"task_id": 1, "description": "d", "signature": "def f(x):"}
    (task,) = load_tasks([{**row, "tests": {"entry_point": "f", "inputs": [[(1, 2)]], "outputs": [(1, (2,))]}}])
    assert (task.tests.cases[0].args, task.tests.cases[0].expected) == (((1, 2),), (1, (2,)))


def test_lines_that_cannot_be_read_are_left_out_and_counted_on_demand(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join([json.dumps(ROW), '{"task_id": "torn', "[" * 100_000, "3", json.dumps({**ROW, "task_id": "b"})])
    )
    with pytest.raises(TaskError, match=r"rows.jsonl, line 2: not JSON"):
        load_tasks(path)
    assert ids(path, skip_invalid=True) == ["a", "b"]
    assert "3 of 5 rows left out; the first error:" in caplog.text
    assert "line 2: not JSON" in caplog.text


def test_the_playground_is_a_name_of_the_command_line():
    with pytest.raises(
        TaskError, match=r"in Python, trl_gift.playground.playground_tasks\('train'\) returns its tasks"
    ):
        load_tasks("playground")
