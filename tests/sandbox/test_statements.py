"""Test source as statements: their texts, whether they can fail, and at a cost that does not grow with a line's length."""

from __future__ import annotations

import ast
import time

import pytest

from trl_gift.sandbox.statements import can_fail, is_python, segment, steps

SOURCES = [
    "é = 'ü'; x = 1\r\nif x:\n    y = '''a\n  b'''\ny\n",
    "a = 'x\x0cy\u2028z'\nassert a\rassert f(a) == 1  # so\n",
    "@d\ndef f():\n    return 1\n\nassert (f(),\n   2) == (1, 2)",
]


@pytest.mark.parametrize("source", SOURCES)
def test_the_text_of_a_statement_is_what_stands_there(source):
    tree = ast.parse(source)
    expected = [ast.get_source_segment(source, node).replace("\r\n", "\n") for node in tree.body]
    assert [segment(source, node) for node in tree.body] == expected
    assert [step.text for step in steps(source)] == expected


def test_a_long_line_costs_little():
    """A line of a million characters takes a minute with `ast.get_source_segment`."""
    source = f"text = '{'x' * 1_000_000}'\nassert f(text)\n"
    before = time.process_time()
    assert [step.is_test for step in steps(source)] == [False, True]
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("statement", "fails"),
    [
        ("assert f(1) == 2", True),
        ("assert f(1) == 2, 'm'", True),
        ("assert (f(1) == 2, 'm')", False),
        ("assert True", False),
        ("assert ()", True),
        ("assert False", True),
        ("x = f(1)", False),
        ("check(f)", True),
    ],
)
def test_what_can_fail(statement, fails):
    assert can_fail(ast.parse(statement).body[0]) is fails


def test_what_is_python():
    assert is_python("x = 1" + "0" * 5000)
    assert is_python(f"x = '{'y' * 2_000_000}'")
    assert not is_python("x =")
    assert not is_python("x = '\0'")
    assert not is_python("(" * 10_000)
