from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_gift import codetext


def program(answer, signature="def f(x):"):
    return codetext.find_program(answer, signature).code


SIGNATURES = [
    "def solve(xs):",
    "from typing import List, Tuple\n\ndef solve(xs: List[Tuple[int, int]] = [(1, 2)]) -> dict[str, int]:",
    "def outer(f=lambda x: (x, (x))) -> 'list[int]':",
    "async def solve(a, *args, b=1, **kwargs):",
]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_signature_of_code_is_the_signature(signature):
    name = codetext.entry_point_of(signature)
    code = f'import json\n{signature}\n    """Doc with def solve(x): inside."""\n    return 1\n\nprint(2)\n'
    found = codetext.signature_of(code, name)
    assert codetext.entry_point_of(found) == name
    normal = ast.unparse(ast.parse(signature + "\n    pass"))
    assert ast.unparse(ast.parse(found + "\n    pass")) == normal


def test_signature_of_absent_function():
    assert codetext.signature_of("def f(): pass", "g") is None
    assert codetext.signature_of("def f(: pass", "f") is None
    assert codetext.entry_point_of("x = 1") is None


@pytest.mark.parametrize(
    ("completion", "body"),
    [
        ("    return 1", "    return 1"),
        ("    return 1\n\nprint(solve(3))", "    return 1"),
        ("    return 1\n# trailing\ndef other():\n    pass", "    return 1"),
        ("    return 1\nthis is not python", "    return 1"),
        ("    s = '''\nleft\n'''\n    return s\nassert 0", "    s = '''\nleft\n'''\n    return s"),
        (
            "    if xs:\n        return 1\n\n    return (1 +\n2)\nx = (",
            "    if xs:\n        return 1\n\n    return (1 +\n2)",
        ),
    ],
)
def test_complete_cuts_at_the_next_top_level_statement(completion, body):
    assert codetext.complete("def solve(xs):", completion) == f"def solve(xs):\n{body}"


def test_complete_without_code():
    assert codetext.complete("def solve(xs):", "") is None
    assert codetext.complete("def solve(xs):", "  \n\n") is None
    assert codetext.complete("def solve(xs):", "Sure! Here is the code.") is None
    # A body with a syntax error is the model's answer; the execution reports it.
    assert codetext.complete("def solve(xs):", "    return (") == "def solve(xs):\n    return ("


@pytest.mark.parametrize(
    "text",
    [
        "```python\ndef f(x):\n    return x\n```",
        "Here you are:\n\n```py\ndef f(x):\n    return x\n```\nIt returns x.",
        "```\ndef f(x):\n    return x",
        "Usage:\n```bash\npip install f\n```\nand\n```python\ndef f(x):\n    return x\n```\n```python\nf(1)\n```",
        "Example call:\n```python\nf(1)\n```\nCode:\n```python\ndef f(x):\n    return x\n```",
        "The function is\n\ndef f(x):\n    return x\n\nas asked.",
        "def f(x):\n    return x",
    ],
)
def test_extract_finds_the_code(text):
    assert program(text) == "def f(x):\n    return x"


@pytest.mark.parametrize(
    "text", ["", "I cannot do that.", "```python\ndef g(x):\n    return x\n```", "```text\nf\n```"]
)
def test_extract_finds_no_code(text):
    assert program(text) is None


def test_pin_adds_imports_and_restores_the_header():
    code = "def f(x, y = 2):\n    return math.sqrt(x)"
    pinned = codetext.pin(code, "import math\ndef f(x: int, y: int=2) -> float:")
    assert pinned == "import math\ndef f(x: int, y: int=2) -> float:\n    return math.sqrt(x)"
    assert codetext.pin(pinned, "import math\ndef f(x: int, y: int=2) -> float:") == pinned
    # What the program may need stays: a default of its own, a decorator.
    for own in ("def f(x, y=1):\n    return x", "@lru_cache\ndef f(x, y=2):\n    return x"):
        assert codetext.pin(own, "def f(x: int, y: int=2) -> float:") == own
    assert codetext.pin("def f(x, y):\n    return x", "def f(x, y=2):") == "def f(x, y=2):\n    return x"
    other = "def f(z):\n    return z"
    assert codetext.pin(other, "def f(x):") == other


def test_pin_adds_the_helpers_of_the_signature_unless_the_code_has_its_own():
    signature = "def twice(x):\n    return 2 * x\n\ndef f(x):"
    assert codetext.pin("def f(x):\n    return twice(x)", signature).startswith(
        "def twice(x):\n    return 2 * x\ndef f"
    )
    own = "def twice(x):\n    return x + x\ndef f(x):\n    return twice(x)"
    assert codetext.pin(own, signature) == own


def test_strip_docstrings_keeps_everything_else():
    code = (
        'def f(x: "int") -> "list[int]":\n    """One\n    two."""\n    # why\n    s = """kept"""\n    return [s]\n\n'
        'class C:\n    """Doc."""\n\n    def g(self):\n        """Only."""\n'
    )
    stripped = codetext.strip_docstrings(code)
    assert "two" not in stripped
    assert "Doc" not in stripped
    assert "# why" in stripped
    assert '"""kept"""' in stripped
    ast.parse(stripped)
    assert codetext.strip_docstrings(stripped) == stripped
    assert codetext.strip_docstrings("def f(") == "def f("


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("def f(x):\n    # why\n    return x", "    # why\n    return x"),
        ('def f(x):\n    """Doc."""\n    return x', "    return x"),
        ("def f(x):\n\tif x:\n\t\treturn 1", "    if x:\n        return 1"),
        ("def f(x): return x", "    return x"),
        ("K = 3\ndef g(y):\n    return y\ndef f(x):\n    return g(x) + K", None),
    ],
)
def test_body_follows_its_signature(code, body):
    found = codetext.body_of(code, "def f(x):")
    if body is not None:
        assert found == body
    program = codetext.signature_of(code, "f") + '\n    """Doc."""\n' + found
    assert [node.name for node in ast.parse(program).body] == ["f"]
    if body is None:
        assert "def g(y):" in program


def test_body_of_nothing():
    assert codetext.body_of('def f():\n    """Doc."""', "def f():") is None
    assert codetext.body_of("x = 1", "def f():") is None
    assert codetext.body_of("from math import *\ndef f(x):\n    return sqrt(x)", "def f(x):") is None


def test_imports_that_are_not_pinned_move_into_the_body():
    code = "import math\nfrom typing import List\n\ndef f(xs: List[int]):\n    return math.prod(xs)"
    signature = codetext.signature_of(code, "f")
    assert signature == "from typing import List\ndef f(xs: List[int]):"
    assert codetext.body_of(code, signature) == "    import math\n    return math.prod(xs)"
    assert codetext.body_of(code, f"import math\n{signature}") == "    return math.prod(xs)"
    # What no function may hold stays with the signature.
    for line in ("from __future__ import annotations", "from math import *"):
        assert codetext.signature_of(f"{line}\n{code}", "f") == f"{line}\n{signature}"


def test_normalise_ignores_layout_names_and_docstrings():
    one = 'def f(xs):\n    """Doc."""\n    total = 0  # sum\n    for x in xs:\n        total += x\n    return total'
    two = "def f(numbers):\n    s = 0\n    for n in numbers: s += n\n    return (s)"
    assert codetext.normalise(one) == codetext.normalise(two)
    assert codetext.normalise(one) != codetext.normalise(one.replace("+=", "-="))
    assert codetext.normalise(one) != codetext.normalise(one.replace("total = 0", "total = 1"))


@given(st.text(max_size=200))
def test_no_text_makes_it_raise(text):
    codetext.parse(text)
    program(text)
    codetext.complete("def f(x):", text)
    codetext.strip_docstrings(text)
    codetext.normalise(text)
    codetext.pin(text, "def f(x):")
    codetext.body_of(text, "f")


@pytest.mark.parametrize("text", ["(" * 3000, "-" * 100_000 + "1", "x = " + "9" * 10_000, "a\0b", "if 1:\n" * 120])
def test_odd_sources_are_no_python(text):
    assert codetext.parse(text) is None or codetext.normalise(text)


def test_the_last_fence_that_holds_the_function_is_the_answer():
    first, second = "def f(x):\n    return x", "def f(x):\n    return -x"
    text = f"So:\n```python\n{first}\n```\nor better\n```python\n{second}\n```"
    assert program(text) == second
    assert program(f"{text}\n```\nimport math\n```\n```text\ndef f(x): no\n```\n") == second
