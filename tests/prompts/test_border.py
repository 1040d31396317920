"""The law of borders: a prompt and what follows it are tokenised as the one text that they are."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from functools import cache

import pytest

from tests.support.prompts import CHATML, TASK
from tests.support.tokenizer_kinds import KINDS, tokenizer_of
from trl_gift.generation.decoding import decode
from trl_gift.prompts import BasePrompts, ChatPrompts, Prompt

SIGNATURES = [
    "def solve(xs):", "import math\n\ndef solve(x, y=1):", "def solve(xs: list[int]) -> int:", "def solve(*a, **k):"
]  # fmt: skip
DESCRIPTIONS = [
    "Sum of xs.",
    "Write a function\n\n>>> solve([1])\n1",
    'Says "hi"',
    "Größe — naïve",
    "ends with )",
    "x",
]
BODIES = [
    "    return sum(xs)", "    x = 1\n    return x", "    for x in xs:\n        pass\n    return 0", "    # sum\n    return 1",
    "    if not xs:\n        return 0", "    import math\n    return math.inf", "    while True:\n        break",
    "    xs.sort()\n\n    return xs", "    return '''a\n\nb'''", "    try:\n        return 1\n    except ValueError:\n        return 2",
]  # fmt: skip
ODD = [
    "\n    return 1",
    "\treturn 1",
    "  return 1",
    "\n\n\n    return 1",
    "    \n    return 1",
    ")",
    "é",
    "```",
    "   ",
    "\r\n    x",
]
TEXTS = [
    "The sum of the list.",
    "Returns 1.",
    "Given a list, ...",
    "`xs` summed",
    "sum",
    "\nThe sum.",
    " The sum",
    "é",
    "###",
]


@cache
def formats(kind):
    tokenizer = tokenizer_of(kind)
    base = BasePrompts(tokenizer)
    if kind == "embedded":
        return tokenizer, [base]
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = CHATML
    return tokenizer, [base, ChatPrompts(chatty), ChatPrompts(chatty, open_answer=False)]


def prompts_of(prompts):
    """Prompts that ask for bodies, and prompts that ask for other texts."""
    tasks = [replace(TASK, signature=signature) for signature in SIGNATURES]
    writes = [prompts.write(task, text) for task, text in itertools.product(tasks, DESCRIPTIONS)]
    code = "def f(x):\n    return x"
    return writes, [prompts.read(TASK, code), *(prompts.rewrite(replace(TASK, description=d)) for d in DESCRIPTIONS)]


def plain_ids(prompts, text):
    return prompts._ids(text)


@pytest.mark.parametrize("kind", [*KINDS, "embedded"])
def test_a_prompt_and_its_target_are_tokenised_as_one_text(kind):
    """At least 100 pairs for each of 14 tokenizers; in every one the two parts are the ids of the whole."""
    _, all_prompts = formats(kind)
    pairs = 0
    for prompts in all_prompts:
        writes, reads = prompts_of(prompts)
        for prompt, target in [
            *itertools.product(writes, [*BODIES, *ODD]), *itertools.product(reads, [*TEXTS, *ODD])
        ]:  # fmt: skip
            before, after = prompts.encode(prompt, target)
            assert before + after[:-1] == plain_ids(prompts, prompt.text + target), (prompt.text, target)
            assert after[-1] == prompts.end_id
            assert before == list(prompt.ids[: len(before)])
            pairs += 1
    assert pairs >= 100


@pytest.mark.parametrize("kind", [*KINDS, "embedded"])
def test_a_model_continues_the_prompt_that_it_learned(kind):
    """For usual bodies the prompt that is sampled from is exactly the prompt of the training example."""
    tokenizer, all_prompts = formats(kind)
    for prompts in all_prompts[:2]:
        writes, _ = prompts_of(prompts)
        for prompt, body in itertools.product(writes, BODIES):
            before, after = prompts.encode(prompt, body)
            assert tuple(before) == prompt.ids, (prompt.text[-20:], body)
            completion = decode(tokenizer, prompt.ids, after[:-1])
            assert completion == prompt.left + body
            assert prompt.after(completion) == body


@pytest.mark.parametrize("kind", [*KINDS, "embedded"])
def test_what_is_left_to_the_model_is_a_line_break_at_most(kind):
    _, all_prompts = formats(kind)
    for prompts in all_prompts:
        writes, reads = prompts_of(prompts)
        unsplit = kind in ("bytes-unsplit", "pieces-unsplit")
        for prompt in [*writes, *reads]:
            assert prompt.text.endswith(prompt.left)
            assert prompt.left in ("", "\n") or unsplit, prompt.left


def test_byte_level_tokenizers_leave_the_line_break_to_the_model():
    """They hold it in one token with the indentation; those that hold it with the quotes before it keep it."""
    left = {kind: formats(kind)[1][0].write(TASK, "Sum.").left for kind in ("gpt2", "starcoder", "llama3", "qwen")}
    assert left == {"gpt2": "\n", "starcoder": "\n", "llama3": "", "qwen": ""}


def test_what_a_completion_adds_to_its_prompt():
    prompt = Prompt((1,), 'def f():\n    """x"""\n', "\n")
    assert prompt.after("\n    return 1") == "    return 1"
    assert prompt.after("  # a remark\n    return 1") == "    return 1"
    assert prompt.after("never ends") == ""
    assert Prompt((1,), "x\n").after("\n    return 1") == "\n    return 1"
