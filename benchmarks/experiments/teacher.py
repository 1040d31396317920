"""A stronger model of our own for the playground: the embedded one, trained on what it was never taught.

It learns two things from tasks as long as those of the splits, in the wordings that the embedded model knows badly: to write
their programs, and to repair a wrong program that is shown with its failure. Wrong programs are those whose meaning is one change away
(`trl_gift.playground.tasks.mutants`), run in the sandbox for the words of their failure. All tasks come from the part of the
world that belongs to no split, so the teacher has seen neither a training task nor a held-out one.
"""

from __future__ import annotations

import json
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift.playground import model_path
from trl_gift.playground.tasks import TASK_LENGTHS, TASK_WORDINGS, every_step_matters, mutants
from trl_gift.playground.world import (
    Intention,
    describe,
    random_input,
    sample_idiom,
    sample_intention,
    signature,
    split_of,
    write_code,
)
from trl_gift.prompts import BasePrompts
from trl_gift.sampling.feedback import feedback
from trl_gift.sandbox import AssertTests, Limits, LocalSandbox
from trl_gift.tasks import Task

TASKS, EPOCHS, BATCH, LEARNING_RATE, WARMUP = 3000, 2, 48, 1e-3, 20
_ASSERTIONS, _LONGEST = 5, 400


def teacher_model(folder: Path) -> Path:
    """The folder of the teacher; trained there if there is none yet."""
    if not (folder / "teacher.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            _train(Path(made) / "teacher")
            os.replace(Path(made) / "teacher", folder)
    return folder


def lessons(count: int, prompts: BasePrompts) -> list[tuple[list[int], list[int]]]:
    """Prompts and targets of `count` tasks: the program of each, and the repair of a wrong one."""
    rng = random.Random("lessons of a teacher")
    tasks = list(islice(_tasks(rng), count))
    wrong = [_wrong(rng, intention, number) for number, (intention, _) in enumerate(tasks)]
    jobs = [(code, task.all_tests) for code, (_, task) in zip(wrong, tasks, strict=True)]
    with LocalSandbox(1, Limits(cpu_s=2.0, wall_s=6.0), in_process=False) as sandbox:
        outcomes = dict(sandbox.map(jobs))
    found = []
    for number, (_, task) in enumerate(tasks):
        target = prompts.target(task, str(task.reference))
        assert target is not None
        assert task.tests is not None
        found.append(prompts.encode(prompts.write(task, task.description), target))
        if not outcomes[number].passed:
            told = feedback(outcomes[number], task.tests)
            found.append(prompts.encode(prompts.refine(task, task.description, wrong[number], told), target))
    return found


def _tasks(rng: random.Random) -> Iterator[tuple[Intention, Task]]:
    for number in iter(int, None):  # for ever
        intention = sample_intention(rng, rng.choice(TASK_LENGTHS))
        if split_of(intention) != "practice" or not every_step_matters(intention):
            continue
        wording = rng.choice(TASK_WORDINGS)
        inputs = [random_input(intention.element, rng) for _ in range(_ASSERTIONS)]
        tests = "\n".join(f"assert solve({values!r}) == {intention.run(values)!r}" for values in inputs)
        yield (
            intention,
            Task(
                task_id=f"teacher/{number}",
                description=describe(intention, wording),
                tests=AssertTests(tests, entry_point="solve"),
                signature=signature(intention),
                reference=write_code(intention, sample_idiom(rng, wording)),
            ),
        )


def _wrong(rng: random.Random, intention: Intention, number: int) -> str:
    """A program one change away, in any idiom; every other time two changes, as the student's mistakes may be."""
    changed = intention
    for _ in range(1 + number % 2):
        changed = rng.choice([one for one in mutants(changed) if one.is_well_typed()])
    return write_code(changed, sample_idiom(rng, rng.choice(TASK_WORDINGS)))


def _train(folder: Path) -> None:
    """Fine-tunes all weights of the embedded model."""
    started = time.process_time()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32).train()
    rows = [row for row in lessons(TASKS, BasePrompts(tokenizer)) if len(row[0]) + len(row[1]) <= _LONGEST]
    steps = EPOCHS * math.ceil(len(rows) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    warm = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / steps)))
    )
    for batch in _batches(rows, random.Random(0)):
        width = max(len(before) + len(after) for before, after in batch)
        ids = torch.full((len(batch), width), int(tokenizer.pad_token_id))
        labels = torch.full((len(batch), width), -100)
        for row, (before, after) in enumerate(batch):
            ids[row, : len(before) + len(after)] = torch.tensor([*before, *after])
            labels[row, len(before) : len(before) + len(after)] = torch.tensor(after)
        learned = labels[:, 1:] != -100
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1][learned]
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden).float(), labels[:, 1:][learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warm.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {"examples": len(rows), "epochs": EPOCHS, "loss": loss.item(), "cpu_s": time.process_time() - started}
    (folder / "teacher.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


def _batches(
    rows: Sequence[tuple[list[int], list[int]]], rng: random.Random
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Batches of rows of like length, in random order, so that little is padding."""
    ordered = sorted(rows, key=lambda row: len(row[0]) + len(row[1]))
    batches = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    for _ in range(EPOCHS):
        rng.shuffle(batches)
        yield from batches
