"""One row in each known format, written for these tests, with a program that is wrong for it.

Each row describes the same small tasks, so that what differs is the format alone.
"""

from __future__ import annotations

import base64
import json
import pickle
import zlib

ECHO_SUM = "import sys\nprint(sum(map(int, sys.stdin.read().split())))"
RUNS = {"inputs": ["1 2\n", "3 4 5\n"], "outputs": ["3\n", "12\n"]}
CALLS = {"fn_name": "addUp", "inputs": [[[1, 2]], [[3, 4]]], "outputs": [3, 7]}
METHOD = "class Solution:\n    def addUp(self, nums: List[int]) -> int:\n        return sum(nums)\n"
STARTER = "class Solution:\n    def addUp(self, nums: List[int]) -> int:\n        "

HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\ndef twice(n):\n    return 2 * n\n\n\ndef grow(n: int) -> int:\n    """ Twice the number,\n    and one more.\n\n    >>> grow(2)\n    5\n    """\n',
    "canonical_solution": "    return twice(n) + 1\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2) == 5\n    assert candidate(twice(3)) == 13\n",
    "entry_point": "grow",
}
HUMANEVAL_PLUS = HUMANEVAL | {
    "test": "def assertion(out, exp, atol):\n    assert out == exp\n\n\ndef check(candidate):\n    inputs = [[2], [0]]\n    results = [5, 1]\n    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n",
}
MBPP_PLUS = {
    "task_id": 900,
    "code": "import math\ndef root(n):\n    return math.isqrt(n)",
    "prompt": "Write a function to find the whole square root of a number.",
    "source_file": "x.ipynb",
    "test_imports": [],
    "test_list": ["assert root(4) == 2", "assert root(10) == 3"],
    "test": "def assertion(out, exp, atol):\n    assert out == exp\n\n\ninputs = [[0], [99]]\nresults = [0, 9]\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(root(*inp), exp, 0)\n",
}
APPS_STDIN = {
    "problem_id": 7,
    "question": "Add the numbers.",
    "solutions": json.dumps(["print 'Python 2'", ECHO_SUM]),
    "input_output": json.dumps(RUNS),
    "difficulty": "introductory",
    "url": "https://example.org",
    "starter_code": "",
}
APPS_CALLS = APPS_STDIN | {
    "problem_id": 8,
    "solutions": json.dumps(["def other(): pass", METHOD]),
    "input_output": json.dumps(CALLS | {"outputs": [[3], [7]]}),
    "starter_code": STARTER,
}
APPS_PLUS = {
    "id": 9,
    "question": "Add the numbers.",
    "canonical_solution": METHOD,
    "inputs": CALLS["inputs"],
    "outputs": CALLS["outputs"],
    "fn_name": "addUp",
    "starter_code": STARTER,
}
TACO = {
    "question": "Add the numbers.",
    "solutions": json.dumps([ECHO_SUM]),
    "starter_code": "",
    "input_output": json.dumps({"inputs": [["1 2", "3"]], "outputs": [["6"]]}),
    "difficulty": "EASY",
    "raw_tags": "[]",
    "name": None,
    "source": "codeforces",
}
CODE_CONTESTS = {
    "name": "1_A. Sum",
    "description": "Add the numbers.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["3 4\n"], "output": ["7\n"]},
    "generated_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "solutions": {"language": [2, 1, 3], "solution": ["int main() {}", "print 1", ECHO_SUM]},
    "difficulty": 7,
}
SANDBOX_FUSION = {
    "id": 0,
    "content": "Add the numbers.",
    "labels": "{}",
    "test": json.dumps([{"input": {"stdin": "1 2"}, "output": {"stdout": "3\n"}}]),
}


def packed(tests):
    """Private tests as LiveCodeBench publishes them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


LCB_STDIN = {
    "question_title": "Sum",
    "question_content": "Add the numbers.",
    "platform": "atcoder",
    "question_id": "abc1_a",
    "contest_id": "abc1",
    "contest_date": "2024-01-01T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": packed([{"input": "3 4\n", "output": "7\n", "testtype": "stdin"}]),
    "metadata": "{}",
}
LCB_CALLS = LCB_STDIN | {
    "question_id": "2001",
    "starter_code": STARTER,
    "public_test_cases": json.dumps([{"input": "[1, 2]", "output": "3", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": "[3, 4]", "output": "7", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "addUp"}),
}
CODEINSIGHT = {
    "id": "900",
    "intent": "The letter of a code point",
    "code": "import string\ndef test(int0):\n    return chr(int0)",
    "unit_tests": [
        "int0 = 65\nexpected_result = 'A'\nresult = test(int0)\nassert result == expected_result, 'Test failed'",
        "int0 = 98\nresult = test(int0)\nassert result in string.ascii_lowercase",
    ],
    "libraries": [],
}
VERIFIABLE_STDIN = {
    "source": "apps",
    "task_type": "verifiable_code",
    "in_source_id": "1",
    "problem_id": "vcp_1",
    "problem_statement": "Add the numbers.",
    "gold_standard_solution": f"Here it is.\n```python\n{ECHO_SUM}\n```",
    "metadata": {"difficulty": "introductory"},
    "verification_info": {
        "language": "python",
        "test_cases": [{"fn_name": None, "input": "1 2\n", "output": "3\n", "type": "stdin_stdout"}],
    },
}
VERIFIABLE_CALLS = VERIFIABLE_STDIN | {
    "problem_id": "vcp_2",
    "gold_standard_solution": METHOD,
    "verification_info": json.dumps(
        {
            "language": "python",
            "test_cases": [{"fn_name": "addUp", "input": "[[1, 2]]", "output": "3", "type": "function_call"}],
        }
    ),
}

_WRONG_RUN = "print(0)"
_WRONG_CALL = "def addUp(nums):\n    return 0"
ROWS = {
    "HumanEval": (HUMANEVAL, "def grow(n):\n    return 5"),
    "HumanEval+": (HUMANEVAL_PLUS, "def grow(n):\n    return 5"),
    "MBPP+": (MBPP_PLUS, "def root(n):\n    return {4: 2, 10: 3}[n]"),
    "APPS stdin": (APPS_STDIN, _WRONG_RUN),
    "APPS calls": (APPS_CALLS, _WRONG_CALL),
    "APPS+": (APPS_PLUS, _WRONG_CALL),
    "TACO": (TACO, _WRONG_RUN),
    "CodeContests": (CODE_CONTESTS, "print(3)"),
    "SandboxFusion": (SANDBOX_FUSION, _WRONG_RUN),
    "LiveCodeBench stdin": (LCB_STDIN, "print(3)"),
    "LiveCodeBench calls": (LCB_CALLS, "def addUp(nums):\n    return 3"),
    "CodeInsight": (CODEINSIGHT, "def test(int0):\n    return 'A'"),
    "verifiable stdin": (VERIFIABLE_STDIN, _WRONG_RUN),
    "verifiable calls": (VERIFIABLE_CALLS, _WRONG_CALL),
}
# These come without a solution; this is one.
SOLUTIONS = {
    "SandboxFusion": ECHO_SUM,
    "LiveCodeBench stdin": ECHO_SUM,
    "LiveCodeBench calls": "def addUp(nums):\n    return sum(nums)",
}
