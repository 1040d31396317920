"""Steps go where the measured pass rate is uncertain: the law of the plan, and what a run does with it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_runs import TinyRun, training_tasks
from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.sampling.allocation import Allocation, allocate

DRAWN = 8
RATES = st.lists(st.integers(0, DRAWN), min_size=1, max_size=60).map(
    lambda counts: {f"t{place}": count / DRAWN for place, count in enumerate(counts)}
)


@given(RATES, st.integers(2, 40), st.integers(1, 2))
def test_the_sum_stays_and_no_task_falls_below_the_smallest(rates, num_steps, at_least):
    plan = allocate(rates, DRAWN, num_steps, at_least)
    assert sum(plan.steps.values()) == len(rates) * num_steps
    assert min(plan.steps.values()) >= plan.smallest >= max(at_least, num_steps / 4)
    assert set(plan.steps) == set(rates)


@given(RATES, st.integers(2, 40))
def test_a_rate_nearer_to_one_half_never_gets_fewer_steps(rates, num_steps):
    steps = allocate(rates, DRAWN, num_steps).steps
    for one, other in zip(sorted(rates, key=lambda name: abs(rates[name] - 0.5)), list(rates), strict=True):
        if abs(rates[one] - 0.5) < abs(rates[other] - 0.5):
            assert steps[one] >= steps[other]


@given(RATES, st.integers(2, 40), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_tasks(rates, num_steps, random):
    names = list(rates)
    random.shuffle(names)
    again = allocate({name: rates[name] for name in names}, DRAWN, num_steps)
    assert again.steps == allocate(rates, DRAWN, num_steps).steps


@given(st.integers(0, DRAWN), st.integers(1, 30), st.integers(2, 40))
def test_equal_rates_share_equally(passed, tasks, num_steps):
    steps = allocate({f"t{place}": passed / DRAWN for place in range(tasks)}, DRAWN, num_steps).steps
    assert set(steps.values()) == {num_steps}


def test_the_shares_by_hand():
    # 4 tasks of 20 steps: 5 each, and 60 by (k + 1) (9 - k) = 9, 16, 25, 9 of 59.
    plan = allocate({"never": 0.0, "rarely": 0.125, "half": 0.5, "always": 1.0}, 8, 20)
    assert plan.smallest == 5
    assert plan.steps == {"never": 5 + 9, "rarely": 5 + 16, "half": 5 + 26, "always": 5 + 9}
    assert plan.line() == (
        "step_allocation='uncertain': 80 steps a round, as with 'uniform'; from 14 to 31 for a task, by the pass rate of 8 "
        "programs each."
    )
    assert Allocation.read(json.loads(json.dumps(plan.record()))) == plan


@pytest.mark.parametrize("sampler", ["gibbs", "conditional", "rewrite", "hinted"])
def test_a_sampler_draws_the_same_first_steps_however_many_follow(sampler):
    tasks = [make_task("long"), make_task("short")]
    write, read, _ = joint_world(4, 5, stickiness=0.5)

    def drawn(**options):
        found = sample(tasks, TableEngine(write, read), sampler=sampler, num_steps=4, **options)
        return {(one.task_id, one.step, one.index): (one.code, one.description) for one in found}

    uniform, moved = drawn(), drawn(steps={"long": 6, "short": 2})
    assert len(moved) == len(uniform)
    assert {key[:2] for key in moved} == {("long", step) for step in range(6)} | {("short", step) for step in range(2)}
    if sampler != "hinted":  # whose second half begins where the number of steps says
        assert all(moved[key] == uniform[key] for key in moved.keys() & uniform.keys())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verify": False}, "step_allocation='uncertain' counts programs that pass"),
        ({"num_steps": 1}, "with num_steps=1 has no step to give to another task; use 2 steps or more"),
        ({"num_steps": 2, "sampler": "hinted"}, "with num_steps=2 has no step to give to another task; use 3 steps or more"),
        ({"step_allocation": "even"}, "step_allocation='even'"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        GiFTConfig("out", use_cpu=True, bf16=False, **{"step_allocation": "uncertain"} | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    return TinyRun(
        tmp_path_factory.mktemp("allocated"), tokenizer, num_rounds=2, num_steps=4, step_allocation="uncertain",
        curate_generations=5,
    )  # fmt: skip


def test_a_run_samples_by_its_plan_in_every_round(run):
    plan, rates = run.read("allocation.json"), run.read("curation.json")["rates"]
    assert plan["rates"] == rates
    assert plan["steps"] == allocate(rates, 5, 4).steps
    assert len(set(plan["steps"].values())) > 1, "in this run nothing is moved"
    for number in (1, 2):
        steps = {name: len({one.step for one in found}) for name, found in run.samples(number).items()}
        assert steps == plan["steps"]
        assert run.rounds[number - 1]["samples"] == len(training_tasks()) * 4 * 3
    assert run.read("run.json")["options"]["step_allocation"] == "uncertain"
    assert {task.task_id for task in run.trainer.tasks} == set(rates), "no task is left out"


def test_a_resumed_run_keeps_the_plan(run):
    before, asked = run.read("allocation.json"), len(run.asked("curation"))
    run.trainer.train(resume_from_checkpoint=True)
    assert run.read("allocation.json") == before
    assert len(run.asked("curation")) == asked == 4


def test_with_curation_the_kept_tasks_share_the_steps(tmp_path, tokenizer):
    run = TinyRun(
        tmp_path, tokenizer, num_rounds=1, num_steps=4, step_allocation="uncertain", curate=True, curate_above=0.4,
        curate_below=0.9, curate_generations=5,
    )  # fmt: skip
    plan = run.read("allocation.json")
    kept = {name for name, rate in run.read("curation.json")["rates"].items() if 0.4 < rate < 0.9}
    assert set(plan["steps"]) == kept
    assert sum(plan["steps"].values()) == 4 * len(kept)


def test_off_by_default_nothing_is_measured(tmp_path, tokenizer):
    run = TinyRun(tmp_path, tokenizer, num_rounds=1)
    assert not run.asked("curation")
    assert not (run.gift / "curation.json").exists()
    assert not (run.gift / "allocation.json").exists()
    assert {len(found) for found in run.samples(1).values()} == {2 * 3}
