"""What a chain is answered: its streams, what the model and the sandbox are given, and whose perplexity is free."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.support.engines import ScriptedEngine, ended_by
from tests.support.sandboxes import InstantSandbox
from tests.support.worlds import (
    HINTED,
    READ,
    REWRITE,
    TESTS,
    WRITE,
    TableEngine,
    TablePrompts,
    joint_world,
    make_task,
    sample,
)
from trl_gift.generation import SamplingParams
from trl_gift.prompts import Extraction
from trl_gift.sampling.context import MAX_INFRASTRUCTURE_FAILURES, ExecutionUnavailable
from trl_gift.sandbox import AssertTests, Outcome, Status
from trl_gift.tasks import Task

# Any code may follow any description and the other way round, each with the same chance.
EVEN = np.full((50, 1000), 1e-3), np.full((1000, 50), 0.02)
WORLD = joint_world(4, 5, stickiness=0.5)


def even_engine():
    return TableEngine(*EVEN)


def tasks_of(count, **changes):
    return [make_task(f"t{number}", "d1", **changes) for number in range(count)]


def keys_of(engine):
    return [key for request in engine.requests for key in request.stream_keys]


# Streams --------------------------------------------------------------------------------------------------------------


def test_the_programs_of_a_step_are_drawn_apart():
    samples = sample(tasks_of(20), even_engine(), num_steps=2, num_generations=4)
    steps = {}
    for one in samples:
        steps.setdefault((one.task_id, one.step), []).append(one.code)
    assert len(steps) == 40
    assert all(len(programs) == 4 for programs in steps.values())
    assert sum(len(set(programs)) == 4 for programs in steps.values()) > 35


@pytest.mark.parametrize("sampler", ["gibbs", "rewrite"])
def test_every_draw_has_a_key_of_its_own(sampler):
    """No two completions share a stream: of rounds, tasks, steps, indices, seeds, programs or descriptions."""
    seen = Counter()
    expected = 0
    for changes in ({"round": 1}, {"round": 2}, {"seed": 1}, {"seed": 1, "round": 2}):
        engine = even_engine()
        sample(tasks_of(6), engine, sampler=sampler, num_steps=4, num_generations=3, **changes)
        seen.update(keys_of(engine))
        expected += 6 * (4 * 3 + (3 if sampler == "gibbs" else 4))
    assert len(seen) == expected
    assert set(seen.values()) == {1}


def test_the_same_draw_has_the_same_key_again():
    one, two = even_engine(), even_engine()
    sample(tasks_of(6), one)
    sample(tasks_of(6)[::-1], two)
    assert sorted(keys_of(one)) == sorted(keys_of(two))


def test_which_program_continues_is_drawn_anew_at_each_step_and_apart_from_the_programs():
    samples = sample(tasks_of(400), even_engine(), num_steps=3, num_generations=3)
    places = {}
    first = {}
    for one in samples:
        if one.continues:
            places[one.task_id, one.step] = one.index
        if one.index == 0:
            first[one.task_id, one.step] = int(one.code[1:])
    assert len(places) == 400 * 3
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        pairs = Counter((places[f"t{number}", earlier], places[f"t{number}", later]) for number in range(400))
        assert len(pairs) == 9
        assert max(pairs.values()) < 90, "independent draws give about 44 each"
    # The stream of the first program does not choose: programs drawn from low and high numbers continue alike.
    low = [place for key, place in places.items() if first[key] < 333]
    assert len(low) > 200
    assert max(Counter(low).values()) / len(low) < 0.5
    other = sample(tasks_of(400), even_engine(), num_steps=3, num_generations=3, round=2)
    moved = sum(places[one.task_id, one.step] != one.index for one in other if one.continues)
    assert moved / len(places) == pytest.approx(2 / 3, abs=0.1)


# What the model is given ----------------------------------------------------------------------------------------------


class Stopped(TablePrompts):
    code_stops = ("\nclass ",)
    description_stops = ("\n###",)


@pytest.mark.parametrize(("sampler", "kind"), [("gibbs", READ), ("rewrite", REWRITE), ("hinted", HINTED)])
def test_codes_and_descriptions_are_drawn_and_stopped_each_in_their_way(sampler, kind):
    code = SamplingParams(5, temperature=0.7, top_p=0.9, top_k=11)
    description = SamplingParams(9, temperature=1.3, top_p=0.8, top_k=3)
    engine = even_engine()
    sample(
        tasks_of(2, reference="c1"), engine, lambda program: False, prompts=Stopped(), sampler=sampler,
        code_params=code, description_params=description,
    )  # fmt: skip
    params = {request.prompt_ids[0]: request.params for request in engine.requests}
    assert set(params) == {WRITE, kind}
    assert params[WRITE] == replace(code, stop=("\nclass ",))
    expected = params[WRITE] if kind == HINTED else replace(description, stop=("\n###",))
    assert params[kind] == expected


def test_the_chain_that_has_the_longest_way_to_go_comes_first():
    engine = even_engine()
    sample(tasks_of(1), engine, num_steps=4)
    priorities = [(request.key[0], request.key[2], request.priority) for request in engine.requests]
    assert [(what, step) for what, step, _ in priorities] == [
        ("write", 0), ("describe", 1), ("write", 1), ("describe", 2), ("write", 2), ("describe", 3), ("write", 3)
    ]  # fmt: skip
    numbers = [priority for *_, priority in priorities]
    assert all(earlier > later for earlier, later in itertools.pairwise(numbers))
    assert numbers[-1] > 0


@pytest.mark.parametrize("said", ["  ", "d2"])
def test_the_tokens_of_a_description_count_even_if_it_is_empty(said):
    class Says(TablePrompts):
        def describe(self, completion, finished=True):
            return said.strip()

    engine = even_engine()
    samples = sample(tasks_of(3), engine, prompts=Says(), num_steps=4)
    drawn = 1 if said.strip() else 3  # without words it is drawn again
    assert {(one.step, one.description_tokens) for one in samples} == {(0, 0), (1, drawn), (2, drawn), (3, drawn)}
    assert {one.description_tries for one in samples if one.step} == {drawn}
    described = {(one.task_id, one.step): one.description_tokens for one in samples}
    assert sum(len(one.token_ids) for one in samples) + sum(described.values()) == engine.tokens_generated


@pytest.mark.parametrize(("num_steps", "plain"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_the_plain_half_of_the_steps_is_rounded_up(num_steps, plain):
    engine = even_engine()
    sample(
        tasks_of(1, reference="c1"), engine, lambda program: False, sampler="hinted", num_steps=num_steps,
    )  # fmt: skip
    assert [request.prompt_ids[0] for request in engine.requests] == [WRITE] * plain + [HINTED] * (num_steps - plain)


# What the sandbox is given --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["gibbs", "conditional", "rewrite", "hinted"])
def test_programs_are_put_to_the_hidden_tests_too(sampler):
    hidden = AssertTests("assert solve() == 3", entry_point="solve")
    task = Task("t", "d0", TESTS, signature="def solve():", hidden_tests=hidden, reference="c1")
    sandbox = InstantSandbox(lambda program, tests: "== 3" not in tests.text)
    samples = sample([task], even_engine(), sandbox=sandbox, sampler=sampler, num_steps=2)
    assert {one.status for one in samples} == {"failed"}
    assert {tests for _, tests in sandbox.submitted} == {task.all_tests}


def infrastructure(failing):
    """A sandbox whose n-th execution cannot be carried out if `failing(n)`."""

    def judge(program, tests):
        judge.count += 1
        return Outcome(Status.INFRASTRUCTURE, message="no namespaces") if failing(judge.count) else Status.PASSED

    judge.count = 0
    return InstantSandbox(judge)


def one_by_one(sandbox, steps, recorded=None):
    append = recorded.append if recorded is not None else None
    # The world is large enough that hardly two programs are equal; equal ones would share an execution.
    return sample(tasks_of(1), even_engine(), sandbox=sandbox, sampler="conditional", num_steps=steps,
                  num_generations=1, append=append, seed=3)  # fmt: skip


def test_the_twentieth_execution_in_a_row_that_fails_ends_the_sampling():
    assert MAX_INFRASTRUCTURE_FAILURES == 20
    sandbox, recorded = infrastructure(lambda number: True), []
    with pytest.raises(ExecutionUnavailable, match=r"20 consecutive executions .*no namespaces"):
        one_by_one(sandbox, 40, recorded)
    assert len(sandbox.submitted) == 20
    assert [one.status for one in recorded] == ["infrastructure"] * 19, "what was sampled before is on record"
    assert len(one_by_one(infrastructure(lambda number: True), 19)) == 19


def test_an_execution_that_was_carried_out_begins_the_count_anew():
    sandbox = infrastructure(lambda number: number % 20 != 0)
    samples = one_by_one(sandbox, 100)
    assert Counter(one.status for one in samples) == {"infrastructure": 95, "passed": 5}
    with pytest.raises(ExecutionUnavailable):
        one_by_one(infrastructure(lambda number: number > 5), 100)


def test_completions_without_a_program_do_not_begin_the_count_anew():
    """Nothing is executed for them, so they say nothing about the sandbox."""
    numbers = iter(range(1000))

    def write(request, position):
        number = next(numbers)
        return "" if number % 2 else f"c{number}"

    sandbox = infrastructure(lambda number: True)
    with pytest.raises(ExecutionUnavailable):
        sample(
            tasks_of(1), ScriptedEngine(write), sandbox=sandbox, sampler="conditional", num_steps=60, num_generations=1
        )
    assert len(sandbox.submitted) == 20


def test_failures_of_several_tasks_and_programs_are_one_row():
    sandbox = infrastructure(lambda number: True)
    with pytest.raises(ExecutionUnavailable):
        sample(tasks_of(10), even_engine(), sandbox=sandbox, num_steps=1, num_generations=3)


# Perplexity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["eos", "stop", "length"])
def test_only_a_completion_that_ended_by_itself_has_its_perplexity_for_free(reason):
    """The end token is part of the target; where none was sampled, the target's own tokens are scored."""
    write, read, _ = WORLD
    samples = sample(tasks_of(10), ended_by(TableEngine(write, read), reason))
    assert len(samples) == 10 * 5 * 3
    assert {one.finish_reason for one in samples} == {reason}
    assert {one.scored for one in samples} == {reason != "eos"}
    for one in samples:
        assert one.perplexity == pytest.approx(1 / write[int(one.description[1:]), int(one.code[1:])])


def test_a_program_that_is_not_all_of_the_completion_is_scored():
    class Trimmed(TablePrompts):
        def extract(self, task, completion):
            return replace(super().extract(task, completion), verbatim=False)

    write, read, _ = WORLD
    samples = sample(tasks_of(4), TableEngine(write, read), prompts=Trimmed())
    assert {one.scored for one in samples} == {True}


@pytest.mark.parametrize("wrote", ["\nc1", "c1"])
def test_a_completion_that_skips_the_end_of_its_prompt_is_scored(wrote):
    """The target begins with what the prompt has left to the model; where that was not sampled, it is no sampled text."""

    class Cut(TablePrompts):
        def write(self, task, description, hint=None):
            return replace(super().write(task, description, hint), text="d0\n", left="\n")

        def extract(self, task, completion):
            return Extraction("c1", "c1", verbatim=True)

    samples = sample(tasks_of(1), ScriptedEngine(lambda request, position: wrote), prompts=Cut(), num_steps=1)
    assert {one.scored for one in samples} == {wrote == "c1"}


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.9}, {"temperature": 1.1}, {"top_p": 0.99}, {"top_k": 2}, {"top_k": 1000}, {"min_p": 0.01},
        {"repetition_penalty": 1.1},
    ],
)  # fmt: skip
def test_another_distribution_has_no_perplexity_for_free(params):
    write, read, _ = WORLD
    samples = sample(tasks_of(4), TableEngine(write, read), code_params=SamplingParams(1, **params))
    assert {one.scored for one in samples} == {True}


def test_programs_that_failed_are_not_scored():
    write, read, _ = WORLD
    engine = ended_by(TableEngine(write, read), "stop")
    samples = sample(tasks_of(10), engine, lambda program: program in ("c1", "c2"))
    assert {one.passed for one in samples} == {True, False}
    assert all(one.scored == one.passed == (one.perplexity is not None) for one in samples)
