"""What every write prompt of a task shows, whatever the description is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.prompts import CHATML, TASK
from trl_gift.prompts import BasePrompts, ChatPrompts, Pinned
from trl_gift.sandbox import Case, StdioTests
from trl_gift.tasks import Task

EXAMPLES = ("assert solve([1]) == 1", "assert solve([]) == 0")
SHOWN = (">>> solve([1])\n    1\n", ">>> solve([])\n    0\n")
SOLUTION = "import heapq\nimport math\n\ndef solve(xs):\n    return math.fsum(xs)"
PINNED = replace(TASK, examples=EXAMPLES, reference=SOLUTION)


@pytest.fixture(params=["base", "open", "closed"])
def ask(request, tokenizer, chat_tokenizer_factory):
    """The text of a write prompt, by what is pinned."""

    def text(task, description, pinned=None):
        pinned = pinned or Pinned()
        if request.param == "base":
            return BasePrompts(tokenizer, pinned=pinned).write(task, description).text
        chatty = chat_tokenizer_factory(CHATML, "<|im_end|>")
        opened = request.param == "open"
        return ChatPrompts(chatty, open_answer=opened, pinned=pinned).write(task, description).text

    return text


@pytest.mark.parametrize("description", [TASK.description, "A description that a chain has read."])
def test_examples_follow_every_description(ask, description):
    for shown in (0, 1, 2, None):
        text = ask(PINNED, description, Pinned(tests=shown))
        expected = SHOWN[:shown]
        assert [example in text for example in SHOWN] == [example in expected for example in SHOWN]
        if expected:
            assert text.index(description) < text.index(expected[0])
    assert ask(PINNED, description) == ask(PINNED, description, Pinned(tests=1))


def test_a_task_without_examples_has_a_prompt_without_them(ask):
    assert ask(TASK, "Sum.", Pinned(tests=0)) == ask(TASK, "Sum.", Pinned(tests=None))


def test_imports_of_the_reference_are_shown_only_if_asked(ask):
    assert "import" not in ask(PINNED, "Sum.").replace("important", "")
    assert "import heapq\nimport math\ndef solve(xs):\n" in ask(PINNED, "Sum.", Pinned(imports=True))
    known = replace(PINNED, signature="import math\ndef solve(xs):")
    assert "import heapq\nimport math\ndef solve(xs):\n" in ask(known, "Sum.", Pinned(imports=True))


@pytest.mark.parametrize("imports", [False, True])
def test_a_target_with_imports_is_a_program_again(tokenizer, chat_tokenizer_factory, imports):
    chatty = chat_tokenizer_factory(CHATML, "<|im_end|>")
    pinned = Pinned(imports=imports)
    for prompts in (
        BasePrompts(tokenizer, pinned=pinned), ChatPrompts(chatty, pinned=pinned),
        ChatPrompts(chatty, open_answer=False, pinned=pinned),
    ):  # fmt: skip
        found = prompts.extract(PINNED, prompts.target(PINNED, SOLUTION))
        space = {}
        exec(compile(found.code, "program", "exec"), space)
        assert space["solve"]([1, 2]) == 3.0
        assert found.verbatim


def test_assertions_are_shown_as_doctests():
    examples = (
        "assert f(1) == 2",
        "assert math.isclose(f(1), 2)",
        "assert f(1) == 2 == 3",
        "f(1) gives 2",
        "assert (",
    )
    shown = Pinned(tests=None).examples(replace(TASK, examples=examples))
    assert shown == (
        ">>> f(1)\n2", ">>> assert math.isclose(f(1), 2)", ">>> assert f(1) == 2 == 3", "f(1) gives 2", "assert (",
    )  # fmt: skip


def test_whole_programs_show_their_examples(ask):
    whole = Task("w", "Echo.", StdioTests(cases=[Case(stdin="1", stdout="1")]), examples=("Input: 1, output: 1",))
    assert "Echo.\n\nInput: 1, output: 1" in ask(whole, "Echo.")


def test_the_convention_in_words():
    assert str(Pinned()) == "at most 1 test shown, imports of the reference not shown"
    assert str(Pinned(True, None)) == "all tests shown, imports of the reference shown"
    assert str(Pinned(tests=0)) == "no tests shown, imports of the reference not shown"
