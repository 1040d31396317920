"""The sets that are learned, each exactly as it is defined."""

from __future__ import annotations

import pytest

from tests.distillation.samples import RIGHT, sample, task
from trl_gift.distillation.sets import SETS, lessons
from trl_gift.prompts import BasePrompts
from trl_gift.sampling.records import REPAIR, SOLUTION
from trl_gift.training.pairs import IGNORED, training_pairs
from trl_gift.training.targets import Targets

TASKS = [task("a"), task("b"), task("c")]
WRONG, STILL, FIXED = (f"def add(a, b):\n    return {text}" for text in ("b", "3", "b + a"))
FAILURE = "assert add(1, 2) == 3\nit returned 0"
ROUND = [
    sample("a", 0, 0, WRONG, 0),
    sample("a", 1, 0, STILL, 1, REPAIR, "1/a/0/0"),
    sample("a", 2, 0, FIXED, None, REPAIR, "1/a/1/0"),
    sample("b", 0, 0, WRONG, 0),
    sample("b", 1, 0, STILL, 1, REPAIR, "1/b/0/0"),
    sample("c", 0, 0, RIGHT),
    sample("c", 0, 1, RIGHT),
    sample("c", 0, 2, "def add(a, b):\n    return sum((a, b))"),
]
SOLUTIONS = [
    sample("a", 0, 0, WRONG, 0),
    sample("a", 1, 0, FIXED, None, SOLUTION),
    sample("b", 1, 0, STILL, 0, SOLUTION),
]


def found(name, samples, right_share=0.5, rounds=1, key=0):
    got = lessons(name, [iter(samples)] * rounds, TASKS, right_share, key)
    return [(one.kind, one.sample.task_id, one.shown, one.feedback, one.sample.code) for one in got]


PROGRAM, REFINED = ("program", "a", None, None, FIXED), ("refine", "a", WRONG, FAILURE, FIXED)


@pytest.mark.parametrize(
    ("name", "samples", "expected"),
    [
        ("repair", ROUND, []),
        ("stand", SOLUTIONS, [PROGRAM]),
        ("inpd", SOLUTIONS, [PROGRAM]),
        ("persd", ROUND, [PROGRAM]),
        ("persd-refine", ROUND, [REFINED]),
        ("persd-combined", ROUND, [PROGRAM, REFINED]),
    ],
)
def test_what_each_set_holds(name, samples, expected):
    assert found(name, samples) == expected
    assert found(name, samples, rounds=2) == expected, "equal lessons of two rounds are one"


def test_self_repair_keeps_what_is_right_in_a_set_share():
    assert set(SETS["self-repair"]) == {"refine", "keep"}
    for share, count in ((0.0, 0), (0.5, 1), (0.67, 2), (0.95, 2)):
        first, *kept = found("self-repair", ROUND, share)
        assert first == REFINED
        assert len(kept) == count, "one repair, and two distinct right programs at most"
        assert all(kind == "keep" and shown == code and feedback is None for kind, _, shown, feedback, code in kept)
    drawn = {found("self-repair", ROUND, key=key)[1][4] for key in range(20)}
    assert drawn == {RIGHT, "def add(a, b):\n    return sum((a, b))"}
    assert found("self-repair", ROUND, key=3) == found("self-repair", ROUND, key=3)


def test_lessons_become_pairs(tokenizer):
    prompts = BasePrompts(tokenizer)
    taught = lessons("persd-combined", [iter(ROUND)], TASKS, 0.5, 0)
    made = training_pairs(TASKS, [], Targets(prompts), None, True, lessons=taught)
    assert (len(made.pairs), made.num_lessons, made.num_selected, made.num_references) == (2, 2, 0, 0)
    texts = [tokenizer.decode(pair.input_ids) for pair in made.pairs]
    assert "A wrong program" not in texts[0]
    assert texts[1].index("return b\n") < texts[1].index("it returned 0") < texts[1].index("Add for a.")
    for pair in made.pairs:
        learned = tokenizer.decode([label for label in pair.labels if label != IGNORED])
        assert "return b + a" in learned
        assert "it returned 0" not in learned
    unfit = training_pairs(
        TASKS, [], Targets(prompts), None, True, unfit={("a", taught[0].sample.target)}, lessons=taught
    )
    assert (len(unfit.pairs), unfit.num_unfit) == (0, 2)
    assert training_pairs(TASKS, [], Targets(prompts), 5, True, lessons=taught).num_too_long == 2
