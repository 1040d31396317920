"""What is learned passes what was verified: each reference against its tests, and what each kind of prompt makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.support.prompts import CHATML, CODE, TASK
from tests.support.sandboxes import InstantSandbox
from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift import codetext
from trl_gift.prompts import BasePrompts, ChatPrompts, Extraction
from trl_gift.sandbox import AssertTests, Case, LocalSandbox, Status, StdioTests
from trl_gift.tasks import Task
from trl_gift.training.selection import SelectedSample
from trl_gift.training.targets import Targets, failing_targets

KINDS = ("base", "opened", "closed")
PASSES, UNFIT, NONE = "passes", "unfit", "none"
"""The target passes; it is reported because it does not; there is none."""


@dataclass(frozen=True)
class Reference:
    """A program that passes its test, and what the three kinds of prompts make of it."""

    code: str
    test: str
    expected: tuple[str, str, str] = (PASSES, PASSES, PASSES)
    signature: str | None = None  # that of the code unless it is given
    shared: bool = False

    def task(self, name: str) -> Task:
        signature = self.signature or codetext.signature_of(self.code, "f")
        tests = AssertTests(self.test, "f", shared=self.shared)
        return Task(name, "Do it.", tests, signature=signature, reference=self.code)


REFERENCES = {
    "plain": Reference("def f(x):\n    return x + 1", "assert f(1) == 2"),
    "comments and a docstring": Reference(
        'def f(x):\n    """Doc.\n\n    Of two lines.\n    """\n    # First\n    return x  # last', "assert f(1) == 1"
    ),
    "one line": Reference("def f(x): return x + 1", "assert f(1) == 2"),
    "one line of several statements": Reference("def f(x): y = x; return y + 1", "assert f(1) == 2"),
    "tabs": Reference("def f(x):\n\tif x:\n\t\treturn 1\n\treturn 0", "assert f(3) == 1"),
    "two spaces": Reference("def f(x):\n  if x:\n    return 1\n  return 0", "assert f(3) == 1"),
    "a string over lines": Reference('def f():\n    return """a\n  b\n```\nc"""', 'assert f() == "a\\n  b\\n```\\nc"'),
    "a string over lines in a helper": Reference(
        'def g():\n  return """a\n  b\n"""\n\ndef f():\n  return g()', 'assert f() == "a\\n  b\\n"'
    ),
    "a form feed": Reference(
        'def g():\n    return "a\x0cb"\n\x0c\ndef f():\n    return g()', 'assert f() == "a\\x0cb"'
    ),
    "a line separator": Reference(
        'def f():\n    s = "a\u2028b"\n    return s\n\nprint(f())', 'assert f() == "a\\u2028b"'
    ),
    "drivers": Reference(
        "def f(x):\n    return x\n\nfor x in range(3):\n    print(f(x))\nassert f(1) == 1", "assert f(1) == 1"
    ),
    "a driver's result": Reference("def f(x):\n    return x\n\nresult = f(3)\nprint(result)", "assert f(1) == 1"),
    "a main block": Reference(
        'import sys\n\ndef f(x):\n    return x\n\nif __name__ == "__main__":\n    print(f(sys.argv[1]))',
        "assert f(1) == 1",
    ),
    "a main function": Reference(
        "def f(x):\n    return x\n\ndef main():\n    print(f(1))\n\nmain()", "assert f(1) == 1"
    ),
    "recursion": Reference("def f(n):\n    return n * f(n - 1) if n else 1", "assert f(5) == 120"),
    "recursion through a helper": Reference(
        "def g(n):\n    return f(n - 1)\n\ndef f(n):\n    return n + g(n) if n else 0", "assert f(4) == 10"
    ),
    "the recursion limit": Reference(
        "import sys\nsys.setrecursionlimit(20000)\n\ndef f(n):\n    return 1 + f(n - 1) if n else 0",
        "assert f(3000) == 3000",
    ),
    "nested functions": Reference(
        "def f(xs):\n    total = 0\n    def add(x):\n        nonlocal total\n        total += x\n"
        "    for x in xs:\n        add(x)\n    return total",
        "assert f([1, 2]) == 3",
    ),
    "helpers before and after": Reference(
        "A = 1\ndef g(x):\n    return x + A\n\ndef f(x):\n    return g(h(x))\n\ndef h(x):\n    return 2 * x",
        "assert f(2) == 5",
    ),
    "a helper with a cache": Reference(
        "from functools import lru_cache\n\n@lru_cache(None)\ndef g(n):\n    return n if n < 2 else g(n - 1) + g(n - 2)\n\n"
        "def f(n):\n    return g(n)",
        "assert f(30) == 832040",
    ),
    "a helper class": Reference(
        "class Node:\n    def __init__(self, x):\n        self.x = x\n\ndef f(x):\n    return Node(x).x",
        "assert f(1) == 1",
    ),
    "imports": Reference("import math\nimport os\n\ndef f(x):\n    return math.isqrt(x)", "assert f(4) == 2"),
    "an import of a helper": Reference(
        "import math\n\ndef g(x):\n    return math.isqrt(x)\n\ndef f(x):\n    return g(x)", "assert f(4) == 2"
    ),
    "an import that may fail": Reference(
        "try:\n    import a_module_that_nobody_has as fast\nexcept ImportError:\n    fast = None\n\ndef f(x):\n    return fast or x",
        "assert f(1) == 1",
    ),
    "a star import": Reference("from math import *\n\ndef f(x):\n    return isqrt(x)", "assert f(4) == 2"),
    "a star import that is not pinned": Reference(
        "from math import *\n\ndef f(x):\n    return isqrt(x)", "assert f(4) == 2", (NONE, PASSES, PASSES), "def f(x):"
    ),
    "a future import": Reference(
        "from __future__ import annotations\n\ndef f(x: Later) -> Later:\n    return x", "assert f(1) == 1"
    ),
    "a future import that is not pinned": Reference(
        "from __future__ import annotations\n\ndef f(x):\n    y: Later = x\n    return y",
        "assert f(1) == 1",
        (NONE, NONE, PASSES),
        "import math\ndef f(x):",
    ),
    "a header with a constant": Reference("N = 3\n\ndef f(x, n=N):\n    return x * n", "assert f(2) == 6"),
    "a header with a constant of a constant": Reference(
        "import math\nA = math.floor(2.5)\nN = A + 1\n\ndef f(x, n=N):\n    return x * n", "assert f(2) == 6"
    ),
    "a header with a class": Reference(
        "class Node:\n    x = 4\n\ndef f(node: Node = Node()) -> int:\n    return node.x", "assert f() == 4"
    ),
    "a header with a type": Reference(
        "from typing import List\nVector = List[int]\n\ndef f(xs: Vector) -> Vector:\n    return xs",
        "assert f([1]) == [1]",
    ),
    "a header with an own decorator": Reference(
        "def twice(g):\n    def inner(x):\n        return 2 * g(x)\n    return inner\n\n@twice\ndef f(x):\n    return x",
        "assert f(2) == 4",
    ),
    "a header with a cache": Reference(
        "import functools\n\n@functools.lru_cache(maxsize=None)\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)",
        "assert f(60) == 1548008755920",
    ),
    "a header of all kinds of parameters": Reference(
        "def f(a, /, b=2, *rest, c, d=4, **more):\n    return [a, b, *rest, c, d, *more]",
        "assert f(1, c=3, e=5) == [1, 2, 3, 4, 'e']",
    ),
    "a header in other words than the signature": Reference(
        "def f(x, y = 1):\n    return x + y", "assert f(1, y=2) == 3", signature="def f(x: int, y: int = 1) -> int:"
    ),
    "a memo that each call may begin anew": Reference(
        "memo = {}\n\ndef f(n):\n    if n not in memo:\n        memo[n] = n if n < 2 else f(n - 1) + f(n - 2)\n    return memo[n]",
        "assert f(10) == 55",
    ),
    "a memo filled by a loop": Reference(
        "fib = [0, 1]\nfor _ in range(50):\n    fib.append(fib[-1] + fib[-2])\n\ndef f(n):\n    return fib[n]",
        "assert f(10) == 55",
    ),
    "a table filled by a function": Reference(
        "table = {}\n\ndef fill():\n    for i in range(9):\n        table[i] = i * i\n\nfill()\n\ndef f(n):\n    return table[n]",
        "assert f(3) == 9",
    ),
    "a table filled after the function": Reference(
        "def f(n):\n    return table[n]\n\ntable = [i * i for i in range(9)]\nprint(f(2))", "assert f(3) == 9"
    ),
    "mutual recursion": Reference(
        "def f(n):\n    return n == 0 or odd(n - 1)\n\ndef odd(n):\n    return n != 0 and f(n - 1)",
        "assert f(10) is True",
    ),
    "docstring only": Reference('def f():\n    """Nothing."""', "assert f() is None", (NONE, PASSES, PASSES)),
    "pass": Reference("def f():\n    pass", "assert f() is None"),
    "a lambda": Reference("f = lambda x: x + 1", "assert f(1) == 2", (NONE, NONE, PASSES), "def f(x):"),
    "a definition within a condition": Reference(
        "if True:\n    def f(x):\n        return x", "assert f(1) == 1", (NONE, NONE, PASSES), "def f(x):"
    ),
    "async": Reference(
        "async def g(x):\n    return x\n\nasync def f(x):\n    return await g(x) + 1",
        "def run(c):\n    try:\n        c.send(None)\n    except StopIteration as end:\n        return end.value\nassert run(f(1)) == 2",
        shared=True,
    ),
    "a generator": Reference(
        "def f(n):\n    for i in range(n):\n        yield i", "assert list(f(3)) == [0, 1, 2]", shared=True
    ),
    "a class": Reference(
        "import math\n\nclass f:\n    ONE = 1\n\n    def __init__(self, x):\n        self.x = x\n\n    def get(self):\n"
        "        return math.isqrt(self.x) + self.ONE",
        "assert f(4).get() == 3",
        shared=True,
    ),
    "a class with a base": Reference(
        "class Base:\n    x = 1\n\nclass f(Base):\n    def get(self):\n        return self.x",
        "assert f().get() == 1",
        shared=True,
    ),
    "a class with a helper": Reference(
        "def g(x):\n    return x + 1\n\nclass f:\n    def get(self):\n        return g(1)",
        "assert f().get() == 2",
        (NONE, PASSES, PASSES),
        shared=True,
    ),
    # A base model's helpers move into the function, and what they share with it becomes a variable of the function.
    "a global statement that begins anew": Reference(
        "count = 0\n\ndef f(xs):\n    global count\n    count = 0\n    for x in xs:\n        count += x\n    return count",
        "assert f([1, 2]) == 3\nassert f([4]) == 4",
    ),
    "a helper that fills a global": Reference(
        "best = None\n\ndef see(x):\n    global best\n    best = x if best is None else max(best, x)\n\n"
        "def f(xs):\n    global best\n    best = None\n    for x in xs:\n        see(x)\n    return best",
        "assert f([1, 3, 2]) == 3\nassert f([1]) == 1",
    ),
    "a method that sets a global beside one that nobody binds": Reference(
        "level = 0\n\nclass Log:\n    def add(self):\n        if True:\n            global level, unused\n            level += 1\n\n"
        "def f(n):\n    log = Log()\n    for _ in range(n):\n        log.add()\n    return level - n + n * 2",
        "assert f(3) == 6",
    ),
    # State of the module would begin anew.
    "a global statement": Reference(
        "count = 0\n\ndef f():\n    global count\n    count += 1\n    return count",
        "assert f() == 1\nassert f() == 2",
        (UNFIT, PASSES, PASSES),
    ),
    "a list that remembers": Reference(
        "seen = []\n\ndef f(x):\n    seen.append(x)\n    return len(seen)",
        "assert f(1) == 1\nassert f(1) == 2",
        (UNFIT, PASSES, PASSES),
    ),
    "an attribute of the function": Reference(
        "def f():\n    f.calls += 1\n    return f.calls\n\nf.calls = 0",
        "assert f() == 1\nassert f() == 2",
        (UNFIT, PASSES, PASSES),
    ),
    "a wrapper after the function": Reference(
        "from functools import lru_cache\n\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n\nf = lru_cache(None)(f)",
        "assert f(60) == 1548008755920",
        (UNFIT, PASSES, PASSES),
    ),
    "a helper with the name of a parameter": Reference(
        "def g(x):\n    return x + 1\n\ndef h(x):\n    return g(x)\n\ndef f(g):\n    return h(g) + g",
        "assert f(1) == 3",
        (UNFIT, PASSES, PASSES),
    ),
    # After an opened answer stands what stood before: a first definition would replace the second.
    "a function that wraps its first version": Reference(
        "def f(x):\n    return x\n\nold = f\n\ndef f(x):\n    return old(x) + 1", "assert f(1) == 2"
    ),
    "a function that wraps its first version after a helper": Reference(
        "def g(x):\n    return x\n\ndef f(x):\n    return g(x)\n\nold = f\n\ndef f(x):\n    return old(x) + 1",
        "assert f(1) == 2",
        (PASSES, UNFIT, PASSES),
    ),
    "a signature that holds one constant of two": Reference(
        "A = 2\n\ndef f(x):\n    return x + A", "assert f(1) == 3", signature="A = 2\nB = A + 1\ndef f(x, b=B):"
    ),
    "a signature that holds a setting": Reference(
        "import sys\nsys.setrecursionlimit(20000)\n\ndef f(n):\n    return 1 + f(n - 1) if n else 0",
        "assert f(3000) == 3000",
        signature="import sys\nsys.setrecursionlimit(20000)\ndef f(n):",
    ),
}


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def prompts(tokenizer, chat_tokenizer_factory):
    chatty = chat_tokenizer_factory(CHATML, "<|im_end|>")
    return {
        "base": BasePrompts(tokenizer),
        "opened": ChatPrompts(chatty, open_answer=True),
        "closed": ChatPrompts(chatty, open_answer=False),
    }


@pytest.fixture(scope="module")
def tasks():
    return [reference.task(name) for name, reference in REFERENCES.items()]


def test_the_references_pass(tasks, sandbox):
    futures = sandbox.submit_all([(task.reference, task.tests) for task in tasks])
    outcomes = {task.task_id: future.result() for task, future in zip(tasks, futures, strict=True)}
    assert {name: outcome.message for name, outcome in outcomes.items() if outcome.status is not Status.PASSED} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_passes_or_is_reported(kind, prompts, tasks, sandbox):
    failing = failing_targets(tasks, [], Targets(prompts[kind]), sandbox, train_on_references=True)
    found = {}
    for task in tasks:
        target = prompts[kind].target(task, task.reference)
        unfit = failing.get((task.task_id, target or ""))
        found[task.task_id] = NONE if target is None else f"{UNFIT}: {unfit}" if unfit else PASSES
    expected = {name: reference.expected[KINDS.index(kind)] for name, reference in REFERENCES.items()}
    assert {name: value for name, value in found.items() if value.partition(":")[0] != expected[name]} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_gives_the_same_program_again(kind, prompts, tasks):
    """What is learned is what would be read from a model that wrote it."""
    for task in tasks:
        target = prompts[kind].target(task, task.reference)
        if target is not None:
            first = prompts[kind].extract(task, target)
            assert isinstance(first, Extraction), task.task_id
            again = prompts[kind].extract(task, first.target)
            assert (again.code, again.target, again.verbatim) == (first.code, first.target, True), task.task_id


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_program_is_its_own_target(kind, prompts):
    code = 'def main():\n    """Adds one."""\n    print(int(input()) + 1)\n\nif __name__ == "__main__":\n    main()'
    task = Task("w", "Add one.", StdioTests(cases=[Case(stdin="1", stdout="2")]), reference=code)
    found = prompts[kind].extract(task, prompts[kind].target(task, code))
    assert found.code == code.replace('    """Adds one."""\n', "")


WRITE, READ, _ = joint_world(3, 4, 0.5)


def selected(code, target, count=1):
    (one, *_) = sample([make_task("t")], TableEngine(WRITE, READ), num_steps=1)
    return SelectedSample(replace(one, code=code, target=target), 0.5, count)


def test_selected_samples_run_only_where_their_target_gives_another_program(prompts):
    other = "    return sum(xs) + 0"
    drawn = [
        selected(CODE, "    return sum(xs)"),
        selected(CODE, other, 2),
        selected(CODE, other),
        selected(CODE, "    return 0", 0),
    ]
    for status, expected in ((Status.FAILED, {("t", other)}), (Status.PASSED, set()), (Status.INFRASTRUCTURE, set())):
        sandbox = InstantSandbox(lambda program, tests, status=status: status)
        assert set(failing_targets([TASK], drawn, Targets(prompts["base"]), sandbox, True)) == expected
        assert [program for program, _ in sandbox.submitted] == [f"{TASK.signature}\n{other}"]


def test_a_target_that_gives_no_program_is_reported_without_a_run(prompts):
    sandbox = InstantSandbox()
    found = failing_targets([TASK], [selected(CODE, "\n")], Targets(prompts["base"]), sandbox, False)
    assert found == {("t", "\n"): "the completion holds no statement of the function"}
    assert sandbox.submitted == []


def test_hidden_tests_count_too(prompts, sandbox):
    task = replace(TASK, reference=CODE, hidden_tests=AssertTests("assert solve([1, 2]) == 3", "solve"))
    drawn = [selected(CODE, "    return xs[0]")]
    (failed,) = failing_targets([task], drawn, Targets(prompts["base"]), sandbox, True)
    assert failed == ("t", "    return xs[0]")
