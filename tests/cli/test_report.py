from __future__ import annotations

import json

import pytest

from tests.support.recorded_runs import RecordedRun
from trl_gift.cli.main import main


@pytest.fixture
def folder(tmp_path):
    return RecordedRun(rounds=1).write(tmp_path / "out")


def test_a_report_is_written_and_told(folder, tmp_path, capsys):
    assert main(["report", str(folder)]) == 0
    path = folder / "_gift/report.html"
    size = path.stat().st_size
    assert capsys.readouterr().out == f"{path}: {size / 1e3:.0f} kB, 36 samples\n"
    other = tmp_path / "other.html"
    assert main(["report", str(folder / "_gift"), "--output", str(other), "--max-samples", "20", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written.keys() == {"path", "bytes", "samples", "left_out"}
    assert (written["path"], written["bytes"]) == (str(other), other.stat().st_size)
    assert 0 < written["samples"] <= 20
    assert written["samples"] + written["left_out"] == 36


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], "absent holds no run"),
        (["OUT", "--output", "absent/x.html"], "absent/x.html: no such folder"),
        (["OUT", "--max-samples", "-1"], "--max-samples -1: must be at least 0"),
        (["OUT", "--max-sample", "1"], "did you mean --max-samples?"),
        ([], "OUT"),
    ],
)
def test_mistakes_are_one_line(folder, arguments, words, capsys):
    assert main(["report", *(str(folder) if item == "OUT" else item for item in arguments)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (folder / "_gift/report.html").exists()
