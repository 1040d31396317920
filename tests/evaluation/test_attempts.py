"""Evaluation on a table instead of a model: what is drawn how, what counts, and the sign of the gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.engines import ScriptedEngine, TemperedTableEngine
from tests.support.sandboxes import InstantSandbox
from tests.support.worlds import TESTS, TablePrompts, make_task
from trl_gift.evaluation import (
    Attempt,
    Evaluation,
    EvaluationSettings,
    attempt_tasks,
    compare,
    paired_difference,
)
from trl_gift.evaluation.pass_at_k import bootstrap_interval, pass_at_k, wilson_interval
from trl_gift.sandbox import AssertTests, Outcome, Status
from trl_gift.tasks import Task

# The most likely code is c1, and only just.
TABLE = np.array([[0.3, 0.4, 0.3]])


def measure(tasks, engine, judge=lambda program, tests: True, prompts=None, on_attempt=None, **changes):
    chosen = EvaluationSettings(**{"max_completion_length": 1, **changes})
    given = {"on_attempt": on_attempt} if on_attempt else {}
    return attempt_tasks(tasks, engine, InstantSandbox(judge), prompts or TablePrompts(), chosen, **given)


def tasks_of(count):
    return [make_task(f"t{number}") for number in range(count)]


def attempts(*statuses, task_id="t", greedy=None):
    """Sampled attempts at one task, after a greedy one if its status is given."""
    sampled = [Attempt(task_id, index, "c", "c", status) for index, status in enumerate(statuses)]
    return ([Attempt(task_id, -1, "c", "c", greedy)] if greedy else []) + sampled


def metrics_of(*groups, k=(1,)):
    return Evaluation(tuple(attempt for group in groups for attempt in group), k).metrics()


def test_answers_in_edits_are_counted_malformed_or_not():
    edits = "<|diff|>@@ -0,0 +1 @@\n+x = 1"
    texts = ("x = 1", edits, "<think>a</think>\n" + edits, f"{edits}\n@@ nonsense", f"see {edits}")
    found = Evaluation(tuple(Attempt("t", index, text, None, "no_code") for index, text in enumerate(texts)), (1,))
    assert found.metrics()["edits"] == 3 / 5
    assert "edits" not in metrics_of(attempts("passed"))


def test_greedy_is_the_most_likely_code_of_every_task():
    engine = TemperedTableEngine(TABLE)
    result = measure(tasks_of(40), engine, lambda program, tests: program == "c1")
    assert [attempt.code for attempt in result.attempts] == ["c1"] * 40
    assert {(request.params.temperature, len(request.stream_keys)) for request in engine.requests} == {(0.0, 1)}
    assert result.metrics()["pass@1"] == 1.0
    assert "sampled_pass@1" not in result.metrics()


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_sampled_codes_follow_the_temperature_of_the_evaluation(temperature):
    engine = TemperedTableEngine(TABLE)
    result = measure(tasks_of(300), engine, num_generations=4, temperature=temperature)
    sampled = [attempt.code for attempt in result.attempts if attempt.index >= 0]
    expected = TABLE[0, 1] ** (1 / temperature) / (TABLE[0] ** (1 / temperature)).sum()
    assert len(sampled) == 300 * 4
    assert sampled.count("c1") / len(sampled) == pytest.approx(expected, abs=0.05)
    assert {request.params.temperature for request in engine.requests} == {0.0, temperature}


def test_every_sample_has_a_stream_of_its_own():
    engine = TemperedTableEngine(np.full((1, 1000), 1e-3))
    options = {"num_generations": 5}
    result = measure(tasks_of(10), engine, **options)
    keys = [key for request in engine.requests for key in request.stream_keys]
    assert len(keys) == len(set(keys)) == 10 * 6
    sampled = [attempt.code for attempt in result.attempts if attempt.index >= 0]
    assert len(set(sampled)) > 40
    again, other = TemperedTableEngine(TABLE), TemperedTableEngine(TABLE)
    measure(tasks_of(10)[::-1], again, **options)
    measure(tasks_of(10), other, seed=1, **options)
    assert {key for request in again.requests for key in request.stream_keys} == set(keys)
    assert not {key for request in other.requests for key in request.stream_keys} & set(keys)


def test_programs_are_put_to_the_hidden_tests_too():
    hidden = AssertTests("assert solve() == 3", entry_point="solve")
    task = Task("t", "d0", TESTS, signature="def solve():", hidden_tests=hidden)
    result = measure([task], TemperedTableEngine(TABLE), lambda program, tests: "== 3" not in tests.text,
                     num_generations=2)  # fmt: skip
    assert {attempt.status for attempt in result.attempts} == {"failed"}
    assert result.greedy == {"t": False}


def test_how_the_model_is_asked():
    class Stopped(TablePrompts):
        code_stops = ("\nprint",)
        description_stops = ("###",)

    engine = TemperedTableEngine(TABLE)
    measure([make_task(description="d0")], engine, prompts=Stopped(), num_generations=2, max_completion_length=7)
    greedy, sampled = engine.requests
    assert (len(greedy.stream_keys), len(sampled.stream_keys)) == (1, 2)
    for request in (greedy, sampled):
        assert request.prompt_ids == TablePrompts().write(None, "d0").ids
        assert request.params.stop == ("\nprint",)
        assert request.params.max_new_tokens == 7
        assert (request.params.top_p, request.params.top_k) == (1.0, 0)


def test_every_attempt_is_kept_reported_and_in_order():
    seen = []
    engine = ScriptedEngine(lambda request, position: f"{request.key[1]}/{position}")
    result = measure(tasks_of(3)[::-1], engine, on_attempt=seen.append, num_generations=2)
    assert sorted(seen, key=lambda attempt: (attempt.task_id, attempt.index)) == list(result.attempts)
    assert [(attempt.task_id, attempt.index) for attempt in result.attempts] == [
        (f"t{number}", index) for number in range(3) for index in (-1, 0, 1)
    ]
    assert [attempt.code for attempt in result.attempts][:3] == ["t0/0", "t0/0", "t0/1"]


def test_a_completion_without_code_is_a_failed_attempt():
    engine = ScriptedEngine(lambda request, position: "" if position == 0 else "c1")
    sandbox = InstantSandbox()
    chosen = EvaluationSettings(1, num_generations=4, k=(1,))
    result = attempt_tasks(tasks_of(2), engine, sandbox, TablePrompts(), chosen)
    assert len(result.attempts) == 2 * 5
    without = [attempt for attempt in result.attempts if attempt.status == "no_code"]
    assert [(attempt.task_id, attempt.index, attempt.code) for attempt in without] == [
        (f"t{number}", index, None) for number in range(2) for index in (-1, 0)
    ]
    assert {program for program, _ in sandbox.submitted} == {"c1"}
    assert result.greedy == {"t0": False, "t1": False}
    assert result.metrics()["pass@1"] == 0.0
    assert result.metrics()["sampled_pass@1"] == 0.75
    assert "infrastructure_failures" not in result.metrics()


def test_an_attempt_says_why_it_failed_and_how_far_it_can_be_trusted():
    evidence = {"isolation": "landlock", "trusted": True}
    outcomes = {
        "t0": Outcome(Status.FAILED, first_failure=1, message="4 is not 3", **evidence),
        "t1": Outcome(Status.SYNTAX_ERROR, first_failure=0, message="never closed", **evidence),
        "t2": Outcome(Status.PASSED, isolation="none", trusted=False),
    }
    suite = AssertTests("assert solve() == 2\nassert solve() == 3", entry_point="solve")
    tasks = [Task(name, "d0", suite, signature="def solve():") for name in ("t0", "t1", "t2", "t3")]
    engine = ScriptedEngine(lambda request, position: "" if request.key[1] == "t3" else request.key[1])
    failed, broken, passed, empty = measure(tasks, engine, lambda program, tests: outcomes[program]).attempts
    assert (failed.message, failed.failing_test) == ("4 is not 3", "assert solve() == 3")
    assert (failed.isolation, failed.trusted) == ("landlock", True)
    assert (broken.message, broken.failing_test) == ("never closed", None)
    assert (passed.message, passed.failing_test, passed.isolation, passed.trusted) == ("", None, "none", False)
    assert (empty.status, empty.message, empty.isolation, empty.trusted) == (
        "no_code",
        "the completion is empty",
        None,
        None,
    )
    assert Evaluation((failed, broken, passed, empty, empty), (1,)).outcomes == {
        "no_code": 2, "failed": 1, "syntax_error": 1, "passed": 1
    }  # fmt: skip


def test_a_task_without_tests_is_only_written():
    engine = TemperedTableEngine(TABLE)
    settings = EvaluationSettings(1, num_generations=2, greedy=False)
    result = attempt_tasks([replace(make_task("t"), tests=None)], engine, None, TablePrompts(), settings)
    assert [(attempt.index, attempt.status, attempt.tokens) for attempt in result.attempts] == [
        (0, "unverified", 1), (1, "unverified", 1)
    ]  # fmt: skip
    assert result.tokens == 2


def test_what_is_gained_and_lost():
    before = {"a": False, "b": True, "c": True, "x": True}
    found = compare({"a": True, "b": False, "c": True, "y": True}, before)
    assert (found.gained, found.lost, found.tasks, found.difference) == (("a",), ("b",), 3, 0.0)
    assert (found.low, found.high) == bootstrap_interval([1.0, -1.0, 0.0])


def test_what_could_not_be_executed_is_not_a_wrong_answer():
    statuses = {"t0": Status.PASSED, "t1": Status.INFRASTRUCTURE, "t2": Status.FAILED}
    engine = ScriptedEngine(lambda request, position: request.key[1])
    result = measure(tasks_of(3), engine, lambda program, tests: statuses[program])
    assert result.greedy == {"t0": True, "t2": False}
    assert result.infrastructure_failures == 1
    metrics = result.metrics()
    assert (metrics["num_tasks"], metrics["pass@1"], metrics["infrastructure_failures"]) == (2.0, 0.5, 1.0)
    assert (metrics["pass@1_low"], metrics["pass@1_high"]) == wilson_interval(1, 2)


def test_samples_that_could_not_be_executed_do_not_count_in_pass_at_k():
    lost = attempts("passed", "infrastructure", "infrastructure", "failed")
    metrics = metrics_of(lost, attempts("passed", "passed", "failed", task_id="u"), k=(1, 3))
    assert metrics["sampled_pass@1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics["sampled_pass@3"] == 1.0, "the task with two valid samples says nothing about three"
    assert metrics["infrastructure_failures"] == 2.0
    nothing = metrics_of(attempts("infrastructure", "infrastructure", greedy="infrastructure"))
    assert nothing == {"num_tasks": 0.0, "infrastructure_failures": 3.0}


def test_greedy_and_sampled_codes_do_not_mix():
    metrics = metrics_of(
        attempts("failed", "failed", "failed", greedy="passed"),
        attempts("passed", "passed", "passed", task_id="u", greedy="failed"),
        attempts("failed", "failed", "failed", task_id="v", greedy="passed"),
    )
    assert metrics["num_tasks"] == 3.0
    assert metrics["pass@1"] == pytest.approx(2 / 3)
    assert metrics["sampled_pass@1"] == pytest.approx(1 / 3)


def test_unsolved_tasks_count_in_pass_at_k():
    metrics = metrics_of(attempts("passed", "failed"), attempts("failed", "failed", task_id="u"), k=(1, 2))
    assert metrics["sampled_pass@1"] == 0.25
    assert metrics["sampled_pass@2"] == 0.5


def test_the_values_of_k():
    groups = [attempts(*["passed"] * good, *["failed"] * (6 - good), task_id=f"t{good}") for good in range(5)]
    metrics = metrics_of(*groups, k=(2, 5))
    for k in (2, 5):
        values = [pass_at_k(6, good, k) for good in range(5)]
        assert metrics[f"sampled_pass@{k}"] == pytest.approx(sum(values) / 5)
        assert (metrics[f"sampled_pass@{k}_low"], metrics[f"sampled_pass@{k}_high"]) == bootstrap_interval(values)
    assert {name for name in metrics if name.startswith("sampled") and not name.endswith(("low", "high"))} == {
        "sampled_pass@2", "sampled_pass@5"
    }  # fmt: skip
    asked = measure(tasks_of(2), TemperedTableEngine(TABLE), num_generations=3, k=(3,)).metrics()
    assert "sampled_pass@3" in asked
    assert "sampled_pass@1" not in asked


def test_a_gain_is_what_came_after_less_what_was_before():
    before = {"a": False, "b": False, "c": True, "d": True, "only before": True}
    after = {"a": True, "b": True, "c": True, "d": False, "only after": False}
    difference, (low, high) = paired_difference(after, before)
    assert difference == pytest.approx((1 + 1 + 0 - 1) / 4)
    assert (low, high) == bootstrap_interval([1.0, 1.0, 0.0, -1.0])
    assert low <= difference <= high
    assert paired_difference(before, after)[0] == -difference
    assert paired_difference({"a": True}, {"a": False}) == (1.0, (1.0, 1.0))
    with pytest.raises(ValueError, match="share no task"):
        paired_difference({"a": True}, {"b": True})


def test_the_bootstrap_interval_is_of_95_percent():
    """Of a mean of many values it is the normal one: 1.96 standard errors to each side."""
    values = [0.0, 1.0] * 200
    low, high = bootstrap_interval(values)
    error = 0.5 / len(values) ** 0.5
    assert low == pytest.approx(0.5 - 1.96 * error, abs=0.08 * error)
    assert high == pytest.approx(0.5 + 1.96 * error, abs=0.08 * error)
