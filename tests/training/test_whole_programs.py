"""A base model learns whole programs: what ends a function does not cut them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tests.support.models import make_model
from tests.support.prompts import CHATML
from tests.support.tiny_runs import SMALL
from tests.tasks import set_rows
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.tasks import tasks_from_rows

LEARNING = SMALL | {
    "num_rounds": 1, "num_steps": 1, "num_generations": 1, "max_completion_length": 100, "num_train_epochs": 60,
    "learning_rate": 1e-2, "decontaminate": False,
}  # fmt: skip
# Blocks, comments, functions and prints at the margin: each of them ends the body of a pinned function.
PROGRAMS = {
    "three lines": "n = int(input())\nm = n + 1\nprint(m)",
    "blocks": "# Adds one.\ndef add(n):\n    return n + 1\n\nn = int(input())\nif n >= 0:\n    print(add(n))\nassert n >= 0",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_what_is_learned_is_measured(tmp_path, tokenizer, program):
    row = {
        "task_id": "inc",
        "description": "Read a number and write the number that follows it.",
        "tests": {"stdin": ["1", "41"], "stdout": ["2", "42"]},
        "reference": program,
    }
    trainer = GiFTTrainer(
        model=make_model(tokenizer),
        args=GiFTConfig(str(tmp_path), prompt_format="base", **LEARNING),
        train_dataset=tasks_from_rows([row]),
        eval_dataset=tasks_from_rows([row]),
        processing_class=tokenizer,
    )
    (summary,) = trainer.train().rounds
    assert summary["references"] == 1
    assert summary["metrics"]["pass@1"] == 1.0


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("prompt_format", ["base", "chat"])
def test_a_program_in_another_language(tmp_path, tokenizer, chat_tokenizer_factory, prompt_format):
    """It is asked for by the name of its language, extracted, executed, learned and measured."""
    row = {
        "task_id": "inc",
        "description": "Write the next number.",
        "language": "cpp",
        "tests": {"stdin": ["1", "41"], "stdout": ["2", "42"]},
        "reference": '#include <cstdio>\nint main() {\n  int n;\n  scanf("%d", &n);\n  printf("%d", n + 1);\n}',
    }
    if prompt_format == "chat":
        tokenizer = chat_tokenizer_factory(CHATML, "<|im_end|>")
    trainer = GiFTTrainer(
        model=make_model(tokenizer),
        args=GiFTConfig(str(tmp_path), prompt_format=prompt_format, **LEARNING),
        train_dataset=tasks_from_rows([row]),
        eval_dataset=tasks_from_rows([row]),
        processing_class=tokenizer,
    )
    (task,) = trainer.tasks
    prompt = trainer.prompts.write(task, task.description).text
    assert "C++ program" in prompt
    assert "Python" not in prompt
    assert "```cpp\n" in trainer.prompts.read(task, str(task.reference)).text or prompt_format == "base"
    (summary,) = trainer.train().rounds
    assert summary["references"] == 1
    assert summary["metrics"]["pass@1"] == 1.0


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize("prompt_format", ["base", "chat"])
def test_a_function_in_another_language(tmp_path, tokenizer, chat_tokenizer_factory, prompt_format):
    """A row of MultiPL-E is asked for as a function, executed with its own tests, learned and measured."""
    if prompt_format == "chat":
        tokenizer = chat_tokenizer_factory(CHATML, "<|im_end|>")
    (task,) = tasks_from_rows([set_rows.MULTIPLE])
    task = replace(task, reference=set_rows.JS)  # the set has no solutions
    trainer = GiFTTrainer(
        model=make_model(tokenizer),
        args=GiFTConfig(str(tmp_path), prompt_format=prompt_format, **LEARNING),
        train_dataset=[task],
        eval_dataset=[task],
        processing_class=tokenizer,
    )
    assert "JavaScript function" in trainer.prompts.write(task, task.description).text
    (summary,) = trainer.train().rounds
    assert (summary["references"], summary["metrics"]["pass@1"]) == (1, 1.0)
