"""Tests as data: refused if they cannot fail, equal by content, lossless through JSON."""

from __future__ import annotations

import json
import sys
from decimal import Decimal

import pytest

from trl_gift.sandbox import (
    AssertTests,
    CallTests,
    Case,
    Limits,
    Outcome,
    Status,
    StdioTests,
    TestResult,
    suite_from_dict,
)
from trl_gift.sandbox.digits import any_number_of_digits

SUITES = [
    AssertTests("assert f(1) == 2", entry_point="f", prelude="import math", pass_by="reference"),
    AssertTests(["x = f(1)", "assert x == 2"]),
    AssertTests("def check(candidate):\n    assert candidate(1) == 2", entry_point="f"),
    AssertTests("assert f(1)", shared=True),
    CallTests("f", [Case(args=(1, (2, {3})), expected={"a": [1.5, None]}, kwargs={"key": {1: b"x"}})], abs_tol=1e-6),
    CallTests("Solution.f", [Case(args=([Decimal("1.10")],), expected=float("inf"))], compare="json"),
    StdioTests([Case(stdin="1 2\n", stdout="3\n")], compare="tokens", rel_tol=1e-3),
    StdioTests([Case(stdin="", stdout="x")], checker="def check(stdin, stdout, expected):\n    return True\n"),
    StdioTests(
        [Case(stdin="", stdout="x")],
        language="cpp",
        after="int main() {}",
        before="#include <map>",
        opening="int f() {",
    ),
]


@pytest.mark.parametrize("suite", SUITES)
def test_round_trip_through_json(suite):
    copy = suite_from_dict(json.loads(json.dumps(suite.to_dict())))
    assert copy == suite
    assert hash(copy) == hash(suite)
    assert copy.fingerprint == suite.fingerprint
    assert type(copy).from_dict(suite.to_dict()) == suite


def test_all_differ():
    assert len(set(SUITES)) == len(SUITES)
    assert Case(args=(1,), expected=1) != Case(args=(True,), expected=1)
    assert Case(args=(1,), expected=1) != Case(args=(1.0,), expected=1)


@pytest.mark.parametrize(
    "source", ["", "# nothing", "import math", "def helper():\n    return 1", "pass", "'text'", "assert True", "x = 1"]
)
def test_suites_that_cannot_fail_are_refused(source):
    with pytest.raises(ValueError, match="every program would pass"):
        AssertTests(source, entry_point="f")


def test_empty_case_lists_are_refused():
    for make in (lambda: CallTests("f", []), lambda: StdioTests([])):
        with pytest.raises(ValueError, match="every program would pass"):
            make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AssertTests("assert f(", entry_point="f"), "not valid Python"),
        (lambda: AssertTests("assert f(1)", prelude="def"), "not valid Python"),
        (lambda: AssertTests("assert f(1)", entry_point="a b"), "not a .dotted. Python name"),
        (lambda: AssertTests("assert f(1)", pass_by="pickle"), "choose one of value, reference"),
        (lambda: CallTests("f", [Case(stdin="", stdout="")]), "the wrong kind of case"),
        (lambda: StdioTests([Case(args=(1,))]), "the wrong kind of case"),
        (lambda: CallTests("f", [Case()], rel_tol=2.0), "such a tolerance"),
        (lambda: StdioTests([Case(stdin="", stdout="")], compare="fuzzy"), "choose one of lines"),
        (lambda: StdioTests([Case(stdin="", stdout="")], checker="x = 1"), "does not define check"),
        (lambda: StdioTests([Case(stdin="", stdout="")], after="assert f() == 1"), "tests in Python are AssertTests"),
        (
            lambda: StdioTests([Case(stdin="", stdout="")], language="c", before="int x;"),
            "belong to code that follows",
        ),
        (lambda: Case(args=5), "must be a tuple"),
        (lambda: Case(stdin="1"), "a run needs both"),
        (lambda: Limits(cpu_s=0), "above zero"),
        (lambda: Limits(cpu_s=20), "raise wall_s"),
        (lambda: CallTests("f", [Case(args=(object(),))]), "cannot cross"),
    ],
)
def test_errors_name_value_reason_and_fix(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_check_is_called_only_if_the_source_does_not_call_it():
    check = "def check(candidate):\n    assert candidate(1) == 2\n"
    assert AssertTests(check, entry_point="f").source.count("check(f)") == 1
    assert AssertTests(check + "check(f)", entry_point="f").source.count("check(f)") == 1
    with pytest.raises(ValueError, match="every program would pass"):
        AssertTests(check)


def test_frozen():
    with pytest.raises(AttributeError):
        SUITES[0].source = "assert False"


def test_outcome_round_trip():
    outcome = Outcome(
        Status.FAILED,
        (TestResult(0, Status.PASSED), TestResult(1, Status.FAILED, "no", 0.5), TestResult(2, None)),
        first_failure=1,
        message="no",
        stdout_tail="out",
        cpu_s=0.5,
        isolation="seccomp",
        trusted=False,
    )
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome
    assert not outcome.passed


def test_inputs_and_outputs_are_texts():
    for name in ("stdin", "stdout"):
        with pytest.raises(ValueError, match=rf"Case\({name}=5\): must be a text; write {name}='5'"):
            Case(**{"stdin": "", "stdout": "", name: 5})


def test_a_number_of_any_length_survives_json():
    tests = CallTests("f", [Case((10**5000, {"a": -(10**9000)}), 3)])
    assert CallTests.from_dict(json.loads(json.dumps(tests.to_dict()))) == tests


def test_the_limit_on_digits_is_put_back():
    before = sys.get_int_max_str_digits()
    with any_number_of_digits(), any_number_of_digits():
        assert len(str(10**5000)) == 5001
    assert sys.get_int_max_str_digits() == before
    with pytest.raises(ValueError, match="integer string conversion"):
        str(10**5000)


def test_the_file_of_a_program_holds_what_it_lacks():
    tests = StdioTests(
        [Case(stdin="", stdout="")], language="c", after="int main() {}", before="#include <a.h>\n#include <b.h>"
    )
    assert tests.in_file("#include <b.h> \nint x;") == "#include <a.h>\n#include <b.h> \nint x;\nint main() {}"
    assert StdioTests([Case(stdin="", stdout="")], language="c").in_file("int x;") == "int x;"
