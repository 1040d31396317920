"""The laws that make the sampler correct, on worlds where everything is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.support.worlds import (
    HINTED,
    READ,
    REWRITE,
    WRITE,
    TableEngine,
    TablePrompts,
    TableSandbox,
    joint_world,
    make_task,
    sample,
)
from trl_gift import codetext
from trl_gift.generation import SamplingParams
from trl_gift.prompts import Example, NoProgram

WORLD = joint_world(4, 5, stickiness=0.5)


def by_task(samples):
    grouped = {}
    for one in samples:
        grouped.setdefault(one.task_id, []).append(one)
    return grouped


def codes_at(samples, step, index=0):
    return [int(s.code[1:]) for s in samples if s.step == step and s.index == index]


def fits(codes, probabilities):
    """p-value of the chi-square test, and the total variation distance."""
    counts = np.bincount(codes, minlength=len(probabilities))
    distance = 0.5 * np.abs(counts / counts.sum() - probabilities).sum()
    return chisquare(counts, probabilities * counts.sum()).pvalue, distance


@pytest.mark.parametrize(("stickiness", "num_steps"), [(0.0, 6), (0.5, 12), (0.9, 40)])
def test_the_chain_reaches_the_marginal_of_the_intention(stickiness, num_steps):
    """Law 1: whatever the seed's words, late codes follow P(c), at fast and at slow mixing."""
    write, read, marginal = joint_world(4, 5, stickiness)
    chains = 800
    tasks = [make_task(f"t{i}", "d1") for i in range(chains)]
    samples = sample(tasks, TableEngine(write, read), num_steps=num_steps, num_generations=2)
    pvalue, distance = fits(codes_at(samples, num_steps - 1), marginal)
    assert pvalue > 1e-3
    assert distance < 0.07
    first_pvalue, first_distance = fits(codes_at(samples, 0), marginal)
    assert first_pvalue < 1e-6, "the seed's words alone must be biased, or this test shows nothing"
    assert first_distance > 2 * distance


def test_inconsistent_conditionals_reach_the_stationary_distribution():
    """Law 1 for real models, whose two conditionals share no joint: the stationary distribution of the kernel."""
    random = np.random.default_rng(3)
    write, read = random.dirichlet(np.ones(5), size=4), random.dirichlet(np.ones(4), size=5)
    kernel = read @ write
    values, vectors = np.linalg.eig(kernel.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    tasks = [make_task(f"t{i}") for i in range(1000)]
    samples = sample(tasks, TableEngine(write, read), num_steps=12, num_generations=1)
    pvalue, distance = fits(codes_at(samples, 11), stationary)
    assert pvalue > 1e-3
    assert distance < 0.07


@pytest.mark.parametrize("sampler", ["gibbs", "conditional", "hinted"])
def test_first_codes_are_conditional_samples(sampler):
    """Law 2: the first step follows P(c | d_i) exactly, for each of its codes."""
    write, read, _ = WORLD
    tasks = [make_task(f"t{i}", "d2") for i in range(1500)]
    samples = sample(tasks, TableEngine(write, read), sampler=sampler, num_steps=2)
    for index in range(3):
        assert fits(codes_at(samples, 0, index), write[2])[0] > 1e-3
    if sampler != "gibbs":
        assert fits(codes_at(samples, 1), write[2])[0] > 1e-3


def test_the_continuing_code_is_uniform_among_the_passing():
    """One of the passing codes of a step goes on, each with the same chance; failing ones never."""
    write = np.full((1, 4), 0.25)
    samples = sample(
        [make_task(f"t{i}") for i in range(1500)],
        TableEngine(write, np.ones((4, 1))),
        accepts=lambda program: program != "c0",
        num_steps=1,
    )
    assert not any(s.continues and s.code == "c0" for s in samples)
    full = [[s for s in group if s.passed] for group in by_task(samples).values()]
    places = [next(i for i, s in enumerate(group) if s.continues) for group in full if len(group) == 3]
    assert fits(places, np.full(3, 1 / 3))[0] > 1e-3
    assert all(sum(s.continues for s in group) == (len(group) > 0) for group in full)


def test_the_last_description_is_not_drawn():
    write, read, _ = WORLD
    engine = TableEngine(write, read)
    sample([make_task()], engine, num_steps=7)
    kinds = [request.prompt_ids[0] for request in engine.requests]
    assert kinds.count(WRITE) == 7
    assert kinds.count(READ) == 6


@pytest.mark.parametrize("reference", [None, "c9"])
def test_fall_back_order(reference):
    """No passing code: the most recent passing one of the chain, else the reference, else the seed's words again.

    The world is deterministic: d0 gives c0, c9 is read as d1, d1 gives c1 (passes), read as d2, which gives c2.
    """
    write = np.zeros((4, 10))
    write[0, 0] = write[1, 1] = write[2, 2] = 1.0
    read = np.zeros((10, 4))
    read[9, 1] = read[1, 2] = 1.0
    read[:, 3] = 1.0 - read.sum(axis=1)
    engine = TableEngine(np.where(write > 0, 1.0, 0.0), read)
    with np.errstate(divide="ignore"):
        samples = sample(
            [make_task(reference=reference)], engine, accepts=lambda program: program == "c1", num_steps=5
        )
    read_codes = [request.prompt_ids[1] for request in engine.requests if request.prompt_ids[0] == READ]
    steps = [next(s for s in samples if s.step == step) for step in range(5)]
    if reference is None:
        assert read_codes == []
        assert [s.description for s in steps] == ["d0"] * 5
        assert {s.parent for s in samples} == {None}
    else:
        # c0 fails -> reference; c1 passes -> itself; c2 fails -> c1 of step 1, at every later step.
        assert read_codes == [9, 1, 1, 1]
        assert [s.description for s in steps] == ["d0", "d1", "d2", "d2", "d2"]
        assert steps[1].parent == "reference"
        parents = {s.parent for s in samples if s.step >= 2}
        assert len(parents) == 1
        assert parents.pop().startswith("1/t/1/")


@pytest.mark.parametrize("continued", [True, False])
def test_a_chain_in_pieces_mixes_as_a_whole_one(continued):
    """Rounds of two steps that continue each other's chains reach the marginal; rounds that begin again do not."""
    write, read, marginal = joint_world(4, 6, stickiness=0.9)
    tasks = [make_task(f"t{number}", "d0") for number in range(600)]
    ends = {}
    for number in range(1, 17):
        samples = sample(tasks, TableEngine(write, read), num_steps=2, num_generations=1, round=number,
                         earlier=ends if continued else {})  # fmt: skip
        ends = {one.task_id: one for one in samples if one.continues and one.step == 1}
    assert (fits(codes_at(samples, 1), marginal)[0] > 1e-3) == continued
    first = [one for one in samples if one.step == 0]
    assert {one.parent is None for one in first} == {not continued}
    assert all(one.parent == f"15/{one.task_id}/1/0" for one in first if continued)


@pytest.mark.parametrize("sampler", ["gibbs", "conditional", "rewrite", "hinted"])
def test_equal_budgets(sampler):
    """Law 5: every sampler draws the same number of codes, and says how many tokens it took."""
    write, read, _ = WORLD
    engine = TableEngine(write, read)
    samples = sample([make_task("a"), make_task("b")], engine, sampler=sampler, num_steps=4)
    assert len(samples) == 2 * 4 * 3
    steps = {(s.task_id, s.step): s.description_tokens for s in samples}
    assert sum(len(s.token_ids) for s in samples) + sum(steps.values()) == engine.tokens_generated


def test_rewrite_never_reads_a_code():
    write, read, _ = WORLD
    engine = TableEngine(write, read)
    samples = sample([make_task(description="d1")], engine, sampler="rewrite", num_steps=4)
    assert [r.prompt_ids for r in engine.requests if r.prompt_ids[0] != WRITE] == [(REWRITE, 1)] * 4
    assert {s.parent for s in samples} == {None}


# P(c | d) gives c0 or c1, P(c | d, hint) gives c2 or c3.
PLAIN = np.array([[0.7, 0.3, 0.0, 0.0]])
WITH_HINT = np.array([[0.0, 0.0, 0.4, 0.6]])


def hinted_world():
    return TableEngine(PLAIN, np.ones((4, 1)), code_given_hint=WITH_HINT)


def test_a_hint_is_given_only_where_plain_tries_fail():
    """STaR: P(c | d) first; P(c | d, hint) for the second half of the steps of a task that these did not solve."""
    tasks = [make_task(f"t{i}", reference="c9") for i in range(800)]
    samples = sample(
        tasks, hinted_world(), lambda code: code != "c0", sampler="hinted", num_steps=4, num_generations=1
    )
    solved = 0
    for group in by_task(samples).values():
        plain, rest = group[:2], group[2:]
        assert [s.hint for s in plain] == [None, None]
        is_solved = any(s.passed for s in plain)
        solved += is_solved
        assert {s.hint for s in rest} == ({None} if is_solved else {"reference"})
        assert {s.code in ("c0", "c1") for s in rest} == {is_solved}
    assert solved / len(tasks) == pytest.approx(1 - 0.7**2, abs=0.06)
    assert fits(codes_at(samples, 0), PLAIN[0, :2])[0] > 1e-3
    hinted = [int(s.code[1:]) - 2 for s in samples if s.hint and s.step == 3]
    assert fits(hinted, WITH_HINT[0, 2:])[0] > 1e-3


def test_the_paper_s_schedule_is_one_try_and_one_retry():
    samples = sample(
        [make_task(reference="c9")], hinted_world(), lambda code: code in ("c2", "c3"), sampler="hinted", num_steps=2,
        num_generations=1,
    )  # fmt: skip
    assert [(s.hint, s.passed, s.continues) for s in samples] == [(None, False, False), ("reference", True, True)]


def test_without_anything_to_show_it_goes_on_without_a_hint():
    samples = sample([make_task()], hinted_world(), lambda code: False, sampler="hinted", num_steps=4)
    assert {s.hint for s in samples} == {None}
    failing = sample([make_task()], hinted_world(), lambda code: False, sampler="hinted", num_steps=4,
                     hint="failing_test")  # fmt: skip
    assert [s.hint for s in failing] == [None] * 6 + ["failing_test"] * 6


@pytest.mark.parametrize("condition", ["chain", "seed"])
def test_the_perplexity_of_a_hinted_code_is_of_what_it_says(condition):
    """Given the hinted prompt that it was written from, or scored again given the seed description alone."""
    write = np.array([[0.4, 0.3, 0.2, 0.1]])
    engine = TableEngine(write, np.ones((4, 1)), code_given_hint=WITH_HINT)
    tasks = [make_task(f"t{i}", reference="c9") for i in range(20)]
    samples = sample(
        tasks, engine, lambda code: code in ("c2", "c3"), sampler="hinted", num_steps=2, num_generations=1,
        perplexity_condition=condition,
    )  # fmt: skip
    hinted = [s for s in samples if s.hint]
    assert hinted
    for s in hinted:
        table = WITH_HINT if condition == "chain" else write
        assert s.perplexity == pytest.approx(1 / table[0, int(s.code[1:])])
        assert s.scored == (condition == "seed")


@given(stop_after=st.integers(0, 12))
@hypothesis_settings(max_examples=13, deadline=None)
def test_hinted_interrupted_anywhere_and_resumed(stop_after):
    tasks = [make_task(reference="c9")]
    options = {"accepts": lambda code: code == "c3", "sampler": "hinted", "num_steps": 4}
    whole = sample(tasks, hinted_world(), **options)
    survived = whole[:stop_after]
    engine = hinted_world()
    resumed = survived + sample(tasks, engine, recorded=survived, **options)
    assert record_of(resumed) == record_of(whole)
    kinds = {r.prompt_ids[0] for r in engine.requests}
    assert kinds <= {WRITE, HINTED}


@pytest.mark.parametrize("sampler", ["gibbs", "conditional", "rewrite"])
def test_unverified_codes_are_not_run_and_say_so(sampler):
    """SSD: nothing is run; every code that was found may go on and be selected, and none counts as passed."""

    class SometimesSilent(TablePrompts):
        def extract(self, task, completion):
            if completion == "c0":
                return NoProgram(codetext.NO_CODE, "no code")
            return super().extract(task, completion)

    write, read, _ = WORLD
    sandbox = TableSandbox()
    tasks = [make_task(f"t{i}", f"d{i % 4}") for i in range(30)]
    samples = sample(
        tasks, TableEngine(write, read), sampler=sampler, sandbox=sandbox, prompts=SometimesSilent(), verify=False
    )
    assert sandbox.programs == []
    assert len(samples) == 30 * 5 * 3
    for s in samples:
        found = s.completion != "c0"
        assert s.status == ("unverified" if found else "no_code")
        assert (s.outcome, s.passed, s.eligible) == (None, False, found)
        assert not s.continues or found
        assert (s.perplexity is not None) == found
    continuing = [s for s in samples if s.continues]
    assert len(continuing) > 100


def test_an_unverified_chain_reaches_the_marginal():
    """Without the filter nothing stands between the chain and Gibbs sampling."""
    write, read, marginal = WORLD
    samples = sample(
        [make_task(f"t{i}", "d1") for i in range(800)], TableEngine(write, read), num_steps=12, num_generations=1,
        verify=False,
    )  # fmt: skip
    assert fits(codes_at(samples, 11), marginal)[0] > 1e-3


def record_of(samples):
    """What must be equal between two runs: everything but the time."""
    return {s.sample_id: {k: v for k, v in s.to_record().items() if k != "created"} for s in samples}


def test_order_and_sharding_do_not_matter():
    """Law 6 for the chain: answers in another order, or tasks run apart, give the same samples."""
    write, read, _ = WORLD
    tasks = [make_task(f"t{i}", f"d{i % 4}", reference="c1") for i in range(30)]
    accepts = lambda program: program in ("c1", "c3")  # noqa: E731
    whole = record_of(sample(tasks, TableEngine(write, read), accepts))
    backwards = record_of(sample(tasks[::-1], TableEngine(write, read, order=-1), accepts))
    apart = [record_of(sample(tasks[i::2], TableEngine(write, read), accepts)) for i in range(2)]
    assert whole == backwards == apart[0] | apart[1]
    other = record_of(sample(tasks, TableEngine(write, read), accepts, seed=1))
    assert {k: v["code"] for k, v in other.items()} != {k: v["code"] for k, v in whole.items()}


@given(stop_after=st.integers(0, 60), keep=st.data())
@hypothesis_settings(max_examples=30, deadline=None)
def test_interrupted_anywhere_and_resumed(stop_after, keep):
    """Whatever prefix of each task's samples survives, the continued run ends with the same record."""
    write, read, _ = WORLD
    tasks = [make_task(f"t{i}", f"d{i}", reference=None if i else "c2") for i in range(4)]
    accepts = lambda program: program in ("c1", "c3")  # noqa: E731
    whole = sample(tasks, TableEngine(write, read), accepts)
    survived = whole[:stop_after]
    engine = TableEngine(write, read)
    resumed = survived + sample(tasks, engine, accepts, recorded=survived)
    assert len(resumed) == len(whole)
    assert record_of(resumed) == record_of(whole)
    codes_drawn = sum(len(r.stream_keys) for r in engine.requests if r.prompt_ids[0] == WRITE)
    assert codes_drawn == len(whole) - len(survived), "nothing on record is sampled again"


def test_a_description_on_record_is_not_drawn_again():
    """A step of which one code survived goes on from the description that the code was written from."""
    write, read, _ = WORLD
    whole = sample([make_task(reference="c0")], TableEngine(write, read), num_steps=3)
    survived = [s for s in whole if s.step < 2 or s.index == 0]
    engine = TableEngine(write, read)
    sample([make_task(reference="c0")], engine, recorded=survived, num_steps=3)
    assert [r.prompt_ids[0] for r in engine.requests] == [WRITE]


def test_the_example_is_never_the_task_itself():
    write, read, _ = WORLD
    prompts = TablePrompts()
    examples = [Example(f"c{i}", f"d{i}") for i in range(4)]
    sample([make_task(reference="c0")], TableEngine(write, read), examples=examples, prompts=prompts, num_steps=60)
    assert len(prompts.examples_seen) == 59
    assert all(len(shown) == 1 and shown[0] not in (code, "c0") for code, shown in prompts.examples_seen)
    assert {shown[0] for _, shown in prompts.examples_seen} == {"c1", "c2", "c3"}
    # With no other example there is none.
    prompts = TablePrompts()
    sample([make_task(reference="c0")], TableEngine(write, read), examples=examples[:1], prompts=prompts)
    assert all(shown == [] for _, shown in prompts.examples_seen)


def test_no_code_is_an_outcome_of_its_own():
    class Silent(TablePrompts):
        def extract(self, task, completion):
            return NoProgram(codetext.NO_CODE, "silent")

    write, read, _ = WORLD
    samples = sample([make_task()], TableEngine(write, read), prompts=Silent(), num_steps=2)
    assert {(s.status, s.code, s.outcome, s.passed) for s in samples} == {("no_code", None, None, False)}
    assert len(samples) == 6


def test_an_empty_description_falls_back_to_the_seed():
    class Mute(TableEngine):
        def _answer(self, request):
            result = super()._answer(request)
            if request.prompt_ids[0] != READ:
                return result
            from dataclasses import replace

            return replace(result, completions=(replace(result.completions[0], text="  "),))

    write, read, _ = WORLD
    samples = sample([make_task(description="d3")], Mute(write, read), num_steps=3)
    assert {s.description for s in samples} == {"d3"}
    assert {s.parent for s in samples} == {None}


@pytest.mark.parametrize("condition", ["chain", "seed"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_perplexity_is_of_the_right_description(condition, temperature):
    """Law 3: free where the sampling distribution is the model's and the condition is the chain's; scored otherwise."""
    write, read, _ = WORLD
    samples = sample(
        [make_task(f"t{i}") for i in range(20)],
        TableEngine(write, read),
        perplexity_condition=condition,
        code_params=SamplingParams(1, temperature=temperature),
    )
    for s in samples:
        description = s.description if condition == "chain" else "d0"
        assert s.perplexity == pytest.approx(1 / write[int(description[1:])][int(s.code[1:])])
        assert s.scored == (temperature != 1.0 or (condition == "seed" and s.description != "d0"))
