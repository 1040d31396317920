"""The list of mutants fits the package, its tests exist, and the page of laws is what the list says."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.laws import LAWS
from tests.mutants.mutant import REPOSITORY, Mutant
from tests.mutants.page import PAGE, page
from tests.mutants.run import killed_before


@lru_cache
def source(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


@lru_cache
def functions(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(source(file))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_names_are_unique():
    for names in ([one.name for one in MUTANTS], [law.name for law in LAWS]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("file", sorted({one.file for one in MUTANTS}))
def test_every_mutant_applies_and_is_a_program(file):
    """A text that has changed in the package changes here, too: a list that fits nothing tests nothing."""
    assert file.startswith("trl_gift/")
    for mutant in (one for one in MUTANTS if one.file == file):
        changed = mutant.applied(source(file))
        compile(changed, mutant.name, "exec")
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source(file))), f"{mutant.name} changes nothing"


def test_every_mutant_has_a_text_of_its_own():
    seen = Counter((one.file, one.applied(source(one.file))) for one in MUTANTS)
    assert [file for (file, _), count in seen.items() if count > 1] == []


@pytest.mark.parametrize(
    "node", sorted({*(one.test for one in MUTANTS), *(test for law in LAWS for test in law.tests)})
)
def test_every_named_test_is_a_fast_test(node, request):
    file, _, name = node.partition("::")
    assert (REPOSITORY / file).is_file()
    function = functions(file).get(name.partition("[")[0])
    assert function is not None, f"{file} has no {name}"
    # A single value may be marked slow; then the others are fast.
    assert not any(ast.unparse(one).endswith("mark.slow") for one in function.decorator_list)
    # The name of a single value changes with that of its argument; a session that chose some of the tests does not know them all.
    collected = [item.nodeid for item in request.session.items if item.nodeid.startswith(f"{node.partition('[')[0]}[")]
    chose = request.config.getoption("keyword") or any("::" in text for text in request.config.args)
    assert chose or not collected or "[" not in node or node in collected


def test_every_law_has_a_test_a_mutant_and_a_figure_that_exists():
    used = {one.law for one in MUTANTS}
    assert used == {law.name for law in LAWS}
    for law in LAWS:
        assert law.tests
        assert not law.figure or (REPOSITORY / "docs" / law.figure).is_file()


def test_the_page_is_what_the_list_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.mutants.page`"


def test_a_text_that_occurs_twice_or_never_is_refused():
    mutant = Mutant("m", "f.py", "x", "y", "it breaks", "law", "test")
    assert mutant.applied("a x b") == "a y b"
    for text in ("a b", "x x"):
        with pytest.raises(ValueError, match="must occur once"):
            mutant.applied(text)


def test_only_what_was_killed_is_left_out_of_a_resumed_run(tmp_path: Path):
    results = tmp_path / "results.jsonl"
    assert killed_before(results) == killed_before(None) == set()
    results.write_text(
        '{"name": "one", "test": "t", "result": "killed"}\n{"name": "two", "test": "t", "result": "SURVIVED"}\n'
    )
    assert killed_before(results) == {("one", "t")}


RUN = """
from tests.mutants.mutant import Mutant
from tests.mutants.run import main

FILE, TEST = "trl_gift/common/randomness.py", "tests/common/test_randomness.py::test_a_key_says_the_stream"
OLD = "return generator(key).random(count)"

def mutant(name, new, test=TEST):
    return Mutant(name, FILE, OLD, new, "it breaks", "streams", test)

raise SystemExit(main(["--jobs", "2"], [
    mutant("wrong", "return generator(0).random(count)"),
    mutant("equal", "return generator(key).random(int(count))"),
    mutant("broken", "return (", "tests/common/test_randomness.py"),
    mutant("wrong too", "return generator(key + 1).random(count)"),
]))
"""


@pytest.mark.slow
def test_a_survivor_and_a_mutant_that_does_not_run_are_errors():
    done = subprocess.run([sys.executable, "-c", RUN], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    found = {line.split(" s  ")[1].partition(" (")[0]: line.split()[0] for line in lines if " s  " in line}
    assert found == {"wrong": "killed", "equal": "SURVIVED", "broken": "ERROR", "wrong too": "killed"}
    assert any(line.startswith("2 of 4 mutants killed") for line in lines)
