"""The end of a run: its table, its sentence, and a line for each thing that went wrong."""

from __future__ import annotations

import pytest

from trl_gift.common.spelling import spell
from trl_gift.run.ending import best_round, run_text, sentence, table, troubles_of
from trl_gift.run.wording import Wording

BASE = {"metrics": {"pass@1": 0.4, "pass@1_low": 0.3, "pass@1_high": 0.5}, "greedy": {}}


def a_round(number, value=0.5, gain=(0.1, 0.05, 0.15), **changes):
    solved = round(100 * value)
    return {
        "round": number, "tasks": 10, "solved_tasks": 10, "samples": 90, "passed": 40, "no_code": 0,
        "distinct_programs": 21, "metrics": {"pass@1": value, "pass@1_low": value - 0.1, "pass@1_high": value + 0.1},
        "greedy": {f"t{index}": index < solved for index in range(100)},
        "gain": dict(zip(("pass@1", "low", "high"), gain, strict=True)),
    } | changes  # fmt: skip


def unmeasured(number, **changes):
    found = a_round(number, **changes)
    return {name: value for name, value in found.items() if name not in ("metrics", "greedy", "gain")}


def test_the_table_has_a_line_for_the_base_and_each_round_and_marks_the_final_model():
    lines = table(BASE, [a_round(1, 0.6), a_round(2, 0.5)], kept=1).splitlines()
    assert lines[0].split("  ")[-1] == "distinct"
    assert lines[1].startswith("base          40.0% [30.0%, 50.0%]")
    assert lines[2].startswith("round 1 *     60.0% [50.0%, 70.0%]  +10.0% [+5.0%, +15.0%]  10 of 10")
    assert lines[2].endswith("40 of 90         21")
    assert "*" not in lines[3]
    assert lines[4] == "* the final model, the best measured round"
    assert table(BASE, [a_round(1), a_round(2)]).splitlines()[4] == "* the final model"
    assert "*" not in table(BASE, [a_round(1)])


def test_without_an_evaluation_or_without_execution_the_table_says_only_what_is_known():
    lines = table(None, [unmeasured(1)]).splitlines()
    assert lines[0].split() == ["tasks", "solved", "programs", "passed", "distinct"]
    assert lines[1].split() == ["round", "1", "10", "of", "10", "40", "of", "90", "21"]
    assert table(None, [unmeasured(1)], verified=False).splitlines()[1].split()[2:6] == ["not", "run", "not", "run"]
    assert sentence([unmeasured(1)]) == ""


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((0.1, 0.05, 0.15), "solves more held-out tasks than before"),
        ((0.1, -0.05, 0.25), "No gain is shown"),
        ((-0.1, -0.15, -0.05), "solves fewer held-out tasks than before"),
    ],
)
def test_one_sentence_says_what_is_shown_of_the_final_model(gain, words):
    assert words in sentence([a_round(1, gain=gain)])
    assert words in sentence([a_round(1, gain=gain), a_round(2, gain=(0, 0, 0))], kept=1)


def test_the_best_round_is_the_latest_of_the_highest():
    assert best_round([]) is None
    assert best_round([unmeasured(1)]) is None
    assert best_round([a_round(1, 0.6), a_round(2, 0.5)]) == 1
    assert best_round([a_round(1, 0.6), a_round(2, 0.6), a_round(3, 0.1)]) == 2


def test_a_good_run_has_no_troubles():
    assert troubles_of([a_round(1, 0.5), a_round(2, 0.6)]) == []


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ([a_round(1, no_code=19)], "round 1: 21% of the completions hold no program. Likely causes: max_completion_len"),
        ([a_round(1, passed=0, solved_tasks=0)], "round 1: no program passed. Likely causes"),
        ([a_round(1, gain=(-0.2, -0.3, -0.1))],
         "round 1: the model solves fewer tasks than the base model, -20.0% [-30.0%, -10.0%]. Likely causes"),
        ([a_round(1, 0.58), a_round(2, 0.0)], "round 2: pass@1 is lower than in round 1, -58.0% ["),
        ([a_round(1, 0.58), a_round(2, 0.0)], "and the interval lies below zero"),
        ([a_round(1, 0.58), a_round(2, 0.57)], "which may be chance"),
        ([a_round(1, solved_tasks=7)], "3 of 10 tasks were never solved"),
    ],
)  # fmt: skip
def test_each_trouble_has_a_line_with_its_likely_cause(rounds, words):
    lines = troubles_of(rounds)
    assert len(lines) == 1
    assert words in lines[0]
    assert run_text(BASE, rounds).endswith(lines[0])


def test_a_model_that_has_not_learned_to_write_edits_is_noticed():
    few, many = a_round(1, 0.5), a_round(1, 0.5)
    many["metrics"] = {**many["metrics"], "edits": 0.9}
    options = {"target_format": "edits"}
    assert troubles_of([few]) == troubles_of([many], options) == troubles_of([unmeasured(1)], options) == []
    (line,) = troubles_of([few], options)
    assert line.startswith("round 1: 0% of the measured answers are edits")
    assert "learning_rate" not in troubles_of([few], options, Wording(offered={"num_steps"}))[0]


def test_a_model_that_writes_some_edits_or_malformed_ones_gets_the_advice_that_fits():
    options, spoilt = {"target_format": "edits"}, a_round(1, gain=(-0.2, -0.3, -0.1))
    spoilt["metrics"] = {**spoilt["metrics"], "edits": 0.33}
    some, worse = troubles_of([spoilt], options)
    assert "33% of the measured answers are edits, so the model has learned to write them for some tasks only" in some
    assert "too low" not in some
    assert "too high" in worse, "the two lines do not contradict each other"
    malformed = [
        a_round(index, no_code=40) | {"no_code_kinds": {"malformed edits": 39, "no code": 1}} for index in (1, 2)
    ]
    untrained, trained = troubles_of(malformed)
    assert untrained.endswith("Likely cause: max_completion_length is too small.")
    assert trained.endswith("Likely causes: max_completion_length is too small; too few optimizer steps.")


def test_advice_names_only_options_that_the_user_has():
    rounds = [a_round(1, no_code=19, passed=0, solved_tasks=0)]
    assert troubles_of(rounds, wording=Wording(offered={"num_steps"})) == [
        "round 1: 21% of the completions hold no program.",
        "round 1: no program passed. Likely causes: the tasks are too hard for the model; num_steps is too small.",
    ]
    assert "temperature='auto'" in troubles_of(rounds)[1]


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        ({"temperature": 1.0}, ["the temperature is too high (temperature='auto'"], []),
        ({"temperature": 1.0, "sampling_model": "org/strong"}, ["the temperature is too high."], ["'auto'"]),
        ({"temperature": "auto"}, [], ["temperature"]),
        ({"temperature": 0}, [], ["temperature"]),
    ],
)
def test_advice_on_the_temperature_is_what_the_run_may_have(options, there, absent):
    (line,) = troubles_of([a_round(1, passed=0, solved_tasks=0)], options)
    assert all(words in line for words in there)
    assert not any(words in line for words in absent)


@pytest.mark.parametrize(
    ("options", "references", "advice"),
    [
        ({"sampler": "gibbs", "hint": "reference"}, 4, "A larger num_steps or sampler='hinted' may"),
        ({"sampler": "gibbs", "hint": "reference"}, 0, "or sampler='hinted' with hint='failing_test' may"),
        ({"sampler": "gibbs", "hint": "repair"}, 0, "or sampler='hinted' may"),
        ({"sampler": "hinted", "hint": "reference"}, 4, "A larger num_steps may"),
        ({"sampler": "gibbs", "continue_chains": True}, 4, "A larger num_steps may"),
        ({"sampler": "gibbs", "num_steps": 1}, 4, "A larger num_steps may"),
        ({"sampler": "gibbs", "num_steps": 2, "step_allocation": "uncertain"}, 4, "A larger num_steps may"),
    ],
)
def test_a_hint_is_advised_where_the_run_may_have_one(options, references, advice):
    (line,) = troubles_of([a_round(1, solved_tasks=9, references=references)], options)
    assert advice in line


def test_with_a_limit_of_tokens_more_steps_are_no_cure():
    (line,) = troubles_of([a_round(1, passed=0, solved_tasks=0, max_tokens=100)])
    assert "max_tokens_per_round is too small" in line
    assert "num_steps" not in line


def test_a_limit_that_stopped_the_teacher_is_named_with_its_value_and_is_the_advice():
    rounds = [a_round(1, over_cost=3), a_round(2, solved_tasks=9, over_cost=1, over_budget=2)]
    options = {"teacher_budget": 30, "teacher_max_cost": 1e-07}
    budget, cost, never = troubles_of(rounds, options)
    assert budget == "teacher_budget=30 stopped the teacher on 2 tasks in round 2, before it was done."
    assert (
        cost
        == "teacher_max_cost=1e-07 stopped the teacher on 3 tasks in round 1, 1 task in round 2, before it was done."
    )
    assert "A larger teacher_budget or teacher_max_cost may" in never.replace(
        " or sampler='hinted' with hint='failing_test'", ""
    )
    assert spell(cost, dict.fromkeys(options, "x")).startswith("--x 1e-07 stopped")


@pytest.mark.parametrize(("figures", "options", "words"), [
    ({"repairs_no_code": 12}, {"teacher": "openai:m", "teacher_max_tokens": 9},
     "round 1: none of the 12 repairs passed (12 held no program). Likely causes: teacher_max_tokens is too small for an answer; "
     "the teacher does not understand the question."),
    ({"repairs_no_code": 1, "repairs_unchanged": 2}, {"temperature": 0},
     "round 1: none of the 12 repairs passed (1 held no program, 2 were the program that was shown). Likely causes: "
     "max_completion_length is too small for an answer; the model does not understand the question; temperature=0 gives the "
     "same answer to the same question; the tasks are too hard for the model."),
    ({"repairs": 1}, {"teacher": "org/m"},
     "round 1: the only repair did not pass. Likely cause: the tasks are too hard for the teacher."),
    ({"repaired": 1}, {}, None),
])  # fmt: skip
def test_repairs_of_which_none_passes_are_a_trouble(figures, options, words):
    found = troubles_of([a_round(1, **{"repairs": 12, "repaired": 0, **figures})], options)
    assert found == ([words] if words else [])


def test_one_task_is_not_several():
    (line,) = troubles_of([a_round(1, solved_tasks=9)])
    assert line.startswith("1 of 10 tasks was never solved, so no sampled program was learned for it.")


def test_what_was_not_run_is_not_called_unsolved():
    assert troubles_of([unmeasured(1, passed=0, solved_tasks=0)], {"verify": False}) == []
