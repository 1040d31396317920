"""Continuing a run: from which checkpoint, and whether what continues it fits what is there.

Options that change samples must keep their values (`RunFolder.check_continuable`). The number of rounds may only grow: with
fewer rounds than are trained, the trainer would have no round whose weights it could load. Options of the training may
change between rounds, as in any trainer. The trainer prints a line for each, and never trains a measured round again with
other options.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from trl_gift.common.words import plural
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.run.folder import RunFolder
from trl_gift.run.next_step import NextStep
from trl_gift.training.rounds import RoundCheckpoint, last_checkpoint, read_checkpoint


def asked_to_resume(value: str | os.PathLike[str] | bool | None) -> bool | Path:
    """What `resume_from_checkpoint` asks for: nothing, the latest checkpoint, or one by its path.

    Raises:
        ConfigError: for another value.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise ConfigError(
        f"resume_from_checkpoint={value!r} is not a path; give True for the latest checkpoint, or the path of one."
    )


def refuse_other_checkpoints(run: RunFolder) -> None:
    """Checks that a run which begins would not lie beside checkpoints of another run.

    Raises:
        ResumeError: if it would.
    """
    found = last_checkpoint(run.root.parent)
    if found is not None:
        raise ResumeError(
            f"{run.root.parent} holds {found.path.name} of another run; remove the checkpoint-* folders, or give another "
            "output_dir."
        )


def find_checkpoint(
    run: RunFolder, resume: bool | Path, num_rounds: int, description: Mapping[str, Any], may_change: Collection[str]
) -> tuple[RoundCheckpoint | None, list[str]]:
    """Compares a run with what is to continue it, and finds the checkpoint to continue from.

    Args:
        run: The run's folder.
        resume: True for the latest checkpoint, or the path of one.
        num_rounds: Number of rounds from now on.
        description: What is to continue the run, by `describe_run`.
        may_change: Names of the options that may have other values.

    Returns:
        The checkpoint, None if the run has none; and the changed options of the training, each in words.

    Raises:
        ResumeError: if the run cannot be continued.
    """
    run.check_continuable(description, may_change)
    latest = last_checkpoint(run.root.parent, run.key)
    trained = max(run.num_measured_rounds, latest.mark.round if latest else 0)
    if num_rounds < trained:
        raise ResumeError(
            f"num_rounds={num_rounds}, but the run in {run.root.parent} has trained {plural(trained, 'round')}; num_rounds may only "
            f"grow: give {trained} or more."
        )
    checkpoint = _named_checkpoint(run, resume) if isinstance(resume, Path) else latest
    changed = run.changed_training(description)
    first = checkpoint.mark.round + checkpoint.mark.is_end if checkpoint else 1
    again = [index for index in range(first, run.num_measured_rounds + 1) if _is_trained(run, index)]
    if changed and again:
        raise ResumeError(
            f"cannot continue the run in {run.root.parent}: {changed[0]}, but round {again[0]} is measured and would be "
            "trained again; put it back, or give another output_dir."
        )
    return checkpoint, changed


def check_weights(run: RunFolder, checkpoint: RoundCheckpoint | None, step: NextStep) -> None:
    """Checks that a process which runs one round can begin with the weights of the last trained round.

    Args:
        run: The run's folder.
        checkpoint: The checkpoint that the process takes its weights from.
        step: What comes next.

    Raises:
        ResumeError: if the checkpoint is not of the end of that round.
    """
    if checkpoint and checkpoint.mark.round == step.round:
        return
    trained = [index for index in range(1, step.round) if _is_trained(run, index)]
    if trained and not (checkpoint and checkpoint.is_end_of(trained[-1])):
        holder = f"{checkpoint.path} does not hold" if checkpoint else f"no checkpoint in {run.root.parent} holds"
        raise ResumeError(
            f"{holder} the weights of round {trained[-1]}, the last that is trained; resume with "
            "one_round_per_process=False, which trains the rounds again from their recorded samples."
        )


def holds_last_weights(run: RunFolder, checkpoint: RoundCheckpoint | None) -> bool:
    """Whether a checkpoint holds the weights that a finished run has ended its last round with."""
    trained = [index for index in range(1, run.num_measured_rounds + 1) if _is_trained(run, index)]
    return checkpoint is not None and bool(trained) and checkpoint.is_end_of(trained[-1])


def _is_trained(run: RunFolder, round_index: int) -> bool:
    """Whether a measured round had anything to train on."""
    return not run.has(f"round-{round_index}/untrained.json")


def _named_checkpoint(run: RunFolder, path: Path) -> RoundCheckpoint:
    output_dir = run.root.parent
    found = read_checkpoint(path, run.key) if path.resolve().parent == output_dir.resolve() else None
    if found is None:
        raise ResumeError(
            f"'{path}' is not a complete checkpoint of the run in {output_dir}; use resume_from_checkpoint=True for the "
            "latest one."
        )
    return found
