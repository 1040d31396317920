"""The prompts that a run trains with, kept so that its samples are of use without the tasks, the model and its tokenizer.

    output_dir/_gift/prompts.jsonl     one task a line: its words, and how its programs are asked for

Tests and references are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trl_gift.common.files import write_text
from trl_gift.prompts import Conversation, PromptFormat
from trl_gift.run.folder import RunFolder
from trl_gift.tasks import Task

PROMPTS = "prompts.jsonl"


@dataclass(frozen=True, slots=True)
class TrainingPrompt:
    """How the programs of one task are asked for in training.

    Attributes:
        task_id: The task.
        description: Its own description.
        signature: Its signature; None for whole programs.
        language: The language of its programs.
        text: The text that a completion follows.
        left: What a completion begins with before the target, because a token may reach over the end of the prompt.
        conversation: The same as turns of a chat; None where prompts are plain text.
    """

    task_id: str
    description: str
    signature: str | None
    language: str
    text: str
    left: str
    conversation: Conversation | None


def write_prompts(run: RunFolder, tasks: Sequence[Task], prompts: PromptFormat) -> None:
    """Records the prompts of a run's tasks, whole or not at all."""
    lines = []
    for task in tasks:
        prompt = prompts.write(task, task.description)
        text = prompt.text.removesuffix(prompt.left)
        turns = prompts.conversation(task, task.description)
        record = TrainingPrompt(
            task.task_id, task.description, task.signature, task.language, text, prompt.left, turns
        )
        lines.append(json.dumps(asdict(record), ensure_ascii=False) + "\n")
    write_text(run.root / PROMPTS, "".join(lines))


def read_prompts(run: RunFolder) -> dict[str, TrainingPrompt]:
    """The recorded prompts by `task_id`; empty for a run of a version that recorded none."""
    if not run.has(PROMPTS):
        return {}
    # Not `splitlines`: a description may hold other marks that end a line.
    with (run.root / PROMPTS).open(encoding="utf-8", newline="\n") as lines:
        return {prompt.task_id: prompt for prompt in map(_prompt, map(json.loads, lines))}


def _prompt(record: dict[str, Any]) -> TrainingPrompt:
    chat = record.pop("conversation")
    turns = Conversation(tuple((role, text) for role, text in chat.pop("turns")), **chat) if chat else None
    return TrainingPrompt(**record, conversation=turns)
