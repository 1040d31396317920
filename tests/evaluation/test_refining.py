"""Refinements: the visible tests alone decide whether one is asked for and are all that is shown; all tests give the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.engines import ScriptedEngine
from tests.support.sandboxes import InstantSandbox
from tests.support.worlds import TablePrompts
from trl_gift.evaluation import Attempt, Evaluation, EvaluationSettings, attempt_tasks
from trl_gift.evaluation.refining import Turn
from trl_gift.prompts import Prompt
from trl_gift.sandbox import AssertTests, CallTests, Case, Outcome, Status, StdioTests
from trl_gift.tasks import Task
from trl_gift.tasks.visible import visible_tests

VISIBLE = AssertTests("assert solve() > 0", entry_point="solve")
HIDDEN = AssertTests("assert solve() == 3", entry_point="solve")


def task_of(name="t", hidden=HIDDEN):
    return Task(name, "d0", VISIBLE, signature="def solve():", hidden_tests=hidden)


def judge(program, tests):
    """`c2` passes the visible tests, `c3` passes all; what fails says on which tests."""
    number, hidden = int(program[1:]), "== 3" in tests.text
    passed = number == 3 if hidden else number >= 2
    return Outcome(Status.PASSED) if passed else Outcome(Status.FAILED, first_failure=0, message=f"hidden={hidden}")


class Asked(list):
    """A refiner that notes what it is shown; its prompt is the program with a mark."""

    def __call__(self, task, code, outcome, tests):
        self.append((task.task_id, code, outcome.message, tests.text))
        return Prompt((7, int(code[1:])), f"better than {code}", stop=("###",))


def measure(script, refiner, tasks=None, judge=judge, **settings):
    engine = ScriptedEngine(script)
    chosen = EvaluationSettings(**{"max_completion_length": 5, "refine_steps": 2, **settings})
    result = attempt_tasks(
        tasks or [task_of()], engine, InstantSandbox(judge), TablePrompts(), chosen, refiner=refiner
    )
    return result, engine


def counting(request, position):
    """The first program is c0; a refinement adds one."""
    return f"c{request.prompt_ids[1] + 1}" if request.key[0] == "refine" else "c0"


@pytest.mark.parametrize(("steps", "programs"), [(0, []), (1, ["c1"]), (2, ["c1", "c2"]), (5, ["c1", "c2"])])
def test_refined_until_the_visible_tests_pass_or_the_steps_are_used_up(steps, programs):
    asked = Asked()
    (attempt,) = measure(counting, asked, refine_steps=steps)[0].attempts
    assert (attempt.code, attempt.status) == ("c0", "failed")
    assert [turn.code for turn in attempt.turns] == programs
    assert {turn.status for turn in attempt.turns} <= {"failed"}, "c2 passes the visible tests alone"
    assert [turn.prompt for turn in attempt.turns] == [
        f"better than {code}" for code in ["c0", *programs][: len(programs)]
    ]
    assert attempt.refined.code == (programs or ["c0"])[-1]
    assert attempt.refined.turns == ()
    assert all((message, tests) == ("hidden=False", VISIBLE.text) for _, _, message, tests in asked)


def test_the_hidden_tests_decide_and_are_never_shown():
    """A program that passes the visible tests alone is wrong, and is left as it is."""
    asked = Asked()
    result, _ = measure(lambda request, position: "c2", asked)
    (attempt,) = result.attempts
    assert (attempt.status, attempt.message, attempt.turns, asked) == ("failed", "hidden=True", (), [])
    jump = lambda request, position: "c3" if request.key[0] == "refine" else "c1"  # noqa: E731
    (attempt,) = measure(jump, asked)[0].attempts
    assert (attempt.passed, attempt.refined.passed) == (False, True)
    assert "== 3" not in repr(asked)


def test_plain_figures_stay_and_those_of_the_procedure_stand_beside_them():
    def script(request, position):
        if request.key[0] == "refine":
            return "c3"
        return {"a": "c0", "b": "c3", "c": "c2"}[request.key[1]]

    tasks = [task_of(name) for name in "abc"]
    result, _ = measure(script, Asked(), tasks, num_generations=2, k=(1, 2))
    plain, _ = measure(script, None, tasks, num_generations=2, k=(1, 2), refine_steps=0)
    figures = result.metrics()
    assert {name: figures[name] for name in plain.metrics()} == plain.metrics()
    assert figures["pass@1"] == figures["sampled_pass@2"] == pytest.approx(1 / 3)
    assert figures["refined_pass@1"] == figures["refined_sampled_pass@2"] == pytest.approx(2 / 3)
    assert {"refined_pass@1_low", "refined_sampled_pass@1_high"} <= figures.keys()
    assert result.greedy == plain.greedy == {"a": False, "b": True, "c": False}
    turns = [turn for attempt in result.attempts for turn in attempt.turns]
    assert len(turns) == 3
    assert (figures["tokens"], figures["refinement_tokens"]) == (plain.tokens, sum(turn.tokens for turn in turns))
    assert result.refined.tokens == result.tokens + result.refinement_tokens
    assert "refined_pass@1" not in plain.metrics()


def test_each_refinement_has_a_stream_of_its_own_whatever_the_order():
    tasks = [task_of(name) for name in "abc"]
    results, keys = [], []
    for order in (tasks, tasks[::-1]):
        result, engine = measure(counting, Asked(), order, num_generations=3)
        results.append(result)
        keys.append({request.key: request.stream_keys for request in engine.requests if request.key[0] == "refine"})
    assert results[0] == results[1]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 3 * 4 * 2
    assert len({key for group in keys[0].values() for key in group}) == len(keys[0])
    other = measure(counting, Asked(), tasks, num_generations=3, seed=1)[1]
    assert not {key for one in other.requests for key in one.stream_keys} & {
        key for one in keys[0].values() for key in one
    }


def test_how_a_refinement_is_drawn():
    _, engine = measure(counting, Asked(), num_generations=1, temperature=0.5)
    refined = [request for request in engine.requests if request.key[0] == "refine"]
    assert {(request.key[2], request.params.temperature) for request in refined} == {(-1, 0.0), (0, 0.5)}
    assert all(request.params.stop == ("###",) and request.params.max_new_tokens == 5 for request in refined)


def test_a_refinement_without_a_program_leaves_the_one_before():
    empty = lambda request, position: "" if request.key[0] == "refine" else "c0"  # noqa: E731
    (attempt,) = measure(empty, Asked())[0].attempts
    assert [(turn.code, turn.status) for turn in attempt.turns] == [(None, "no_code")]
    assert (attempt.refined.code, attempt.refined.status) == ("c0", "failed")


def test_a_greedy_refinement_that_changes_nothing_is_the_last():
    same = lambda request, position: "c1"  # noqa: E731
    greedy, sampled = measure(same, Asked(), num_generations=1)[0].attempts
    assert (len(greedy.turns), len(sampled.turns)) == (1, 2)


def test_nothing_is_refined_without_tests_without_a_verdict_or_without_room():
    asked = Asked()
    untested = replace(task_of(), tests=None, hidden_tests=None)
    cases = [
        measure(counting, asked, [untested]),
        measure(counting, asked, judge=lambda program, tests: Outcome(Status.INFRASTRUCTURE)),
        measure(lambda request, position: "", asked),
    ]
    assert all(attempt.turns == () for result, _ in cases for attempt in result.attempts)
    assert asked == []
    short, _ = measure(counting, asked, positions=6)
    assert short.attempts[0].turns == ()
    assert len(measure(counting, asked, positions=7)[0].attempts[0].turns) == 2


def test_records_keep_every_turn():
    turn = Turn("p", "c", "c1", "failed", "why", "assert solve() > 0", True, "seccomp", 3)
    attempt = Attempt("t", -1, "c", "c0", "failed", tokens=2, turns=(turn, replace(turn, code=None, status="no_code")))
    assert Attempt.from_record(attempt.to_record()) == attempt
    plain = replace(attempt, turns=())
    assert "turns" not in plain.to_record()
    assert Attempt.from_record(plain.to_record()) == plain
    assert Evaluation((attempt,), (1,), refine_steps=2).refined.attempts[0].tokens == 8


def test_which_tests_are_visible():
    task = task_of()
    assert visible_tests(task, 1) is visible_tests(task) is VISIBLE
    source = "x = solve()\nassert x\ny = solve()\nassert y == 3\ndef helper(): pass\nassert solve()"
    alone = replace(task, tests=AssertTests(source, entry_point="solve"), hidden_tests=None)
    assert visible_tests(alone, 1).text == "x = solve()\nassert x"
    assert visible_tests(alone, 2).text == "x = solve()\nassert x\ny = solve()\nassert y == 3"
    assert visible_tests(alone, 3) is visible_tests(alone) is alone.tests
    calls = replace(alone, tests=CallTests("solve", [Case(args=(n,), expected=n) for n in range(3)]))
    assert visible_tests(calls, 2).cases == calls.tests.cases[:2]
    runs = Task("s", "Echo.", StdioTests([Case(stdin="1", stdout="1"), Case(stdin="2", stdout="2")]))
    assert visible_tests(runs, 1).cases == runs.tests.cases[:1]
    assert visible_tests(runs, 2) is runs.tests
    assert visible_tests(replace(task, tests=None, hidden_tests=None), 1) is None
