"""What the practice holds and what it leaves out."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

from tools.playground.practice import MINORITY_LENGTH_PROBABILITY, practice_pairs
from trl_gift.playground.tasks import NUM_TASKS, task_intention
from trl_gift.playground.world import (
    Intention,
    Step,
    behaviour,
    describe,
    probes,
    sample_intention,
    split_of,
    write_body,
)


def test_the_practice_is_deterministic():
    assert list(islice(practice_pairs(3), 200)) == list(islice(practice_pairs(3), 200))
    assert list(islice(practice_pairs(3), 20)) != list(islice(practice_pairs(4), 20))


def test_practice_never_holds_a_program_of_another_split():
    # The rule is a function of behaviour, so it is enough that no example behaves like a task, whatever its text: the
    # practised programs are run on the probes and compared with every task of every split.
    kept = {
        behaviour(task_intention(split, number)[0])
        for split in ("train", "validation", "test")
        for number in range(NUM_TASKS)
    }
    seen = 0
    for pair in islice(practice_pairs(11), 4000):
        head, body = _function_of(pair)
        scope: dict = {}
        exec(f"{head}\n{body}", scope)
        element = "word" if "(ws)" in head else "number"
        text = repr([element, [scope["solve"](list(probe)) for probe in probes(element)]])
        assert text not in kept
        seen += 1
    assert seen == 4000


def test_equal_behaviour_is_equal_split():
    rng = random.Random(12)
    swapped = idle = 0
    for _ in range(3000):
        intention = sample_intention(rng, 2)
        first, second = intention.steps
        other = Intention(intention.element, (second, first), intention.final)
        if other.is_well_typed() and behaviour(other) == behaviour(intention):
            swapped += 1
            assert split_of(other) == split_of(intention)
        if intention.element == "number":
            longer = Intention("number", (*intention.steps, Step("add", 3), Step("subtract", 3)), intention.final)
            idle += 1
            assert split_of(longer) == split_of(intention)
    assert swapped > 50
    assert idle > 500


def test_splits_of_tasks_are_disjoint_in_behaviour():
    behaviours = [
        {behaviour(task_intention(split, number)[0]) for number in range(NUM_TASKS)}
        for split in ("train", "validation", "test")
    ]
    assert [len(found) for found in behaviours] == [NUM_TASKS] * 3
    assert len(set.union(*behaviours)) == 3 * NUM_TASKS


def test_long_minority_wordings_are_read_but_not_written():
    lengths = {"write": Counter(), "read": Counter()}
    for pair in islice(practice_pairs(13), 20_000):
        text = pair.prompt.split('"""')[1] if pair.direction == "write" else pair.completion
        lengths[pair.direction][_wording_and_length(text)] += 1
    for wording, allowed in MINORITY_LENGTH_PROBABILITY.items():
        assert {n for w, n in lengths["write"] if w == wording} == set(allowed)
        assert {n for w, n in lengths["read"] if w == wording} == {1, 2, 3, 4, 5}
    assert {n for w, n in lengths["write"] if w == 0} == {1, 2, 3, 4, 5}


def test_the_prompts_are_the_ones_of_the_chain():
    intention = Intention("number", (Step("add", 3),), "sum")
    pairs = list(islice(practice_pairs(14), 3000))
    assert any(p.prompt.startswith('def solve(xs):\n    """') and p.prompt.endswith('"""\n') for p in pairs)
    reads = [p for p in pairs if p.direction == "read"]
    assert all(p.prompt.startswith("### Code\ndef solve(") and p.prompt.endswith("\n### Description\n") for p in reads)
    assert describe(intention, 0) == "add 3, return the sum"
    assert write_body(intention, 0) == "    xs = [x + 3 for x in xs]\n    return sum(xs)"


def _function_of(pair):
    if pair.direction == "write":
        return pair.prompt.split("\n")[0], pair.completion
    head, _, body = pair.prompt.removeprefix("### Code\n").removesuffix("\n### Description\n").partition("\n")
    return head, body


def _wording_and_length(text):
    if ", after " in text:
        return 3, text.count(", after ")
    if text.startswith("find the "):
        return 2, text.count(",") + 1
    if "; answer " in text:
        return 1, text.count(";")
    return 0, text.count(",")
