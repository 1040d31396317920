"""Descriptions that give their program away, and programs that are copies of a reference that was read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.engines import ScriptedEngine
from tests.support.worlds import TESTS, TablePrompts, sample
from trl_gift import codetext
from trl_gift.generation import Completion
from trl_gift.playground import playground_tasks
from trl_gift.prompts import Prompt, clean_description
from trl_gift.sampling.leaks import gives_away, is_copy
from trl_gift.sampling.records import COPIED, PASSED, REFERENCE
from trl_gift.tasks import Task

SIGNATURE = "def solve(xs):"
PROGRAM = "def solve(xs):\n    total = sum(x * x for x in xs)\n    return total"


@pytest.mark.parametrize(
    "description",
    [
        f"It is:\n```python\n{PROGRAM}\n```",
        "Computes total = sum(x * x for x in xs).",
        "Computes `total=sum(x*x for x in xs)` and returns it.",
        "First total  =  sum( x * x for x in xs ), then the end.",
    ],
)
def test_a_description_that_quotes_a_line_gives_the_program_away(description):
    assert gives_away(description, [PROGRAM], SIGNATURE)
    assert gives_away(description, [None, PROGRAM], SIGNATURE)
    assert not gives_away(description, [None], SIGNATURE)


def test_a_run_of_tokens_gives_a_program_away_wherever_its_lines_break():
    program = "def solve(a):\n    return [b\n        for b in a\n        if b]\n\n    x = (1,\n 2,\n 3)"
    told = "So [b for b in a if b] x = (1, 2, 3) it is."
    assert gives_away(told, [program], "def solve(a):")
    assert not gives_away("So [b for b in a if b] it is.", [program], "def solve(a):")


@pytest.mark.parametrize(
    "description",
    [
        "The sum of the squares of all numbers in xs.",
        "def solve(xs): the sum of squares",
        "Call solve(xs), get total.",
        "",
    ],
)
def test_words_and_the_signature_give_nothing_away(description):
    assert not gives_away(description, [PROGRAM], SIGNATURE)


def test_words_of_a_docstring_give_nothing_away():
    """A reference often holds the task's description as its docstring, and a reader does not see it."""
    told = "Return the sum of the squares of all the numbers that the given list xs holds."
    assert not gives_away(told, [f'def solve(xs):\n    """{told}"""\n    return sum(xs)'], SIGNATURE)


def test_short_lines_are_what_any_program_may_hold():
    assert not gives_away("In the end return x", ["def solve(xs):\n    return x"], SIGNATURE)


def test_a_copy_differs_in_names_and_layout_at_most():
    assert is_copy("def solve(v):\n  '''Doc.'''\n  s = sum(y*y for y in v) # all\n  return s", PROGRAM)
    assert not is_copy(PROGRAM.replace("x * x", "x ** 2"), PROGRAM)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It adds.\n\n```python\ndef solve(xs):\n    return sum(xs)\n```", "It adds."),
        ("It adds.\n```\nreturn sum(xs)\n```\nThen it ends.", "It adds.\nThen it ends."),
        ("```python\ndef solve(xs):", ""),
        ("It adds.\n\nThe code is:\n\n```python\nreturn 1\n```\nThen it ends.", "It adds.\nThen it ends."),
        ("It adds:\ntotal = 0\nfor x in xs:\n    total += x\nreturn total\nThat is all.", "It adds:\nThat is all."),
        (">>> solve([1])\nThe sum.", "The sum."),
        ("1. Sort the list.\n2. Return: the first", "1. Sort the list.\n2. Return: the first"),
        ("Note: xs\nReturns: int\nfor each x in the list:\nif it is empty, return 0", None),
        ("import the module, then count", None),
    ],
)
def test_a_description_keeps_its_words_and_no_code(text, words):
    assert clean_description(text) == (text if words is None else words)


@pytest.mark.parametrize(
    "line",
    ["def f(x):", "return x + 1", "x = 1", "x += 1", "for x in xs:", "elif x:", "else:", "except ValueError:", "@cache",
     "import math", "print(x)", "assert f(1) == 2", "    while True:", "del x"],
)  # fmt: skip
def test_statements_are_code(line):
    assert codetext.is_statement(line)


@pytest.mark.parametrize(
    "line",
    ["", "Sum", "the sum of xs", "x", "1", "xs: list", "for each x in xs:", "return the sum", "except for x:", "- x"],
)
def test_words_are_not_code(line):
    assert not codetext.is_statement(line)


def test_a_sentence_that_was_cut_off_is_left_out():
    assert clean_description("It adds. Then it retur", finished=False) == "It adds."
    assert clean_description("It adds. Then it retur") == "It adds. Then it retur"
    assert clean_description("It adds all the num", finished=False) == "It adds all the num"
    assert clean_description("- adds\n- retur", finished=False) == "- adds"


def test_descriptions_of_the_playground_are_words():
    for task in playground_tasks("train", 400):
        assert clean_description(task.description) == task.description


# In a chain --------------------------------------------------------------------------------------------------------

OTHER = "def solve():\n    return sum([1])\n"
WORDS = "Gives back the number one."
REFERENCE_CODE = "def solve():\n    numbers = [1, 0, 0]\n    return sum(numbers)\n"
TASK = Task("t", "Return 1.", TESTS, signature="def solve():", reference=REFERENCE_CODE)


class TextPrompts(TablePrompts):
    """A prompt is a number; its text says what was asked."""

    def write(self, task, description, hint=None):
        return Prompt((len(description) + 2,), f"write {description}")

    def read(self, task, code, examples=()):
        return Prompt((1,), f"read {code}")

    def rewrite(self, task):
        return Prompt((1,), "rewrite")

    def describe(self, completion, finished=True):
        return clean_description(completion, finished)

    def encode(self, prompt, target):
        return list(prompt.ids), [7]


def chain(read, write=lambda request, place: REFERENCE_CODE, judge=lambda program: True, task=TASK, **settings):
    say = {"describe": read, "write": write}
    engine = ScriptedEngine(
        lambda request, place: Completion(say[request.key[0]](request, place), (1, 2), (-0.5, -0.5), "eos")
    )
    options = {"num_steps": 3, "num_generations": 2} | settings
    return sample([task], engine, judge, prompts=TextPrompts(), **options), engine


def fails_first(program):
    """Only the reference and what is like it passes, so that the chain has to read the reference."""
    return "numbers" in program


@pytest.mark.parametrize(
    "quote", [f"```python\n{REFERENCE_CODE}```", " ".join(REFERENCE_CODE.split()), REFERENCE_CODE]
)
def test_a_reader_that_always_quotes_yields_no_copied_sample(quote):
    """The law: its descriptions are rejected, so every step starts from the task's own words."""
    samples, engine = chain(
        lambda request, place: quote, lambda request, place: OTHER, fails_first, max_description_tries=4
    )
    asked = [request for request in engine.requests if request.key[0] == "describe"]
    assert [request.key[3] for request in asked] == [0, 1, 2, 3] * 2
    assert len({request.stream_keys for request in asked}) == 8
    for one in samples:
        assert (one.description, one.parent) == (TASK.description, None)
        assert not one.read_reference
        drawn = 4 if one.step else 0
        assert (one.description_tries, one.description_leaks) == (drawn, drawn)
        assert one.description_tokens == 2 * drawn


def test_words_around_quoted_code_remain():
    samples, _ = chain(
        lambda request, place: f"{WORDS}\n{REFERENCE_CODE}", lambda request, place: OTHER, lambda program: False
    )
    later = [one for one in samples if one.step]
    assert {(one.description, one.description_tries, one.description_leaks) for one in later} == {(WORDS, 1, 1)}


def test_a_description_is_drawn_again_until_it_holds_words_alone():
    said = {0: f"```python\n{OTHER}```", 1: "numbers=[1, 0, 0], then their sum", 2: WORDS}
    samples, _ = chain(
        lambda request, place: said[request.key[3]], lambda request, place: OTHER, lambda program: False
    )
    later = [one for one in samples if one.step]
    assert {(one.description, one.parent) for one in later} == {(WORDS, REFERENCE)}
    assert {(one.description_tries, one.description_tokens) for one in later} == {(3, 6)}
    # The first holds another program than the two that must not be shown.
    assert {one.description_leaks for one in later} == {1}


def test_a_copy_of_a_reference_that_the_chain_has_read_is_not_own_work():
    def write(request, place):
        # Step 0 passes with nothing; later steps copy, or write something else that passes.
        return "def solve():\n    return 2\n" if request.key[2] == 0 else (REFERENCE_CODE, OTHER)[place]

    samples, _ = chain(lambda request, place: WORDS, write, lambda program: "return 2" not in program)
    statuses = {(one.step, one.index): one.status for one in samples}
    assert statuses == {
        (0, 0): "failed",
        (0, 1): "failed",
        (1, 0): COPIED,
        (1, 1): PASSED,
        (2, 0): COPIED,
        (2, 1): PASSED,
    }
    # The chain continues from the model's own program; the next description still goes back to the reference.
    assert [one.sample_id for one in samples if one.continues] == ["1/t/1/1", "1/t/2/1"]
    assert {one.read_reference for one in samples if one.step} == {True}
    assert not any(one.eligible or one.passed for one in samples if one.status == COPIED)
    allowed, _ = chain(
        lambda request, place: WORDS, write, lambda program: "return 2" not in program, allow_copies=True
    )
    assert {one.status for one in allowed if one.step} == {PASSED}


def test_a_program_like_the_reference_is_own_work_if_nothing_showed_the_reference():
    samples, _ = chain(lambda request, place: WORDS)
    assert {one.status for one in samples} == {PASSED}
    assert not any(one.read_reference for one in samples)


def test_a_hint_that_shows_the_reference_is_a_way_of_reading_it():
    write = lambda request, place: "no" if request.key[2] == 0 else REFERENCE_CODE  # noqa: E731
    samples, _ = chain(None, write, lambda program: program != "no", sampler="hinted", num_steps=2, hint="reference")
    assert {(one.step, one.status) for one in samples} == {(0, "failed"), (1, COPIED)}
    shown, _ = chain(None, write, lambda program: program != "no", sampler="hinted", num_steps=2, hint="failing_test",
                     task=replace(TASK, reference=REFERENCE_CODE))  # fmt: skip
    assert {(one.step, one.status) for one in shown} == {(0, "failed"), (1, PASSED)}


def test_paraphrases_that_quote_the_reference_are_drawn_again():
    said = {0: REFERENCE_CODE, 1: WORDS}
    samples, _ = chain(lambda request, place: said[request.key[3]], sampler="rewrite", num_steps=1)
    assert {(one.description, one.description_tries, one.description_leaks) for one in samples} == {(WORDS, 2, 1)}
