"""Answers of chat models that the prompt has opened: where they begin, where they end, and what is trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.prompts import CHATML, CODE, FENCED, OPENS, TASK
from trl_gift.errors import ConfigError
from trl_gift.prompts import ChatPrompts, Hint
from trl_gift.sandbox import Case, StdioTests
from trl_gift.tasks import Task

BODY = "    return sum(xs)"
WHOLE = Task("w", "Echo.", StdioTests(cases=[Case(stdin="1", stdout="1")]))
KNOWS_THOUGHTS = CHATML + "{# </think> #}"


@pytest.fixture
def prompts(chat_tokenizer_factory):
    return ChatPrompts(chat_tokenizer_factory(CHATML, "<|im_end|>"))


def test_an_answer_begins_with_the_fence_and_the_signature(prompts):
    for hint in (None, Hint("failing_test", "assert solve([1]) == 1")):
        prompt = prompts.write(TASK, TASK.description, hint)
        assert prompt.text.endswith("<|im_start|>assistant\n```python\ndef solve(xs):\n")
        assert "\n```" in prompt.stop
        assert prompt.fence is None
    # The model writes the line break before the body itself, because its tokenizer joins it with the indentation.
    assert prompt.left == "\n"


@pytest.mark.parametrize(
    "end", ["", "\n```", "\n```\n\nThis adds the numbers up.", "\n```python\nassert solve([1]) == 1\n```"]
)
def test_an_answer_ends_at_the_closing_fence(prompts, end):
    found = prompts.extract(TASK, BODY + end)
    assert (found.code, found.target) == (CODE, f"{BODY}\n```")
    assert found.verbatim == (end == "\n```")
    assert prompts.target(TASK, CODE) == found.target


def test_helpers_after_the_function_belong_to_the_program(prompts):
    found = prompts.extract(TASK, "    return add(xs)\n\ndef add(xs):\n    return sum(xs)\n```")
    assert found.code == "def solve(xs):\n    return add(xs)\n\ndef add(xs):\n    return sum(xs)"
    assert f"{TASK.signature}\n{found.target}" == f"{found.code}\n```"


def test_a_model_may_begin_the_function_anew(prompts):
    found = prompts.extract(TASK, f"import math\n\n{CODE}[math.inf:]\n\nprint(solve([1]))\n```")
    assert found.code == f"import math\n\n{CODE}[math.inf:]"
    compile(found.code, "program", "exec")
    assert found.target == f"    import math\n{BODY}[math.inf:]\n```"
    assert not found.verbatim


def test_an_answer_without_a_body_is_no_program(prompts):
    for text in ("", "\n", "```\nThat is all.", "\n\n```"):
        assert prompts.extract(TASK, text).code is None


def test_a_reference_is_what_follows_the_signature(prompts):
    """Its helpers move into the body, because the answer begins with the signature."""
    reference = 'ONE = 1\n\ndef solve(xs):\n    """Secret."""\n    return sum(xs) + ONE'
    target = prompts.target(TASK, reference)
    found = prompts.extract(TASK, target)
    assert found.verbatim
    compile(found.code, "program", "exec")
    assert "Secret" not in target
    assert "ONE = 1" in target
    assert prompts.target(TASK, "def other(xs):\n    return 1") is None


def test_whole_programs_are_not_opened_and_stop_at_their_closing_fence(prompts):
    prompt = prompts.write(WHOLE, WHOLE.description)
    assert prompt.text.endswith("<|im_start|>assistant\n")
    assert (prompt.stop, prompt.fence) == ((), "")
    assert prompts.extract(WHOLE, "```python\nprint(1)\n```").target == "```python\nprint(1)\n```"


def test_answers_are_not_opened_if_the_model_thinks_first(chat_tokenizer_factory):
    for template in (OPENS, KNOWS_THOUGHTS):
        prompts = ChatPrompts(chat_tokenizer_factory(template, "<|im_end|>"))
        assert not prompts.open_answer
        # A thought may hold fenced drafts, so the answer ends by itself.
        assert prompts.write(TASK, TASK.description).fence is None
    plain = chat_tokenizer_factory(CHATML, "<|im_end|>")
    assert not ChatPrompts(plain, keep_thoughts=True).open_answer
    assert ChatPrompts(chat_tokenizer_factory(KNOWS_THOUGHTS, "<|im_end|>"), open_answer=True).open_answer
    with pytest.raises(ConfigError, match="open_answer=True leaves no place for a thought"):
        ChatPrompts(chat_tokenizer_factory(OPENS, "<|im_end|>"), open_answer=True)
    with pytest.raises(ConfigError, match="leave open_answer out"):
        ChatPrompts(plain, keep_thoughts=True, open_answer=True)


def test_answers_that_are_not_opened_stop_after_the_block_that_defines_the_function(prompts):
    closed = replace(prompts, open_answer=False)
    prompt = closed.write(TASK, TASK.description)
    assert prompt.text.endswith("<|im_start|>assistant\n")
    assert prompt.fence == "def solve"
    assert closed.extract(TASK, FENCED).verbatim
