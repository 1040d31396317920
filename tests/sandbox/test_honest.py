"""Honest programs get the verdict that plain CPython gives them."""

from __future__ import annotations

import importlib.util
import resource
import subprocess
import sys
import uuid
from array import array
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.honest import HONEST, Honest
from tests.support.processes import BACKSTOP_S
from trl_gift.sandbox import AssertTests, CallTests, Case, Limits, LocalSandbox, StdioTests, Tests

_IN_CASES = {"uuid": uuid, "array": array, "Counter": Counter, "OrderedDict": OrderedDict}
_IMPORTS = "import uuid\nfrom array import array\nfrom collections import Counter, OrderedDict\n"
_STACK = 256 << 20
_LIMITS = Limits(cpu_s=5, wall_s=20, memory_mb=512)


def _large_stack() -> None:
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK if hard < 0 else min(_STACK, hard), hard))


def _in_cpython(script: str, stdin: str, folder: Path) -> tuple[bool, str]:
    """Whether a script, which is trusted, ends with status 0 in plain CPython, and what it prints."""
    path = folder / "script" / "program.py"
    path.parent.mkdir()
    path.write_text(script)
    empty = folder / "empty"
    empty.mkdir()
    ended = subprocess.run(
        [sys.executable, "-X", "utf8", "-X", "int_max_str_digits=0", str(path)],
        input=stdin.encode(),
        capture_output=True,
        cwd=empty,
        env={"LANG": "C.UTF-8", "HOME": str(empty)},
        timeout=BACKSTOP_S,
        preexec_fn=_large_stack,
    )
    return ended.returncode == 0, ended.stdout.decode()


def _tests(program: Honest, printed: str) -> Tests:
    if program.tests:
        return AssertTests(program.tests)
    if program.cases:
        pairs: list[tuple[Any, Any]] = eval(program.cases, dict(_IN_CASES))
        return CallTests("f", [Case(args=args, expected=expected) for args, expected in pairs])
    return StdioTests([Case(stdin=program.stdin, stdout=printed)], compare="exact")


@pytest.mark.parametrize("program", HONEST, ids=lambda program: program.name)
def test_verdict_is_that_of_cpython(program: Honest, sandbox: LocalSandbox, tmp_path: Path):
    if program.needs and importlib.util.find_spec(program.needs) is None:
        pytest.skip(f"{program.needs} is not installed")
    script = f"{program.source}\n{program.tests}\n"
    if program.cases:
        script = f"{_IMPORTS}{script}for args, expected in {program.cases}:\n    assert f(*args) == expected\n"
    right, printed = _in_cpython(script, program.stdin, tmp_path)
    outcome = sandbox.run(program.source, _tests(program, printed), limits=_LIMITS)
    assert outcome.passed == right, outcome.message


def test_names_are_unique():
    names = [program.name for program in HONEST]
    assert len(names) == len(set(names)) >= 100
