"""Pairs differ in little: the distance is Levenshtein's, and of all allowed pairs the nearest is taken first."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recorded_runs import RecordedRun
from trl_gift.export.pairs import edit_distance, near_pairs
from trl_gift.export.programs import Program, Programs, distinct_programs
from trl_gift.sampling.records import CodeSample

RUN = RecordedRun()


def table_distance(first, second):
    """Levenshtein's distance by its whole table."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        row, before = [i], row
        for j, other in enumerate(second, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (one != other)))
    return row[-1]


@given(st.lists(st.sampled_from("abc"), max_size=90), st.lists(st.sampled_from("abc"), max_size=90))
def test_the_distance_is_that_of_the_table(first, second):
    assert edit_distance(first, second) == table_distance(first, second)


def program(code, *places, status="passed", index=0):
    record = RUN.sample(places[0][0], 0, places[0][1], index, None).to_record()
    sample = CodeSample.from_record(record | {"code": code, "target": code, "status": status})
    return Program(sample, frozenset(places))


def shown(pairs):
    return [(pair.passed.sample.code, pair.failed.sample.code, pair.distance, pair.same_step) for pair in pairs]


def test_programs_of_one_step_come_first_then_the_nearest():
    passed = (program("a b c d", (1, 0)), program("x y z", (1, 1), (2, 0)))
    failed = (program("a b c", (1, 1)), program("x y q", (1, 2)), program("x", (2, 0)))
    assert shown(near_pairs(Programs(passed, failed), None)) == [
        ("x y z", "a b c", 3, True),
        ("a b c d", "x y q", 5, False),
    ]
    assert shown(near_pairs(Programs(passed, failed), 1)) == [("x y z", "a b c", 3, True)]
    assert shown(near_pairs(Programs(passed, failed), None, uses=2)) == [
        ("x y z", "a b c", 3, True),
        ("x y z", "x", 4, True),
        ("a b c d", "a b c", 2, False),
        ("a b c d", "x y q", 5, False),
    ]
    assert near_pairs(Programs(passed), None) == near_pairs(Programs((), failed), None) == []


def rank(pair):
    return (not pair.same_step, pair.distance)


@pytest.mark.parametrize("uses", [1, 3])
def test_a_pair_is_absent_only_if_nearer_ones_have_used_up_its_programs(uses):
    run = RecordedRun(tasks=3, rounds=2, steps=3, program=lambda *place: f"x = {place}\ny = {place[1] * place[2]}")
    found = distinct_programs(one for number in (1, 2) for task in range(3) for one in run.chain(number, task))
    for programs in found.by_task.values():
        pairs = near_pairs(programs, None, uses)
        assert pairs
        assert list(map(rank, pairs)) == sorted(map(rank, pairs))
        for passed, failed in product(programs.passed, programs.failed):
            of_passed = [pair for pair in pairs if pair.passed == passed]
            of_failed = [pair for pair in pairs if pair.failed == failed]
            assert max(len(of_passed), len(of_failed)) <= uses
            if not any(pair.failed == failed for pair in of_passed):
                (alone,) = near_pairs(Programs((passed,), (failed,)), None)
                full = [group[-1] for group in (of_passed, of_failed) if len(group) == uses]
                assert min(map(rank, full)) <= rank(alone)
