"""Whole runs of the trainer in a second or two: a tiny random model, a sandbox that runs nothing, and what went by.

Only public names are used, and classes are watched instead of modules, so that a run may be composed in any way.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from transformers import TrainerCallback

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.generation import GenerateEngine
from trl_gift.generation.compact import CompactEngine
from trl_gift.sampling.store import read_samples
from trl_gift.sandbox import Case, StdioTests
from trl_gift.tasks import Task

DESCRIPTIONS = ("Echo the line.", "Add the numbers.", "Count the words.", "Reverse the text.")
REFERENCES = ("print(input())", "print(sum(map(int, input().split())))", "print(len(input().split()))",
              "print(input()[::-1])")  # fmt: skip
SMALL = {
    "num_rounds": 2, "num_steps": 2, "num_generations": 3, "max_completion_length": 4, "max_description_length": 4,
    "num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 1e-3, "use_cpu": True, "bf16": False,
    "gradient_checkpointing": False, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
}  # fmt: skip


def training_tasks():
    """Whole programs: whatever the model writes is one."""
    return [
        Task(f"s{number}", description, tests("seed"), reference=reference)
        for number, (description, reference) in enumerate(zip(DESCRIPTIONS, REFERENCES, strict=True))
    ]


def measured_tasks():
    return [Task(f"m{number}", f"Print {number} and nothing more.", tests("measured")) for number in range(3)]


def tests(kind):
    return StdioTests(cases=[Case(stdin=kind, stdout="1")])


def weights_of(model):
    digest = hashlib.blake2b(digest_size=8)
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode() + parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


class Watch(TrainerCallback):
    """Notes the state at the beginning and at the end of each round's training."""

    def __init__(self):
        self.begun, self.ended = [], []
        self.optimizers, self.seeds, self.had_moments = [], [], []

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.begun.append(weights_of(model))
        self.optimizers.append(optimizer.optimizer)
        self.had_moments.append(bool(optimizer.optimizer.state))
        self.seeds.append(torch.initial_seed())

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.ended.append(weights_of(model))


class TinyRun:
    """A finished run.

    Attributes:
        trainer: The trainer.
        base: Hash of the weights that it was given.
        watch: What its callback has seen.
        sandbox: The sandbox that it was given.
        requests: Every request that an engine got, in order.
        scored: Every pair that an engine was asked to score.
        engines: The class's name and the arguments of each engine that was made.
        rounds: The content of each round's `metrics.json`.
    """

    def __init__(self, folder, tokenizer, measured=False, judge=None, tasks=None, **options):
        self.gift = Path(folder) / "_gift"
        self.watch = Watch()
        self.requests, self.scored, self.engines = [], [], []
        model = make_model(tokenizer)
        self.base = weights_of(model)
        self.sandbox = InstantSandbox(judge or self._judge)
        self.tokenizer = tokenizer
        self.trainer = GiFTTrainer(
            model=model,
            args=GiFTConfig(str(folder), **SMALL | options),
            train_dataset=tasks or training_tasks(),
            eval_dataset=measured if isinstance(measured, list) else measured_tasks() if measured else None,
            processing_class=tokenizer,
            callbacks=[self.watch],
            sandbox=self.sandbox,
        )
        with pytest.MonkeyPatch.context() as patch:
            for engine in (CompactEngine, GenerateEngine):
                self._watch_engine(patch, engine)
            self.trainer.train()
        self.rounds = [json.loads(path.read_text()) for path in sorted(self.gift.glob("round-*/metrics.json"))]

    def samples(self, *rounds):
        """The samples of the rounds, by task."""
        grouped = {}
        for number in rounds:
            for one in read_samples(self.gift / f"round-{number}"):
                grouped.setdefault(one.task_id, []).append(one)
        return grouped

    def selection(self, number):
        """The rows of a round's `selection.parquet`."""
        return pyarrow.parquet.read_table(self.gift / f"round-{number}/selection.parquet").to_pylist()

    def read(self, name):
        """A JSON artefact."""
        return json.loads((self.gift / name).read_text())

    def asked(self, kind):
        """The requests of a kind: `"write"`, `"describe"` or `"evaluate"`."""
        return [request for request in self.requests if request.key[0] == kind]

    def params(self, kind, name):
        """The values of a sampling parameter in all requests of a kind; those of greedy programs do not count."""
        return {getattr(one.params, name) for one in self.asked(kind) if one.params.temperature != 0}

    def text(self, request):
        """The prompt of a request."""
        return self.tokenizer.decode(request.prompt_ids)

    def _judge(self, program, tests):
        # What is measured passes once the model was trained, so that the gain is known.
        if tests.cases[0].stdin == "measured":
            return bool(self.watch.begun)
        return hashlib.blake2b(program.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] % 3 > 0

    def _watch_engine(self, patch, engine):
        make, submit, score = engine.__init__, engine.submit, engine.score

        def made(itself, *args, **kwargs):
            bound = inspect.signature(make).bind(itself, *args, **kwargs)
            bound.apply_defaults()
            self.engines.append((engine.__name__, bound.arguments))
            make(itself, *args, **kwargs)

        def submitted(itself, request):
            self.requests.append(request)
            submit(itself, request)

        def scored(itself, pairs):
            self.scored.extend(pairs)
            return score(itself, pairs)

        patch.setattr(engine, "__init__", made)
        patch.setattr(engine, "submit", submitted)
        patch.setattr(engine, "score", scored)
