"""A recorded run with the prompts that it trained with, of a base model or a chat model."""

from __future__ import annotations

import pytest

from tests.support.export_tasks import TASKS, tasks
from tests.support.prompts import CHATML
from tests.support.recorded_runs import RecordedRun
from trl_gift.prompts import BasePrompts, ChatPrompts
from trl_gift.run.folder import RunFolder
from trl_gift.run.prompts import write_prompts

BODIES = ("return a + b", "return a - b", "return b", "return a", "c = a\n    return c + b", "return sum((a, b))")


def body(task, step, index):
    """A body that no other sample of the task has."""
    return f"    {BODIES[(task + step + index) % len(BODIES)]} + {10 * step + index}"


class Recorded(RecordedRun):
    """Its targets are those of its prompts."""

    def sample(self, number, task, step, index, parent):
        from dataclasses import replace

        sample = super().sample(number, task, step, index, parent)
        if sample.code is None:
            return sample
        target = self.prompts.target(tasks()[task], sample.code)
        prompt = self.prompts.write(tasks()[task], "d")
        return replace(sample, target=target, completion=f"{prompt.left}{target}")


@pytest.fixture(scope="module")
def prompts_of(tokenizer, chat_tokenizer_factory):
    chatty = chat_tokenizer_factory(CHATML, "<|im_end|>")
    return {"base": BasePrompts(tokenizer), "chat": ChatPrompts(chatty, system_prompt="Be brief.")}


@pytest.fixture(scope="module")
def run_of(prompts_of, tmp_path_factory):
    """The folder of a run, by the kind of its prompts."""
    made = {}

    def get(kind="base", **options):
        key = repr((kind, sorted(options.items())))
        if key not in made:
            recorded = Recorded(tasks=TASKS, program=lambda *place: f"def add(a, b):\n{body(*place)}", **options)
            recorded.prompts = prompts_of[kind]
            made[key] = recorded.write(tmp_path_factory.mktemp("run"))
            write_prompts(RunFolder(made[key]), tasks(), recorded.prompts)
        return made[key]

    return get
