"""Measures the playground's model: the figures of its card and of the test that guards its quality.

Programs that the model wrote are executed only in the sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from trl_gift.playground.tasks import playground_tasks, task_intention
from trl_gift.playground.world import IDIOMS, describe, write_code
from trl_gift.prompts import BasePrompts
from trl_gift.sandbox import LocalSandbox
from trl_gift.tasks.task import Task

MAX_NEW_TOKENS = 96
BATCH = 200
# The names of the splits in the keys of `pretraining.json`: the shipped record has them.
_KEYS = {"test": "heldout", "train": "seeds"}


@torch.inference_mode()
def complete(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, sample: bool = False, seed: int = 0
) -> list[str]:
    """Greedy or sampled (temperature 1) completions, in the order of the prompts."""
    texts = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    torch.manual_seed(seed)
    for start in range(0, len(order), BATCH):
        chunk = order[start : start + BATCH]
        batch = tokenizer.pad({"input_ids": [list(prompts[index]) for index in chunk]}, return_tensors="pt")
        made = model.generate(
            input_ids=batch["input_ids"].to(model.device),
            attention_mask=batch["attention_mask"].to(model.device),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=sample,
            **({"temperature": 1.0, "top_p": 1.0, "top_k": 0} if sample else {}),
        )
        width = batch["input_ids"].shape[1]
        for index, row in zip(chunk, made, strict=True):
            texts[index] = tokenizer.decode(row[width:], skip_special_tokens=True)
    return texts


def write(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    descriptions: Sequence[str],
    *,
    sample: bool = False,
    seed: int = 0,
) -> list[str | None]:
    """One program for each task from the description beside it; None where the completion holds no code."""
    prompts = BasePrompts(tokenizer)
    asked = [prompts.write(task, text) for task, text in zip(tasks, descriptions, strict=True)]
    completions = complete(model, tokenizer, [prompt.ids for prompt in asked], sample=sample, seed=seed)
    found = [
        prompts.extract(task, prompt.after(text)) for task, prompt, text in zip(tasks, asked, completions, strict=True)
    ]
    return [extraction.code for extraction in found]


def read(model: Any, tokenizer: Any, tasks: Sequence[Task], programs: Sequence[str]) -> list[str]:
    """The greedy description of each code."""
    prompts = BasePrompts(tokenizer)
    return complete(
        model, tokenizer, [prompts.read(task, code).ids for task, code in zip(tasks, programs, strict=True)]
    )


def verify(sandbox: LocalSandbox, tasks: Sequence[Task], programs: Sequence[str | None]) -> list[bool]:
    """Whether each program passes the tests of its task."""
    passed = [False] * len(tasks)
    asked = [index for index, program in enumerate(programs) if program is not None]
    pairs = ((programs[index] or "", tasks[index].all_tests) for index in asked)
    for position, outcome in sandbox.map(pairs, ordered=True):
        passed[asked[position]] = outcome.passed
    return passed


def round_trips(
    model: Any, tokenizer: Any, sandbox: LocalSandbox, tasks: Sequence[Task], split: str = "train"
) -> dict[str, float]:
    """The share of correct programs of each idiom that still pass after being read and written again greedily."""
    rates = {}
    for idiom, name in enumerate(IDIOMS):
        programs = [write_code(task_intention(split, number)[0], idiom) for number in range(len(tasks))]
        descriptions = read(model, tokenizer, tasks, programs)
        rates[name] = _share(verify(sandbox, tasks, write(model, tokenizer, tasks, descriptions)))
    return rates


def measure(model: Any, tokenizer: Any, *, num_tasks: int = 400, workers: int = 1, samples: int = 4) -> dict[str, Any]:
    """All the figures of the card."""
    model.eval()
    with LocalSandbox(num_workers=workers) as sandbox:
        figures: dict[str, Any] = {"tasks": num_tasks, "samples": samples}
        for split, key in _KEYS.items():
            tasks = playground_tasks(split, num_tasks)
            told = [task.description for task in tasks]
            passed = verify(sandbox, tasks, write(model, tokenizer, tasks, told))
            figures[f"{key}_greedy_pass@1"] = _share(passed)
            figures[f"{key}_greedy_pass@1_ci"] = wilson(sum(passed), len(passed))
            rolls = [
                verify(sandbox, tasks, write(model, tokenizer, tasks, told, sample=True, seed=roll))
                for roll in range(samples)
            ]
            figures[f"{key}_sampled_pass_rate"] = _share([hit for roll in rolls for hit in roll])
            figures[f"{key}_solved"] = _share([any(hits) for hits in zip(*rolls, strict=True)])
        tasks = playground_tasks("train", num_tasks)
        plain = [describe(task_intention("train", number)[0], 0) for number in range(num_tasks)]
        figures["seeds_plain_wording_greedy"] = _share(verify(sandbox, tasks, write(model, tokenizer, tasks, plain)))
        figures["round_trip"] = round_trips(model, tokenizer, sandbox, tasks)
    return figures


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % Wilson interval of a rate."""
    rate, spread = successes / trials, z * z / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    return round(centre - half, 4), round(centre + half, 4)


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4)
