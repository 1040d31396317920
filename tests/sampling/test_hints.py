"""What a hint shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift.sampling.hints import hint_for
from trl_gift.sampling.showing import MAX_TEST_CHARACTERS, show_test
from trl_gift.sandbox import AssertTests, CallTests, Case, StdioTests
from trl_gift.tasks import read_tests

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"


@pytest.mark.parametrize(
    ("tests", "index", "shown"),
    [
        (AssertTests("x = 2\nassert f(1) == x\nassert f(2) == 3", "f"), 1, "assert f(2) == 3"),
        (AssertTests("assert f(1) == 2", "f"), 7, "assert f(1) == 2"),
        (AssertTests(CHECK, "f"), 0, f"{CHECK}\n\ncheck(f)"),
        (AssertTests("def test_a():\n    assert f(1) == 2\ndef test_b(x):\n    assert f(x)\ntest_a()\ntest_b(x=3)", "f"), 1,
         "def test_b(x):\n    assert f(x)\n\ntest_b(x=3)"),
        (CallTests("f", cases=[Case(args=(1, "a"), expected=[2], kwargs={"k": None})]), 0,
         "assert f(1, 'a', k=None) == [2]"),
        (StdioTests(cases=[Case(stdin="1 2\n", stdout="3\n"), Case(stdin="4", stdout="5")]), 0,
         "# Input:\n1 2\n# Output:\n3"),
        (StdioTests(cases=[Case(stdin="", stdout="end")], language="c", after="int main() { return f(); }"), 0,
         "int main() { return f(); }"),
    ],
)  # fmt: skip
def test_a_test_is_shown_as_a_person_would_write_it(tests, index, shown):
    assert show_test(tests, index) == shown.strip()


PYTEST = """
import pytest

@pytest.fixture
def numbers():
    return [1, 2, 6]

@pytest.mark.parametrize("more, expected", [([], 3), ([3], 3)])
def test_mean(numbers, more, expected):
    assert mean(numbers + more) == expected

def test_empty():
    assert mean([]) == 0

class TestMore:
    def setup_method(self):
        self.x = 3

    def test_one(self):
        assert mean([self.x]) == 3
"""
UNITTEST = """
import unittest

class TestMean(unittest.TestCase):
    def setUp(self):
        self.x = [1]

    def test_one(self):
        self.assertEqual(mean(self.x), 1)

    def test_two(self):
        self.assertEqual(mean([1, 2]), 1.5)
"""


@pytest.mark.parametrize(
    ("source", "index", "shown"),
    [
        (PYTEST, 0, "def test_mean(numbers, more, expected):\n    assert mean(numbers + more) == expected\n\n"
                    "test_mean(more=[], expected=3)"),
        (PYTEST, 1, "def test_mean(numbers, more, expected):\n    assert mean(numbers + more) == expected\n\n"
                    "test_mean(more=[3], expected=3)"),
        (PYTEST, 2, "def test_empty():\n    assert mean([]) == 0\n\ntest_empty()"),
        (PYTEST, 3, "class TestMore:\n    def test_one(self):\n        assert mean([self.x]) == 3"),
        (UNITTEST, 0, "class TestMean:\n    def test_one(self):\n        self.assertEqual(mean(self.x), 1)"),
        (UNITTEST, 1, "class TestMean:\n    def test_two(self):\n        self.assertEqual(mean([1, 2]), 1.5)"),
    ],
)  # fmt: skip
def test_a_test_of_a_test_file_is_shown_without_what_runs_it(source, index, shown):
    assert show_test(read_tests(source, "The mean.", "def mean(xs):"), index) == shown


def test_huge_tests_are_cut():
    huge = StdioTests(cases=[Case(stdin="1 " * 1_000_000, stdout="2")])
    assert len(show_test(huge, 0)) < 2 * MAX_TEST_CHARACTERS
    call = CallTests("f", cases=[Case(args=(list(range(100_000)),), expected="y" * 100_000)])
    assert len(show_test(call, 0)) < 3 * MAX_TEST_CHARACTERS


def test_the_hint_is_the_reference_or_the_latest_failure():
    write, read, _ = joint_world(3, 4, 0.5)
    task = make_task(reference="def solve():\n    return 1")
    task = replace(task, tests=AssertTests("assert solve() == 1\nassert solve() == 2", "solve"))
    (one, *_) = sample([task], TableEngine(write, read), num_steps=1)
    tries = [replace(one, status="failed", outcome={"first_failure": 1}), replace(one, status="no_code", outcome=None)]
    assert hint_for("reference", task, tries).text == task.reference
    assert hint_for("reference", replace(task, reference=None), tries) is None
    assert hint_for("failing_test", task, tries).text == "assert solve() == 2"
    assert hint_for("failing_test", task, tries[1:]).text == "assert solve() == 1"
    secretive = replace(task, hidden_tests=AssertTests("assert solve() == 3", "solve"))
    hidden = [replace(one, status="failed", outcome={"first_failure": 2})]
    assert hint_for("failing_test", secretive, hidden).text == "assert solve() == 2"


@pytest.mark.parametrize("failures", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_the_hint_is_the_first_test_that_the_latest_try_failed(failures):
    write, read, _ = joint_world(3, 4, 0.5)
    tests = AssertTests("assert solve() == 0\nassert solve() == 1\nassert solve() == 2", "solve")
    task = replace(make_task(), tests=tests)
    (one, *_) = sample([task], TableEngine(write, read), num_steps=1)
    tries = [replace(one, status="failed", outcome={"first_failure": failure}) for failure in failures]
    assert hint_for("failing_test", task, tries).text == f"assert solve() == {failures[-1]}"
