"""The forecast: its extrapolation against known worlds, its sentence at every bound, and a pilot of a tiny model."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from tests.support.recorded_runs import RecordedRun
from tests.support.tiny_runs import TinyRun
from trl_gift.errors import ConfigError
from trl_gift.estimate import Estimated, Forecast, Verdict, forecast_text, run_forecast
from trl_gift.estimate.forecast import PilotSamples, forecast_of, verdict_of
from trl_gift.estimate.headroom import extrapolated_pass_at_k
from trl_gift.evaluation.pass_at_k import pass_at_k
from trl_gift.sampling.pilot import PilotResult
from trl_gift.sampling.records import PASSED, REFERENCE


def world(a, b, tasks, drawn):
    random = np.random.default_rng(0)
    rates = random.beta(a, b, size=tasks)
    return rates, random.binomial(drawn, rates).tolist()


@pytest.mark.parametrize(("a", "b"), [(0.3, 1.5), (1.0, 1.0), (0.2, 6.0)])
@pytest.mark.parametrize("k", [1, 16, 60])
def test_many_tasks_give_the_truth(a, b, k):
    rates, passed = world(a, b, 3000, 16)
    value, (low, high) = extrapolated_pass_at_k(passed, 16, k)
    assert value == pytest.approx(fmean(1 - (1 - rates) ** k), abs=0.02)
    assert low <= value <= high < low + 0.1
    if k <= 16:
        assert value == pytest.approx(fmean(pass_at_k(16, count, k) for count in passed), abs=0.02)


def test_few_tasks_have_an_interval_that_covers():
    covered = 0
    for number in range(12):
        random = np.random.default_rng(number)
        passed = random.binomial(16, random.beta(0.5, 1.5, size=40)).tolist()
        _, (low, high) = extrapolated_pass_at_k(passed, 16, 60)
        covered += low <= 0.838 <= high  # 1 - B(0.5, 61.5) / B(0.5, 1.5)
    assert covered >= 10


def test_what_is_never_and_what_is_always_solved():
    assert extrapolated_pass_at_k([0] * 20, 16, 60)[0] < 0.05
    assert extrapolated_pass_at_k([16] * 20, 16, 1)[0] > 0.95
    with pytest.raises(ValueError, match="at least one task"):
        extrapolated_pass_at_k([], 16, 60)


def found(
    alone=0.2, best=0.5, solved=0.6, between=0.4, fidelity=0.8, references=0, gap=None, chains=0.0, chain_distinct=3.0
):
    at = lambda value: Estimated(value, value, value)  # noqa: E731
    return Forecast(
        tasks=20, temperatures=(PilotResult(1.0, 80, 16, 9, 12),), temperature=1.0,
        pass_at={1: at(alone), 4: at(alone), 16: at(best)}, round_programs=60, solved=at(solved), in_between=at(between),
        fidelity=fidelity, fidelity_programs=30, chain_solved=at(chains), descriptions=12, leaks=1, plain_distinct=2.0, chain_distinct=chain_distinct,
        references=references, hint_gap=None if gap is None else at(gap), programs=1000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("forecast", "verdict", "words"),
    [
        (found(), Verdict.WORTH_IT, "the chain should suit it"),
        (found(fidelity=0.1), Verdict.WORTH_IT, "take plain sampling (--preset rft)"),
        (found(chain_distinct=2.0), Verdict.WORTH_IT, "the chain should suit it"),
        (found(chain_distinct=1.9), Verdict.WORTH_IT, "fewer distinct programs for as many tokens, so take plain"),
        (found(fidelity=None), Verdict.WORTH_IT, "take plain sampling (--preset rft)"),
        (found(references=20, gap=0.3), Verdict.WITH_REFERENCES, "which the tasks have"),
        (found(alone=0.95, best=1.0, solved=1.0), Verdict.NOT, "take harder ones"),
        (found(alone=0.0, best=0.0, solved=0.02, between=0.0), Verdict.TEACHER, "are needed to begin"),
        (found(0.0, 0.0, 0.02, 0.0, None, 20, 0.3), Verdict.WITH_REFERENCES, "+30 points of its programs pass"),
        (found(0.0, 0.0, 0.02, 0.0, None, 20, 0.05), Verdict.TEACHER, "the references do not change that"),
        (found(0.0, 0.0, 0.02, 0.0, None, 20, 0.0, 0.1), Verdict.WITH_REFERENCES, "begin from references solve 10%"),
        (found(0.0, 0.0, 0.02, 0.0, None, 20, 0.0, 0.09), Verdict.TEACHER, "the references do not change that"),
        (found(0.0, 0.0, 0.02, 0.0, None, 0, None, 0.1), Verdict.TEACHER, "are needed to begin"),
    ],
)
def test_the_sentence_follows_what_was_found(forecast, verdict, words):
    given, sentence = verdict_of(forecast)
    assert given == verdict
    assert sentence.lower().startswith(verdict)
    assert words in sentence
    assert forecast_text(forecast).endswith(sentence)


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, Verdict.DEPENDS, "strong@0 solves 60% of the tasks with 60 programs, 20% with one; the chain should"),
        ({"alone": 1.0, "best": 1.0, "solved": 1.0}, Verdict.DEPENDS, "solves 100% of the tasks"),
        ({"fidelity": None}, Verdict.DEPENDS, "take plain sampling (--preset rft --temperature 1)"),
        ({"alone": 0.0, "best": 0.0, "solved": 0.02, "chains": 0.1}, Verdict.DEPENDS, "worth it if"),
        ({"alone": 0.0, "best": 0.0, "solved": 0.02}, Verdict.TEACHER, "a stronger model is needed"),
    ],
)
def test_what_another_model_solves_does_not_say_who_lacks_it(changes, verdict, words):
    forecast = replace(found(**changes), drawn_by="strong@0")
    given, sentence = verdict_of(forecast)
    assert given == verdict
    assert sentence.lower().startswith(verdict)
    assert words.lower() in sentence.lower()
    assert "drawn by strong@0" in forecast_text(forecast)
    assert forecast_text(forecast).endswith(sentence)


def test_fidelity_is_compared_with_what_the_model_does_on_tasks_that_it_solves():
    # One program in 0.2/0.5 = 40 % of those that it solves at all; half of that is well read.
    assert found(fidelity=0.2).relative_fidelity == pytest.approx(0.5)
    assert "the chain should suit it" in verdict_of(found(fidelity=0.2))[1]
    assert "plain sampling" in verdict_of(found(fidelity=0.19))[1]


def test_the_headroom_is_what_sampling_adds_to_one_program():
    assert found(alone=0.2, best=0.5, solved=0.6).headroom == pytest.approx(0.4)


def pilot(plain, chains=(), hinted=()):
    """A pilot with 16 programs of each task, of which the given numbers pass."""
    programs = {
        task_id: [(f"x = {number}", number < passed) for number in range(16)] for task_id, passed in plain.items()
    }
    return forecast_of(PilotSamples((), 1.0, programs, 1000, chains, dict(hinted)), 60)


def test_a_task_that_is_always_solved_is_not_in_between():
    assert pilot({"never": 0, "always": 16, "often": 15, "once": 1}).in_between.value == 0.5


def test_the_gap_is_what_the_hint_adds():
    forecast = pilot({"a": 4, "b": 0, "c": 16}, hinted={"a": 0.75, "b": 0.5})
    assert (forecast.references, forecast.hint_gap.value) == (2, 0.5)


def test_fidelity_is_of_the_model_s_own_programs():
    chain = RecordedRun().chain(1, 0)
    first, read, other = (replace(next(chain), step=step, status=PASSED) for step in (0, 1, 1))
    chains = [
        replace(first, parent=REFERENCE),
        replace(read, parent="own"),
        replace(other, parent="own", status="failed"),
    ]
    forecast = pilot({first.task_id: 1, "b": 0}, chains)
    assert (forecast.fidelity, forecast.fidelity_programs) == (0.5, 2)
    assert forecast.chain_solved.value == 0.5


@pytest.fixture(scope="module")
def trainer(tmp_path_factory, tokenizer):
    return TinyRun(tmp_path_factory.mktemp("pilot"), tokenizer, num_rounds=1, temperature="auto").trainer


def test_a_pilot_measures_and_leaves_nothing(trainer):
    before = sorted(trainer.run.root.rglob("*"))
    forecast = run_forecast(trainer, 3)
    assert sorted(trainer.run.root.rglob("*")) == before
    assert (forecast.tasks, forecast.round_programs) == (3, 6)
    assert 2 <= forecast.references <= 3  # a reference that fails its own tests is none
    # 5 temperatures x 4, 16, 4 steps x 3, 4 with a hint.
    assert forecast.programs == 3 * (20 + 16 + 12) + 4 * forecast.references
    assert forecast.descriptions >= 3
    assert 0 < forecast.pass_at[1].value < forecast.pass_at[16].value
    assert forecast.fidelity is not None
    assert forecast.hint_gap is not None
    assert forecast.temperature in {one.temperature for one in forecast.temperatures}
    assert run_forecast(trainer, 3) == forecast
    record = forecast.to_record()
    assert (record["verdict"], record["sentence"]) == verdict_of(forecast)
    assert run_forecast(trainer, 99).tasks == 4


def test_a_limit_of_the_run_s_tokens_is_none_of_the_pilot_s(trainer, monkeypatch):
    whole = run_forecast(trainer, 3)
    monkeypatch.setattr(trainer.args, "max_tokens_per_round", 1)
    assert run_forecast(trainer, 3) == whole
    monkeypatch.setattr(trainer.args, "verify", False)
    with pytest.raises(ConfigError, match="--pilot counts programs that pass"):
        run_forecast(trainer, 3)
    with pytest.raises(ConfigError, match="num_tasks=1 is out of range: an interval needs several tasks"):
        run_forecast(trainer, 1)


def test_without_references_there_is_no_hint(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "tasks", [replace(task, reference=None) for task in trainer.tasks])
    forecast = run_forecast(trainer, 2)
    assert (forecast.references, forecast.hint_gap) == (0, None)
    assert "no references" in forecast_text(forecast)


def test_the_pilot_s_chains_are_not_the_run_s(trainer, monkeypatch):
    monkeypatch.setattr("trl_gift.estimate.forecast.forecast_of", lambda pilot, round_programs: pilot)
    chains = run_forecast(trainer, 2).chains
    assert {sample.round for sample in chains} == {0}
