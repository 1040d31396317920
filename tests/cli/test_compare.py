"""`trl-gift compare`: two real runs of each config, what is printed, and that nothing is run twice."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import pytest
import yaml

from trl_gift.cli.main import main
from trl_gift.playground import model_path

OPTIONS = {
    "model_name_or_path": str(model_path()), "dataset_name": "playground", "limit": 3, "eval_dataset_name": ["playground"],
    "eval_limit": 4, "num_steps": 9, "num_generations": 2, "max_completion_length": 64, "max_description_length": 48,
    "num_description_examples": 0, "num_train_epochs": 1, "eval_num_generations": 2, "eval_k": [1, 2], "use_cpu": True,
    "bf16": False, "report_to": "none", "disable_tqdm": True, "sandbox_workers": 1, "save_strategy": "no",
    "max_tokens_per_round": 400,
}  # fmt: skip


@pytest.fixture
def launched(monkeypatch):
    """The command lines of the runs, which happen in this process."""
    seen = []

    def launch(command, **options):
        assert command[1:4] == ["-m", "trl_gift", "train"]
        seen.append(command[4:])
        return SimpleNamespace(returncode=main(command[3:]), stdout="")

    monkeypatch.setattr(subprocess, "run", launch)
    return seen


@pytest.fixture
def configs(tmp_path):
    paths = []
    for name, changes in (("rft", {"sampler": "conditional"}), ("gift", {"sampler": "gibbs"})):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(OPTIONS | changes))
        paths.append(str(path))
    return paths


def flags(configs, tmp_path, *more):
    return [
        "compare",
        *(item for path in configs for item in ("--config", path)),
        "--output-dir",
        str(tmp_path / "out"),
        *more,
    ]


def test_two_configs_on_the_same_seeds(configs, tmp_path, launched, capsys):
    assert main(flags(configs, tmp_path, "--repeats", "2", "--json", "--limit", "3")) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [command[command.index("--config") + 1] for command in launched] == [*configs, *configs]
    assert [command[command.index("--seed") + 1] for command in launched] == ["0", "0", "1", "1"]
    assert all(command[command.index("--limit") + 1] == "3" for command in launched)
    assert (found["first"], found["seeds"], found["warnings"]) == ("rft", [0, 1], [])
    names = [item["name"] for item in found["differences"]["gift"]]
    assert names == [
        "pass@1", "sampled pass@1", "sampled pass@2", "tasks solved", "distinct programs", "tokens sampled",
    ]  # fmt: skip
    for name, runs in found["runs"].items():
        for one in runs:
            metrics = json.loads((tmp_path / f"out/{name}/seed-{one['seed']}/_gift/round-1/metrics.json").read_text())
            assert one["pass@1"] == metrics["metrics"]["pass@1"]
            assert one["sampled pass@2"] == pytest.approx(metrics["metrics"]["sampled_pass@2"])
            assert one["tokens sampled"] == metrics["tokens"] >= 400
    # Nothing is run again, and the table says the same.
    assert main(flags(configs, tmp_path, "--repeats", "2", "--limit", "3")) == 0
    out = capsys.readouterr().out
    assert len(launched) == 4
    assert out.startswith("gift less rft: 2 seeds (0, 1), 4 held-out tasks, 95 % intervals, in points\n")
    assert "No difference in pass@1 is shown." in out or "held-out tasks than rft." in out
    # Another seed is one more run of each; what is changed is refused.
    assert main(flags(configs, tmp_path, "--seeds", "1", "--limit", "3")) == 0
    assert "One seed says nothing about other runs" in capsys.readouterr().out
    assert main(flags(configs, tmp_path, "--limit", "2")) == 2
    assert "had the options ['--limit', '3'], and now they are ['--limit', '2']" in capsys.readouterr().err
    with open(configs[1], "a") as file:
        file.write("seed: 3\n")
    assert main(flags(configs, tmp_path, "--limit", "3")) == 2
    assert "is not the file any more whose runs are in" in capsys.readouterr().err
    assert len(launched) == 4


def test_unequal_tokens_are_said(configs, tmp_path, launched, capsys):
    unlimited = tmp_path / "long.yaml"
    unlimited.write_text(yaml.safe_dump({**OPTIONS, "sampler": "conditional", "max_tokens_per_round": None}))
    assert main(flags([configs[0], str(unlimited)], tmp_path)) == 0
    out = capsys.readouterr().out
    assert "more tokens than rft; set the same max_tokens_per_round in both for a fair comparison." in out


def test_a_run_that_fails_ends_the_comparison(configs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda command, **options: SimpleNamespace(returncode=7, stdout="out\n"))
    assert main(flags(configs, tmp_path)) == 7
    assert (
        "failed (exit code 7); what it sampled is kept, and the same command continues it." in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--repeats", "0"], "--repeats 0: must be at least 1"),
        (["--repeats", "2", "--seeds", "4"], "--repeats 2 and --seeds both choose the seeds"),
        (["--seeds", "4", "4"], "--seeds 4 4: a seed occurs twice"),
        (["--config", "absent.yaml"], "--config absent.yaml: no such file"),
        (["--seed", "3"], "--seed: compare itself sets the seeds"),
        (["--num_stepz", "3"], "--num_stepz is not an option of `trl-gift train`; did you mean --num_steps?"),
    ],
)
def test_mistakes_are_told_before_anything_runs(configs, tmp_path, more, message, launched, capsys):
    assert main(flags(configs, tmp_path, *more)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not launched


def test_configs_that_cannot_be_compared(configs, tmp_path, launched, capsys):
    assert main(flags(configs[:1], tmp_path)) == 2
    assert "a comparison needs two configs; give --config twice." in capsys.readouterr().err
    assert main(flags([configs[0], configs[0]], tmp_path)) == 2
    assert "another config is called 'rft', too" in capsys.readouterr().err
    blind = tmp_path / "blind.yaml"
    options = {name: value for name, value in OPTIONS.items() if not name.startswith("eval_")}
    blind.write_text(yaml.safe_dump(options))
    assert main(flags([configs[0], str(blind)], tmp_path)) == 2
    assert "names no held-out tasks, and there would be nothing to compare" in capsys.readouterr().err
    assert not launched
