"""`load_run`: the tables say what the records say, of runs that are finished, unfinished, damaged or not there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import trl_gift
from tests.support.recorded_runs import RecordedRun
from trl_gift.errors import ConfigError
from trl_gift.report import load_run
from trl_gift.sampling.store import read_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return RecordedRun().write(tmp_path_factory.mktemp("run") / "out")


def read(folder, name):
    return json.loads((folder / "_gift" / name).read_text())


def test_the_rounds_are_those_of_the_records(folder):
    run = trl_gift.load_run(folder)
    assert run.rounds["round"].tolist() == [1, 2]
    for number, row in zip((1, 2), run.rounds.to_dict("records"), strict=True):
        record = read(folder, f"round-{number}/metrics.json")
        for name in (
            "tasks",
            "solved_tasks",
            "samples",
            "passed",
            "distinct_programs",
            "tokens",
            "selected",
            "copied",
        ):
            assert row[name] == record[name]
        assert row["pass@1"] == record["metrics"]["pass@1"]
        assert row["measured_tasks"] == 6
        gain = record["gain"]
        assert (row["gain"], row["gain_low"], row["gain_high"]) == (gain["pass@1"], gain["low"], gain["high"])
        assert row["seconds_sampling"] == 61.5
        steps = run.steps[run.steps["round"] == number].drop(columns="round").to_dict("records")
        assert [step["solved_tasks"] for step in steps] == [step["solved_tasks"] for step in record["chain"]]
    assert run.base == read(folder, "base.json")["metrics"]
    assert (run.model, run.num_tasks, run.num_eval_tasks) == ("tiny/model", 4, 6)


def test_each_sample_is_a_row(folder):
    run = load_run(folder / "_gift")
    wanted = [sample for number in (1, 2) for sample in read_samples(folder / f"_gift/round-{number}")]
    rows = run.samples.to_dict("records")
    assert [row["sample_id"] for row in rows] == [sample.sample_id for sample in wanted]
    assert run.samples["passed"].sum() == sum(sample.passed for sample in wanted)
    for row, sample in zip(rows, wanted, strict=True):
        assert (row["task_id"], row["status"], row["num_tokens"]) == (sample.task_id, sample.status, 4)
        assert row["perplexity"] == pytest.approx(sample.perplexity)
    failed = next(row for row in rows if row["status"] == "failed")
    assert (failed["message"], failed["first_failure"]) == ("assert add(1, 2) == 3 [failed]", 0)
    drawn = run.selected.groupby("trained_round")["count"].sum()
    assert drawn.tolist() == run.rounds["selected"].tolist()


def test_attempts_of_the_base_model_with_and_without_its_programs(folder, tmp_path):
    without = RecordedRun(rounds=1, keeps_base=False).write(tmp_path / "out")
    for one, kept in ((folder, True), (without, False)):
        attempts = load_run(one).attempts
        assert set(attempts.groupby("round").size()) == {6}
        base = attempts[attempts["round"] == 0].set_index("task_id")
        assert base["code"].notna().all() == base["status"].notna().all() == kept
        assert base["passed"].to_dict() == read(one, "base.json")["greedy"]
    after = load_run(folder).attempts.query("round == 2").set_index("task_id")
    assert after["passed"].to_dict() == read(folder, "round-2/metrics.json")["greedy"]
    failed = after[~after["passed"]].iloc[0]
    assert (failed["message"], failed["failing_test"]) == ("assert add(1, 2) == 3 [failed]", "assert one() == 1")


def test_an_unfinished_run_has_the_figures_that_exist(tmp_path):
    folder = RecordedRun(rounds=2).write(tmp_path / "out")
    second = folder / "_gift/round-2"
    for name in ("metrics.json", "evaluation.json", "selection.parquet", "samples.parquet"):
        (second / name).unlink()
    lines = (second / "samples-0.jsonl").read_bytes()
    (second / "samples-0.jsonl").write_bytes(lines[: len(lines) - 20])
    run = load_run(folder)
    assert run.rounds["round"].tolist() == [1]
    assert (run.samples["round"] == 2).sum() == 35, "the torn last line is no sample"
    assert repr(run).endswith("1 of 2 rounds)")
    first = folder / "_gift/round-1"
    for path in [*first.iterdir(), *second.iterdir(), folder / "_gift/base.json"]:
        path.unlink()
    empty = load_run(folder)
    assert (
        len(empty.rounds) == len(empty.samples) == len(empty.attempts) == len(empty.selected) == len(empty.steps) == 0
    )
    assert {"round", "task_id", "code"} <= set(empty.samples.columns)
    assert "0 of 2 rounds" in empty._repr_html_()


def test_folders_that_hold_no_run_and_runs_of_other_versions(tmp_path):
    for given in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match=r"holds no run \(it has no _gift/run.json\)"):
            load_run(given)
    folder = RecordedRun(rounds=1).write(tmp_path / "out")
    path = folder / "_gift/run.json"
    record = json.loads(path.read_text())
    for schema in (2, 99, None):
        path.write_text(json.dumps(record | {"schema": schema}))
        with pytest.raises(ConfigError, match=rf"{folder}.*schema {schema} and this version reads 3.*trl_gift 0\."):
            load_run(folder)
    path.write_text('{"schema": 3,')
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        load_run(folder)


@pytest.mark.parametrize("damage", ["another schema", "a line that is not JSON", "a Parquet file that is none"])
def test_samples_that_cannot_be_read_are_told_in_one_line(tmp_path, damage):
    folder = RecordedRun(rounds=1).write(tmp_path / "out")
    first = folder / "_gift/round-1"
    if damage == "a Parquet file that is none":
        (first / "samples.parquet").write_bytes(b"nothing")
    else:
        (first / "samples.parquet").unlink()
        lines = (first / "samples-0.jsonl").read_text().splitlines(keepends=True)
        lines[0] = "{\n" if damage.startswith("a line") else lines[0].replace('"schema": 5', '"schema": 4')
        (first / "samples-0.jsonl").write_text("".join(lines))
    with pytest.raises(ConfigError, match="round-1 cannot be read") as raised:
        load_run(folder).samples
    assert "\n" not in str(raised.value)


def test_the_notebook_shows_the_rounds_and_escapes_names(tmp_path):
    folder = RecordedRun(rounds=1).write(tmp_path / "out")
    path = folder / "_gift/run.json"
    path.write_text(path.read_text().replace("tiny/model", "<img src=x onerror=alert(1)>"))
    html = load_run(folder)._repr_html_()
    assert "<img" not in html
    assert "&lt;img" in html
    record = read(folder, "round-1/metrics.json")
    assert f"{record['solved_tasks']} of 4" in html
    assert f"{100 * record['metrics']['pass@1']:.1f} %" in html


def test_reading_a_run_loads_neither_torch_nor_transformers(folder, tmp_path):
    code = (
        "import sys, trl_gift; run = trl_gift.load_run(sys.argv[1]); run._repr_html_(); run.samples; run.attempts; "
        "from trl_gift.report import write_report; write_report(run, sys.argv[2]); "
        "assert not {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, folder, tmp_path / "report.html"], check=True)
