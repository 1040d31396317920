"""The token budget of a round: which steps are drawn, and that this depends on nothing but what they cost."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.tiny_runs import TinyRun
from tests.support.worlds import TableEngine, joint_world, make_task, sample, settings
from trl_gift import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.generation import SamplingParams
from trl_gift.sampling.budget import Spent, TokenBudget, turns_of, unspent_line

SAMPLERS = ("gibbs", "conditional", "rewrite", "hinted")
LONGEST = 40
TASKS = [make_task(f"t{number}", f"d{number % 4}", reference="c2" if number % 3 else None) for number in range(12)]
WRITE, READ, _ = joint_world(4, 5, stickiness=0.5)


class WordyEngine(TableEngine):
    """Completions of 1 to 40 tokens, whose number depends on their stream alone."""

    def _answer(self, request):
        result = super()._answer(request)
        lengths = [1 + key % LONGEST for key in request.stream_keys]
        self.tokens_generated += sum(lengths) - len(lengths)
        return replace(result, completions=tuple(
            replace(one, token_ids=one.token_ids * length) for one, length in zip(result.completions, lengths, strict=True)
        ))  # fmt: skip


def draw(tasks=TASKS, engine=None, **options):
    options = {"num_steps": 30, "num_generations": 2, **options}
    return sample(
        tasks, engine or WordyEngine(WRITE, READ), lambda program: program in ("c1", "c2"),
        code_params=SamplingParams(LONGEST), description_params=SamplingParams(LONGEST), **options,
    )  # fmt: skip


def costs_of(samples):
    """The tokens of each step."""
    found = {}
    for one in samples:
        turn = one.task_id, one.step
        found[turn] = found.get(turn, one.description_tokens) + len(one.token_ids)
    return found


def records_of(samples):
    return {
        one.sample_id: {name: value for name, value in one.to_record().items() if name != "created"} for one in samples
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("limit", [1, 300, 1500, 4000])
def test_a_round_ends_at_its_tokens(sampler, limit):
    engine = WordyEngine(WRITE, READ)
    costs = costs_of(draw(engine=engine, sampler=sampler, max_tokens=limit))
    turns = turns_of(TASKS, settings(sampler=sampler, num_steps=30))
    assert set(costs) == set(turns[: len(costs)]), "what is drawn is a beginning of the order"
    assert engine.tokens_generated == sum(costs.values()), (
        "programs and descriptions count, and nothing is thrown away"
    )
    last = costs[turns[len(costs) - 1]]
    assert limit <= sum(costs.values()) < limit + last, "one step less would have been too few"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_limit_changes_no_sample_that_is_drawn(sampler):
    whole, cut = records_of(draw(sampler=sampler)), records_of(draw(sampler=sampler, max_tokens=2500))
    assert 0 < len(cut) < len(whole)
    assert all(whole[name] == record for name, record in cut.items())


def test_rejected_descriptions_count():
    class Stammering(WordyEngine):
        """Every second description is empty."""

        def _answer(self, request):
            result = super()._answer(request)
            if request.key[0] != "describe" or request.key[-1] % 2:
                return result
            (one,) = result.completions
            return replace(result, completions=(replace(one, text=""),))

    engine = Stammering(WRITE, READ)
    samples = draw(engine=engine, max_tokens=2000)
    assert max(one.description_tries for one in samples) == 2
    assert 2000 <= engine.tokens_generated == sum(costs_of(samples).values()) < 2000 + 5 * LONGEST


def test_the_order_goes_step_by_step_and_is_drawn_anew_in_each_round():
    chosen = settings(num_steps=4)
    turns = turns_of(TASKS, chosen)
    assert [step for _, step in turns] == [step for step in range(4) for _ in TASKS]
    assert turns == turns_of(TASKS[::-1], chosen)
    orders = {tuple(task_id for task_id, _ in turns_of(TASKS, replace(chosen, **change))[: len(TASKS)])
              for change in ({}, {"round": 2}, {"seed": 1})}  # fmt: skip
    assert len(orders) == 3
    # Chains of other lengths come along at their own pace: of half of the steps, each has drawn half of its own.
    uneven = turns_of(TASKS[:2], replace(chosen, steps={"t0": 10, "t1": 2}))
    assert sorted(uneven[:6]) == [("t0", 0), ("t0", 1), ("t0", 2), ("t0", 3), ("t0", 4), ("t1", 0)]


def test_the_order_of_the_answers_does_not_matter():
    whole = records_of(draw(max_tokens=2500))
    assert records_of(draw(TASKS[::-1], engine=WordyEngine(WRITE, READ, order=-1), max_tokens=2500)) == whole


@given(st.data())
@hypothesis_settings(max_examples=20, deadline=None)
def test_interrupted_anywhere_and_resumed(data):
    whole = draw(max_tokens=1200)
    survived = whole[: data.draw(st.integers(0, len(whole)))]
    resumed = survived + draw(recorded=survived, max_tokens=1200)
    assert len(resumed) == len(whole)
    assert records_of(resumed) == records_of(whole)


class Together:
    """What processes exchange, as threads."""

    def __init__(self, count):
        self._barrier = threading.Barrier(count, timeout=60)
        self._spent = {}

    def of(self, rank):
        def exchange(wave, spent):
            self._spent[wave, rank] = spent
            self._barrier.wait()
            return [self._spent[wave, each] for each in range(self._barrier.parties)]

        return exchange


# The third has no task at all.
@pytest.mark.parametrize("shares", [(TASKS[::2], TASKS[1::2]), (TASKS[:1], TASKS[1:], [])])
def test_processes_share_one_budget(shares):
    together, found = Together(len(shares)), {}

    def process(rank):
        others = [task for number, share in enumerate(shares) if number != rank for task in share]
        found[rank] = draw(shares[rank], others=others, exchange=together.of(rank), max_tokens=2500)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records_of(one for samples in found.values() for one in samples) == records_of(draw(max_tokens=2500))


def test_chains_that_end_first_leave_tokens():
    samples = draw(num_steps=2, max_tokens=10**6)
    assert len(samples) == len(TASKS) * 2 * 2
    assert records_of(samples) == records_of(draw(num_steps=2))
    assert unspent_line(10**6, sum(costs_of(samples).values()), 2).endswith("a larger num_steps spends the rest.")
    assert unspent_line(None, 5, 2) == unspent_line(5, 5, 2) == ""


def test_no_more_steps_are_granted_than_are_expected():
    turns = [(f"t{number}", 0) for number in range(4)]
    budget, granted = TokenBudget(30, turns, 80, 0, lambda wave, spent: [spent]), 0
    while not budget.is_over:
        now = [name for name, step in turns if budget.grants(name, step)][granted:]
        granted += len(now)
        assert granted <= budget.expected_turns
        for _ in now:
            budget.spend(0, 20)
        budget.next_wave()
    assert granted == budget.expected_turns == 2


def test_the_waves_by_hand():
    """100 tokens; a step costs 10 at most and then does cost 4; ten chains of five steps."""
    turns = [(f"t{task}", step) for step in range(5) for task in range(10)]
    seen = []

    def exchange(wave, spent):
        seen.append((wave, spent))
        return [spent, Spent()]  # another process has drawn nothing

    budget = TokenBudget(100, turns, 7, 3, exchange)
    granted, waves = set(), []
    while not budget.is_over:
        now = {turn for turn in turns if budget.grants(*turn)} - granted
        assert now == set(turns[len(granted) : len(granted) + len(now)])
        granted |= now
        waves.append((len(now), budget.expected_turns))
        for _, step in now:
            budget.spend(step, 4)
        budget.next_wave()
    # 100/10; then half of 60/(4 + 3), 44/4, 24/4, 12/4, 8/4, 4/4: first steps know no descriptions yet.
    assert waves == [(10, 10), (4, 18), (5, 25), (3, 25), (1, 25), (1, 25), (1, 25)]
    assert (budget.expected_turns, len(granted)) == (25, 25)
    assert seen[:2] == [(0, Spent(first=40)), (1, Spent(later=16))]


def test_a_limit_is_a_number_of_tokens():
    with pytest.raises(ConfigError, match=r"max_tokens_per_round=0 is out of range; use a number that is at least 1"):
        GiFTConfig("out", use_cpu=True, bf16=False, max_tokens_per_round=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    return TinyRun(
        tmp_path_factory.mktemp("limited"), tokenizer, num_rounds=2, num_steps=50, max_tokens_per_round=200,
    )  # fmt: skip


def test_every_round_of_a_run_has_its_tokens(run):
    for summary in run.rounds:
        samples = [one for group in run.samples(summary["round"]).values() for one in group]
        assert summary["tokens"] == sum(costs_of(samples).values())
        assert 200 <= summary["tokens"] < 200 + 3 * 4 + 3 * 4  # 3 programs and as many descriptions of 4 tokens
        assert summary["max_tokens"] == 200
    assert not list(run.gift.glob("round-*/wave-*"))
    assert run.read("run.json")["options"]["max_tokens_per_round"] == 200


def test_the_order_is_that_of_the_run_s_seed(run):
    tasks, chosen = run.trainer.tasks, run.trainer.args.chain_settings(2, "")
    drawn = {(one.task_id, one.step) for group in run.samples(2).values() for one in group}
    assert drawn == set(turns_of(tasks, chosen)[: len(drawn)])
    assert chosen.max_tokens == 200
