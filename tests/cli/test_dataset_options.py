"""What the commands make of a dataset: filters, limits, decontamination; and mistakes in one line."""

from __future__ import annotations

import json

import pytest

from tests.support import rows
from trl_gift.cli.main import main
from trl_gift.playground import playground_tasks

SMALL = [
    "--model_name_or_path", "playground", "--num_steps", "1", "--num_generations", "1", "--max_completion_length", "48",
    "--use_cpu", "true", "--bf16", "false", "--gradient_checkpointing", "false", "--report_to", "none",
    "--disable_tqdm", "true", "--sandbox_workers", "1",
]  # fmt: skip


@pytest.fixture
def seeds(tmp_path):
    """Six seeds, two of which are in the held-out file too, one of them in other words for the same code."""
    tasks = [task.to_row() for task in playground_tasks("train", 6, with_reference=True)]
    path = tmp_path / "seeds.jsonl"
    path.write_text("\n".join(json.dumps(row | {"level": number}) for number, row in enumerate(tasks)))
    heldout = [
        tasks[1] | {"task_id": "h/1", "reference": None},
        tasks[2] | {"task_id": "h/2", "description": "Other."},
    ]
    (tmp_path / "heldout.jsonl").write_text("\n".join(map(json.dumps, heldout)))
    return tasks


def test_seeds_are_filtered_decontaminated_and_recorded(tmp_path, seeds, capsys):
    from trl_gift.tasks import fingerprint, tasks_from_rows

    arguments = [
        "--dataset_name", str(tmp_path / "seeds.jsonl"), "--filter", "level < 4 and len(tests) >= 3",
        "--eval_dataset_name", str(tmp_path / "heldout.jsonl"), "--output_dir", str(tmp_path / "out"), *SMALL,
    ]  # fmt: skip
    assert main(["sample", *arguments]) == 0
    output = capsys.readouterr()
    ids = [row["task_id"] for row in seeds]
    line = f"2 of 4 training tasks overlap and are left out: 2 with evaluation tasks ({ids[1]} ~ h/1, {ids[2]} ~ h/2)."
    assert line in output.out + output.err
    root = tmp_path / "out/_gift"
    record = json.loads((root / "decontamination.json").read_text())
    assert record["kept"] == 2
    assert [(item["task_id"], item["reason"]) for item in record["removed"]] == [
        (ids[1], "description"),
        (ids[2], "code"),
    ]
    run = json.loads((root / "run.json").read_text())
    assert run["tasks"] == {"count": 2, "fingerprint": fingerprint(tasks_from_rows([seeds[0], seeds[3]]))}
    assert main(["sample", *arguments, "--resume"]) == 0
    # Other seeds are another run; the option that made them others is named.
    capsys.readouterr()
    assert main(["sample", *arguments, "--resume", "--decontaminate", "false"]) == 2
    assert "--decontaminate was True and is now False; put it back" in capsys.readouterr().err


MISTAKES = [
    (["--filter", "level >"], "filter 'level >' is not an expression"),
    (["--filter", "__import__('os')"], "cannot be used; a filter accepts comparisons"),
    (
        ["--filter", "lefel == 1"],
        "seeds.jsonl, line 1: filter 'lefel == 1': 'lefel' is neither a column nor a field; use one of description",
    ),
    (["--filter", "level > 9"], "seeds.jsonl: none of 6 rows passes the filter"),
    (["--limit", "0"], "--limit 0 is out of range"),
    (["--eval_dataset_name", "seeds.jsonl"], "each of the training tasks (6) overlaps with evaluation tasks"),
    (["--eval_dataset_name", "seeds.jsonl"], "evaluate on other tasks, or set --decontaminate false"),
    (["--decontaminate_against", "absent.jsonl"], "absent.jsonl: no such file"),
    (["--decontamination_threshold", "2"], "--decontamination_threshold 2.0 is out of range"),
    (["--near_duplicate_threshold", "0"], "--near_duplicate_threshold 0.0 is out of range"),
    (
        ["--dataset_name", "no-format.jsonl"],
        "columns ['answer'] do not match a known format: none is near; give each row a 'description' and 'tests'",
    ),
    (["--dataset_name", "broken.jsonl", "--skip_invalid", "true"], "none of 1 row is a valid task"),
]


@pytest.mark.parametrize(("extra", "message"), MISTAKES, ids=lambda value: str(value)[:50])
def test_mistakes_are_one_line(tmp_path, seeds, capsys, monkeypatch, extra, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-format.jsonl").write_text('{"answer": 1}')
    (tmp_path / "broken.jsonl").write_text(json.dumps(rows.APPS_STDIN | {"input_output": ""}))
    name = [] if "--dataset_name" in extra else ["--dataset_name", "seeds.jsonl"]
    assert main(["train", *name, "--output_dir", "out", *SMALL, *extra]) == 2
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("trl-gift: ")]
    assert message in line
    assert not (tmp_path / "out/_gift").exists()


def test_a_run_file_may_name_one_benchmark_without_brackets(tmp_path, seeds, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("decontaminate_against: absent.jsonl\n")
    arguments = ["--dataset_name", str(tmp_path / "seeds.jsonl"), "--output_dir", str(tmp_path / "out"), *SMALL]
    assert main(["train", "--config", str(path), *arguments]) == 2
    assert "absent.jsonl: no such file" in capsys.readouterr().err


def test_validate_takes_the_same_filters(tmp_path, seeds, capsys):
    path = str(tmp_path / "seeds.jsonl")
    assert main(["validate", path, "--filter", "level == 2", "--json", "--workers", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == 1


def test_validate_reads_own_columns_and_lists_the_rows_that_it_leaves_out(tmp_path, capsys):
    rows = [
        {"task_id": "a", "question": "Add.", "signature": "def f(a, b):", "tests": ["assert f(1, 2) == 3"]},
        {"task_id": "b", "question": "Nothing.", "signature": "def f(a, b):", "tests": []},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ["--column_mapping", '{"question": "description"}', "--skip-invalid", "--workers", "1"]
    assert main(["validate", str(path), *own, "--json", "--report", str(tmp_path / "report.json")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["tasks"], record["valid"]) == (1, 1)
    (reason,) = record["skipped"]
    assert reason.startswith(f"{path}, line 2: field 'tests': []: any program would pass an empty list")
    assert json.loads((tmp_path / "report.json").read_text()) == record
    assert main(["validate", str(path), *own]) == 0
    assert f"left out, because they are not valid tasks (1):\n  {reason}" in capsys.readouterr().out
    assert main(["validate", str(path), "--column_mapping", "question"]) == 2
    assert "--column_mapping question is not JSON (Expecting value, column 1)" in capsys.readouterr().err
