"""A task, a program of it and chat templates, as the tests of prompts and of what is built on them use them."""

from __future__ import annotations

from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task

TASK = Task("t", "Sum of xs.", AssertTests("assert solve([1]) == 1", entry_point="solve"), signature="def solve(xs):")
CODE = "def solve(xs):\n    return sum(xs)"
FENCED = f"```python\n{CODE}\n```"
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
CHATML = TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
# Leaves out the thoughts of earlier turns, and begins every answer with a thought.
OPENS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
