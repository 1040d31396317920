"""Which tests share a judge: those that change nothing but names of their own."""

from __future__ import annotations

import pytest

from trl_gift.sandbox import AssertTests, LocalSandbox
from trl_gift.sandbox.plain_tests import is_plain

CHECK = "METADATA = {'author': 'x'}\n\ndef check(candidate):\n    for n in range(3):\n        assert candidate(n) == n + 1\ncheck(f)"

PLAIN = [
    "assert f(1) == 2\nassert f(-1, [2, (3,)], k={'a': 1}) == {1, 2}",
    "assert not f(1), 'message'\nassert sorted(f(2)) == [1] and abs(f(1) - 2) < 1e-6",
    "assert f(f(1)) is None",
    "x = f(1)\nassert x",
    "assert [f(x) for x in (1, 2)] == [1, 2]",
    "assert g(1) == f(1)",
    "import math\nassert math.isclose(f(1), 2)",
    "from typing import List\ndef check(candidate: List) -> None:\n    assert candidate(1)\ncheck(f)",
    "assert sorted(f(1), key=lambda pair: pair[0]) == []",
    "assert f(1)(2) == 3",
    "inputs = [1, 2]\nfor x, y in zip(inputs, [2, 3]):\n    assert f(x) == y, f'{x} gives {y}'",
    CHECK,
]
NOT_PLAIN = [
    "import math\nmath.isclose = f",
    "import math\nmath = f\nassert math.x",
    "import math\ndef math():\n    pass",
    "import math\ndef g(math):\n    return math.x",
    "import math as sys\nassert f(1)",
    "import random\nassert f(1)",
    "from math import *\nassert f(1)",
    "from typing import get_type_hints\nassert get_type_hints(f)",
    "assert f(1).strip() == 'a'",
    "assert eval(f(1)) == 10",
    "run = eval\nassert run(f(1)) == 10",
    "assert __builtins__['eval'](f(1))",
    "__builtins__ = f(1)\nassert abs(1)",
    "assert (y := f(1)) == 1",
    "f(1)[0] = 1",
    "f(1).x = 1",
    "del x",
    "global x\nx = f(1)",
    "while f(1):\n    pass",
    "@f\ndef g():\n    pass",
    "class A:\n    pass\nassert f(A)",
    "try:\n    f(1)\nexcept ValueError:\n    pass",
    "with f(1):\n    pass",
    "print(f(1))",
    "assert f(open('x'))",
    "assert next(f(1)) == 1",
]


@pytest.mark.parametrize("source", PLAIN)
def test_plain(source):
    assert is_plain(source)


@pytest.mark.parametrize("source", NOT_PLAIN)
def test_not_plain(source):
    assert not is_plain(source)


def test_what_runs_before_the_tests_counts():
    assert is_plain("assert f(1)", "from typing import List")
    assert not is_plain("assert f(1)", "import random")
    assert is_plain("assert math.pi < f(1)", "import math")


def test_names_of_one_program_are_gone_with_it():
    """The judge is the same process for both; a name that the first tests bind is unknown to the second."""
    with LocalSandbox(num_workers=1) as sandbox:
        bind = AssertTests(
            "def check(candidate):\n    assert candidate(1) == 1\nseen = f(1)\ncheck(f)", entry_point="f"
        )
        read = AssertTests("assert f(1) == seen", entry_point="f")
        program = "def f(x):\n    return x"
        assert sandbox.run(program, bind).passed
        outcome = sandbox.run(program, read)
        assert not outcome.passed
        assert "seen" in outcome.message


def test_every_test_draws_the_same_numbers():
    draws = "import random\nassert random.random() == f(1)"
    program = "import random\ndef f(x):\n    return random.random()"
    with LocalSandbox(num_workers=1) as sandbox:
        for _ in range(2):
            assert sandbox.run(program, AssertTests(draws, entry_point="f")).passed
