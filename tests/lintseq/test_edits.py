"""The text of a sequence resolves to its program exactly, or the error says where."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lintseq.programs import HARD
from trl_gift.lintseq import DIFF_TOKEN, Edit, Hunk, HunkError, apply, parse, resolve, sample_edit_sequences, to_text

LINES = st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=8), max_size=12)


@pytest.mark.parametrize("random_lines", [False, True])
@pytest.mark.parametrize("code", HARD.values(), ids=HARD)
def test_hard_programs_come_back(code, random_lines):
    for sequence in sample_edit_sequences(code, 8, random_lines=random_lines):
        assert sequence.code == code
        assert resolve(to_text(sequence)) == code
        assert parse(to_text(sequence)) == sequence.edits
        program = ""
        for edit, state in zip(sequence.edits, sequence.states, strict=True):
            program = apply(edit, program)
            assert program == state


def as_text(*edits):
    return "".join(f"\n{DIFF_TOKEN}{edit}" for edit in edits)


def difference(old, new):
    """An edit that is not an insertion alone, from `difflib`, which counts as `diff` does."""
    import difflib

    return "\n".join(list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:])


@settings(max_examples=150, deadline=None)
@given(LINES, LINES)
def test_the_hunks_of_difflib_apply(old, new):
    """Ours are those of unified diffs; lines may be removed and replaced."""
    if not "\n".join(old) or not "\n".join(new) or old == new:
        return
    first = difference([], old)
    assert resolve(as_text(first, difference(old, new))) == "\n".join(new)


@settings(max_examples=150, deadline=None)
@given(LINES, st.randoms(use_true_random=False))
def test_any_lines_come_back(lines, rng):
    """Also lines that are not Python, by hunks that are put together here."""
    kept, states = list(range(len(lines))), []
    while kept:
        if "\n".join(lines[line] for line in kept):
            states.append(list(kept))
        for line in rng.sample(kept, rng.randint(1, len(kept))):
            kept.remove(line)
    edits, before = [], []
    for state in reversed(states):
        hunks = []
        for new, line in enumerate(state):
            if line not in before:
                hunks.append(Hunk(sum(one < line for one in before), new, (), (lines[line],)))
        edits.append(Edit(tuple(hunks)))
        before = state
    code = "\n".join(lines)
    if code:
        assert resolve(as_text(*edits)) == code


GOOD = "\n<|diff|>@@ -0,0 +1,2 @@\n+def f(a):\n+    return b\n<|diff|>@@ -1,0 +2 @@\n+    b = a\n@@ -2,0 +4 @@\n+print(f(1))"


def test_a_text_reads_as_it_says():
    assert resolve(GOOD) == "def f(a):\n    b = a\n    return b\nprint(f(1))"
    first, second = parse(GOOD)
    assert first == Edit((Hunk(0, 0, (), ("def f(a):", "    return b")),))
    assert second.added == 2
    assert as_text(first, second) == GOOD
    assert resolve(GOOD[1:]) == resolve(GOOD + "\n") == resolve(GOOD)
    assert resolve("") == resolve("\n") == ""


@pytest.mark.parametrize(
    ("old", "new", "edit", "line", "reason"),
    [
        ("\n<|diff|>@@ -0,0", "\n<|dif|>@@ -0,0", 0, 2, "expected <|diff|>"),
        ("@@ -0,0 +1,2 @@", "@@ -0,0 +1,2", 1, 2, "not a header"),
        ("@@ -0,0 +1,2 @@", "@@ -0,0 +1,3 @@", 1, 5, "expected a line with '+'"),
        ("@@ -0,0 +1,2 @@", "@@ -0,0 +1 @@", 1, 4, "expected <|diff|>, a hunk or the end"),
        ("@@ -0,0 +1,2 @@", "@@ -1,0 +2,2 @@", 1, 2, "reaches line 1 of a program of 0 lines"),
        ("@@ -0,0 +1,2 @@", "@@ -0,0 +2,2 @@", 1, 2, "its header says 1"),
        ("@@ -0,0 +1,2 @@", "@@ -0,0 +0,2 @@", 1, 2, "number 1, not 0"),
        ("@@ -1,0 +2 @@", "@@ -3,0 +4 @@", 2, 5, "reaches line 3"),
        ("@@ -1,0 +2 @@", "@@ -01,0 +2 @@", 2, 5, "not a header"),
        ("@@ -2,0 +4 @@", "@@ -0,0 +1 @@", 2, 7, "before the end"),
        ("@@ -2,0 +4 @@", "@@ -2,0 +5 @@", 2, 7, "its header says 4"),
        ("@@ -2,0 +4 @@\n+print(f(1))", "@@ -2 +3 @@\n-    return c\n+print(f(1))", 2, 7, "other lines at 2"),
        ("@@ -2,0 +4 @@\n+print(f(1))", "@@ -2,0 +4,0 @@", 2, 7, "neither removes nor adds"),
        ("\n+print(f(1))", "", 2, 7, "the text ends"),
        ("+    b = a", "    b = a", 2, 6, "expected a line with '+'"),
        ("+    b = a\n", "+    b = a\n\n", 2, 7, "expected <|diff|>, a hunk or the end, not ''"),
        ("@@ -0,0 +1,2 @@", "@@ -0,0 +1,999999999 @@", 1, 5, "expected a line with '+'"),
        ("@@ -0,0 +1,2 @@", "@@ -0,0 +1,9999999999 @@", 1, 2, "not a header"),
        ("\n<|diff|>@@ -0,0", "\nHere:\n<|diff|>@@ -0,0", 0, 2, "expected <|diff|>"),
    ],
)  # fmt: skip
def test_an_error_says_where(old, new, edit, line, reason):
    assert GOOD.count(old) == 1
    with pytest.raises(HunkError, match=r"^(edit|line)") as caught:
        resolve(GOOD.replace(old, new))
    assert reason in str(caught.value)
    assert (caught.value.edit, caught.value.line) == (edit, line)
    assert "\n" not in str(caught.value)


def test_an_edit_that_does_not_fit_its_program_is_refused():
    with pytest.raises(HunkError, match="reaches line 5 of a program of 1 lines"):
        apply(Edit((Hunk(5, 5, (), ("x",)),)), "a = 1")
    with pytest.raises(HunkError, match="other lines"):
        apply(Edit((Hunk(0, 0, ("b = 1",), ()),)), "a = 1")
    assert apply(Edit((Hunk(0, 0, ("a = 1",), ()),)), "a = 1") == ""


def mutants(text, rng):
    """What models write: cut off, edits swapped, dropped or doubled, lines and characters lost, numbers wrong."""
    edits = text.split(f"\n{DIFF_TOKEN}")[1:]
    lines = text.split("\n")
    place, other = rng.randrange(len(text)), rng.randrange(len(lines))
    yield text[:place]
    yield text[place:]
    yield text[:place] + rng.choice("+-@ 0123456789,\n\r<|x") + text[place + 1 :]
    yield text[:place] + rng.choice("+-@ 0123456789,\n\r<|x") + text[place:]
    yield "\n".join(lines[:other] + lines[other + 1 :])
    yield "\n".join(lines[:other] + lines[other : other + 1] * 2 + lines[other + 1 :])
    yield as_text(*rng.sample(edits, len(edits)))
    yield as_text(*edits[1:])
    yield as_text(*edits, rng.choice(edits))
    digits = [index for index, sign in enumerate(text) if sign.isdigit()]
    place = rng.choice(digits)
    yield text[:place] + str(rng.randrange(12)) + text[place + 1 :]


def literally(text):
    """The program by another reading of the format: a regular expression for each hunk, lists of lines, no checks but sizes."""
    import re

    hunk = r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@((?:\n-[^\n]*)*)((?:\n\+[^\n]*)*)"
    assert re.fullmatch(rf"\n?(?:{re.escape(DIFF_TOKEN)}{hunk}(?:\n{hunk})*\n?)*\n*", text)
    lines = []
    for edit in re.split(rf"(?:^|\n){re.escape(DIFF_TOKEN)}", text)[1:]:
        grown = 0
        for old, count, _, _, gone, come in re.findall(hunk, edit):
            gone, come = ([line[1:] for line in part.split("\n")[1:]] for part in (gone, come))
            start = int(old) + grown - (1 if count != "0" else 0)
            assert lines[start : start + len(gone)] == gone
            lines[start : start + len(gone)] = come
            grown += len(come) - len(gone)
    return "\n".join(lines)


def test_mutated_texts_never_give_a_program_that_they_do_not_say():
    rng = random.Random(0)
    accepted, places = 0, []
    for code in HARD.values():
        for sequence in sample_edit_sequences(code, 2, 7):
            text = to_text(sequence)
            for _ in range(12 if text else 0):
                for mutant in mutants(text, rng):
                    try:
                        program = resolve(mutant)
                    except HunkError as error:
                        places.append((error.line, mutant.count("\n") + 1))
                    else:
                        assert program == literally(mutant), mutant
                        accepted += 1
    assert len(places) > 2000
    assert all(line <= last for line, last in places)
    assert accepted > 500


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"+-@ 012,\n\rx", "<|diff|>", "@@ -0,0 +1 @@\n+x", "\n<|diff|>@@ -"]), max_size=12))
def test_any_text_is_a_program_or_an_error(parts):
    with contextlib.suppress(HunkError):
        assert isinstance(resolve("".join(parts)), str)
