"""Every known format on rows written in it: the reference passes in the sandbox, a wrong program fails, bad rows say so."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import rows
from trl_gift import Task, codetext, load_tasks
from trl_gift.errors import TaskError
from trl_gift.sandbox import LocalSandbox
from trl_gift.tasks import tasks_from_rows
from trl_gift.tasks.formats import FORMATS, recognise
from trl_gift.tasks.formats.humaneval import split_doctests


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=2) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", rows.ROWS)
def test_references_pass_and_wrong_programs_fail(name, sandbox):
    row, wrong = rows.ROWS[name]
    assert name.split()[0].lower() in recognise(row).name.lower()
    (task,) = tasks_from_rows([row])
    assert (task.reference is None) == (name in rows.SOLUTIONS)
    right = task.reference or rows.SOLUTIONS[name]
    outcome = sandbox.run(right, task.all_tests)
    assert outcome.passed, outcome
    assert outcome.trusted
    outcome = sandbox.run(wrong, task.all_tests)
    assert not outcome.passed
    assert outcome.status in ("failed", "error")
    assert Task.from_row(task.to_row()) == task


@pytest.mark.parametrize("name", ["MBPP+", "CodeContests", "LiveCodeBench stdin", "LiveCodeBench calls"])
def test_hidden_tests_are_kept_apart_and_still_decide(name, sandbox):
    row, wrong = rows.ROWS[name]
    (task,) = tasks_from_rows([row])
    assert task.hidden_tests is not None
    assert sandbox.run(wrong, task.tests).passed
    assert not sandbox.run(wrong, task.all_tests).passed


def test_humaneval_splits_its_prompt():
    (task,) = tasks_from_rows([rows.HUMANEVAL])
    assert task.signature == "import math\n\ndef twice(n):\n    return 2 * n\n\n\ndef grow(n: int) -> int:"
    assert task.description == "Twice the number,\nand one more."
    assert task.examples == (">>> grow(2)\n5",)
    assert task.entry_point == "grow"
    late = rows.HUMANEVAL | {
        "prompt": 'def grow(n):\n    import math\n    """Grow."""\n',
        "canonical_solution": "    pass",
    }
    assert tasks_from_rows([late])[0].signature == "def grow(n):\n    import math"


@pytest.mark.parametrize(
    ("docstring", "words", "doctests"),
    [
        ("Add.", "Add.", ""),
        (">>> add(1)\n2", ">>> add(1)\n2", ""),
        ("Add.\n>>> add(1)\n2\n>>> add(2)\n3", "Add.", ">>> add(1)\n2\n>>> add(2)\n3"),
        ("Add.\n\nExamples:\n>>> add(1)\n2\n\nNever less.", "Add.\n\nNever less.", ">>> add(1)\n2"),
        ("Add.\nFor example:\n    >>>add(1)\n    [2,\n     3]\n", "Add.", ">>>add(1)\n[2,\n 3]"),
        ("Add.\n>>> add(1)\n2\n\n\n>>> add(2)\n3", "Add.", ">>> add(1)\n2\n>>> add(2)\n3"),
        ("Add, for example add(1) == 2", "Add, for example add(1) == 2", ""),
    ],
)
def test_doctests_are_examples_and_no_words(docstring, words, doctests):
    assert split_doctests(docstring) == (words, doctests)


def test_methods_are_asked_for_as_functions():
    apps, lcb = tasks_from_rows([rows.APPS_CALLS])[0], tasks_from_rows([rows.LCB_CALLS])[0]
    assert apps.signature == lcb.signature == "from typing import List\ndef addUp(nums: List[int]) -> int:"
    assert apps.tests.compare == "apps"
    starter = "class Node:\n    pass\n\nclass Solution:\n    def addUp(self, root: Optional[ListNode]) -> ListNode:\n        "
    (task,) = tasks_from_rows([rows.LCB_CALLS | {"starter_code": starter}])
    assert task.signature == "def addUp(root):"
    plain = rows.APPS_CALLS | {"solutions": "", "starter_code": "def addUp(nums):\n\t"}
    assert tasks_from_rows([plain])[0].signature == "def addUp(nums):"


@pytest.mark.parametrize(
    "solution",
    [
        "class Solution:\n    @staticmethod\n    def addUp(nums):\n        return sum(nums)",
        f"from __future__ import annotations\n{rows.METHOD}",
        f"from typing import *\n{rows.METHOD}",
        "def addUp(nums: Optional[List[int]] = None) -> int:\n    return sum(nums or ())",
        "class Solution:\n    def other(self):\n        return sum\n    def addUp(self, nums, start=0):\n"
        "        return self.other()(nums, start)",
    ],
)
def test_solutions_of_every_kind_run_as_functions(solution, sandbox):
    (task,) = tasks_from_rows([rows.APPS_CALLS | {"solutions": json.dumps([solution])}])
    assert sandbox.run(task.reference, task.all_tests).passed
    body = codetext.body_of(task.reference, task.signature)
    assert sandbox.run(codetext.complete(task.signature, body), task.all_tests).passed


def test_rows_of_structs_as_other_readers_give_them():
    pairs = [{"input": "1 2\n", "output": "3\n"}]
    row = rows.CODE_CONTESTS | {"public_tests": pairs, "private_tests": [], "generated_tests": None}
    (task,) = tasks_from_rows([row])
    assert task.tests.num_tests == 1
    assert task.hidden_tests is None
    row = rows.CODE_CONTESTS | {"public_tests": {"input": [], "output": []}}
    assert tasks_from_rows([row])[0].tests.num_tests == 2
    text = rows.CODEINSIGHT | {"unit_tests": json.dumps(rows.CODEINSIGHT["unit_tests"])}
    assert tasks_from_rows([text]) == tasks_from_rows([rows.CODEINSIGHT])


def test_ids_without_an_id_column_depend_on_the_content_alone():
    one, two = tasks_from_rows([rows.TACO, rows.TACO | {"question": "Something else."}])
    assert one.task_id.startswith("taco/")
    assert tasks_from_rows([rows.TACO | {"source": "elsewhere"}])[0].task_id == one.task_id != two.task_id


class Evil:
    def __reduce__(self):
        return (print, ("loaded",))


def pickled(value):
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


BAD = {
    "a class in a pickle": (rows.LCB_STDIN, "private_test_cases", pickled(Evil()), "it refers to builtins.print"),
    "a list in a pickle": (rows.LCB_STDIN, "private_test_cases", pickled([1]), "pickled list, not a text"),
    "a text that is not a pickle": (rows.LCB_STDIN, "private_test_cases", "AAAA", "cannot be unpacked"),
    "half a pickle": (
        rows.LCB_STDIN,
        "private_test_cases",
        base64.b64encode(zlib.compress(b"\x80\x04\x95")).decode(),
        "cannot be unpacked",
    ),
    "a text that is not JSON": (rows.LCB_STDIN, "private_test_cases", pickled("x"), "not JSON"),
    "no cases": (rows.LCB_STDIN, "public_test_cases", '{"input": "1"}', "list of {'input', 'output', 'testtype'}"),
    "an argument that is not JSON": (
        rows.LCB_CALLS,
        "public_test_cases",
        '[{"input": "[1", "output": "1"}]',
        "must be JSON",
    ),
    "an input that is not a text": (
        rows.TACO,
        "input_output",
        '{"inputs": [null], "outputs": ["1"]}',
        "must be texts",
    ),
    "two functions": (
        rows.VERIFIABLE_CALLS,
        "verification_info",
        {"test_cases": [{"fn_name": name, "input": "[]", "output": "1", "type": "function_call"} for name in "ab"]},
        "all be of one Python function",
    ),
    "a starter without the function": (rows.LCB_CALLS, "starter_code", "x = 1", "the def line of 'addUp'"),
    "a prompt without the function": (rows.HUMANEVAL, "prompt", "def other():\n", "the open function 'grow'"),
    "a prompt without a docstring": (rows.HUMANEVAL, "prompt", "def grow(n):\n", "the function's docstring"),
    "a test without check": (rows.HUMANEVAL, "test", "assert grow(1)", "must define check(candidate)"),
    "a broken plus test": (rows.MBPP_PLUS, "test", "assert root(", "must be Python source"),
    "no list": (rows.MBPP_PLUS, "test_list", "assert root(4) == 2", "must be a list of texts"),
    "APPS without tests": (rows.APPS_STDIN, "input_output", "", "a task needs tests"),
    "APPS with broken JSON": (rows.APPS_STDIN, "input_output", "{", "must be JSON text"),
    "APPS with lists that differ": (
        rows.APPS_STDIN,
        "input_output",
        '{"inputs": ["1"], "outputs": []}',
        "lists of the same length",
    ),
    "calls without lists": (
        rows.APPS_CALLS,
        "input_output",
        '{"fn_name": "addUp", "inputs": [1], "outputs": [1]}',
        "the list of arguments",
    ),
    "a function that no solution defines": (
        rows.APPS_CALLS,
        "input_output",
        '{"fn_name": "gone", "inputs": [[1]], "outputs": [1]}',
        "",
    ),
    "no solutions": (rows.APPS_STDIN, "solutions", "[1]", "must be a list of texts"),
    "columns of a struct": (rows.CODE_CONTESTS, "public_tests", {"input": ["1"]}, "two lists of the same length"),
    "SandboxFusion": (rows.SANDBOX_FUSION, "test", "[3]", "{'input': {'stdin': ...}"),
    "SandboxFusion, no runs": (rows.SANDBOX_FUSION, "test", "[]", "pass an empty list"),
    "no unit tests": (rows.CODEINSIGHT, "unit_tests", 3, "must be a list of texts"),
    "another function": (rows.CODEINSIGHT, "code", "def other():\n    pass", ""),
    "no test cases": (rows.VERIFIABLE_STDIN, "verification_info", {"language": "python"}, "must hold 'test_cases'"),
    "a language": (
        rows.VERIFIABLE_STDIN,
        "verification_info",
        {"language": "cobol", "test_cases": [{"input": "", "output": ""}]},
        "cannot be run",
    ),
    "no gold": (rows.VERIFIABLE_CALLS, "gold_standard_solution", "def other(): pass", "must define 'addUp'"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_rows(case, tmp_path, capsys):
    row, field, value, cure = BAD[case]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(item) for item in (row, row | {field: value})))
    with pytest.raises(TaskError) as caught:
        load_tasks(path)
    message = str(caught.value)
    assert f"{path}, line 2: field '" in message
    assert cure in message
    if cure:
        assert f"field '{field}'" in message
    assert "loaded" not in capsys.readouterr().out


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text('[]{}()"1a: \n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["input", "inputs", "a"]), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(rows.ROWS)), st.data())
def test_any_malformed_row_raises_a_task_error(name, data):
    row, _ = rows.ROWS[name]
    field = data.draw(st.sampled_from(sorted(row)))
    value = data.draw(JSON_VALUES)
    value = json.dumps(value) if data.draw(st.booleans()) else value
    with contextlib.suppress(TaskError):
        (task,) = tasks_from_rows([row | {field: value}])
        assert Task.from_row(task.to_row()) == task


def test_the_error_about_unknown_columns_lists_the_known_formats():
    with pytest.raises(TaskError) as caught:
        tasks_from_rows([{"question": "Add.", "answer": "1"}])
    message = str(caught.value)
    assert "columns ['answer', 'question'] do not match a known format" in message
    for known in FORMATS:
        assert known.name in message


def test_every_format_is_recognised_as_itself():
    for known in FORMATS:
        assert recognise(known.columns) is known


def test_the_documentation_lists_every_format():
    page = (Path(__file__).parents[2] / "docs/datasets.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| ([^|`]+) \| (`[^|]+`) \|", page, re.MULTILINE))
    assert {name: frozenset(re.findall(r"`(\w+)`", columns)) for name, columns in told.items()} == {
        known.name: known.columns for known in FORMATS
    }


def test_blank_imports_are_no_prelude():
    row = {**rows.ROWS["MBPP+"][0], "test_imports": ["", " "]}
    (task,) = tasks_from_rows([row], "tasks")
    assert task.prelude == ""
    assert Task.from_row(task.to_row()) == task


def test_a_solution_written_for_a_site_gets_the_imports_that_the_site_makes(sandbox):
    solution = (
        "class Solution:\n    def addUp(self, nums: List[int]) -> int:\n        queue = deque(nums)\n"
        "        return int(reduce(add, queue, 0) + math.floor(0.5))"
    )
    (task,) = tasks_from_rows([rows.APPS_CALLS | {"solutions": json.dumps([solution])}])
    head = "import math\nfrom collections import deque\nfrom functools import reduce\nfrom operator import add\n"
    assert task.reference.startswith(f"{head}from typing import List\n")
    assert sandbox.run(task.reference, task.all_tests).passed
