"""One arm with one seed: sample, select, train, measure. All arms of a world and a seed share a sandbox and a folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trl_gift
from experiments.chains import chain_figures, described_tasks, fidelity
from experiments.plan import NONE, TAUGHT, Arm, Plan
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.playground import model_path, playground_tasks
from trl_gift.run.samples import RoundSamples, read_rounds
from trl_gift.sampling.store import read_samples
from trl_gift.sandbox import LocalSandbox, Sandbox
from trl_gift.tasks import Task
from trl_gift.training.pairs import training_pairs
from trl_gift.training.selection import select


class Bench:
    """Runs the arms of one world with one seed.

    Args:
        plan: The experiment.
        world: The name of the world.
        seed: The seed of everything random.
        folder: Where the runs are kept, for arms that select among another's samples.
        sandbox: What executes programs.
        teacher: The folder of the model that arms with `teacher: taught` ask.
    """

    def __init__(
        self, plan: Plan, world: str, seed: int, folder: Path, sandbox: Sandbox, teacher: Path | None = None
    ) -> None:
        self._plan, self._world, self._seed, self._folder, self._sandbox = plan, world, seed, folder, sandbox
        self._teacher = teacher
        self._tests = playground_tasks("test", plan.heldout)

    def run(self, arm: Arm) -> dict[str, Any]:
        """The figures of an arm."""
        started = time.process_time()
        trainer, figures = self._trained(arm)
        measured = trainer.evaluate(self._tests)
        if arm.name in self._plan.stepped and arm.samples == arm.name:
            # Not before: a further `GiFTConfig` sets up the devices of the process anew, under the trainer's feet.
            figures |= self._chains(arm)
        names = ["pass@1", *(f"sampled_pass@{k}" for k in trainer.args.eval_k)]
        return {
            "world": arm.world,
            "arm": arm.name,
            "seed": self._seed,
            "digest": self._plan.digest(arm),
            **{name: measured[f"eval_{name}"] for name in names},
            **figures,
            "cpu_s": round(time.process_time() - started, 1),
        }

    def _trained(self, arm: Arm) -> tuple[GiFTTrainer, dict[str, Any]]:
        if arm.samples == arm.name:
            trainer = self._trainer(arm, self._folder / arm.name)
            rounds = trainer.train(resume_from_checkpoint=True).rounds
            samples = read_rounds(self._rounds(arm))
            return trainer, {
                **_counts(samples),
                "tokens": sum(item["tokens"] for item in rounds),
                **{name: rounds[-1][name] for name in ("pairs", "repairs", "repaired", "lessons")},
            }
        trainer = self._trainer(arm, self._folder / f"{arm.name} without samples")
        if not arm.trains:
            return trainer, {}
        samples = RoundSamples({}) if arm.samples == NONE else self._samples(arm)
        selected = select(samples.eligible, trainer.args.selection_settings(1))
        args = trainer.args
        targets = args.targets(trainer.prompts)
        pairs = training_pairs(trainer.tasks, selected, targets, args.max_length, args.train_on_references)
        trainer.train_round(1, pairs, None)
        return trainer, {**_counts(samples), "tokens": samples.tokens, "pairs": len(pairs.pairs)}

    def _samples(self, arm: Arm) -> RoundSamples:
        """The samples of another arm, drawn now if that arm was run by an earlier process."""
        source = self._plan.arm(arm.world, arm.samples)
        if not self._rounds(source):
            self._trainer(source, self._folder / source.name).sample()
        return read_rounds(self._rounds(source))

    def _rounds(self, arm: Arm) -> list[Path]:
        return sorted((self._folder / arm.name / "_gift").glob("round-*"))

    def _chains(self, arm: Arm) -> dict[str, Any]:
        """How the chains of the first round, which the base model wrote, fared."""
        samples = list(read_samples(self._rounds(arm)[0]))
        figures = chain_figures(samples)
        described = described_tasks(samples, self._tasks(arm))
        if described:
            args = replace(self._args(arm, self._folder / "reading"), eval_num_generations=0, eval_k=[1])
            result = trl_gift.evaluate(str(model_path()), described, args, sandbox=self._sandbox)
            figures["fidelity"] = fidelity(result.greedy)
        return figures

    def _trainer(self, arm: Arm, folder: Path) -> GiFTTrainer:
        return GiFTTrainer(str(model_path()), self._args(arm, folder), self._tasks(arm), sandbox=self._sandbox)

    def _tasks(self, arm: Arm) -> list[Task]:
        tasks = playground_tasks("train", self._plan.tasks, self._plan.worlds[self._world].with_reference)
        if arm.chains == 1:
            return tasks
        return [replace(task, task_id=f"{task.task_id}/{chain}") for task in tasks for chain in range(arm.chains)]

    def _args(self, arm: Arm, folder: Path) -> GiFTConfig:
        taught = {"teacher": str(self._teacher)} if arm.options.get("teacher") == TAUGHT else {}
        return GiFTConfig(
            str(folder),
            **{**arm.options, **taught},
            seed=self._seed,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
        )


def _counts(samples: RoundSamples) -> dict[str, Any]:
    return {
        "samples": samples.samples,
        "passed": samples.passed,
        "solved_tasks": samples.solved_tasks,
        "distinct_programs": samples.distinct_programs,
    }


@contextmanager
def bench(plan: Plan, world: str, seed: int, options: dict[str, Any], teacher: Path | None = None) -> Iterator[Bench]:
    """A bench with a sandbox and a folder of its own."""
    config = GiFTConfig("unused", **options, use_cpu=True, bf16=False)
    with TemporaryDirectory() as folder, LocalSandbox(1, config.limits(), in_process=False) as sandbox:
        yield Bench(plan, world, seed, Path(folder), sandbox, teacher)


def run_arms(plan: Plan, seed: int, arms: Sequence[Arm], teacher: Path | None = None) -> Iterator[dict[str, Any]]:
    """The figures of arms of one world, in turn."""
    with bench(plan, arms[0].world, seed, arms[0].options, teacher) as place:
        for arm in arms:
            yield place.run(arm)
