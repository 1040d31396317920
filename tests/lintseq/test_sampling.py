"""Sequences follow the method: every state lints clean, the draws follow the weights, and seed and number decide all."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import trl_gift.lintseq as room
from tests.lintseq.programs import HARD
from trl_gift.errors import ConfigError
from trl_gift.lintseq import (
    FastLinter,
    ProgramError,
    check_language,
    linter_of,
    resolve,
    sample_edit_sequences,
    to_text,
)

OWN_SOURCES = sorted(Path(room.__file__).parent.parent.rglob("*.py"))


class Asking(FastLinter):
    """The same linter, asked about every state."""

    only_names = False


def parts(source):
    """The definitions of a file as programs, with the module's imports."""
    tree = ast.parse(source)
    imports = "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            lines = source.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno]
            yield f"{imports}\n\n{textwrap.dedent(''.join(lines))}"


@pytest.fixture(scope="session")
def programs():
    """Programs of many kinds: the hard ones, and definitions of this package."""
    own = [part for path in OWN_SOURCES for part in parts(path.read_text(encoding="utf-8"))]
    return [*HARD.values(), *[part for part in own if part.count("\n") < 60][::20]]


def test_every_state_lints_clean_and_no_knowledge_changes_a_sequence(programs):
    assert len(programs) > 100
    linter, states = FastLinter(), 0
    for code in programs:
        sequences = sample_edit_sequences(code, 2, 1)
        assert sequences == sample_edit_sequences(code, 2, 1, Asking())
        for sequence in sequences:
            assert resolve(to_text(sequence)) == code
            for state in sequence.states[:-1]:
                assert linter.errors(state) == (), state
                states += 1
    assert states > 1000


def test_states_grow_line_by_line_from_nothing():
    for sequence in sample_edit_sequences(HARD["nested functions"], 20):
        assert all(not hunk.removed for edit in sequence.edits for hunk in edit.hunks)
        assert all(edit.added > 0 for edit in sequence.edits)
        assert sum(edit.added for edit in sequence.edits) == HARD["nested functions"].count("\n") + 1


NAMES = st.sampled_from(["a", "b", "c", "f", "g", "len", "x1"])
EXPRESSIONS = st.recursive(
    NAMES | st.sampled_from(["1", "'a'", '"""\n@@ x\n+y\n"""', "f'{a}'", "[a for a in b]", "lambda c: c + a", "(\n a,\n b\n)"]),
    lambda inner: st.builds("{} + {}".format, inner, inner) | st.builds("f({})".format, inner),
    max_leaves=4,
)  # fmt: skip
SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("{} += {}".format, NAMES, EXPRESSIONS),
    st.builds("{}: int".format, NAMES),
    st.builds("import {}".format, NAMES),
    st.builds("global {}".format, NAMES),
    st.builds("del {}".format, NAMES),
    st.builds("{}; {} = 1".format, EXPRESSIONS, NAMES),
    st.builds("return {}".format, EXPRESSIONS),
    st.sampled_from(["pass", "# a comment", "", "\x0c", "...", "'''doc'''"]),
    EXPRESSIONS,
)


def block(statements, indent):
    """Indented statements; strings and brackets that span lines stay as they are."""
    return "\n".join(indent + statement.replace("\n# ", "\n" + indent + "# ") for statement in [*statements, "pass"])


@st.composite
def statements(draw, depth=0):
    found = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(
            st.sampled_from(["simple"] * 3 + (["if", "for", "def", "try", "class", "line"] if depth < 3 else []))
        )
        indent = draw(st.sampled_from(["    ", "\t", " "]))
        name, value = draw(NAMES), draw(EXPRESSIONS)

        def inner():
            body = draw(statements(depth + 1))
            return textwrap.indent(body + "\npass", indent, lambda line: True)  # noqa: B023

        match kind:
            case "simple":
                found.append(draw(SIMPLE))
            case "line":
                found.append(f"if {value}: {name} = 1\nelse: {name} = 2")
            case "if":
                found.append(f"if {value}:\n{inner()}\nelif {name}:\n{inner()}\nelse:\n{inner()}")
            case "for":
                found.append(f"for {name} in ({value}):\n{inner()}\nelse:\n{inner()}")
            case "def":
                found.append(f"@{name}\ndef {draw(NAMES)}({name}, *args, k={value}):\n{inner()}")
            case "class":
                found.append(f"class {name}({draw(NAMES)}):\n{inner()}")
            case "try":
                caught = draw(st.sampled_from([" ValueError", " NameError", f" ValueError as {name}", ""]))
                found.append(f"try:\n{inner()}\nexcept{caught}:\n{inner()}\nfinally:\n{inner()}")
    return "\n".join(found)


@settings(max_examples=100, deadline=None)
@given(statements(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@example("# a comment\nif a: a = 1\nelse: a = 2", "\r", False)  # one line that begins with a comment
def test_any_program_comes_back_clean(code, line_end, ends):
    code = (code + "\n" if ends else code).replace("\n", line_end)
    try:
        sequences = sample_edit_sequences(code, 2, 3)
    except ProgramError:
        return  # such as `return` outside a function
    assert sequences == sample_edit_sequences(code, 2, 3, Asking())
    linter = FastLinter()
    for sequence in sequences:
        assert resolve(to_text(sequence)) == sequence.code == code
        assert not any(linter.errors(state) for state in sequence.states[:-1])


FLAT = "a = 1\nb = 2\nif a:\n    c = 3\n    if b:\n        d = 4\n"


def test_lines_are_drawn_by_their_indentation():
    """The last edit of a sequence is the first deletion, here always of one line and its block."""
    weights = {"a = 1": 1, "b = 2": 1, "if a:": 1, "    c = 3": 1, "    if b:": 1, "        d = 4": 2}
    # Deleting `a` takes what uses it, `d` leaves a block empty, and so on: each line has its own first deletion.
    taken = {}
    for sequence in sample_edit_sequences(FLAT, 3000, 5):
        lines = tuple(line for hunk in sequence.edits[-1].hunks for line in hunk.added if line)
        taken[lines] = taken.get(lines, 0) + 1
    expected = Counter()
    for line, weight in weights.items():
        lines = {
            "a = 1": ("a = 1", "if a:", "    c = 3", "    if b:", "        d = 4"),
            "b = 2": ("b = 2", "    if b:", "        d = 4"),
            "if a:": ("if a:", "    c = 3", "    if b:", "        d = 4"),
            "    c = 3": ("    c = 3",),
        }.get(line, ("    if b:", "        d = 4"))
        expected[lines] += weight
    assert taken.keys() == expected.keys()
    share = 3000 / expected.total()
    assert chisquare([taken[key] for key in expected], [share * expected[key] for key in expected]).pvalue > 1e-4


def test_lines_in_error_at_the_start_go_with_the_first_deletion():
    for sequence in sample_edit_sequences(HARD["errors at the start"], 10):
        assert "undefined" in sequence.code
        assert not any("undefined" in state for state in sequence.states[:-1])


def test_seed_and_number_decide_all():
    code = HARD["rebound names"]
    assert sample_edit_sequences(code, 6, 3)[:4] == sample_edit_sequences(code, 4, 3)
    assert sample_edit_sequences(code, 6, 3) != sample_edit_sequences(code, 6, 4)
    assert len({to_text(sequence) for sequence in sample_edit_sequences(code, 6, 3)}) > 1
    # Another program of the same length gets the same draws.
    other = code.replace("total", "count")
    renamed = [to_text(sequence).replace("count", "total") for sequence in sample_edit_sequences(other, 6, 3)]
    assert renamed == [to_text(sequence) for sequence in sample_edit_sequences(code, 6, 3)]


def test_random_lines_need_no_linter():
    code = HARD["nested functions"]
    states = [
        state for sequence in sample_edit_sequences(code, 20, random_lines=True) for state in sequence.states[:-1]
    ]
    assert any(FastLinter().errors(state) for state in states)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        ("def f(:\n", "does not compile", "(line 1)"),
        ("x = 1\nreturn x\n", "does not compile", "'return' outside function (line 2)"),
        ("x = 1\0", "does not compile", "null bytes"),
        ("x = '\ud800'", "does not compile", "surrogates"),
        ("\x7fELF\x02\x01", "does not compile", "line 1"),
        ("x = 1\n" * 100_000, "is too long", "100,001 lines"),
        ("-" * 100_000 + "1", "is nested too deeply", "cannot follow"),
        ("x" + ".x" * 3000, "is nested too deeply", "cannot follow"),
    ],
)
def test_programs_that_have_no_sequences(code, kind, reason):
    with pytest.raises(ProgramError, match=r"^the program ") as caught:
        sample_edit_sequences(code)
    assert caught.value.kind == kind
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_in_the_options():
    with pytest.raises(ConfigError, match="linter='flake' is not known; use one of fast, pylint"):
        sample_edit_sequences("x = 1", linter="flake")
    with pytest.raises(ConfigError, match="num_sequences=-1"):
        sample_edit_sequences("x = 1", -1)
    with pytest.raises(ConfigError, match="language 'java'"):
        check_language("java")
    check_language("python")
    assert sample_edit_sequences("x = 1", 0) == []


def test_pylint_decides_by_the_messages_of_the_paper():
    pytest.importorskip("pylint")
    linter = linter_of("pylint")
    assert linter.errors("def f(a):\n    return a\n") == ()
    assert linter.errors("def f(a):\n    return b\n") == (2,)
    assert linter.errors("if 1:\nprint(2)\n") == (1,), "the line that the message names"
    assert linter.errors("if 1:\n  print(2)\n") == (2,), "bad indentation"
    for sequence in sample_edit_sequences(HARD["nested functions"], 1, 0, linter):
        assert resolve(to_text(sequence)) == HARD["nested functions"]
        assert not any(linter.errors(state) for state in sequence.states[:-1])


def test_without_pylint_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'trl-gift\[pylint\]'"):
        linter_of("pylint")


def test_it_is_usable_without_torch_and_datasets():
    code = (
        "import sys; from trl_gift.lintseq import sample_edit_sequences; import trl_gift.lintseq.rows\n"
        "sample_edit_sequences('x = 1')\n"
        "assert not {'torch', 'transformers', 'datasets', 'pylint'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
