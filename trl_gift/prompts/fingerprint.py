"""A fingerprint of how a model is asked: samples of one run must come from the same prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from trl_gift.prompts.protocol import PromptFormat
from trl_gift.tasks import Task

# Prompts differ in their frame, which few tasks show.
_TASKS = 4
_PROGRAM = "def solve(xs):\n    return sum(xs)"


def prompts_fingerprint(prompts: PromptFormat, tasks: Sequence[Task]) -> str:
    """A hash of the prompts of some tasks, 16 hexadecimal digits: texts, token ids, stop texts and the end token.

    Args:
        prompts: The prompts.
        tasks: The tasks of the run, in any order.
    """
    digest = hashlib.blake2b(repr(prompts.end_id).encode(), digest_size=8)
    for task in sorted(tasks, key=lambda task: task.task_id)[:_TASKS]:
        for prompt in (prompts.write(task, task.description), prompts.read(task, _PROGRAM), prompts.rewrite(task)):
            digest.update(repr(prompt).encode())
    return digest.hexdigest()
