"""The prompt to write a program again: it shows the program and its failure, and ends as the prompt of the task does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.prompts import CHATML, TASK
from trl_gift.prompts import BasePrompts, ChatPrompts
from trl_gift.sandbox import Case, StdioTests
from trl_gift.tasks import Task

WRONG = "def solve(xs):\n    return max(xs)"
FAILURE = "assert solve([1, 2]) == 3\nsolve([1, 2]) returned 2"


@pytest.fixture(params=["base", "opened", "asked"])
def prompts(request, tokenizer, chat_tokenizer_factory):
    if request.param == "base":
        return BasePrompts(tokenizer)
    return ChatPrompts(chat_tokenizer_factory(CHATML, "<|im_end|>"), open_answer=request.param == "opened")


def test_a_base_model_reads_the_program_and_comments(tokenizer):
    assert BasePrompts(tokenizer).refine(TASK, "Sum of xs.", WRONG, FAILURE).text == (
        "# A wrong program:\ndef solve(xs):\n    return max(xs)\n\n"
        "# How it fails:\n# assert solve([1, 2]) == 3\n# solve([1, 2]) returned 2\n\n"
        '# The same task, solved correctly:\ndef solve(xs):\n    """Sum of xs."""\n'
    )


def test_a_chat_model_is_asked(chat_tokenizer_factory):
    prompts = ChatPrompts(chat_tokenizer_factory(CHATML, "<|im_end|>"))
    plain, text = prompts.write(TASK, "Sum of xs.").text, prompts.refine(TASK, "Sum of xs.", WRONG, FAILURE).text
    question, answer = plain.split("<|im_end|>")
    assert text.startswith(
        f"{question}\n\nThe following Python code is wrong.\n\n```python\n{WRONG}\n```\n\nIt fails:\n\n"
    )
    assert f"```\n{FAILURE}\n```" in text
    assert text.endswith(f"<|im_end|>{answer}")


def test_its_completions_are_read_as_those_of_the_task(prompts):
    plain, again = prompts.write(TASK, "Sum of xs."), prompts.refine(TASK, "Sum of xs.", WRONG, FAILURE)
    assert (again.left, again.stop, again.fence) == (plain.left, plain.stop, plain.fence)
    assert WRONG in again.text
    target = prompts.target(TASK, "def solve(xs):\n    return sum(xs)")
    assert prompts.extract(TASK, again.after(f"{again.left}{target}")).code == "def solve(xs):\n    return sum(xs)"
    ids, completion = prompts.encode(again, target)
    assert tuple(ids) == again.ids
    assert completion[-1] == prompts.end_id


def test_whole_programs_and_their_comments(prompts, tokenizer):
    task = Task("p", "Echo.", StdioTests([Case(stdin="1", stdout="1")]))
    assert "print(0)" in prompts.refine(task, "Echo.", "print(0)", "printed 0").text
    other = replace(task, tests=replace(task.tests, language="cpp"), language="cpp")
    text = BasePrompts(tokenizer).refine(other, "Echo.", "int main() {}", "printed nothing").text
    assert text.startswith("// A wrong program:\nint main() {}\n\n// How it fails:\n// printed nothing\n")


def test_fences_hold_what_the_program_holds(chat_tokenizer_factory):
    prompts = ChatPrompts(chat_tokenizer_factory(CHATML, "<|im_end|>"))
    text = prompts.refine(TASK, "Sum.", 'def solve(xs):\n    """\n```\n"""', "```\nprinted").text
    assert "````python\n" in text
    assert "````\n```\nprinted\n````" in text
