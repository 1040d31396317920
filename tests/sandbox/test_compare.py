"""When an output or a value counts as the expected one."""

from __future__ import annotations

import pytest

from trl_gift.sandbox.values.compare_outputs import first_difference, outputs_match
from trl_gift.sandbox.values.compare_values import same, values_match

YES = [
    ("3\n", "3"),
    ("3", "3\n\n"),
    ("1 2  3 \n", "1 2 3\n"),
    ("1.50", "1.5"),
    ("3.0", "3"),
    ("a b\nc", "a b\nc"),
    ("", ""),
    ("1e3", "1000.0"),
    ("x\r\ny", "x\ny"),
]
NO = [
    ("", "3"),
    ("3", ""),
    ("3\n4", "3"),
    ("3", "3\n4"),
    ("007", "7"),
    ("1_0", "10.0"),
    ("\uff15.0", "5.0"),
    ("nan", "1"),
    ("inf", "1e400"),
    ("1 2", "1\n2"),
    ("\n3", "3"),
    ("A", "a"),
    ("1" * 500 + ".0", "1" * 500),
]


@pytest.mark.parametrize(("actual", "expected"), YES)
def test_lines_accept(actual, expected):
    assert outputs_match(actual, expected, "lines")


@pytest.mark.parametrize(("actual", "expected"), NO)
def test_lines_refuse(actual, expected):
    assert not outputs_match(actual, expected, "lines")
    assert first_difference(actual, expected, "lines")


def test_other_rules():
    assert not outputs_match("1.50", "1.5", "exact")
    assert outputs_match("1\n2", "1 2", "tokens")
    assert not outputs_match("1\n2\n3", "1 2", "tokens")
    assert outputs_match("YES\n1  2", "Yes 1 2\n", "caseless")
    assert not outputs_match("YES", "YES NO", "caseless")
    assert outputs_match("2 1 1", "1 2", "apps")  # sets of tokens: the published rule, and why it is not the default
    assert not outputs_match("2 3", "1 2", "apps")


def test_tolerances():
    assert outputs_match("0.333333", "0.3333333333", "lines", abs_tol=1e-5)
    assert not outputs_match("0.3334", "0.3333333333", "lines", abs_tol=1e-5)
    assert outputs_match("1000001", "1000000", "lines", rel_tol=1e-5)
    assert outputs_match("0.3333333333333333", "0.333333333333", "lines", abs_tol=1e-6, decimals_only=True)
    assert outputs_match("3", "3.0", "lines", abs_tol=1e-6, decimals_only=True)
    assert not outputs_match("3.0000001", "3", "lines", abs_tol=1e-6, decimals_only=True)
    assert not outputs_match("07", "7", "lines", abs_tol=1e-6, decimals_only=True)
    assert outputs_match("100000000.5", "1.0e8", "lines", rel_tol=1e-6, decimals_only=True)
    assert not outputs_match("1e999999999", "1", "lines", abs_tol=1.0)
    assert not outputs_match("nan", "1", "lines", abs_tol=1e9)


@pytest.mark.parametrize(
    ("actual", "expected", "options", "result"),
    [
        (1, 1.0, {}, True),
        ((1, 2), [1, 2], {}, False),
        ((1, 2), [1, 2], {"json": True}, True),
        ({1: (2,)}, {1: [2]}, {"json": True}, True),
        ({1: (2,)}, {"1": [2]}, {"json": True}, False),
        (1 / 3, 0.333333333333, {"abs_tol": 1e-6, "decimals_only": True}, True),
        (10**8 + 1, 10**8, {"rel_tol": 1e-6, "decimals_only": True}, False),
        (10**8 + 1, 1e8, {"rel_tol": 1e-6, "decimals_only": True}, True),
        ([{"a": (1.0, 2)}], [{"a": [1.0000001, 2]}], {"json": True, "abs_tol": 1e-6, "decimals_only": True}, True),
        ([0.1 + 0.2], [0.3], {"abs_tol": 1e-9}, True),
        ([0.1 + 0.2], [0.3], {}, False),
        (float("nan"), float("nan"), {}, True),
        (float("nan"), 1.0, {"abs_tol": 1.0}, False),
        (True, 1, {"abs_tol": 1e-9}, False),
        (10**400, 1.0, {"rel_tol": 1e-3}, False),
        ({"a": 1.0000001}, {"a": 1}, {"rel_tol": 1e-3}, True),
        ({"a": 1, "b": 2}, {"a": 1}, {"rel_tol": 1e-3}, False),
        ({1, 2}, {2, 1}, {}, True),
        ([[], []], [[]], {}, False),
    ],
)
def test_values(actual, expected, options, result):
    settings = {"abs_tol": 0.0, "rel_tol": 0.0, "json": False, **options}
    assert same(actual, expected, **settings) is result


def test_the_rules_of_calls():
    def by(rule, actual, expected):
        return values_match(actual, expected, rule, abs_tol=0.0, rel_tol=0.0)

    assert not by("equal", (1, 2), [1, 2])
    assert by("json", (1, 2), [1, 2])
    assert not by("json", 3, [3])
    assert by("apps", 3, [3])
    assert by("apps", [3], [3])
    assert not by("apps", 3, [3, 3])
    assert not by("apps", 3, [[3]])


def test_arrays():
    numpy = pytest.importorskip("numpy")
    settings = {"abs_tol": 0.0, "rel_tol": 0.0, "json": False}
    for array in (numpy.array([]), numpy.empty((0, 3)), numpy.array([10]), numpy.array(10)):
        assert not same(array, 10, **settings)
        assert not same(array, [10], **settings)
        assert same(array, array.copy(), **settings)
    assert not same(numpy.array([1, 2]), numpy.array([1, 3]), **settings)
    assert not same(numpy.array([[1]]), numpy.array([1]), **settings)
    assert same(numpy.array([1.0]), numpy.array([1.1]), **{**settings, "abs_tol": 0.2})
    assert not same([numpy.array([])], [[1]], **settings)


def test_tables_are_equal_in_values_names_and_types():
    pandas = pytest.importorskip("pandas")
    settings = {"abs_tol": 0, "rel_tol": 0, "json": False}
    frame = pandas.DataFrame({"a": [1.0, None], "b": ["x", "y"]})
    assert same(frame, frame.copy(), **settings)
    assert not same(frame, frame.rename(columns={"a": "c"}), **settings)
    assert not same(frame, frame.astype({"b": "category"}), **settings)
    assert not same(frame, frame.set_index("b"), **settings)
    assert not same(frame, frame.to_numpy(), **settings)
    assert not same(frame["a"], [1.0, None], **settings)
    assert same(frame["a"] + 0.1, frame["a"], **{**settings, "abs_tol": 0.2})


@pytest.mark.parametrize(
    ("actual", "expected", "comparison", "message"),
    [
        ("0.33333\n1", "0.333333\n2", ("lines", 1e-3), "line 2 is '1', not '2'"),
        ("YES\nno", "yes\nYes", ("caseless",), "token 2 is 'no', not 'Yes'"),
        ("1 2", "1\n2 3", ("tokens",), "2 tokens, not 3"),
        ("1\n2", "1", ("lines",), "2 lines, not 1"),
        ("1 ", "1", ("exact",), "spacing differs"),
        ("1", "2", ("apps",), "line 1 is '1', not '2'"),
    ],
)
def test_the_message_names_what_counts(actual, expected, comparison, message):
    assert not outputs_match(actual, expected, *comparison)
    assert first_difference(actual, expected, *comparison) == message
