"""What `find_program` leaves out of a program must not be missed, and what it keeps must not get in the way."""

from __future__ import annotations

import pytest

from trl_gift import codetext
from trl_gift.sandbox import AssertTests, LocalSandbox
from trl_gift.tasks import tasks_from_rows

PROGRAMS = {
    # What registers itself is needed.
    "decorator": "OPS = {}\ndef register(name):\n    def wrap(g):\n        OPS[name] = g\n        return g\n    return wrap\n"
    "@register('add')\ndef add(x):\n    return x + 1\ndef f(n):\n    return OPS['add'](n)",
    "class decorator": "ANIMALS = []\ndef animal(c):\n    ANIMALS.append(c)\n    return c\n@animal\nclass Dog:\n    pass\n"
    "def f(n):\n    return n + len(ANIMALS)",
    "init_subclass": "class Base:\n    kinds = []\n    def __init_subclass__(cls):\n        Base.kinds.append(cls)\n"
    "class A(Base):\n    pass\ndef f(n):\n    return n + len(Base.kinds)",
    "subclasses": "class Base:\n    pass\nclass A(Base):\n    pass\ndef f(n):\n    return n + len(Base.__subclasses__())",
    "metaclass": "KINDS = []\nclass Meta(type):\n    def __new__(m, name, bases, body):\n        KINDS.append(name)\n"
    "        return type.__new__(m, name, bases, body)\nclass A(metaclass=Meta):\n    pass\ndef f(n):\n    return n + len(KINDS)",
    # Names that are looked up by their text.
    "globals": "def op_add(n):\n    return n + 1\ndef f(n):\n    return globals()['op_' + 'add'](n)",
    "eval": "ONE = 1\ndef add(a, b):\n    return a + b\ndef f(n):\n    return eval('add(n, ONE)')",
    "exec": "exec('def add(n):\\n    return n + 1')\ndef f(n):\n    return add(n)",
    "bound by text": "for k in ('one', 'two'):\n    globals()['get_' + k] = lambda n: n + 1\ndef f(n):\n    return get_one(n)",
    "setattr": "def f(n):\n    return n + f.one\nsetattr(f, 'one', 1)",
    # Trials are not.
    "stream": "import sys\ndef f(n):\n    return min(sys.maxsize, n + 1)\ndata = sys.stdin.read().split()\n"
    "sys.stdout.write(str(f(int(data[0]))))",
    "arguments": "import sys\ndef f(n):\n    return min(sys.maxsize, n + 1)\nif len(sys.argv) != 9:\n    raise SystemExit(1)",
    "file as input": "import sys\nsys.stdin = open('input.txt')\ndef f(n):\n    return min(sys.maxsize, n + 1)",
    "effects": "import os, time, logging\ntime.sleep(0)\nos.chdir('/nowhere')\nlogging.basicConfig(filename='/no/where')\n"
    "def f(n):\n    return n + len(os.sep)",
    "semicolon": "x = 1; print(f('a'))\ndef f(n):\n    return n + x",
    "settings": "import sys\nsys.setrecursionlimit(5000)\ndef f(n, d=2000):\n    return n + 1 if d == 0 else f(n, d - 1)",
    "number of digits": "from decimal import Decimal, getcontext\ngetcontext().prec = 5\ndef f(n):\n    return n + int(str(Decimal(1) / 3).count('3') == 5)",
    # What is on the fence's side.
    "default of a class": "class Solution:\n    LIMIT = 1\n    def f(self, n, k=LIMIT):\n        return n + k",
    "cache": "from functools import lru_cache\n@lru_cache(maxsize=None)\ndef f(n):\n    return 1 if n < 2 else f(n - 1) + f(n - 2)",
    "own default": "def f(n, memo={}):\n    if n not in memo:\n        memo[n] = n + 1\n    return memo[n]",
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_keeps_its_meaning(sandbox, name):
    signature = "def f(n, memo=None):" if name == "own default" else "def f(n):"
    tests = AssertTests("assert f(60) > 1e12" if name == "cache" else "assert f(1) == 2", entry_point="f")
    found = codetext.find_program(f"```python\n{PROGRAMS[name]}\n```", signature).code
    for program in (found, codetext.pin(found, signature)):
        outcome = sandbox.run(program, tests)
        assert outcome.passed, f"{outcome.message}\n{program}"


RIGHT = "def f(n):\n    return n + 1"


@pytest.mark.parametrize(
    "later",
    [
        "f = f(4)\nprint(f)",
        "f = 6",
        "with open('out.txt', 'w') as f:\n    f.write('1')",
        "for f in [1, 2]:\n    print(f)",
        "def f(n):\n    if n == 0:\n        return 1\n    # ... rest of the function",
        "def f(n):\n    total = 0\n    ...",
    ],
)
def test_what_follows_the_function_is_not_the_function(later):
    assert (
        codetext.find_program(f"```python\n{RIGHT}\n```\nUsage:\n```python\n{later}\n```", "def f(n):").code == RIGHT
    )


@pytest.mark.parametrize(
    ("answer", "signature", "code"),
    [
        ("Here is the function:\n\n    def f(n):\n        return n + 1\n\nDone.", "def f(n):", RIGHT),
        ("```python\ndef f(n):\n\u3000\u3000return n + 1\n```", "def f(n):", "def f(n):\n  return n + 1"),
        ("```python\npip install numpy\ndef f(n):\n    return n + 1\n```", "def f(n):", RIGHT),
        (
            "```python\ndef main():\n    print(int(input()) + 1)\n```\nRun it:\n```python\nmain()\n```",
            None,
            "def main():\n    print(int(input()) + 1)\n\n\nmain()",
        ),
        (
            "```python\nprint(int(input()) + 1)\n```\nSave:\n```python\nwith open('in.txt', 'w') as fh:\n    fh.write('3')\n```",
            None,
            "print(int(input()) + 1)",
        ),
        (
            "```python\nprint('YES') if int(input()) % 2 else print('NO')\n```",
            None,
            "print('YES') if int(input()) % 2 else print('NO')",
        ),
    ],
)
def test_which_code(answer, signature, code):
    assert codetext.find_program(answer, signature).code == code


def test_a_method_of_another_name():
    answer = "```python\nclass Solution:\n    def addOne(self, n):\n        return n + 1\n```"
    assert codetext.find_program(answer, "def f(n):").kind == codetext.NO_FUNCTION
    found = codetext.find_program(answer, "def f(n):", frozenset(), True).code
    assert found.endswith("def f(n):\n    return Solution().addOne(n)")


def test_names_that_tests_bind_are_not_needed_of_a_program():
    tests = "def test_a():\n    n = 1\n    result = f(n)\n    assert result == helper(2)"
    (task,) = tasks_from_rows([{"task_id": "t", "description": "d", "signature": "def f(n):", "tests": [tests]}])
    assert task.names_in_tests == {"f", "helper"}
