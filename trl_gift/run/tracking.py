"""Trackers: all rounds of a run as one run of TensorBoard, Weights & Biases or trackio, with the chain and its samples.

Scalars go through `Trainer.log`, so every tracker that transformers knows gets them. What this adds:

* One identity for a run. Every round is a `train()` of its own, and a run may be continued by another process:
  without a lasting name trackio would begin a new run with each round, and TensorBoard and Weights & Biases with each
  process; TensorBoard would write what is logged before the first round into the working directory.
* Series over the steps of the chain, one for each round, and a table of samples. Neither is a scalar over training
  steps, so they are given to the three trackers in their own forms; other trackers get the scalars alone.

Not covered: points that a killed process logged after its last checkpoint. TensorBoard drops them; the others keep them
beside those of the continued run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback, TrainingArguments

from trl_gift.errors import ConfigError
from trl_gift.run.samples import ChainStep, sample_rows
from trl_gift.sampling.records import CodeSample

CHAIN_FIGURES = ("pass_rate", "mean_perplexity", "description_length", "tokens", "solved_tasks")
"""The figures of a step that trackers draw."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """How the trackers identify a run, also when another process continues it.

    Attributes:
        name: The name that people see.
        key: Unique among all runs.
        folder: Name of its folder, where folders are runs.
        step: Global step from which a run continues; None for a new run.
    """

    name: str
    key: str
    folder: str = "gift"
    step: int | None = None


class Tracker(Protocol):
    """One of the three trackers; used on the main process only."""

    def open(self, identity: RunIdentity) -> None:
        """Begins or continues the run, before anything is logged."""
        ...

    def chain(self, round_index: int, steps: Sequence[ChainStep]) -> None:
        """Draws the figures of a round's chains over the chain's steps."""
        ...

    def samples(self, rows: Sequence[dict[str, Any]], global_step: int) -> None:
        """Shows samples."""
        ...

    def close(self, args: Any, state: Any, control: Any) -> None:
        """Flushes everything to the disk."""
        ...


class Tracking:
    """The trackers among a trainer's callbacks.

    Args:
        callbacks: The trainer's callbacks.
        args: The trainer's arguments.
        active: Whether this is the process that logs.

    Attributes:
        is_open: Whether a run is open.
    """

    def __init__(self, callbacks: Iterable[TrainerCallback], args: TrainingArguments, active: bool) -> None:
        from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

        self.is_open = False
        self._trackers: list[Tracker] = []
        for callback in callbacks if active else ():
            if isinstance(callback, TensorBoardCallback):
                self._trackers.append(_TensorBoard(callback, Path(args.output_dir) / "runs"))
            elif isinstance(callback, WandbCallback):
                self._trackers.append(_Wandb())
            elif isinstance(callback, TrackioCallback):
                self._trackers.append(_Trackio(callback, args))

    def open(self, identity: RunIdentity) -> None:
        """Begins or continues the run with each tracker."""
        self.is_open = True
        for tracker in self._trackers:
            tracker.open(identity)

    def publish(
        self, round_index: int, steps: Sequence[ChainStep], samples: Sequence[CodeSample], global_step: int
    ) -> None:
        """Shows a round's chains and some of its samples; comes after the round's scalars have been logged."""
        rows = sample_rows(samples)
        for tracker in self._trackers:
            tracker.chain(round_index, steps)
            if rows:
                tracker.samples(rows, global_step)

    def close(self, args: Any, state: Any, control: Any) -> None:
        """Flushes everything to the disk; the run continues with later logs."""
        for tracker in self._trackers:
            tracker.close(args, state, control)


def check_trackers(names: Sequence[str]) -> None:
    """Checks that transformers can log to the trackers of `report_to`, in one line rather than one traceback.

    Args:
        names: The names, as `TrainingArguments` resolves them.

    Raises:
        ConfigError: for one that it does not know or that is not installed.
    """
    from transformers.integrations import get_available_reporting_integrations

    installed = get_available_reporting_integrations()
    for name in names:
        if name not in installed and name != "flyte":  # which transformers takes, but never lists
            raise ConfigError(
                f"report_to={name!r} is not installed, or no tracker that transformers knows; install it (pip install "
                f"{name}), or use one of {', '.join(map(repr, [*installed, 'none']))}."
            )


class _TensorBoard:
    """Folders are runs to TensorBoard: series that share a chart need a folder each."""

    def __init__(self, callback: Any, root: Path) -> None:
        self._callback = callback
        self._root = None if callback.logging_dir else root  # TENSORBOARD_LOGGING_DIR comes first

    def open(self, identity: RunIdentity) -> None:
        if self._root:
            self._callback.logging_dir = str(self._root / identity.folder)
        if self._callback.tb_writer is None and identity.step is not None:
            # Drops the points that a killed process logged after its last checkpoint.
            self._callback.tb_writer = _writer(self._callback.logging_dir, identity.step + 1)

    def chain(self, round_index: int, steps: Sequence[ChainStep]) -> None:
        # A round that is concluded twice, because a process was killed in between, replaces its points.
        writer = _writer(str(Path(self._callback.logging_dir) / "chain" / f"round-{round_index}"), 0)
        for step in steps:
            for name, value in _drawn(step).items():
                writer.add_scalar(f"chain/{name}", value, step.step)
        writer.close()

    def samples(self, rows: Sequence[dict[str, Any]], global_step: int) -> None:
        self._callback.tb_writer.add_text("samples", "\n\n---\n\n".join(map(_markdown, rows)), global_step)
        self._callback.tb_writer.flush()

    def close(self, args: Any, state: Any, control: Any) -> None:
        self._callback.on_train_end(args, state, control)


class _Wandb:
    def __init__(self) -> None:
        self._own: Any = None

    def open(self, identity: RunIdentity) -> None:
        import wandb

        if self._own is not None and wandb.run is self._own and self._own.id != identity.key:
            wandb.finish()
        if wandb.run is None and "WANDB_RUN_ID" not in os.environ:
            # The project as transformers chooses it, which then finds the run begun.
            self._own = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "huggingface"),
                name=identity.name,
                id=identity.key,
                resume="allow",
            )

    def chain(self, round_index: int, steps: Sequence[ChainStep]) -> None:
        import wandb

        wandb.define_metric("chain/step")
        for name in CHAIN_FIGURES:
            wandb.define_metric(f"chain/{name}/round-{round_index}", step_metric="chain/step")
        for step in steps:
            wandb.log({"chain/step": step.step, **_of_round(step, round_index)})

    def samples(self, rows: Sequence[dict[str, Any]], global_step: int) -> None:
        import wandb

        columns = list(rows[0])
        table = wandb.Table(columns=columns, data=[[row[name] for name in columns] for row in rows])
        wandb.log({"samples": table, "train/global_step": global_step})

    def close(self, args: Any, state: Any, control: Any) -> None:
        pass  # the process's end does it, as with any trainer


class _Trackio:
    def __init__(self, callback: Any, args: Any) -> None:
        self._callback = callback
        if vars(args).get("trackio_static_space_id") is None:
            # By default transformers answers a push of the model with a public Space of all that the local
            # database holds of the project: here also the tasks' descriptions and the samples, which the user did not ask to publish.
            args.trackio_static_space_id = False

    def open(self, identity: RunIdentity) -> None:
        pass  # transformers continues the run of the same name

    def chain(self, round_index: int, steps: Sequence[ChainStep]) -> None:
        import trackio

        for step in steps:
            trackio.log(_of_round(step, round_index), step=step.step)

    def samples(self, rows: Sequence[dict[str, Any]], global_step: int) -> None:
        import pandas
        import trackio

        trackio.log({"samples": trackio.Table(dataframe=pandas.DataFrame(rows)), "train/global_step": global_step})

    def close(self, args: Any, state: Any, control: Any) -> None:
        self._callback.on_train_end(args, state, control)


def _drawn(step: ChainStep) -> dict[str, float]:
    values = asdict(step)
    return {name: values[name] for name in CHAIN_FIGURES if values[name] is not None}


def _of_round(step: ChainStep, round_index: int) -> dict[str, float]:
    return {f"chain/{name}/round-{round_index}": value for name, value in _drawn(step).items()}


def _writer(folder: str, purge_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        from tensorboardX import SummaryWriter  # type: ignore[no-redef]
    return SummaryWriter(log_dir=folder, purge_step=purge_step)


def _markdown(row: dict[str, Any]) -> str:
    perplexity = "unknown" if row["perplexity"] is None else f"{row['perplexity']:.3g}"
    head = (
        f"**{row['task_id']}**, round {row['round']}, step {row['step']}, sample {row['index']}: {row['status']}, "
        f"perplexity {perplexity}"
    )
    # Text that a model has written stays text in an indented block.
    parts = [head, _block(row["description"]), _block(row["code"])]
    return "\n\n".join([*parts, _block(row["message"])] if row["message"] else parts)


def _block(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
