"""The trainer's side of generation: the engine over its model, a sandbox for the programs, and its share of the tasks.

A process samples and measures its own share; what it has goes into the store or is gathered. See
`trl_gift.generation` for the engines and `trl_gift.sampling` for the chains.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from trl_gift import evaluation
from trl_gift.common.clock import StageClock, timed
from trl_gift.evaluation.attempts import Attempt, Evaluation
from trl_gift.generation.compact import CompactEngine
from trl_gift.generation.engine import Engine
from trl_gift.generation.generate import GenerateEngine
from trl_gift.hub.publisher import PublishingTrainer
from trl_gift.prompts import Example
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import RecordedTools
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.scheduler import Driver
from trl_gift.sampling.store import SampleIndex, SampleStore
from trl_gift.sandbox import HostedSandbox, Sandbox
from trl_gift.tasks import Task

_MEETING_INTERVAL_S = 0.2


class GeneratingTrainer(PublishingTrainer):
    """A trainer whose model writes programs, which are run.

    Attributes:
        clock: Where each stage's time goes.
    """

    clock: StageClock
    _sandbox: Sandbox | None = None
    _given_sandbox: Sandbox | None = None

    def sample_chains(self, round_index: int, folder: Path) -> int:
        """Samples and executes the codes of a round; returns when every process has its share in the folder.

        Args:
            round_index: The round, from 1.
            folder: Where its samples go. What it holds is not sampled again.

        Returns:
            The number of tokens that this process sampled.
        """
        mine = self._shard(self.tasks)
        # Every process reads what all have left before any writes on.
        with SampleIndex(folder) as recorded, self.engine() as engine:
            self.accelerator.wait_for_everyone()
            self._continue_chains(round_index, folder, mine, engine, recorded)
            tokens = engine.tokens_generated
        self._meet(folder)
        return tokens

    def _continue_chains(
        self, round_index: int, folder: Path, tasks: Sequence[Task], engine: Engine, recorded: SampleIndex
    ) -> None:
        args = self.args
        total = len(tasks) * args.num_steps * args.num_generations
        with (
            SampleStore(folder, self.accelerator.process_index) as store,
            SamplingProgress(f"round {round_index}: sampling", total, self._quiet, args.verify) as progress,
        ):
            progress.skip(sum(recorded.count(task.task_id) for task in tasks))

            def append(sample: CodeSample) -> None:
                store.append(sample)
                progress.add(sample.passed, engine.tokens_generated)

            settings = args.chain_settings(round_index, self.weights_hash())
            examples = [
                Example(task.task_id, task.reference, task.description) for task in self.tasks if task.reference
            ]
            tools = RecordedTools(settings, self.prompts, examples, recorded.step, append)
            sampler = SAMPLERS[args.sampler]
            Driver(engine, self._sandbox).run(sampler(task, tools) for task in tasks)

    def _meet(self, folder: Path) -> None:
        """Waits until every process has sampled its share, however long the slowest one takes.

        Through files, because a collective that is pending for half an hour is taken for a dead process.
        """
        marks = [folder / f"sampled-{rank}" for rank in range(self.accelerator.num_processes)]
        marks[self.accelerator.process_index].touch()
        while not all(mark.exists() for mark in marks):
            time.sleep(_MEETING_INTERVAL_S)
        self.accelerator.wait_for_everyone()
        marks[self.accelerator.process_index].unlink()

    @timed("evaluation")
    def attempt(self, tasks: Sequence[Task], heading: str) -> Evaluation:
        """Writes programs for tasks that are measured on, and runs them; every process gets all results.

        Args:
            tasks: The tasks of all processes.
            heading: What the progress bar says.
        """
        settings = self.args.evaluation_settings()
        mine = self._shard(tasks)
        total = len(mine) * (1 + settings.num_generations)
        with (
            self.executing(),
            self.engine() as engine,
            SamplingProgress(heading, total, self._quiet) as progress,
        ):
            result = evaluation.evaluate(
                mine,
                engine,
                self._open_sandbox,
                self.prompts,
                settings,
                on_attempt=lambda attempt: progress.add(attempt.passed, engine.tokens_generated),
            )
        attempts: list[Attempt] = gather_object(list(result.attempts))
        return Evaluation(tuple(sorted(attempts, key=lambda item: (item.task_id, item.index))), result.k)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """The engine of the options, over the model as it is now and in its own precision."""
        with self.own_precision(), self._make_engine() as engine:
            yield engine

    @contextmanager
    def _make_engine(self) -> Iterator[Engine]:
        args = self.args
        model = self.accelerator.unwrap_model(self.model)
        tokenizer = self.processing_class
        match args.generation_engine:
            case "compact":
                yield CompactEngine(model, tokenizer, args.generation_batch_size, args.generation_token_budget)
            case "generate":
                yield GenerateEngine(model, tokenizer, args.generation_batch_size)
            case _:
                from trl_gift.generation.serving import serving

                with serving(
                    args.server_options(),
                    model,
                    tokenizer,
                    weights=self.weights_hash(),
                    folder=self.run.root / "server",
                    batch_size=args.generation_batch_size,
                    is_main=self.accelerator.is_main_process,
                    wait_for_everyone=self.accelerator.wait_for_everyone,
                ) as served:
                    yield served

    def _shard(self, tasks: Sequence[Task]) -> list[Task]:
        """This process's share of the tasks: dealt out from the longest to the shortest, back and forth."""
        shares, rank = self.accelerator.num_processes, self.accelerator.process_index
        order = sorted(tasks, key=lambda task: (-len(task.description) - len(task.reference or ""), task.task_id))
        turns = [order[start : start + shares] for start in range(0, len(order), shares)]
        dealt = [turn if number % 2 == 0 else turn[::-1] for number, turn in enumerate(turns)]
        return [turn[rank] for turn in dealt if rank < len(turn)]

    @contextmanager
    def executing(self, needed: bool = True) -> Iterator[None]:
        """A sandbox for the time of the block, if it is needed; the outermost block opens and closes it."""
        if self._sandbox is not None or not needed:
            yield
            return
        workers = self.args.sandbox_workers
        if workers is None and self.args.device.type == "cpu":
            # The model itself keeps a core busy; programs that compete with it for that one slow both down.
            workers = max(1, len(os.sched_getaffinity(0)) - 1)
        with HostedSandbox(num_workers=workers, limits=self.args.limits(), isolation=self.args.isolation) as sandbox:
            self._sandbox = sandbox
            try:
                yield
            finally:
                self._sandbox = self._given_sandbox

    @property
    def _open_sandbox(self) -> Sandbox:
        assert self._sandbox is not None, "stages run inside `executing`"
        return self._sandbox

    def weights_hash(self) -> str:
        """A short hash of the trainable weights."""
        digest = hashlib.blake2b(digest_size=8)
        for name, parameter in self._trainable_parameters():
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def say(self, line: str) -> None:
        """Prints a line for people, once, beside the progress bars."""
        if self.accelerator.is_main_process:
            tqdm.write(line, file=sys.stderr)

    @property
    def _quiet(self) -> bool:
        return bool(self.args.disable_tqdm) or not self.accelerator.is_main_process
