"""Rollouts: a model writes programs and a sandbox runs them, for the share of the tasks that this process has.

A trainer holds one `Rollouts` and so does an evaluation without a trainer. `Rollouts` knows neither of them: it has a
model, a tokenizer, prompts, an engine and a sandbox. See `trl_gift.generation` for the engines, `trl_gift.sampling.chain`
for what is sampled and `trl_gift.evaluation` for what is measured.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from accelerate.utils import gather_object

from trl_gift.common.files import write_json
from trl_gift.generation import Engine, GenerateEngine, choose_engine, merged_adapter
from trl_gift.generation.compact import CompactEngine
from trl_gift.prompts import Example, PromptFormat
from trl_gift.sampling.budget import Spent, TokenBudget, token_budget
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainContext, ChainSettings
from trl_gift.sampling.learner import Learner
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sampling.store import SAMPLES, OtherProcesses, SampleIndex, SampleStore
from trl_gift.sampling.workers import default_sandbox_workers
from trl_gift.sampling.writers import TwoModels
from trl_gift.sandbox import Limits, LocalSandbox, Sandbox
from trl_gift.tasks import Task
from trl_gift.tasks.references import settled

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trl_gift.generation.server import ServerOptions

T = TypeVar("T")
_POLL_INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How completions are generated and programs are run.

    Attributes:
        engine: `"auto"`, `"compact"`, `"generate"` or `"server"`.
        batch_size: Largest number of completions that the engine generates at once; None for the engine's own choice.
        token_budget: Largest number of tokens (prompts and longest completions) that are in flight at once; None for the
            engine's own choice.
        server: How to reach or start the server; None unless the engine is `"server"`.
        limits: What one program may use.
        isolation: `"required"`, or `"none"` to run programs without any isolation.
        sandbox_workers: Number of programs that run at once; None for the CPUs of this process, less one for a model on
            the CPU.
        quiet: Whether to draw no progress bars.
    """

    engine: Literal["auto", "compact", "generate", "server"] = "auto"
    batch_size: int | None = None
    token_budget: int | None = None
    server: ServerOptions | None = None
    limits: Limits = field(default_factory=Limits)
    isolation: Literal["required", "none"] = "required"
    sandbox_workers: int | None = None
    quiet: bool = False


def tokens_of(engine: Engine) -> int:
    """The tokens that an engine has generated so far, with those of unfinished completions where the engine counts them."""
    return engine.tokens_generated + (engine.tokens_in_flight if isinstance(engine, CompactEngine) else 0)


class Rollouts:
    """An engine over a model, a sandbox, and this process's share of the tasks.

    Args:
        model: Writes the programs; unwrapped for every use, so it may be wrapped for training later.
        tokenizer: The model's tokenizer.
        prompts: How the model is asked.
        accelerator: The processes that share the work, and the device.
        settings: Engine and sandbox.
        folder: Where a server that this run starts writes its log.
        sandbox: Runs the programs; if not given, `executing` opens one. A given sandbox is not closed.
        precision: A context in which the model computes as it does outside training.
        is_served: Whether the server of the engine `"server"` has these weights anyway; then nothing is exported to it, and
            the model may be without weights.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: PromptFormat,
        accelerator: Accelerator,
        settings: RolloutSettings,
        folder: Path,
        sandbox: Sandbox | None = None,
        precision: Callable[[], AbstractContextManager[None]] = nullcontext,
        is_served: bool = False,
    ) -> None:
        self.prompts = prompts
        self.settings = settings
        self._wrapped_model = model
        self.tokenizer = tokenizer
        self._accelerator = accelerator
        self._folder = folder
        self._sandbox = sandbox
        self.makes_sandbox = sandbox is None
        self._precision = precision
        self._is_served = is_served
        self._settled: dict[Task, Task] = {}

    def sample(
        self,
        tasks: Sequence[Task],
        settings: ChainSettings,
        folder: Path,
        examples: Sequence[Example] = (),
        earlier: Mapping[str, CodeSample] = MappingProxyType({}),
        learner: Learner | None = None,
        scorer: Engine | None = None,
    ) -> int:
        """Samples and executes one round; returns when every process has written its share of the samples.

        Args:
            tasks: The tasks of all processes.
            settings: What to sample.
            folder: The round's folder. Samples that it already holds are not sampled again.
            examples: Programs with summaries for the model that reads.
            earlier: By task, the program that its chain goes on from.
            learner: The model in training, if it is another one.
            scorer: Its engine, if perplexities are its own.

        Returns:
            The number of tokens that this process sampled.
        """
        mine = self.share(tasks)
        total = settings.completions_of(tasks)
        heading = f"round {settings.round}: sampling"
        # Every process reads what all processes left before any process writes more.
        with (
            SampleIndex(folder, (SAMPLES,)) as recorded,
            SamplingProgress(heading, total, self.quiet, settings.verify) as progress,
        ):
            progress.skip(len(recorded))
            others = OtherProcesses(folder, self._accelerator.process_index)
            self.begin_waves(folder)
            with self.engine() as own:
                engine = own if scorer is None else TwoModels(own, scorer)

                def tick() -> None:
                    if progress.tick(tokens_of(own)):
                        progress.skip(others.new())

                def exchange(wave: int, spent: Spent) -> list[Spent]:
                    return self.exchange(folder, wave, spent, lambda: progress.skip(others.new()))

                budget = token_budget(tasks, settings, exchange)
                with SampleStore(folder, self._accelerator.process_index) as store:

                    def append(sample: CodeSample) -> None:
                        store.append(sample)
                        progress.add(sample.passed, tokens_of(own))

                    context = ChainContext(
                        settings, self.prompts, examples, recorded.step, append, earlier, budget, learner=learner
                    )
                    self._run_chains(mine, context, settings, engine, progress, tick, budget)
                tokens = engine.tokens_generated
            self.wait_for_all_shares(folder, lambda: progress.skip(others.new()))
        return tokens

    def _run_chains(
        self,
        tasks: Sequence[Task],
        context: ChainContext,
        settings: ChainSettings,
        engine: Engine,
        progress: SamplingProgress,
        tick: Callable[[], None],
        budget: TokenBudget | None,
    ) -> None:
        def next_wave() -> None:
            assert budget is not None, "chains pause for a budget alone"
            budget.next_wave()
            progress.expect(budget.expected_turns * settings.num_generations)

        sampler = SAMPLERS[settings.sampler]
        Scheduler(engine, self._sandbox, tick, next_wave).run(sampler(task, context) for task in tasks)
        while budget is not None and not budget.is_over:  # the waves of processes whose chains are longer
            next_wave()

    def begin_waves(self, folder: Path) -> None:
        """Removes what a process left that was killed; another number of processes has other shares. Then all go on."""
        for mark in folder.glob(f"wave-*-{self.rank}.json"):
            mark.unlink()
        self._accelerator.wait_for_everyone()

    def exchange(self, folder: Path, wave: int, spent: Spent, on_wait: Callable[[], None]) -> list[Spent]:
        """What a wave has cost in each process, once it has ended in all; through files, for the reason given below."""
        ranks = range(self._accelerator.num_processes)
        marks = [folder / f"wave-{wave}-{rank}.json" for rank in ranks]
        write_json(marks[self._accelerator.process_index], asdict(spent))
        while not all(mark.exists() for mark in marks):
            on_wait()
            time.sleep(_POLL_INTERVAL_S)
        return [Spent(**json.loads(mark.read_text(encoding="utf-8"))) for mark in marks]

    def wait_for_all_shares(self, folder: Path, on_wait: Callable[[], None]) -> None:
        """Waits until every process has sampled its share, however long the slowest process takes.

        The processes meet through files, because a collective that is pending for half an hour counts as a dead process.
        """
        marks = [folder / f"sampled-{rank}" for rank in range(self._accelerator.num_processes)]
        mine = marks[self._accelerator.process_index]
        mine.touch()
        while not all(mark.exists() for mark in marks):
            on_wait()
            time.sleep(_POLL_INTERVAL_S)
        self._accelerator.wait_for_everyone()
        mine.unlink()
        if self.is_main:
            for mark in folder.glob("wave-*.json"):
                mark.unlink()

    def share(self, tasks: Sequence[Task]) -> list[Task]:
        """This process's share of the tasks: dealt from the longest task to the shortest, back and forth."""
        shares, rank = self._accelerator.num_processes, self._accelerator.process_index
        order = sorted(tasks, key=lambda task: (-len(task.description) - len(task.reference or ""), task.task_id))
        turns = [order[start : start + shares] for start in range(0, len(order), shares)]
        dealt = [turn if number % 2 == 0 else turn[::-1] for number, turn in enumerate(turns)]
        return [turn[rank] for turn in dealt if rank < len(turn)]

    def settled(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with one reading each, which the references decide; they are run once for all evaluations."""
        unknown = [task for task in tasks if task.readings and task not in self._settled]
        self._settled.update(zip(unknown, settled(unknown, self.sandbox), strict=True))
        return [self._settled.get(task, task) if task.readings else task for task in tasks]

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, on every process."""
        gathered: list[T] = gather_object(list(items))
        return gathered

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """The engine of the settings, over the model as it is now and in its own precision."""
        with self._precision(), self._make_engine() as engine:
            yield engine

    @contextmanager
    def _make_engine(self) -> Iterator[Engine]:
        settings = self.settings
        match choose_engine(settings.engine, self.model).name:
            case "compact":
                with merged_adapter(self.model):
                    yield CompactEngine(self.model, self.tokenizer, settings.batch_size, settings.token_budget)
            case "generate":
                with merged_adapter(self.model):
                    yield GenerateEngine(self.model, self.tokenizer, settings.batch_size)
            case _:
                from trl_gift.generation.server import serving

                assert settings.server is not None, "the engine 'server' has server options"
                with serving(
                    settings.server,
                    self.model,
                    self.tokenizer,
                    weights="" if self._is_served else self.weights_hash(),
                    folder=self._folder,
                    is_base=self._is_served,
                    batch_size=settings.batch_size,
                    is_main=self._accelerator.is_main_process,
                    wait_for_everyone=self._accelerator.wait_for_everyone,
                ) as served:
                    yield served

    @contextmanager
    def executing(self, needed: bool = True) -> Iterator[None]:
        """Opens a sandbox for the time of the block, if one is needed and none is open."""
        if self._sandbox is not None or not needed:
            yield
            return
        settings = self.settings
        workers = settings.sandbox_workers or default_sandbox_workers(self._accelerator.device.type == "cpu")
        with LocalSandbox(
            num_workers=workers, limits=settings.limits, isolation=settings.isolation, in_process=False
        ) as sandbox:
            self._sandbox = sandbox
            try:
                yield
            finally:
                self._sandbox = None

    @property
    def is_executing(self) -> bool:
        """Whether a sandbox is open."""
        return self._sandbox is not None

    @property
    def sandbox(self) -> Sandbox:
        """The open sandbox."""
        assert self._sandbox is not None, "programs run inside `executing`"
        return self._sandbox

    @property
    def model(self) -> Any:
        """The model without what training wraps around it."""
        return self._accelerator.unwrap_model(self._wrapped_model)

    @property
    def is_main(self) -> bool:
        """Whether this is the first of all processes; its items come first in what `gather` returns."""
        return bool(self._accelerator.is_main_process)

    @property
    def rank(self) -> int:
        """Index of this process among all."""
        return int(self._accelerator.process_index)

    @property
    def device(self) -> str:
        """Where the model computes: `"cpu"`, `"cuda:0"` and others."""
        return str(self._accelerator.device)

    @property
    def quiet(self) -> bool:
        """Whether this process draws no progress bars."""
        return self.settings.quiet or not self.is_main

    def weights_hash(self) -> str:
        """A short hash of the trainable weights."""
        digest = hashlib.blake2b(digest_size=8)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                digest.update(name.encode())
                digest.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
