"""Each benchmark still runs, on next to nothing; its figures here mean nothing."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.support.trained import make_run

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script in this process, which has imported what takes seconds; returns what the script prints."""

    def call(script, *options):
        monkeypatch.setattr(sys, "argv", [script, *options])
        monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])  # as for a script that is called by its path
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize(
    ("arguments", "ratios"),
    [
        ("store.py --rows 100", set()),
        ("sandbox.py --programs 20 --rounds 1 --workers 1", {"vs_subprocess"}),
        (
            "sampling.py --tasks 2 --steps 2 --repeats 1 --generate-sizes 8",
            {
                "samples_per_s_vs_authors_schedule",
                "tokens_per_s_vs_generate",
                "share_of_ceiling",
                "time_outside_generation",
            },
        ),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_it_runs_and_ends_with_its_ratios(run, arguments, ratios):
    answer = json.loads(run(*arguments.split(), "--json").splitlines()[-1])
    assert ratios <= answer.get("ratios", {}).keys()
    assert all(value > 0 for value in answer.get("ratios", {}).values())


def test_the_benchmark_of_edit_sequences_ends_with_its_ratios(run):
    pytest.importorskip("pylint")
    arguments = "--programs 1 --sequences 1 --round-trips 1 --repeats 1 --longest 20"
    answer = json.loads(run("lintseq.py", *arguments.split(), "--json").splitlines()[-1])
    assert answer["ratios"].keys() == {"vs_pylint", "mean_edit_size_vs_pylint"}
    assert answer["round_trips"]["wrong"] == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [("run --arms gibbs", "'gibbs' is not in the plan"), ("page", "no two arms of a comparison have two seeds")],
)
def test_the_experiment_refuses_in_one_line(run, tmp_path, arguments, reason):
    page = tmp_path / "page.md"
    page.write_text("<!-- experiment: begin -->\n<!-- experiment: end -->\n", encoding="utf-8")
    options = ["--docs", str(page)] if arguments == "page" else []
    with pytest.raises(SystemExit, match=f"^experiment.py: .*{reason}"):
        run("experiment.py", *arguments.split(), "--out", str(tmp_path), *options)


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("engines", {"ratios", "ceiling tokens/s", "compact", "generate, 4 rows"}),
        ("lora", {"parameters", "sampling", "training"}),
    ],
)
def test_a_part_of_the_gpu_benchmark_runs_on_a_cpu(run, tmp_path, part, keys):
    if part == "lora":
        pytest.importorskip("bitsandbytes")
    options = "--shape tiny --cpu --prompts 2 --tokens 4 --generate-sizes 4 --workers 1"
    run("gpu.py", "--out", str(tmp_path), *options.split(), "--part", part)
    assert keys <= json.loads((tmp_path / f"{part}.json").read_text()).keys()


def test_the_benchmark_of_refinements_compares_with_the_run(run, tmp_path):
    make_run(tmp_path / "out", peft_config=None, num_generations=4, prompt_tests=1)
    arguments = ["--repeats", "1", "--tasks", "4", "--refine-steps", "1", "--epochs", "1", "--json"]
    answer = json.loads(run("refining.py", "--run", str(tmp_path / "out"), *arguments).splitlines()[-1])
    assert answer["ratios"].keys() == {"plain", "repairs"}
    assert answer["pairs"] > 0
    assert all(len(found) == 1 for found in answer["results"].values())
