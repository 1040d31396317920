"""Tests that people have load as tasks: the reference passes in the sandbox, a wrong program fails, a message says where."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trl_gift import Task, codetext, load_tasks
from trl_gift.errors import TaskError
from trl_gift.sandbox import AssertTests, CallTests, LocalSandbox
from trl_gift.tasks.validate import probe_programs

ADD = "def add(a, b):\n    return a + b\n"
SUBTRACT = "def add(a, b):\n    return a - b\n"
STACK = """\
from collections import deque

class Stack:
    def __init__(self, items=()):
        self.items = deque(items)

    def push(self, item):
        self.items.append(item)

    def pop(self):
        if not self.items:
            raise IndexError("empty")
        return self.items.pop()
"""
QUEUE = STACK.replace("self.items.pop()", "self.items.popleft()")
TWO_SUM = """\
class Solution:
    def twoSum(self, nums: List[int], target: int) -> List[int]:
        seen = {}
        for i, n in enumerate(nums):
            if target - n in seen:
                return [seen[target - n], i]
            seen[n] = i
"""
NO_SUM = "def twoSum(nums, target):\n    return [0, 0]\n"
ROOT = 'def root(x):\n    if x < 0:\n        raise ValueError("negative: -1")\n    return x ** 0.5\n'
WRONG_ROOT = "def root(x):\n    return abs(x) / 2\n"


def task_of(tests, reference=ADD, **row) -> Task:
    (task,) = load_tasks([{"description": "A program.", "reference": reference, "tests": tests} | row])
    return task


@pytest.fixture(scope="module")
def sandbox() -> Iterator[LocalSandbox]:
    with LocalSandbox(num_workers=1) as pool:
        yield pool


def check(sandbox, task, wrong, count, where="", trusted=True):
    """The reference passes all of `count` tests, the wrong program fails, and its message holds `where`."""
    assert task.reference is not None
    right, failed = sandbox.run(task.reference, task.all_tests), sandbox.run(wrong, task.all_tests)
    assert right.passed, right.message
    assert task.all_tests.num_tests == count
    assert failed.status == "failed", failed
    assert where in failed.message
    assert right.trusted is failed.trusted is trusted
    assert load_tasks([task.to_row()]) == [task]


PYTEST = {
    "functions and helpers": (
        "CASES = [(1, 2, 3)]\ndef given():\n    return CASES\n"
        "def test_zero():\n    assert add(0, 0) == 0\n"
        "def test_add():\n    for a, b, c in given():\n        assert add(a, b) == c\n",
        2, "test_add: assert add(a, b) == c [add(1, 2) returned -1]",
    ),
    "raises and approx": (
        "import pytest\ndef test_add():\n"
        "    with pytest.raises(TypeError, match='unsupported operand') as info:\n        add(1, 'a')\n"
        "    assert 'int' in str(info.value)\n"
        "    assert add(0.1, 0.2) == pytest.approx(0.3)\n    assert [add(1, 1)] == pytest.approx([2.0], rel=1e-3)\n",
        1, "pytest.approx(0.3)",
    ),
    "names of pytest": (
        "from pytest import approx, mark, raises as refuses\n"
        "@mark.parametrize('a, b, c', [(0, 0, 0), (1, 2, 3)])\ndef test_add(a, b, c):\n    assert add(a, b) == approx(c)\n"
        "def test_text():\n    with refuses(TypeError):\n        add(1, '')\n",
        3, "test_add: assert add(a, b) == approx(c) [add(1, 2) returned -1]",
    ),
    "two parametrize": (
        "import pytest\n@pytest.mark.parametrize('a', [1, pytest.param(2, id='two')])\n"
        "@pytest.mark.parametrize(['b', 'c'], [(0, 0), (1, 1)])\n"
        "def test_add(a, b, c):\n    assert add(a, b) == a + c\n",
        4, "add(1, 1) returned 0",
    ),
    "rows known at run time": (
        "import pytest\nROWS = [(n, n, 2 * n) for n in range(5)]\n"
        "@pytest.mark.parametrize('a, b, c', ROWS)\ndef test_add(a, b, c):\n    assert add(a, b) == c\n",
        1, "add(1, 1) returned 0",
    ),
    "fixtures": (
        "import pytest\nopened = []\n"
        "@pytest.fixture(autouse=True)\ndef ready():\n    opened.clear()\n"
        "@pytest.fixture\ndef one():\n    opened.append(1)\n    yield 1\n    opened.append('closed')\n"
        "@pytest.fixture(scope='module')\ndef two(one):\n    return one + 1\n"
        "@pytest.mark.parametrize('more', [0, 3])\n"
        "def test_add(one, two, more):\n    assert opened == [1]\n    assert add(one + more, two) == 3 + more\n"
        "def test_last():\n    assert opened == []\n    add(1, 2)\n",
        3, "add(1, 2) returned -1",
    ),
    "a class of tests": (
        "class TestAdd:\n    @classmethod\n    def setup_class(cls):\n        cls.two = 2\n"
        "    def setup_method(self, method):\n        self.one = 1\n"
        "    def test_add(self):\n        assert add(self.one, self.two) == 3\n"
        "    def test_zero(self):\n        assert add(0, 0) == 0\n",
        2, "TestAdd.test_add: assert add(self.one, self.two) == 3",
    ),
    "skipped": (
        "import pytest\n@pytest.mark.skip\ndef test_later():\n    assert add(1, 1) == 3\n"
        "@pytest.mark.slow\ndef test_add():\n    assert add(1, 1) == 2\n",
        1, "test_add",
    ),
    "a script that calls its tests": (
        "def test_add():\n    assert add(1, 2) == 3\nif __name__ == '__main__':\n    test_add()\n    print('ok')\n",
        1, "test_add",
    ),
    "the module under test": (
        "import sys, os\nsys.path.insert(0, os.path.dirname(__file__))\nfrom my_solution import add as plus\n"
        "import my_solution as m\nfrom . import add\n"
        "def test_add():\n    assert plus(1, 2) == m.add(1, 2) == add(1, 2) == 3\n"
        "if __name__ == '__main__':\n    import pytest\n    sys.exit(pytest.main([__file__]))\n",
        1, "test_add",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PYTEST)
def test_pytest_functions(sandbox, kind):
    source, count, where = PYTEST[kind]
    check(sandbox, task_of(source), SUBTRACT, count, where)
    assert task_of([source]).tests == task_of(source).tests


def test_the_module_under_test_alone(sandbox):
    source = "import solution\ndef test_add():\n    assert solution.add(1, 2) == 3\n"
    check(sandbox, task_of(source), SUBTRACT, 1, "test_add: assert solution.add(1, 2) == 3")


def test_unittest(sandbox):
    source = (
        "import unittest\nfrom solution import root\n\n"
        "class Base(unittest.TestCase):\n    def setUp(self):\n        self.four = 4\n\n"
        "class TestRoot(Base):\n    @classmethod\n    def setUpClass(cls):\n        cls.nine = 9\n"
        "    def test_whole(self):\n        self.assertEqual(root(self.four), 2)\n"
        "        for n in (1, 4):\n            with self.subTest(n=n):\n                self.assertIsInstance(root(n), float)\n"
        "    def test_almost(self):\n        self.assertAlmostEqual(root(2), 1.41421356)\n"
        "    def test_negative(self):\n        with self.assertRaisesRegex(ValueError, 'negative'):\n            root(-1)\n"
        "    @unittest.skip('later')\n    def test_later(self):\n        self.fail()\n\n"
        "if __name__ == '__main__':\n    unittest.main()\n"
    )
    check(sandbox, task_of(source, ROOT), WRONG_ROOT, 3, "TestRoot.test_almost: self.assertAlmostEqual")


def test_doctests(sandbox):
    docstring = (
        '    """The root.\n\n    >>> root(4)\n    2.0\n    >>> x = 9\n    >>> root(x)\n    3.0\n    >>> root(-1)\n'
        "    Traceback (most recent call last):\n    ValueError: negative: -1\n    >>> print(root(1), 'ok')\n    1.0 ok\n"
        "    >>> root(2)  # doctest: +ELLIPSIS\n    1.41...\n    >>> root(5) # doctest: +SKIP\n    0\n"
        '    """\n'
    )
    reference = ROOT.replace("(x):\n", f"(x):\n{docstring}", 1)
    check(sandbox, task_of("doctest", reference), WRONG_ROOT, 6, "assert root(x) == 3.0 [root(9) returned 4.5]")
    described = task_of("doctest", ROOT, description="The root:\n\n>>> root(9)\n3.0\n")
    check(sandbox, described, WRONG_ROOT, 1)
    assert task_of(">>> root(9)\n3.0\n", ROOT).tests == described.tests
    assert task_of([">>> root(9)\n3.0"], ROOT).tests == described.tests


@pytest.mark.parametrize(
    "tests",
    [
        ["assert Solution().twoSum([2, 7], 9) == [0, 1]"],
        "from solution import Solution\n\ndef test_sum():\n    s = Solution()\n    assert s.twoSum([2, 7], 9) == [0, 1]\n",
        "import unittest\nclass T(unittest.TestCase):\n    def setUp(self):\n        self.s = Solution()\n"
        "    def test_sum(self):\n        self.assertEqual(self.s.twoSum([2, 7], 9), [0, 1])\n",
        ["assert twoSum([2, 7], 9) == [0, 1]"],
        {"entry_point": "twoSum", "inputs": [[[2, 7], 9]], "outputs": [[0, 1]]},
        {"entry_point": "Solution().twoSum", "inputs": [[[2, 7], 9]], "outputs": [[0, 1]]},
        {"inputs": [[[2, 7], 9]], "outputs": [[0, 1]]},
    ],
)
def test_class_solution_is_a_function(sandbox, tests):
    starter = "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n"
    for task in (task_of(tests, TWO_SUM), task_of(tests, TWO_SUM, signature=starter)):
        assert task.signature == "from typing import List\ndef twoSum(nums: List[int], target: int) -> List[int]:"
        check(sandbox, task, NO_SUM, 1)
    (alone,) = load_tasks([{"description": "Sum.", "signature": starter, "tests": tests}])
    assert alone.signature == task.signature
    assert sandbox.run(task.reference, alone.all_tests).passed


def test_a_class_under_test_shares_the_interpreter_and_says_so(sandbox, caplog):
    source = (
        "import pytest\n@pytest.fixture\ndef stack():\n    return Stack([1])\n"
        "def test_order(stack):\n    stack.push(2)\n    assert stack.pop() == 2\n    assert list(stack.items) == [1]\n"
        "def test_empty():\n    with pytest.raises(IndexError):\n        Stack().pop()\n"
    )
    with caplog.at_level(logging.WARNING):
        task = task_of(source, STACK)
    assert "the tests of 1 of 1 task run in the program's own process" in caplog.text
    check(sandbox, task, QUEUE, 2, "test_order: assert stack.pop() == 2", trusted=False)
    head = "from collections import deque\nclass Stack:\n    # Methods: __init__(self, items=()), push(self, item), pop(self)"
    assert task.signature == head
    assert task.entry_point == "Stack"
    body = codetext.body_of(STACK, head)
    assert body is not None
    assert sandbox.run(f"{head}\n{body}", task.all_tests).passed
    assert codetext.complete(head, f"{body}\nprint(1)") == f"{head}\n{body}"
    assert codetext.find_program(f"Here:\n```python\n{STACK}```", "class Stack:").code == STACK.rstrip()


SHARED = {
    "callback": ("def f(g):\n    return g(1)\n", "assert f(lambda x: x + 1) == 2"),
    "mock": (
        "def f(g):\n    return g(1)\n",
        "from unittest.mock import Mock\ndef test_f():\n    g = Mock(return_value=2)\n    assert f(g) == 2\n    g.assert_called_once_with(1)\n",
    ),
    "patch": (
        "import time\ndef f(g):\n    return time.time() + g\n",
        "from unittest.mock import patch\n@patch('solution.time.time', return_value=1)\ndef test_f(clock):\n    assert f(1) == 2\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHARED)
def test_what_cannot_cross_shares_the_interpreter(sandbox, kind):
    reference, tests = SHARED[kind]
    task = task_of(tests if kind in ("mock", "patch") else [tests], reference)
    outcome = sandbox.run(reference, task.all_tests)
    assert outcome.passed, outcome.message
    assert not outcome.trusted
    assert not sandbox.run("def f(g):\n    return 3\n", task.all_tests).passed


def test_visible_and_hidden_tests_run_together(sandbox):
    visible, hidden = "def test_add():\n    assert add(0, 0) == 0\n", "def test_add():\n    assert add(1, 2) == 3\n"
    check(sandbox, task_of(visible, hidden_tests=hidden), SUBTRACT, 2)
    shared = task_of(
        [*visible.splitlines()[:0], visible], hidden_tests="import pytest\nassert add(1, 2) == pytest.approx(3)"
    )
    check(sandbox, shared, SUBTRACT, 2)


def test_check_and_plain_assertions_stay_as_they_are(sandbox):
    source = "def check(candidate):\n    assert candidate(1, 2) == 3  # a comment\n"
    check(sandbox, task_of(source), SUBTRACT, 1)
    plain = ["x = add(1, 2)", "assert x == 3  # kept"]
    assert task_of(plain).tests == AssertTests("\n".join(plain), "add")
    assert isinstance(task_of({"inputs": [[1, 2]], "outputs": [3]}, signature="def add(a, b):").tests, CallTests)


def test_a_test_file_beside_the_data(tmp_path, sandbox):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_add.py").write_text("def test_add():\n    assert add(1, 2) == 3\n")
    (tmp_path.parent / "outside.py").write_text("assert add(1, 2) == 3\n")
    row = {"description": "Add.", "reference": ADD, "tests": "tests/test_add.py"}
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(row))
    (task,) = load_tasks(path)
    check(sandbox, task, SUBTRACT, 1)
    for name in ("absent.py", "../outside.py", "/etc/x.py"):
        path.write_text(json.dumps(row | {"tests": name}))
        with pytest.raises(TaskError, match="no such file in"):
            load_tasks(path)
    with pytest.raises(TaskError, match="give the text of the file"):
        load_tasks([row])


def documented():
    """The rows on the page about own tests, by number and heading. A row is a literal, so nothing on the page is run."""
    page = (Path(__file__).parents[2] / "docs/own-tests.md").read_text(encoding="utf-8")
    for section in page.split("\n## ")[1:]:
        for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            (statement,) = ast.parse(block).body
            yield section.splitlines()[0], ast.literal_eval(statement.value)


@pytest.mark.parametrize(("heading", "row"), list(documented()))
def test_each_documented_kind_loads_and_tells_programs_apart(sandbox, heading, row):
    if heading == "Arrays and tables":
        pytest.importorskip("pandas")
    (task,) = load_tasks([row])
    right = sandbox.run(task.reference, task.all_tests)
    assert right.passed, right.message
    assert right.trusted is (heading != "A class under test")
    for name, program in probe_programs(task).items():
        wrong = sandbox.run(program, task.all_tests)
        assert not wrong.passed, name


def test_the_page_shows_every_kind():
    assert len(list(documented())) >= 9


REFUSED = {
    "a fixture of pytest": ("def test_a(tmp_path):\n    assert add(1, 2) == 3", "test_a takes 'tmp_path'"),
    "capsys": ("def test_a(capsys):\n    assert add(1, 2) == 3", "make the value in the test itself"),
    "other names of pytest": ("import pytest\ndef test_a():\n    pytest.importorskip('x')", "'pytest.importorskip'"),
    "names from pytest": ("from pytest import MonkeyPatch", "'pytest.MonkeyPatch' is not supported"),
    "fixture params": (
        "import pytest\n@pytest.fixture(params=[1])\ndef a(request):\n    return 1\ndef test_a(a):\n    add(a, 1)",
        "fixture 'a' with params=",
    ),
    "xfail": ("import pytest\n@pytest.mark.xfail\ndef test_a():\n    add(1, 2)", "'@pytest.mark.xfail' on test_a"),
    "async": ("async def test_a():\n    assert add(1, 2) == 3", "the sandbox has no event loop"),
    "async case": (
        "from unittest import IsolatedAsyncioTestCase\nclass A(IsolatedAsyncioTestCase):\n    def test_a(self):\n        add(1, 2)",
        "IsolatedAsyncioTestCase",
    ),
    "skipIf": (
        "import unittest\nclass A(unittest.TestCase):\n    @unittest.skipIf(True, '')\n    def test_a(self):\n        add(1, 2)",
        "'@unittest.skipIf' in class A",
    ),
    "expand": (
        "import unittest\nfrom parameterized import parameterized\nclass A(unittest.TestCase):\n"
        "    @parameterized.expand([1])\n    def test_a(self, a):\n        add(1, a)",
        "use self.subTest in a loop",
    ),
    "uneven rows": (
        "import pytest\n@pytest.mark.parametrize('a, b', [(1,)])\ndef test_a(a, b):\n    add(a, b)", "must have 2 values",
    ),
    "half an import": ("from sol import add, sub\nassert add(1, 2) == 3", "does not define sub"),
    "no doctest": ("doctest", "neither a docstring of 'reference' nor 'description'"),
    "not Python": ("def test_a(:", "must be Python source"),
    "no test": ("x = add(1, 2)", "a text must be JSON, test code or doctests"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_supported_is_named_in_one_line(kind):
    tests, words = REFUSED[kind]
    with pytest.raises(TaskError) as caught:
        task_of(tests)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_async_function_is_refused():
    with pytest.raises(TaskError, match="'f' is async, and the sandbox has no event loop"):
        task_of(["import asyncio", "assert asyncio.run(f(1)) == 2"], "async def f(x):\n    return x + 1\n")


def test_several_functions_need_a_signature_with_the_others(sandbox):
    tests = ["assert add(1, 2) == 3", "assert double(2) == 4"]
    both = f"def double(x):\n    return 2 * x\n\n{ADD}"
    with pytest.raises(TaskError, match="they use 'add' and 'double' of the program, but a task asks for one"):
        task_of(tests, both)
    task = task_of(tests, both, signature="def double(x):\n    return 2 * x\n\ndef add(a, b):")
    check(sandbox, task, both.replace("a + b", "a"), 2)


def test_a_library_of_the_same_name_is_not_the_program(sandbox):
    """Otherwise the program would be compared with itself."""
    source = "import numpy as np\nimport math\ndef test_hypot():\n    assert np.hypot(3, 4) == math.hypot(3, 4) == hypot(3, 4)\n"
    task = task_of(source, "def hypot(a, b):\n    return (a * a + b * b) ** 0.5\n")
    pytest.importorskip("numpy")
    check(sandbox, task, "def hypot(a, b):\n    return a + b\n", 1, "hypot(3, 4) returned 7")


NUMPY = {
    "all": "assert (f(np.array([1, 2])) == np.array([2, 4])).all()",
    "allclose": "np.testing.assert_allclose(f(np.array([1.0, 2.0])), [2.0, 4.0])",
    "approx": "import pytest\nassert f(np.array([1.0, 2.0])) == pytest.approx(np.array([2.0, 4.0]))",
}


@pytest.mark.parametrize("kind", NUMPY)
def test_arrays(sandbox, kind):
    pytest.importorskip("numpy")
    tests = f"import numpy as np\ndef test_f():\n    {NUMPY[kind].splitlines()[-1]}\n"
    if kind == "approx":
        tests = f"import pytest\n{tests}"
    check(sandbox, task_of(tests, "def f(x):\n    return 2 * x\n"), "def f(x):\n    return x\n", 1, "f(array([1")


PANDAS = {
    "equals": "assert f(df).equals(pd.DataFrame({'a': [2, 4]}))",
    "frame": "pd.testing.assert_frame_equal(f(df), pd.DataFrame({'a': [2, 4]}))",
    "series": "pd.testing.assert_series_equal(f(df)['a'], pd.Series([2, 4], name='a'))",
    "all": "assert (f(df['a']) == [2, 4]).all()",
}


@pytest.mark.parametrize("kind", PANDAS)
def test_tables(sandbox, kind):
    pytest.importorskip("pandas")
    tests = f"import pandas as pd\ndef test_f():\n    df = pd.DataFrame({{'a': [1, 2]}})\n    {PANDAS[kind]}\n"
    task = task_of(tests, "def f(x):\n    return 2 * x\n")
    check(sandbox, task, "def f(x):\n    return x\n", 1, "test_f: ")
    assert "\n" not in sandbox.run("def f(x):\n    return x\n", task.all_tests).message
