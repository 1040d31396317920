"""`PassAtK`: code_eval's call and results, verdicts that cannot be forged, loading without a network."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from trl_gift.metrics import metric_path, pass_at_k, wilson_interval
from trl_gift.sandbox import LocalSandbox, Outcome, Status

evaluate = pytest.importorskip("evaluate")

GOOD = "def add(a, b):\n    return a + b"
BAD = "def add(a, b):\n    return a * b"
LOOP = "def add(a, b):\n    while True:\n        pass"
TEST = "assert add(2, 3) == 5\nassert add(0, 7) == 7"
HUMANEVAL = "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(0, 7) == 7\n\ncheck(add)"

HOSTILE = {
    "exits well": "import sys\nsys.exit(0)",
    "exits well when called": "import sys\ndef add(a, b):\n    sys.exit(0)",
    "exits without a word": "import os\nos._exit(0)",
    "exits without a word when called": "import os\ndef add(a, b):\n    os._exit(0)",
    "equal to everything": "class Any:\n    def __eq__(self, other):\n        return True\ndef add(a, b):\n    return Any()",
    "an int equal to everything": "class Any(int):\n    def __eq__(self, other):\n        return True\n"
    "    def __ne__(self, other):\n        return False\ndef add(a, b):\n    return Any(0)",
    "a class in place of the function": "class add:\n    def __init__(self, a, b): pass\n"
    "    def __eq__(self, other):\n        return True",
    "raises what ends loops": "def add(a, b):\n    raise StopIteration",
    "rewrites the tests": "import builtins\nbuiltins.AssertionError = Exception\n"
    "import sys\nfor module in list(sys.modules.values()):\n    module.check = lambda candidate: None\n"
    "def add(a, b):\n    return None",
    "nothing at all": "",
}


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    from trl_gift.metrics import PassAtK

    return PassAtK(cache_dir=str(tmp_path_factory.mktemp("cache")))


def test_call_and_results_of_code_eval(metric):
    values, results = metric.compute(
        predictions=[[BAD, GOOD, GOOD], [GOOD, LOOP, "def add(a, b:"]],
        references=[TEST, HUMANEVAL],
        k=[1, 2, 3, 10],
        num_workers=2,
        timeout=2.0,
    )
    assert values == {f"pass@{k}": pytest.approx((pass_at_k(3, 2, k) + pass_at_k(3, 1, k)) / 2) for k in (1, 2, 3)}, (
        "a k above the number of candidates is left out"
    )
    assert list(results) == [0, 1]
    for task, group in results.items():
        assert [number for number, _ in group] == [0, 1, 2]
        for number, result in group:
            assert set(result) == {"task_id", "passed", "result", "completion_id"}
            assert (result["task_id"], result["completion_id"]) == (task, number)
    passed = [[result["passed"] for _, result in group] for group in results.values()]
    assert passed == [[False, True, True], [True, False, False]]
    assert results[0][1][1]["result"] == "passed"
    assert results[1][1][1]["result"] == "timed out"
    assert results[0][0][1]["result"].startswith("failed: ")
    assert results[1][2][1]["result"].startswith("failed: SyntaxError")


def test_details(metric, sandbox):
    metric.compute(predictions=[[BAD, GOOD], [GOOD, GOOD]], references=[TEST, TEST], k=[1], sandbox=sandbox)
    low, high = metric.details.intervals["pass@1"]
    assert low <= 0.75 <= high
    assert metric.details.untrusted == ()
    assert metric.details.infrastructure_failures == 0
    assert metric.details.isolation == sandbox.isolation
    assert [[one.passed for one in group] for group in metric.details.outcomes] == [[False, True], [True, True]]
    values, _ = metric.compute(predictions=[[GOOD], [BAD]], references=[TEST, TEST], k=1, sandbox=sandbox)
    assert values == {"pass@1": 0.5}
    assert metric.details.intervals == {"pass@1": wilson_interval(1, 2)}


@pytest.mark.parametrize("reference", [TEST, HUMANEVAL])
def test_hostile_programs_do_not_pass(metric, sandbox, reference):
    _, results = metric.compute(predictions=[list(HOSTILE.values())], references=[reference], k=[1], sandbox=sandbox)
    passed = [name for name, (_, result) in zip(HOSTILE, results[0], strict=True) if result["passed"]]
    assert passed == []
    assert metric.details.untrusted == ()


def test_tests_that_lean_on_several_names_work_and_say_so(metric, sandbox):
    pair = "def encode(s):\n    return s[::-1]\ndef decode(s):\n    return s[::-1]"
    forged = "class Any:\n    def __eq__(self, other):\n        return True\ndef encode(s):\n    return Any()\ndecode = encode"
    values, results = metric.compute(
        predictions=[[pair, forged]], references=["assert decode(encode('abc')) == 'abc'"], k=[1], sandbox=sandbox
    )
    assert [result["passed"] for _, result in results[0]] == [True, False]
    assert values == {"pass@1": 0.5}
    assert metric.details.untrusted == (0,), "what checks may be the candidate's"


def test_modules_of_the_tests_are_the_judges_own(metric, sandbox):
    program = "import math\ndef root(x):\n    return x ** 0.5"
    forged = "class math:\n    def isclose(*args):\n        return True\ndef root(x):\n    return 0.0"
    _, results = metric.compute(
        predictions=[[program, forged]],
        references=["assert math.isclose(root(2), 1.4142135623730951)"],
        sandbox=sandbox,
    )
    assert [result["passed"] for _, result in results[0]] == [True, False]
    assert metric.details.untrusted == ()


STACK = "class Stack:\n    def __init__(self):\n        self.items = []\n    def push(self, x):\n        self.items.append(x)"


@pytest.mark.parametrize(
    ("program", "reference"),
    [
        (STACK, "s = Stack()\ns.push(1)\nassert s.items == [1]"),
        ("class Solution:\n    def two(self):\n        return 2", "assert Solution().two() == 2"),
        ("class tools:\n    two = 2", "assert tools.two == 2"),
        (
            "class Bad(Exception): pass\ndef f():\n    raise Bad",
            "try:\n    f()\nexcept Bad:\n    pass\nelse:\n    assert 0",
        ),
        ("class P: pass\ndef f():\n    return P()", "assert isinstance(f(), P)"),
    ],
)
def test_tests_of_classes_run_beside_them_and_say_so(metric, sandbox, program, reference):
    _, results = metric.compute(predictions=[[program, "x = 1"]], references=[reference], k=[1], sandbox=sandbox)
    assert [result["passed"] for _, result in results[0]] == [True, False], metric.details.outcomes
    assert metric.details.untrusted == (0,)


def test_shared_mode_is_never_the_candidates_choice(metric, sandbox):
    forged = "class Any:\n    def __eq__(self, other):\n        return True\nclass add:\n    def __new__(cls, a, b):\n        return Any()"
    _, results = metric.compute(predictions=[[forged]], references=[TEST], k=[1], sandbox=sandbox)
    assert not results[0][0][1]["passed"]
    metric.compute(predictions=[[GOOD]], references=[TEST], k=[1], sandbox=sandbox, shared=True)
    assert metric.details.untrusted == (0,)


@pytest.mark.parametrize(
    "reference", ["assert True", "def check(candidate):\n    assert candidate(1) == 1", "", "assert ("]
)
def test_tests_that_cannot_fail_are_refused_by_their_place(metric, sandbox, reference):
    with pytest.raises(ValueError, match=r"references\[1\]"):
        metric.compute(predictions=[[GOOD], [GOOD]], references=[TEST, reference], k=[1], sandbox=sandbox)


class _Broken:
    """A sandbox that cannot judge every second program."""

    isolation = "none"

    def map(self, pairs, **options):
        for index, _ in enumerate(pairs):
            yield index, Outcome(Status.INFRASTRUCTURE if index % 2 else Status.PASSED, message="no space left")


def test_what_could_not_be_judged_is_in_no_figure(metric):
    with pytest.warns(UserWarning, match=r"2 of 4 candidates could not be judged.*no space left"):
        values, results = metric.compute(
            predictions=[[GOOD, GOOD], [GOOD, GOOD]], references=[TEST, TEST], k=[1, 2], sandbox=_Broken()
        )
    assert values == {"pass@1": 1.0}
    assert results[0][1][1]["result"] == "infrastructure: no space left"
    assert metric.details.infrastructure_failures == 2


def test_evaluate_loads_it_offline(tmp_path, monkeypatch, sandbox):
    def refused(*args):
        raise AssertionError("the network is used")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    loaded = evaluate.load(metric_path(), cache_dir=str(tmp_path / "cache"))
    assert loaded.name == "pass_at_k"
    assert "predictions" in loaded.inputs_description
    values, _ = loaded.compute(predictions=[[BAD, GOOD]], references=[TEST], k=[1, 2], sandbox=sandbox)
    assert values == {"pass@1": 0.5, "pass@2": 1.0}
    loaded.add(prediction=[GOOD], reference=TEST)
    loaded.add_batch(predictions=[[BAD]], references=[TEST])
    assert loaded.compute(k=[1], sandbox=sandbox)[0] == {"pass@1": 0.5}


def test_the_functions_do_without_evaluate():
    check = "import sys, trl_gift.metrics; sys.exit('evaluate' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
