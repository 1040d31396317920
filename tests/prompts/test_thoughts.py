from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_gift.prompts.thoughts import CLOSE, OPEN, is_open, split

FENCE = "```python\ndef f():\n    return 1\n```"


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        (FENCE, "", FENCE),
        (f"<think>\nHm.\n</think>\n\n{FENCE}", "<think>\nHm.\n</think>\n\n", FENCE),
        (f"<think></think>{FENCE}", "<think></think>", FENCE),
        # A fence inside a thought, closed or not, is part of the thought.
        (f"<think>\n```python\nf = 0\n```\n</think>\n{FENCE}", "<think>\n```python\nf = 0\n```\n</think>\n", FENCE),
        (f"<think>\n```python\nf = 0\n</think>\n{FENCE}", "<think>\n```python\nf = 0\n</think>\n", FENCE),
        # Several thoughts, one after the other and between pieces of the answer.
        (f"<think>a</think>\n<think>b</think>\n{FENCE}", "<think>a</think>\n<think>b</think>\n", FENCE),
        (f"<think>a</think>{FENCE}\n<think>b</think>Done.", "<think>a</think>", f"{FENCE}\nDone."),
        # A thought without an opening mark, and one that holds the marks of another.
        (f"Hm.</think>{FENCE}", "Hm.</think>", FENCE),
        (f"<think>a<think>b</think>c</think>{FENCE}", "<think>a<think>b</think>c</think>", FENCE),
        # A program may hold the marks, also directly after a thought.
        ("```python\ns = '<think>'\n```", "", "```python\ns = '<think>'\n```"),
        ("<think>a</think>```python\ns = '</think>'\n```", "<think>a</think>", "```python\ns = '</think>'\n```"),
        ("```python\ns = '<think>'", "", "```python\ns = '<think>'"),
        ("", "", ""),
    ],
)
def test_thoughts_are_split_from_the_answer(text, thought, answer):
    parts = split(text)
    assert (parts.thought, parts.answer) == (thought, answer)


@pytest.mark.parametrize("text", ["<think>", "<think>\nHm", f"<think>\n{FENCE}", f"<think>a</think>{FENCE}<think>b"])
def test_a_thought_that_does_not_end_leaves_no_answer(text):
    assert split(text) is None


def test_a_thought_may_be_opened_by_the_prompt():
    assert split("Hm.\n</think>\n\nYes.", opened=True) == split("Hm.\n</think>\n\nYes.")
    assert split(FENCE, opened=True) is None
    assert split(f"<think>\nHm.</think>{FENCE}", opened=True).answer == FENCE
    assert is_open("<assistant><think>\n")
    assert not is_open("<assistant><think>\n\n</think>\n\n")
    assert not is_open("Write <think> and </think>.<assistant>")


@given(st.lists(st.sampled_from([OPEN, CLOSE, "```python\n", "```\n", "x = 1\n", "\n", " ", "words "]), max_size=12))
def test_nothing_is_lost_before_the_answer(pieces):
    """A thought is a prefix of the text; what follows it ends like the answer."""
    text = "".join(pieces)
    for opened in (False, True):
        parts = split(text, opened)
        if parts is not None:
            assert text.startswith(parts.thought)
            assert len(parts.thought) + len(parts.answer) <= len(text)
            assert not opened or CLOSE in parts.thought
