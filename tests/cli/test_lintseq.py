"""`trl-gift lintseq`: any instruction dataset in, edit sequences out; killed and resumed as never killed."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset

from tests.support.instructions import GOOD, ROWS
from trl_gift.cli.main import main
from trl_gift.lintseq import resolve


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    rows = [*ROWS, *({"instruction": str(number), "code": GOOD + f"x = {number}\n"} for number in range(20))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(capsys, *arguments):
    code = main(["lintseq", *map(str, arguments), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if code == 0 else printed.err


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_counts_add_up_and_every_row_is_there(source, tmp_path, capsys):
    code, answer = run(capsys, source, tmp_path / "out.jsonl", "--num_sequences", 2)
    assert code == 0
    seconds = answer.pop("seconds")
    assert seconds > 0
    assert answer == {
        "input": str(source), "output": str(tmp_path / "out.jsonl"), "column": "code", "into": "edits", "rows": 26, "programs": 23,
        "sequences": 46, "without_sequences": {"does not compile": 2, "is not text": 1}, "written": 49, "resumed_after": 0,
        "repository": None,
    }  # fmt: skip
    rows = rows_of(tmp_path / "out.jsonl")
    assert len(rows) == 49
    assert [row["instruction"] for row in rows if row["sequence"] == 0] == [
        row["instruction"] for row in rows_of(source)
    ]
    assert all(resolve(row["edits"]) for row in rows if row["num_edits"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_people_read_a_line_for_each_count(source, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert (
        main(["lintseq", str(source), str(out), "--num-sequences", "2", "--invalid", "drop", "--max-lines", "20"]) == 0
    )
    assert capsys.readouterr().out.splitlines() == [
        f"44 edit sequences of 22 programs, 44 rows in {out}.",
        "left out, the program does not compile: 2",
        "left out, the program is not text: 1",
        "left out, the program is too long: 1",
    ]


def test_processes_and_formats_make_no_difference(source, tmp_path, capsys):
    run(capsys, source, tmp_path / "one.jsonl")
    run(capsys, source, tmp_path / "two.jsonl", "--num_proc", 2)
    run(capsys, source, tmp_path / "three.parquet")
    Dataset.from_list(rows_of(source)).to_parquet(tmp_path / "in.parquet")
    run(capsys, tmp_path / "in.parquet", tmp_path / "four.jsonl")
    rows = rows_of(tmp_path / "one.jsonl")
    assert rows == rows_of(tmp_path / "two.jsonl") == rows_of(tmp_path / "four.jsonl")
    assert Dataset.from_parquet(str(tmp_path / "three.parquet"), cache_dir=str(tmp_path / "cache")).to_list() == rows


@pytest.mark.parametrize("torn", [0, 1, 20, 2000, 6000])
def test_killed_and_resumed_as_never_killed(source, tmp_path, capsys, monkeypatch, torn):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    run(capsys, source, whole)

    def killed(partial, output):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trl_gift.cli.lintseq._write", killed)
        assert main(["lintseq", str(source), str(out), "--json"]) == 130
    assert "--resume`" in capsys.readouterr().err
    partial = tmp_path / "out.jsonl.partial"
    kept = partial.read_bytes()
    header = kept.index(b"\n") + 1
    partial.write_bytes(kept[: max(len(kept) - torn, header)])
    code, message = run(capsys, source, out)
    assert code == 2
    assert "add --resume, or delete it" in message
    code, message = run(capsys, source, out, "--seed", 1, "--resume")
    assert code == 2
    assert "made with other options" in message
    code, answer = run(capsys, source, out, "--resume")
    assert code == 0
    assert answer["rows"] == 26
    assert answer["resumed_after"] < 26 or not torn
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.jsonl", "out.csv"], "OUTPUT out.csv: must end in .jsonl or .parquet."),
        (["in.jsonl", "no/out.jsonl"], "OUTPUT no/out.jsonl: no such folder; make it first."),
        (["in.jsonl", "in.jsonl"], "OUTPUT in.jsonl: exists; name another file, or delete it."),
        (["no.jsonl", "out.jsonl"], "no.jsonl: no such file; check the path."),
        (["empty.jsonl", "out.jsonl"], "empty.jsonl: no rows; check the file or the split."),
        (["latin.jsonl", "out.jsonl"], "not UTF-8 but another encoding, such as Latin-1"),
        (["binary.parquet", "out.jsonl"], "binary.parquet: not a Parquet file"),
        (["in.jsonl", "out.jsonl", "--column", "program"], "--column program: there is no such column; give --column with one of"),
        (["other.jsonl", "out.jsonl"], "no column is known to hold programs; give --column with one of text."),
        (["in.jsonl", "out.jsonl", "--num_sequences", "0"], "--num_sequences 0: must be at least 1."),
        (["in.jsonl", "out.jsonl", "--linter", "pylnt"], "did you mean pylint?"),
        (["in.jsonl", "out.jsonl", "--language", "java"], "there is one for python alone"),
        (["in.jsonl", "out.jsonl", "--num-seq", "3"], "--num-seq is not an option of `trl-gift lintseq`"),
        (["drop.jsonl", "out.parquet", "--invalid", "drop"], "no row is left"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(source, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "latin.jsonl").write_bytes('{"code": "x = \'é\'"}\n'.encode("latin-1"))
    (tmp_path / "binary.parquet").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "other.jsonl").write_text('{"text": "x = 1"}\n')
    (tmp_path / "drop.jsonl").write_text('{"code": "no Python here"}\n')
    assert main(["lintseq", *arguments]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trl-gift: ")]
    assert len(error) == 1
    assert message in error[0]


def test_a_column_that_json_cannot_hold_is_named(tmp_path, capsys):
    rows = [{"code": "x = 1", "picture": b"\x89PNG"}]
    Dataset.from_list(rows).to_parquet(tmp_path / "in.parquet")
    code, message = run(capsys, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    assert code == 2
    assert "row 0: a column holds what JSON cannot" in message
