"""Paired differences of runs: by hand, against scipy's quantiles, and what refuses."""

from __future__ import annotations

import math

import pytest
from scipy.stats import t

from tests.support.recorded_runs import RecordedRun
from trl_gift.errors import ConfigError
from trl_gift.evaluation.pass_at_k import bootstrap_interval
from trl_gift.run.compared import PASS_AT_1, TOKENS, RunFigures, differences, figures_of, t_interval, unequal_tokens
from trl_gift.run.folder import RunFolder


def figures(passed, tokens=100.0, eval_tasks="same", **tasks):
    greedy = {f"t{number}": float(value) for number, value in enumerate(passed)}
    totals = {"tasks solved": float(sum(passed)), "distinct programs": 2.0 * sum(passed), TOKENS: tokens}
    return RunFigures({PASS_AT_1: greedy, **tasks}, totals, eval_tasks, None)


def test_differences_by_hand():
    first = [figures([1, 0, 0, 0]), figures([1, 1, 0, 0])]
    other = [figures([1, 1, 0, 0]), figures([1, 1, 1, 1])]
    greedy, solved, distinct, tokens = differences(first, other)
    assert (greedy.name, greedy.first, greedy.other, greedy.difference) == (PASS_AT_1, 0.375, 0.75, 0.375)
    # Of one seed +1 of 4 tasks, of the other +2; each task's mean over the seeds is 0, 1/2, 1/2, 1/2.
    assert greedy.over_seeds == pytest.approx((0.375 - 12.706 * 0.125, 0.375 + 12.706 * 0.125))
    assert greedy.over_tasks == bootstrap_interval([0, 0.5, 0.5, 0.5])
    assert (solved.difference, distinct.difference, tokens.difference) == (1.5, 3.0, 0.0)
    assert (solved.over_tasks, tokens.over_seeds) == (None, (0.0, 0.0))
    assert unequal_tokens([greedy, solved, distinct, tokens]) is None


def test_one_seed_has_no_interval_over_seeds():
    greedy, *_ = differences([figures([1, 0])], [figures([1, 1])])
    assert greedy.over_seeds is None
    assert greedy.over_tasks == bootstrap_interval([0, 1])


@pytest.mark.parametrize(("tokens", "share"), [(94.0, -0.06), (95.0, None), (105.0, None), (110.0, 0.1)])
def test_unequal_tokens_are_noticed(tokens, share):
    found = unequal_tokens(differences([figures([1])], [figures([1], tokens)]))
    assert found == (None if share is None else pytest.approx(share))


def test_pass_at_k_is_compared_over_the_tasks_that_have_it():
    first = figures([1, 1], **{"sampled pass@10": {"t0": 0.2, "t1": 0.4}})
    other = figures([1, 1], **{"sampled pass@10": {"t1": 0.5}})
    found = {item.name: item for item in differences([first], [other])}
    assert found["sampled pass@10"].difference == pytest.approx(0.1)
    assert "sampled pass@10" not in {item.name for item in differences([first], [figures([1, 1])])}


def test_other_held_out_tasks_are_refused():
    with pytest.raises(ConfigError, match="measured on different held-out tasks"):
        differences([figures([1])], [figures([1], eval_tasks="other")])


@pytest.mark.parametrize("count", [2, 5, 31, 32, 100, 1000])
def test_the_quantiles_are_student_s(count):
    values = [float(number % 2) for number in range(count)]
    low, high = t_interval(values)
    spread = math.sqrt(sum((value - sum(values) / count) ** 2 for value in values) / (count - 1) / count)
    assert (high - low) / 2 / spread == pytest.approx(t.ppf(0.975, count - 1), abs=6e-4)
    assert t_interval([1.0]) is None


def test_the_figures_of_a_run_are_of_all_tasks_and_rounds(tmp_path):
    run = RunFolder(RecordedRun(rounds=2).write(tmp_path))
    run.write("final.json", {"round": 2})
    found = figures_of(run)
    first, last = run.measured_rounds()
    assert found.totals[TOKENS] == first["tokens"] + last["tokens"] > last["tokens"]
    greedy = last["greedy"]
    assert found.tasks[PASS_AT_1] == greedy
    assert 0 < sum(greedy.values()) < len(greedy)
