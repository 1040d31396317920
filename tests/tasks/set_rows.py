"""Rows as data sets hold them, written for these tests: each with programs that its task takes, and that it refuses.

One row for a kind of trouble. `tests/tasks/test_set_rows.py` runs them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.support import rows


@dataclass(frozen=True)
class SetRow:
    """A row, and what is right about it.

    Attributes:
        row: Its columns.
        passing: Programs that pass its tests.
        failing: Programs that do not.
        reference: Text that the reference holds once the row is settled; None if that does not matter.
        load: Arguments of `load_tasks`.
    """

    row: dict[str, Any]
    passing: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    reference: str | None = None
    load: dict[str, Any] = field(default_factory=dict)


def apps(inputs, outputs, **columns):
    return rows.APPS_STDIN | {"input_output": json.dumps({"inputs": inputs, "outputs": outputs}), **columns}


def apps_plus(inputs, outputs, starter, solution, **columns):
    return {
        "question": "Do it.", "inputs": inputs, "outputs": outputs, "starter_code": starter, "canonical_solution": solution,
        "level": "introductory", **columns,
    }  # fmt: skip


def taco(inputs, outputs):
    return rows.TACO | {"input_output": json.dumps({"inputs": inputs, "outputs": outputs}), "solutions": "[]"}


def contest(inputs, outputs):
    tests = {"input": inputs, "output": outputs}
    return rows.CODE_CONTESTS | {"public_tests": tests, "private_tests": None, "generated_tests": None}


def lcb(inputs, outputs):
    cases = [{"input": i, "output": o, "testtype": "stdin"} for i, o in zip(inputs, outputs, strict=True)]
    return rows.LCB_STDIN | {"public_test_cases": json.dumps(cases), "private_test_cases": "[]"}


def verifiable(inputs, outputs):
    cases = [{"type": "stdin_stdout", "input": i, "output": o} for i, o in zip(inputs, outputs, strict=True)]
    return rows.VERIFIABLE_STDIN | {
        "gold_standard_solution": None,
        "verification_info": {"language": "python", "test_cases": cases},
    }


def own(stdin, stdout, **settings):
    columns = {name: settings.pop(name) for name in ("checker", "language", "task_id") if name in settings}
    tests = {"stdin": stdin, "stdout": stdout, **settings}
    return {"task_id": "own", "description": "Print it.", "tests": tests, **columns}


def call(inputs, outputs, **columns):
    tests = {"entry_point": "f", "inputs": inputs, "outputs": outputs}
    return {"task_id": "call", "description": "Do it.", "signature": "def f(x):", "tests": tests, **columns}


PYTHON_3 = "n = int(input())\nprint(n + 1)"
WRONG = "n = int(input())\nprint(n + 2)"
THIRD = "print(1 / 3)"
SUM = "def add(a, b): return a + b"
NOT_SUM = "def add(a, b): return 3"
READS = "def solve():\n    n = int(input())\n    print(n + 1)\n"
CHECKER = "def check(stdin, stdout, expected):\n    return sorted(stdout.split()) == sorted(expected.split())"

COMPARISON = {
    "a third, in APPS": SetRow(apps([""], ["0.333333333333\n"]), (THIRD,), ("print(0.3334)", "print('1/3')")),
    "a function that reads, in APPS+": SetRow(
        apps_plus(["1\n"], ["2\n"], "def solve():", READS),
        (PYTHON_3,), (WRONG, READS), "\n\nsolve()\n",
    ),
    "a function that reads and is called, in APPS+": SetRow(
        apps_plus(["1\n"], ["2\n"], "def solve():\n\t", f"{READS}\nsolve()"), (PYTHON_3,), (WRONG,), "solve()",
    ),
    "a program without a function, in APPS+": SetRow(
        apps_plus(["1\n"], ["2\n"], "", PYTHON_3, question=None, problem="Read a number and print the next."),
        (PYTHON_3,), (WRONG,), PYTHON_3,
    ),
    "calls, in APPS+": SetRow(
        apps_plus([[1, 2], [3, 4]], [3, 7], "def add(a, b):\n\t", SUM), (SUM,), (NOT_SUM,), SUM
    ),
    "calls with texts, in APPS+": SetRow(
        apps_plus(["1\n2", "3\n4"], ["3", "7"], "def add(a, b):", SUM), (SUM,), (NOT_SUM,), SUM
    ),
    "a method by another column, in APPS+": SetRow(
        apps_plus(
            [[[1, 2]]], [3], "class Solution:\n    def addUp(self, nums: List[int]) -> int:\n        ", rows.METHOD,
            function_name="addUp",
        ),
        ("def addUp(nums): return sum(nums)",), ("def addUp(nums): return 4",), "Solution().addUp(nums)",
    ),
    "a third, in TACO": SetRow(taco([""], ["0.333333333333\n"]), (THIRD,), ("print(0.33)",)),
    "a third, in LiveCodeBench": SetRow(lcb([""], ["0.333333333333\n"]), (THIRD,), ("print(0.33)",)),
    "a third, in verifiable problems": SetRow(verifiable([""], ["0.333333333333\n"]), (THIRD,), ("print(0.33)",)),
    "a large decimal, relative": SetRow(apps([""], ["12345678.5\n"]), ("print(12345679.1)",), ("print(12345699.1)",)),
    "whole numbers stay exact": SetRow(apps([""], ["100000000\n"]), ("print(10**8)",), ("print(10**8 + 1)",)),
    "a whole number has no tolerance": SetRow(apps([""], ["3\n"]), ("print(3.0)",), ("print(3.0000001)",)),
    "strings of digits": SetRow(apps([""], ["007\n"]), ("print('007')",), ("print(7)",)),
    "lines count in APPS": SetRow(apps([""], ["1\n2\n"]), ("print('1 ')\nprint(2)\nprint()",), ("print(1, 2)",)),
    "case counts in APPS": SetRow(apps([""], ["Yes\n"]), ("print('Yes')",), ("print('YES')",)),
    "case in CodeContests": SetRow(contest([""], ["Yes\n"]), ("print('YES')", "print('yes')"), ("print('Yes No')",)),
    "layout in CodeContests": SetRow(contest([""], ["1 2\n3\n"]), ("print('1\\n2 3')",), ("print('1 2')", "print(123)")),
    "decimals in CodeContests": SetRow(contest([""], ["0.5\n"]), ("print(0.500009)",), ("print(0.50002)",)),
    "zeros in CodeContests": SetRow(contest([""], ["7\n"]), ("print('007')",), ("print(8)",)),
    "whole numbers in CodeContests": SetRow(
        contest([""], [f"{10**17}\n"]), ("print(10**17)",), ("print(10**17 + 1)",)
    ),
    "standard streams by name, in CodeContests": SetRow(
        contest(["1\n"], ["2\n"]) | {"input_file": "stdin", "output_file": "stdout"}, (PYTHON_3,), (WRONG,)
    ),
    "standard streams in words, in CodeContests": SetRow(
        contest(["1\n"], ["2\n"]) | {"input_file": "Standard input", "output_file": "standard output"}, (PYTHON_3,), (WRONG,)
    ),
    "your own rows are exact": SetRow(own([""], ["0.333333333333"]), ("print('0.333333333333')",), (THIRD,)),
    "a tolerance of your own": SetRow(own([""], ["0.33"], abs_tol=0.01), (THIRD,), ("print(0.35)",)),
    "a rule of your own": SetRow(own([""], ["a b"], compare="tokens"), ("print('a\\nb')",), ("print('ab')",)),
    "an option": SetRow(
        own([""], ["0.333333333333 A"]),
        ("print(1 / 3)\nprint('a')",),
        ("print(0.3334, 'a')",),
        load={"output_comparison": "caseless:1e-6"},
    ),
    "an option for a set": SetRow(
        contest([""], ["Yes\n"]), ("print('Yes')",), ("print('YES')",), load={"output_comparison": "lines"}
    ),
    "a checker in the tests": SetRow(own([""], ["2 1"], checker=CHECKER), ("print(1, 2)",), ("print(1, 1)",)),
    "a checker as a column": SetRow(
        {**own([""], ["2 1"]), "checker": CHECKER}, ("print(1, 2)",), ("print(1, 1)", "print('x')")
    ),
    "a checker of a known set": SetRow({**contest([""], ["2 1"]), "checker": CHECKER}, ("print(1, 2)",), ("print(3)",)),
    "a checker before an option": SetRow(
        {**own([""], ["2 1"]), "checker": CHECKER},
        ("print(1, 2)",),
        ("print(1, 1)",),
        load={"output_comparison": "exact"},
    ),
    "a checker that ends the judge": SetRow(
        {**own([""], ["1"]), "checker": "import sys\ndef check(stdin, stdout, expected):\n    sys.exit(stdout)"},
        (),
        ("print(1)",),
    ),
    "keys of dicts": SetRow(
        call([[1]], [{"1": 2}]), ("def f(x): return {str(x): 2}",), ("def f(x): return {x: 2}",)
    ),
    "a float of a call, in APPS": SetRow(
        rows.APPS_CALLS | {"input_output": json.dumps({"fn_name": "addUp", "inputs": [[[1]]], "outputs": [0.333333333]})},
        ("def addUp(nums): return 1 / 3",),
        ("def addUp(nums): return 0.334",),
    ),
    "an integer of a call, in APPS": SetRow(
        rows.APPS_CALLS | {"input_output": json.dumps({"fn_name": "addUp", "inputs": [[[1]]], "outputs": [10**9]})},
        ("def addUp(nums): return 10**9",),
        ("def addUp(nums): return 10**9 + 1",),
    ),
}  # fmt: skip

BIG = 10**5000
_DIGITS = "1" + "0" * 5000

LIMITS = {
    "a long number": SetRow(call([[BIG]], [BIG + 1]), ("def f(x): return x + 1",), ("def f(x): return x",)),
    "a long number in JSON text": SetRow(
        call([], [], tests=f'{{"entry_point": "f", "inputs": [[{_DIGITS}]], "outputs": [{_DIGITS}]}}'),
        ("def f(x): return x",),
        ("def f(x): return x + 1",),
    ),
    "a long number in APPS": SetRow(
        rows.APPS_CALLS
        | {"input_output": f'{{"fn_name": "addUp", "inputs": [[[{_DIGITS}, 1]]], "outputs": [{_DIGITS[:-1]}1]}}'},
        ("def addUp(nums): return sum(nums)",),
        ("def addUp(nums): return 0",),
    ),
    "a long number in an assertion": SetRow(
        call([], [], tests=[f"assert f(3) == {_DIGITS}", "assert f(2) == 2"]),
        ("def f(x): return 10**5000 if x == 3 else x", f"def f(x): return {_DIGITS} if x == 3 else x"),
        ("def f(x): return x",),
    ),
    "a long number in a test file": SetRow(
        call([], [], tests=f"def test_f():\n    assert f(3) == {_DIGITS}\n"), ("def f(x): return 10**5000",), ("def f(x): return x",)
    ),
    "a long number that is printed": SetRow(
        own(["9" * 5000], [_DIGITS[:5001]]), ("print(int(input()) + 1)",), ("print(int(input()))",)
    ),
    "a long number as an identifier": SetRow(call([[1]], [1], task_id=BIG), ("def f(x): return x",)),
    "a test script of more than a million characters": SetRow(
        rows.MBPP_PLUS | {"test": f"text = '{'x' * 1_100_000}'\nassert root(len(text)) == 1048"}, ("def root(n): return int(n ** 0.5)",), ("def root(n): return {4: 2, 10: 3}[n]",)
    ),
    "a byte-order mark in the reference": SetRow(
        call([[1]], [1], reference="\ufeffdef f(x): return x"), ("\ufeffdef f(x): return x",), ("def f(x): return 0",), "def f"
    ),
    "a byte-order mark in a program that prints": SetRow(own([""], ["1"]), ("\ufeffprint(1)",), ("print(2)",)),
    "a byte-order mark in the tests": SetRow(
        call([], [], tests="\ufeffdef test_f():\n    assert f(1) == 1"), ("def f(x): return x",), ("def f(x): return 0",)
    ),
    "a line separator in an argument": SetRow(
        rows.LCB_CALLS
        | {
            "public_test_cases": json.dumps([{"input": '"a\u2028b\x85"\n[1]', "output": "5", "testtype": "functional"}]),
            "private_test_cases": "[]",
            "starter_code": "class Solution:\n    def addUp(self, s: str, t: list) -> int:\n        ",
        },
        ("def addUp(s, t): return len(s) + len(t)",),
        ("def addUp(s, t): return len(s)",),
    ),
    "a line separator in a prompt": SetRow(
        rows.HUMANEVAL | {"prompt": 'X = "a\u2028b"\n\n\ndef twice(n):\n    return 2 * n\n\n\ndef grow(n):\n    """Grow."""\n'},
        ("def grow(n): return 2 * n + 1",),
        ("def grow(n): return 0",),
        'X = "a\u2028b"',
    ),
    "a form feed in an output": SetRow(own([""], ["1\f2"]), ("print('1\\x0c2')",), ("print('1\\n2')",)),
}  # fmt: skip


def function(inputs, outputs, *solutions, base=rows.APPS_CALLS):
    pairs = json.dumps({"fn_name": "addUp", "inputs": inputs, "outputs": outputs})
    return base | {"input_output": pairs, "solutions": json.dumps(solutions), "starter_code": "def addUp(nums):"}


def gold(inputs, outputs, solution):
    cases = [
        {"type": "function_call", "fn_name": "f", "input": i, "output": o}
        for i, o in zip(inputs, outputs, strict=True)
    ]
    return rows.VERIFIABLE_CALLS | {
        "gold_standard_solution": solution,
        "verification_info": {"language": "python", "test_cases": cases},
    }


ADD = "def addUp(nums): return sum(nums)"
ADD_IN_LIST = "def addUp(nums): return [sum(nums)]"
PYTHON_2 = "n = int(raw_input())\nprint(n + 1)"
CPP = "#include <iostream>\nint main() { long n; std::cin >> n; std::cout << n + 1 << std::endl; }"

READINGS = {
    "Python 2 that parses": SetRow(
        apps(["1\n"], ["2\n"], solutions=json.dumps([PYTHON_2, PYTHON_3])), (PYTHON_3,), (PYTHON_2, WRONG), "input())\nprint(n + 1)"
    ),
    "a wrong solution first": SetRow(
        apps(["1\n"], ["2\n"], solutions=json.dumps([WRONG, PYTHON_3])), (PYTHON_3,), (WRONG,), "n + 1"
    ),
    "no solution passes": SetRow(
        apps(["1\n"], ["2\n"], solutions=json.dumps([WRONG, "print(0)"])), (PYTHON_3,), (WRONG,), "n + 2"
    ),
    "several solutions of CodeContests": SetRow(
        contest(["1\n"], ["2\n"])
        | {"solutions": {"language": [3, 2, 3], "solution": ["import sys\nprint(xrange(2))", CPP, PYTHON_3]}},
        (PYTHON_3,), (WRONG,), "n + 1",
    ),
    "several solutions of TACO": SetRow(
        taco(["1\n"], ["2\n"]) | {"solutions": json.dumps(["print 1", WRONG, PYTHON_2, PYTHON_3])},
        (PYTHON_3,), (WRONG,), "n + 1",
    ),
    "a wrong function first": SetRow(
        function([[[1, 2]]], [3], "def addUp(nums): return 0", ADD), (ADD,), ("def addUp(nums): return 0",), "sum(nums)"
    ),
    "results in one more list": SetRow(function([[[1, 2]]], [[3]], ADD), (ADD,), (ADD_IN_LIST,)),
    "results that are lists": SetRow(function([[[1, 2]]], [[3]], ADD_IN_LIST), (ADD_IN_LIST,), (ADD,)),
    "results in lists without a solution": SetRow(function([[[1, 2]]], [[3]]), (ADD, ADD_IN_LIST), ("def addUp(nums): return 4",)),
    "results in one more list, in verifiable problems": SetRow(
        gold([[1]], [[2]], "def f(x):\n    return x + 1"), ("def f(x): return x + 1",), ("def f(x): return [x + 1]",)
    ),
    "results that are lists, in verifiable problems": SetRow(
        gold(["[1]"], ["[2]"], "def f(x):\n    return [x + 1]"), ("def f(x): return [x + 1]",), ("def f(x): return x + 1",)
    ),
    "arguments in one more list": SetRow(
        function([[[[1, 2]]], [[[3]]]], [3, 3], ADD), (ADD,), ("def addUp(nums): return sum(nums[0])",)
    ),
    "arguments as texts": SetRow(
        function([["[1, 2]"], ["[3]"]], ["3", "3"], ADD, base=rows.TACO), (ADD,), ("def addUp(nums): return len(nums)",)
    ),
    "arguments that are texts": SetRow(
        function([["12"], ["3"]], [2, 1], "def addUp(nums): return len(nums)"),
        ("def addUp(nums): return len(nums)",), ("def addUp(nums): return 2",),
    ),
    "one text as arguments, one a line": SetRow(
        function(["[1, 2]\n3"], [6], "def addUp(nums, more): return sum(nums) + more", base=rows.TACO),
        ("def addUp(nums, more): return sum(nums) + more",), ("def addUp(nums, more): return sum(nums)",),
    ),
    "one text as a list of arguments": SetRow(
        gold(["[[1, 2], 3]"], ["6"], "def f(x, y): return sum(x) + y"), ("def f(x, y): return sum(x) + y",), ("def f(x, y): return 5",)
    ),
    "one text as the only argument": SetRow(
        gold(["a b"], ["2"], "def f(x): return len(x.split())"), ("def f(x): return len(x.split())",), ("def f(x): return 1",)
    ),
    "arguments written in Python": SetRow(
        gold(["(1, 2)\nNone"], ["True"], "def f(x, y): return y is None and x == (1, 2)"),
        ("def f(x, y): return y is None and x == (1, 2)",), ("def f(x, y): return x == [1, 2]",),
    ),
    "keys that were numbers": SetRow(
        function([[[1, 1]]], [{"1": 2}], "def addUp(nums): return {n: nums.count(n) for n in nums}"),
        ("def addUp(nums): return {1: 2}",), ("def addUp(nums): return {'1': 2}",),
    ),
    "keys that are texts": SetRow(
        function([[[1, 1]]], [{"1": 2}], "def addUp(nums): return {str(n): nums.count(n) for n in nums}"),
        ("def addUp(nums): return {'1': 2}",), ("def addUp(nums): return {1: 2}",),
    ),
    "a method of class Solution among functions": SetRow(
        function([[[1, 2]]], [3], "def other(): pass", rows.METHOD), (ADD,), ("def addUp(nums): return 0",), "class Solution"
    ),
    "a draft before the solution": SetRow(
        verifiable(["1\n"], ["2\n"])
        | {"gold_standard_solution": f"Draft:\n```python\n{WRONG}\n```\nFinal:\n```python\n{PYTHON_3}\n```\nIt prints\n```\n2\n```"},
        (PYTHON_3,), (WRONG,), "n + 1",
    ),
    "a wrong version after the solution": SetRow(
        verifiable(["1\n"], ["2\n"])
        | {"gold_standard_solution": f"This:\n```python\n{PYTHON_3}\n```\nnot:\n```python\n{WRONG}\n```"},
        (PYTHON_3,), (WRONG,), "n + 1",
    ),
    "a draft before the function": SetRow(
        gold([[1]], [2], "Draft:\n```python\ndef f(x):\n    return x\n```\nFinal:\n```python\ndef f(x):\n    return x + 1\n```\nUse:\n```python\nprint(f(1))\n```"),
        ("def f(x): return x + 1",), ("def f(x): return x",), "x + 1",
    ),
    "a function whose helper has a block of its own": SetRow(
        gold([[1]], [2], "Helper:\n```python\ndef one():\n    return 1\n```\nThen:\n```python\ndef f(x):\n    return x + one()\n```"),
        ("def f(x): return x + 1",), ("def f(x): return x",), "def one",
    ),
    "cases as Python text, in verifiable problems": SetRow(
        verifiable([], []) | {"verification_info": str(verifiable(["1\n"], ["2\n"])["verification_info"])}, (PYTHON_3,), (WRONG,)
    ),
    "a fenced solution": SetRow(
        gold([[1]], [2], "Here:\n```python\ndef f(x):\n    return x + 1\n```\nDone."), ("def f(x): return x + 1",), ("def f(x): return x",), "def f"
    ),
}  # fmt: skip

LANGUAGES = {
    "C++ under another name": SetRow(own(["1"], ["2"], language="C++"), (CPP,), ("int main() {}",)),
    "C++ after a draft": SetRow(
        verifiable(["1"], ["2"])
        | {
            "gold_standard_solution": f"Draft:\n```cpp\nint main() {{}}\n```\nFinal:\n```cpp\n{CPP}\n```\nInput:\n```\n1\n```",
            "verification_info": {"language": "cpp", "test_cases": [{"type": "stdin_stdout", "input": "1", "output": "2"}]},
        },
        (CPP,), ("int main() {}",), "#include",
    ),
    "C++ of verifiable problems": SetRow(
        verifiable(["1"], ["2"])
        | {
            "gold_standard_solution": f"```cpp\n{CPP}\n```",
            "verification_info": {"language": "cpp", "test_cases": [{"type": "stdin_stdout", "input": "1", "output": "2"}]},
        },
        (CPP,), ("int main() {}",), "#include",
    ),
    "Python under another name": SetRow(own(["1"], ["2"], language="Python3"), (PYTHON_3,), (WRONG,)),
    "a language among the tests": SetRow(own(["1"], ["2"]) | {"tests": {"stdin": ["1"], "stdout": ["2"], "language": "cpp"}}, (CPP,), ("int main() {}",)),
}  # fmt: skip

KODCODE = {
    "version": "1", "style": "instruct", "subset": "Prefill", "question_id": "Prefill_1_I",
    "question": "Write a function that adds two numbers.",
    "solution": "from typing import Union\n\ndef add(a: Union[int, float], b: int) -> int:\n    return a + b\n",
    "test": "from solution import add\n\ndef test_small():\n    assert add(1, 2) == 3\n\ndef test_zero():\n    assert add(0, 0) == 0\n",
    "test_info": [{"docstring": "", "function_declaration": "def add(a: Union[int, float], b: int):", "function_name": "add", "parameter_list": "(a, b)"}],
    "gpt_pass_sequence": [1, 0], "gpt_difficulty": "easy",
}  # fmt: skip
ACECODE = {
    "id": "oss_1", "source": "oss", "question": "Write `add` that adds two numbers.",
    "test_cases": ["assert add(1, 2) == 3", "assert sorted([add(2, 2), 1]) == [1, 4]"],
    "inferences": [
        {"model_name": "m", "completion_id": 0, "completion": "def add(a, b):\n    return 3", "pass_rate": 0.5},
        {"model_name": "m", "completion_id": 1, "completion": "Here:\n```python\nimport math\n\ndef add(a: int, b: int):\n    return a + b\n```", "pass_rate": 1.0},
    ],
}  # fmt: skip
NODE = "class Node:\n    def __init__(self, v):\n        self.v = v"
WRONG_NODE = "class Node:\n    def __init__(self, v):\n        self.v = 1"
MBPP = {
    "task_id": 1, "text": "Give the value of a node.", "code": "def value(node):\n    return node.v",
    "test_list": [], "test_setup_code": "", "challenge_test_list": [],
}  # fmt: skip
RSTAR = {
    "question_id": "seed_1", "question": "Add.", "starter_code": "", "inputs": '["1 2\\n"]', "outputs": '["3\\n"]',
    "is_synthesized": "[0]", "test_case_type": "[]", "func_name": "", "class_name": "",
}  # fmt: skip
BIGCODEBENCH = {
    "task_id": "BigCodeBench/1",
    "complete_prompt": 'import random\nfrom statistics import mean\n\ndef task_func(xs, seed=1):\n    """\n    The mean of a list.\n\n    Example:\n    >>> task_func([1, 3])\n    2\n    """\n',
    "instruct_prompt": "The mean of a list. Start with:\n```\ndef task_func(xs, seed=1):\n```",
    "canonical_solution": "    if not xs:\n        raise ValueError('empty')\n    return mean(xs)",
    "code_prompt": "import random\nfrom statistics import mean\ndef task_func(xs, seed=1):\n",
    "test": "import unittest\n\nclass TestCases(unittest.TestCase):\n    def setUp(self):\n        self.xs = [1, 3]\n\n    def test_mean(self):\n        self.assertEqual(task_func(self.xs), 2)\n\n    def test_empty(self):\n        with self.assertRaises(ValueError):\n            task_func([])\n",
    "entry_point": "task_func", "doc_struct": "{}", "libs": "['statistics']",
}  # fmt: skip
BIGCODEBENCH_FILES = {
    "task_id": "BigCodeBench/2",
    "complete_prompt": (
        'import os\ndef task_func(folder):\n    """\n    Count the files of a folder and write the number into "count" in it.\n'
        '\n    Returns:\n    str: the path of "count".\n    """\n'
    ),
    "canonical_solution": (
        "    number = len(os.listdir(folder))\n    path = os.path.join(folder, 'count')\n"
        "    with open(path, 'w') as file:\n        file.write(str(number))\n    return path"
    ),
    "test": (
        "import unittest\nimport os\nclass TestCases(unittest.TestCase):\n    def setUp(self):\n"
        "        self.folder = 'given'\n        os.makedirs(self.folder, exist_ok=True)\n"
        "        with open(os.path.join(self.folder, 'a'), 'w') as file:\n            file.write('a')\n"
        "    def test_case_1(self):\n        with open(task_func(self.folder)) as file:\n"
        "            self.assertEqual(file.read(), '1')\n"
    ),
    "entry_point": "task_func",
}  # fmt: skip
CODEREASONING = {
    "id": "a1", "input": "Read a number and print the next.", "output": "<think></think>", "source": "atcoder",
    "license": "mit", "dataset": "apps", "split": "train", "difficulty": "1", "solution": f"```python\n{PYTHON_3}\n```",
}  # fmt: skip
MULTIPLE = {
    "name": "HumanEval_0_f", "language": "js", "prompt": "//Add.\nfunction f(a, b){\n", "doctests": "transform",
    "original": "x.py", "prompt_terminology": "reworded", "stop_tokens": ["\nfunction ", "\n/*"],
    "tests": "const assert = require('node:assert');\n\n\nfunction test() {\n  let candidate = f;\n"
    "  assert.deepEqual(candidate(1, 2),3);\n  assert.deepEqual(candidate(3, 4),7);\n}\n\ntest();",
}  # fmt: skip
MULTIPLE_CPP = {
    **MULTIPLE, "language": "cpp", "stop_tokens": ["\n}"],
    "prompt": "#include<assert.h>\n#include<bits/stdc++.h>\n// Add.\n// >>> f((1), (2))\n// (3)\nlong f(long a, long b) {\n",
    "tests": "}\nint main() {\n    auto candidate = f;\n    assert(candidate((1), (2)) == (3));\n"
    "    assert(candidate((3), (4)) == (7));\n}\n",
}  # fmt: skip
JS, CPP = "function f(a, b) {\n  return a + b;\n}", "long f(long a, long b) {\n  return a + b;\n}"

TRAINING_SETS = {
    "MultiPL-E in JavaScript": SetRow(
        MULTIPLE,
        (JS, f"{JS}\nconsole.log(f(1, 2));", "const f = (a, b) => a + b;",
            f"const assert = require('assert');\n{JS}\nfunction test() {{\n  assert(f(1, 2) === 3);\n}}\ntest();", f"{JS}\nprocess.stdout.write('no end of a line');"),
        (
            JS.replace("+", "-"), JS.replace("a + b", "3"), "function g() {}", "function f(a, b) {",
            f"{JS}\nprocess.exit(0);", "process.stdout.write('end of tests');", JS.replace("return", "process.exit(0); return"),
        ),
    ),
    "MultiPL-E in C++": SetRow(
        MULTIPLE_CPP,
        (
            CPP,
            f"#include<assert.h>\n#include <vector>\nusing namespace std;\n{CPP}\nint main() {{\n  cout << f(1, 2);\n  return 1;\n}}",
        ),
        (CPP.replace("a + b", "3"), "long f(long a, long b) {", CPP.replace("return", "exit(0); return")),
    ),
    "KodCode": SetRow(KODCODE, (SUM,), (NOT_SUM, "def add(a, b): return a or b"), "Union"),
    "KodCode for SFT": SetRow(
        {
            **{name: KODCODE[name] for name in ("question", "solution", "subset")},
            "conversation_id": "x", "test_code": KODCODE["test"], "test_entry_point": "add",
        },
        (SUM,), (NOT_SUM,),
    ),
    "KodCode without an identifier": SetRow(
        {"question": "Add.", "solution": SUM, "test_code": KODCODE["test"]}, (SUM,), (NOT_SUM,)
    ),
    "KodCode with runs": SetRow(
        {**KODCODE, "solution": PYTHON_3, "test": '{"stdin": ["1"], "stdout": ["2"]}'}, (PYTHON_3,), (WRONG,)
    ),
    "AceCode": SetRow(ACECODE, (SUM,), (NOT_SUM,), "import math"),
    "AceCode without programs": SetRow({**ACECODE, "inferences": []}, (SUM,), (NOT_SUM,)),
    "AceCode with a rate that is wrong": SetRow(
        {**ACECODE, "inferences": [{"completion": NOT_SUM, "pass_rate": 1.0}, {"completion": SUM, "pass_rate": 0.9}]},
        (SUM,), (NOT_SUM,), "a + b",
    ),
    "AceCode of a class": SetRow(
        {
            **ACECODE,
            "test_cases": ["assert Node(1).v == 1", "assert Node(2).v == 2"],
            "inferences": [{"completion": NODE, "pass_rate": 1.0}],
        },
        (NODE,), (WRONG_NODE,), "class Node",
    ),
    "AceCode of a class without programs": SetRow(
        {**ACECODE, "test_cases": ["assert Node(1).v == 1", "assert Node(2).v == 2"], "inferences": []}, (NODE,), (WRONG_NODE,)
    ),
    "AceCode of a function that takes objects": SetRow(
        {
            **ACECODE,
            "test_cases": ["assert total(Node(1), Node(2)) == 3"],
            "inferences": [{"completion": f"{NODE}\n\ndef total(a, b):\n    return a.v + b.v", "pass_rate": 1.0}],
        },
        (f"{NODE}\n\ndef total(a, b): return a.v + b.v",), (f"{NODE}\n\ndef total(a, b): return a.v",),
    ),
    "MBPP with an object in its set-up": SetRow(
        {**MBPP, "test_setup_code": f"{NODE}\n\nroot = Node(3)", "test_list": ["assert value(root) == 3"]},
        ("def value(node): return node.v",), ("def value(node): return 4",),
    ),
    "MBPP with a function that builds objects": SetRow(
        {
            **MBPP,
            "test_setup_code": f"{NODE}\n\ndef build(n):\n    node = Node(n)\n    return node",
            "test_list": ["assert value(build(3)) == 3"],
        },
        ("def value(node): return node.v",), ("def value(node): return 4",),
    ),
    "MBPP of a class": SetRow(
        {**MBPP, "code": NODE, "test_list": ["assert Node(1).v == 1", "assert Node(2).v == 2"]}, (NODE,), (WRONG_NODE,)
    ),
    "an object in a list of your own": SetRow(
        call([], [], tests=f"{NODE}\n\ndef test_f():\n    nodes = [Node(n) for n in (1, 2)]\n    assert f(nodes) == 3"),
        ("def f(x): return sum(node.v for node in x)",), ("def f(x): return 4",),
    ),
    "AceCode with a draft in the answer": SetRow(
        {**ACECODE, "inferences": [{"completion": f"Draft:\n```python\n{NOT_SUM}\n```\nFinal:\n```python\n{SUM}\n```", "pass_rate": 1.0}]},
        (SUM,), (NOT_SUM,), "a + b",
    ),
    "AceCode whose tests need an import": SetRow(
        {
            **ACECODE,
            "test_cases": ["assert math.isclose(add(1, 2), 3)"],
            "inferences": [{"completion": f"import math\n{SUM}", "pass_rate": 1.0}],
        },
        (SUM,), ("def add(a, b): return 4",),
    ),
    "rStar-Coder, runs": SetRow(RSTAR, (rows.ECHO_SUM,), ("print(4)",)),
    "rStar-Coder, synthetic": SetRow(
        {name: RSTAR[name] for name in ("question_id", "question", "inputs", "outputs")}, (rows.ECHO_SUM,), ("print(4)",)
    ),
    "rStar-Coder, calls": SetRow(
        {
            **RSTAR, "func_name": "addUp", "class_name": "Solution", "starter_code": rows.STARTER,
            "inputs": '["[1, 2]", "[3]"]', "outputs": '["3", "3"]',
        },
        (ADD,), ("def addUp(nums): return 2",),
    ),
    "rStar-Coder, calls without starter code": SetRow(
        {**RSTAR, "func_name": "add", "inputs": "[[1, 2]]", "outputs": "[3]"}, (SUM,), ("def add(a, b): return 4",)
    ),
    "rStar-Coder, no function by a word": SetRow({**RSTAR, "func_name": "None"}, (rows.ECHO_SUM,), ("print(4)",)),
    "BigCodeBench, tests that make files": SetRow(
        BIGCODEBENCH_FILES,
        (f"{BIGCODEBENCH_FILES['complete_prompt']}{BIGCODEBENCH_FILES['canonical_solution']}",),
        ("def task_func(folder): return folder + '/a'",),
    ),
    "BigCodeBench": SetRow(
        BIGCODEBENCH,
        ("def task_func(xs, seed=1):\n    if not xs: raise ValueError\n    return sum(xs) / len(xs)",),
        ("def task_func(xs, seed=1): return 2",),
        "raise ValueError('empty')",
    ),
}  # fmt: skip

ROWS = {**COMPARISON, **LIMITS, **READINGS, **LANGUAGES, **TRAINING_SETS}

REFUSED = {
    "APPS+ without a description": (apps_plus(["1"], ["2"], "", PYTHON_3, question=None), "field 'question'.*must hold the desc"),
    "APPS+ without the name of a method": (
        apps_plus([[[1]]], [1], rows.STARTER, rows.METHOD), "field 'fn_name'.*must name the method"
    ),
    "APPS+ with fewer outputs": (apps_plus(["1", "2"], ["2"], "", PYTHON_3), "lists of the same length"),
    "a checker that is not Python": ({**own([""], ["1"]), "checker": "#include"}, "field 'checker'.*does not define check"),
    "a checker without check": ({**own([""], ["1"]), "checker": "x = 1"}, "field 'checker'.*does not define check"),
    "a checker of calls": ({**call([[1]], [1]), "checker": CHECKER}, "beside tests with 'stdin' and 'stdout'"),
    "an unknown rule": (own([""], ["1"], compare="loose"), "compare='loose'.*choose one of lines"),
    "a tolerance that takes everything": (own([""], ["1"], rel_tol=2), "accepts everything"),
    "a tolerance as a text": (own([""], ["1"], abs_tol="a"), "field 'tests'"),
    "more values than one case may hold": (call([[[0] * 4_000_001]], [0]), r"cases\[0\].*more than 4000000 values; leave this case out"),
    "a value nested too deeply": (call([], [], tests='{"entry_point": "f", "inputs": [[' + "[" * 300 + "]" * 300 + ']], "outputs": [1]}'), "nested deeper than 200"),
    "a value that cannot be read": (call([], [], tests="[" * 100_000), "nested too deeply"),
    "an input that is no text": (own([5], ["1"]), "must hold texts"),
    "an output that is no text": (own(["5"], [None]), "must hold texts"),
    "a value of another type": (call([[object]], [1]), r"cases\[0\].*cannot cross between processes; leave this case out"),
    "files as input": (contest(["1"], ["2"]) | {"input_file": "in.txt"}, "field 'input_file': 'in.txt': its programs read or write a file"),
    "files as output": (contest(["1"], ["2"]) | {"output_file": "out.txt"}, "field 'output_file'"),
    "arguments that cannot be read": (function([1], [2], ADD), "the list of arguments of one call"),
    "another language": (own(["1"], ["2"], language="cobol"), "field 'language': 'cobol': its programs cannot be run; the sandbox runs python, bash, c, cpp"),
    "another language in verifiable problems": (
        verifiable(["1"], ["2"]) | {"verification_info": {"language": "cobol", "test_cases": [{"type": "stdin_stdout", "input": "1", "output": "2"}]}},
        "'cobol': its programs cannot be run; the sandbox runs python",
    ),
    "another language than that of the tests": (
        own(["1"], ["2"], language="python") | {"tests": {"kind": "stdio", "cases": [{"stdin": "1", "stdout": "2"}], "language": "cpp"}},
        "field 'language': 'python': its tests are for programs in cpp",
    ),
    "calls in another language": (call([[1]], [1], language="cpp"), "field 'language': 'cpp': only tests with 'stdin' and 'stdout'"),
    "MultiPL-E in another language": (
        {**MULTIPLE, "language": "rs"}, "field 'language': 'rs': of MultiPL-E the tests in cpp and javascript can be run"
    ),
    "MultiPL-E in a language that nothing runs": ({**MULTIPLE, "language": "rkt"}, "field 'language': 'rkt': its programs cannot be"),
    "MultiPL-E with other declarations": (
        {**MULTIPLE_CPP, "prompt": f"union U {{int a;}};\n{MULTIPLE_CPP['prompt']}"}, "field 'prompt'.*more than includes"
    ),
    "MultiPL-E without a function": ({**MULTIPLE, "prompt": "//Add."}, "field 'prompt'.*the line that opens the function"),
    "MultiPL-E without words": ({**MULTIPLE, "prompt": "function f(a, b){\n"}, "field 'prompt'.*must describe the task"),
    "MultiPL-E with tests of another form": ({**MULTIPLE_CPP, "tests": "int x;"}, "field 'tests'.*not of the form"),
    "OpenCodeReasoning has no tests": (CODEREASONING, "train with verify=False"),
    "OpenCodeReasoning without the question": ({**CODEREASONING, "input": "-"}, "take the configuration split_0"),
    "AceCode that calls nothing": ({**ACECODE, "test_cases": ["assert len([]) == 0"]}, "must call the function that they test"),
    "AceCode without tests": ({**ACECODE, "test_cases": []}, "must call the function that they test"),
    "KodCode with several functions": (
        {**KODCODE, "solution": f"{SUM}\ndef sub(a, b): return a - b", "test": "from solution import add, sub\ndef test_f():\n    assert add(1, 2) == sub(4, 1)"},
        "they use 'add' and 'sub' of the program, but a task asks for one function or class.*leave this row out",
    ),
    "rStar-Coder of lists that differ": ({**RSTAR, "outputs": "[]"}, "lists of the same length"),
    "rStar-Coder with a name that is none": ({**RSTAR, "func_name": "a b"}, "field 'func_name'"),
    "BigCodeBench without a docstring": ({**BIGCODEBENCH, "complete_prompt": "def task_func(xs):\n"}, "field 'complete_prompt'.*docstring"),
    "only assertions that cannot fail": (call([], [], tests=["assert (f(1) == 2, 'm')"]), "no statement can fail"),
    "a long number where a text must stand": ({**own([""], ["1"]), "description": BIG}, "field 'description': <int of 16610 bits>"),
}  # fmt: skip
