"""The experiment on the playground: equal tokens, resuming, the figures of chains, and a page whose numbers are right."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift.errors import ConfigError
from trl_gift.playground import model_path, playground_tasks
from trl_gift.playground.world import IDIOMS, sample_intention, write_code
from trl_gift.prompts import BasePrompts

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # as for a script that is called by its path

from experiments import chains, intervals, teacher  # noqa: E402
from experiments.page import write_page  # noqa: E402
from experiments.plan import read_plan  # noqa: E402
from experiments.results import Results  # noqa: E402

BUDGET = 300
SHORT = {
    "tasks": 2,
    "heldout": 2,
    "options": {
        "num_steps": 20,
        "num_generations": 2,
        "max_tokens_per_round": BUDGET,
        "max_completion_length": 40,
        "max_description_length": 40,
        "num_description_examples": 0,
        "max_length": 128,
        "num_train_epochs": 1,
        "learning_rate": 5e-4,
        "eval_num_generations": 2,
        "eval_k": [1, 2],
    },
    "worlds": {"references": {"title": "with references", "with_reference": True, "options": {}}},
    "arms": {
        "gift": {"options": {"sampler": "gibbs", "num_selected": 2}},
        "gift-again": {"like": "gift", "samples": "gift"},
        "rft": {"options": {"sampler": "conditional", "num_selected": 2, "pool": "all", "perplexity_weight": 0.0}},
    },
    "comparisons": [{"arm": "gift", "against": "rft", "about": "the chain against plain sampling"}],
}


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(SHORT, sort_keys=False), encoding="utf-8")
    return read_plan(path)


def figures_of(record):
    return {name: value for name, value in record.items() if name not in ("arm", "digest", "cpu_s")}


def test_arms_cost_the_same_tokens_and_a_stopped_experiment_runs_only_what_is_missing(plan, tmp_path):
    from experiments.arm import run_arms

    results = Results(tmp_path, plan)
    for record in run_arms(plan, 0, plan.arms):
        results.add(record)
    by_arm = {arm.name: results.records["references", arm.name, 0] for arm in plan.arms}
    longest_step = 2 * 40 + 3 * 40  # two programs, three tries of a description
    assert all(BUDGET <= record["tokens"] < BUDGET + longest_step for record in by_arm.values())
    # Training on another arm's samples is what the trainer does with its own.
    own, shared = figures_of(by_arm["gift"]), figures_of(by_arm["gift-again"])
    assert {name: own[name] for name in shared} == shared

    lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "results.jsonl").write_text(f"{lines[0]}\n{lines[1][:40]}", encoding="utf-8")  # killed here
    resumed = Results(tmp_path, plan)
    left = [arm for arm in plan.arms if not resumed.has(arm, 0)]
    assert [arm.name for arm in left] == ["gift-again", "rft"]
    for record in run_arms(plan, 0, left[:1]):
        resumed.add(record)
    again = Results(tmp_path, plan).records
    assert again.keys() == {("references", "gift", 0), ("references", "gift-again", 0)}
    assert figures_of(again["references", "gift-again", 0]) == shared


def test_figures_of_an_arm_with_other_options_are_not_its_own(plan, tmp_path):
    results = Results(tmp_path, plan)
    arm = plan.arms[0]
    results.add({"world": arm.world, "arm": arm.name, "seed": 0, "digest": plan.digest(arm)})
    changed = replace(plan, arms=(replace(arm, options={**arm.options, "temperature": 0.5}), *plan.arms[1:]))
    assert Results(tmp_path, plan).has(arm, 0)
    assert not Results(tmp_path, changed).has(arm, 0)


def test_an_arm_that_names_a_later_arm_is_refused(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**SHORT, "arms": {"weight": {"like": "gift"}}}), encoding="utf-8")
    with pytest.raises(ConfigError, match="'weight' names 'gift'"):
        read_plan(path)


@pytest.mark.parametrize("name", ["playground", "teachers"])
def test_the_plans_that_are_shipped_can_be_read_and_compare_arms_that_they_have(name):
    plan = read_plan(BENCHMARKS / "experiments" / f"{name}.yaml")
    known = {arm.name for arm in plan.arms}
    assert {name for one in (*plan.comparisons, *plan.variants) for name in (one.arm, one.against)} <= known


def test_the_teacher_learns_to_write_and_to_repair_and_sees_no_task_of_a_split():
    prompts = BasePrompts(AutoTokenizer.from_pretrained(model_path()))
    texts = ["".join(map(prompts.tokenizer.decode, row)) for row in teacher.lessons(6, prompts)]
    repairs = [text for text in texts if "How it fails:" in text]
    assert 4 <= len(repairs) <= 6 == len(texts) - len(repairs)
    assert all("returned" in text for text in repairs)
    known = {task.description for split in ("train", "test") for task in playground_tasks(split)}
    assert not any(description in text for description in known for text in texts)


def test_the_idiom_of_every_program_of_the_world_is_known():
    rng = random.Random(0)
    for _ in range(50):
        intention = sample_intention(rng, 4)
        assert [chains.idiom(write_code(intention, place)) for place in range(len(IDIOMS))] == list(IDIOMS)
    assert chains.idiom("def solve(xs):\n    return [") is None


def test_the_figures_of_chains():
    rng = random.Random(1)
    intention = sample_intention(rng, 4)
    loop, nested = write_code(intention, 1), write_code(intention, 3)

    write, read, _ = joint_world(3, 4, 0.2)
    (template, *_) = sample([make_task("t")], TableEngine(write, read), num_steps=1)

    def step(task, number, code, status="passed", **more):
        return replace(
            template,
            task_id=task,
            step=number,
            index=0,
            code=code,
            status=status,
            continues=status == "passed",
            **more,
        )

    found = chains.chain_figures(
        [
            step("a", 0, loop),
            step("a", 1, loop, description_tokens=5, description_tries=2, description_leaks=1),
            step("a", 2, nested, description_tokens=5, description_tries=1),
            step("b", 0, nested),
            step("b", 1, nested, "failed", description_tokens=5, description_tries=1),
            step("b", 2, nested, "failed", description_tokens=5, description_tries=1),
            step("c", 0, loop, "failed"),
            step("c", 1, loop, "failed"),
            step("c", 2, loop, "failed"),
        ]
    )
    first, second, third = found["steps"]
    assert (first["yield"], second["yield"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert [one["distinct"] for one in found["steps"]] == [2, 0, 1]
    assert [(one["drawn"], one["leaks"]) for one in found["steps"]] == [(0, 0), (3, 1), (2, 0)]
    # .82 .22 + .06 (.85 + .05 + .05) = .2374 for each idiom but stepwise, which has .82 .34 + 3 .06 .05 = .2878.
    assert chains.marginal() == pytest.approx(
        {"stepwise": 0.2878, "loop": 0.2374, "functional": 0.2374, "nested": 0.2374}
    )
    assert first["total_variation"] == pytest.approx((2 * (0.5 - 0.2374) + 0.2878 + 0.2374) / 2)
    assert third["total_variation"] == pytest.approx(1 - 0.2374)
    assert (found["chains"], found["never_started"], found["stuck"]) == (3, 1, 1)


def test_agreement_is_cohens_kappa():
    pairs = [("loop", "loop")] * 3 + [("loop", "nested"), ("nested", "nested")]
    # Observed 4/5; by chance (4/5)(3/5) + (1/5)(2/5) = 14/25.
    assert chains.agreement(pairs) == pytest.approx((20 / 25 - 14 / 25) / (11 / 25))
    assert chains.agreement([]) is None


def test_an_interval_and_what_it_says():
    # Differences 1, 2, 3: mean 2, standard deviation 1, and t = 4.303 with two degrees of freedom.
    found = intervals.difference([11, 12, 13], [10, 10, 10])
    assert found is not None
    half = 4.303 / 3**0.5
    assert (found.mean, found.low, found.high) == (2, pytest.approx(2 - half), pytest.approx(2 + half))
    assert (found.finding, found.text()) == ("no difference seen", "+2.0 [−0.5, +4.5]")
    assert intervals.difference([2, 2.1, 2], [1, 1, 1]).finding == "helps"
    assert intervals.difference([1, 1, 1], [2, 2.1, 2]).finding == "harms"
    assert intervals.difference([1], [2]) is None


def test_the_page_holds_the_hand_computed_figures(plan, tmp_path):
    results = Results(tmp_path, plan)
    for arm in plan.arms:
        for seed, share in enumerate((0.50, 0.60, 0.55) if arm.name == "gift" else (0.40, 0.48, 0.44)):
            step = {"samples": 6, "yield": 0.5, "distinct": 2, "total_variation": 0.25, "drawn": 4, "leaks": 1}
            results.add(
                {
                    "world": arm.world,
                    "arm": arm.name,
                    "seed": seed,
                    "digest": plan.digest(arm),
                    "pass@1": share,
                    "sampled_pass@1": share,
                    "sampled_pass@2": 0.7,
                    "tokens": 700,
                    "passed": 3,
                    "pairs": 9,
                    "solved_tasks": 2,
                    "distinct_programs": 4,
                    "steps": [step],
                    "chains": 4,
                    "never_started": 1,
                    "stuck": 0,
                    "autocorrelation": {"1": 0.5, "2": None, "3": None},
                    "fidelity": {"0": 0.9},
                }
            )
    (tmp_path / "docs" / "assets").mkdir(parents=True)
    docs = tmp_path / "docs" / "experiments.md"
    begin, end = plan.markers
    docs.write_text(f"before\n{begin}\nof another run\n{end}\nafter\n", encoding="utf-8")
    ratios = write_page(Results(tmp_path, plan), docs)
    text = docs.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{begin}\n")
    assert text.endswith(f"\n{end}\nafter\n")
    assert "of another run" not in text
    assert "| `gift` | 700 | 3 | 2 | 4 | 9 | 55.0 | 55.0 | 70.0 |" in text
    # Differences 10, 12, 11 points: mean 11, standard deviation 1, half an interval 4.3027 / √3 = 2.48.
    assert "| `gift` − `rft` | 3 | +11.0 [+8.5, +13.5] |" in text
    assert "The chain against plain sampling, with references: it helps greedy pass@1 (+11.0 [+8.5, +13.5])" in text
    assert "no difference is seen in pass@2 (+0.0 [+0.0, +0.0])" in text
    assert "| `gift` | 0 | 50.0 | 2 | 0.25 | 90.0 | 25.0 |" in text
    assert ratios["references: gift/rft pass@1"] == pytest.approx(0.55 / 0.44)
    pictures = sorted(path.name for path in (tmp_path / "docs" / "assets").iterdir())
    assert pictures == ["experiment-references-steps.svg", "experiment-references.svg"]
    assert all(f"assets/{name}" in text for name in pictures)
    docs.write_text("no markers", encoding="utf-8")
    with pytest.raises(ConfigError, match="must hold"):
        write_page(results, docs)


def test_the_lines_are_json(plan, tmp_path):
    results = Results(tmp_path, plan)
    arm = plan.arms[0]
    results.add({"world": arm.world, "arm": arm.name, "seed": 1, "digest": plan.digest(arm), "pass@1": 0.5})
    (line,) = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["seed"] == 1
