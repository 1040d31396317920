"""No text can end or stall a run: every function over model text takes any text. `tests.codetext.fuzz` looks further."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codetext.fuzz import FUNCTIONS, corpus, mutated

# Nearly linear functions take milliseconds for these; quadratic ones would stall the suite.
TEXTS = corpus(3000)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_degenerate_texts(name):
    for text in TEXTS:
        FUNCTIONS[name](text)


@pytest.mark.parametrize("name", FUNCTIONS)
@given(st.text(max_size=300) | st.text("`~> \n\"'#def(x):retun=*.\\", max_size=300) | st.integers(0, 2**32))
def test_any_text(name, text):
    FUNCTIONS[name](text if isinstance(text, str) else mutated(random.Random(text), 300))


@pytest.mark.parametrize(
    "body",
    [
        "return " + "x + " * 900 + "x",
        "return " + "-" * 400 + "x",
        "return str(x)" + ".replace('a', 'b')" * 300,
        "if x == 0:\n        return 0\n" + "".join(f"    elif x == {i}:\n        return {i}\n" for i in range(400)),
    ],
    ids=["sum", "minus", "calls", "elif"],
)
def test_deep_programs_are_programs(body):
    """They run in Python, so they are extracted, keyed and written as targets like others."""
    from trl_gift import codetext

    code = f"def f(x):\n    {body}".rstrip()
    other = code.replace("x", "y")
    assert codetext.find_program(f"```python\n{code}\n```", "def f(x):").code == code
    assert codetext.normalise(code) == codetext.normalise(other) != codetext.normalise(f"{code} + 1")
    assert codetext.skeleton(code) == codetext.skeleton(other)
    assert codetext.body_of(code, "def f(x):") == f"    {body}".rstrip()
    assert codetext.pin(code, "import math\ndef f(x):") == f"import math\n{code}"
