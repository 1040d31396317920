"""How a run speaks to its user: as Python does, or as the command that has started it.

The lines of a run name options and what to do next. A command has its own spelling of the options, perhaps only some of
them, and can print commands that work as they stand. `run.json` records what is needed to speak in the same way later
(`trl-gift show`, the report).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trl_gift.common.spelling import spell

# Arguments of the trainer, which a command has as names of datasets, and of its `train`.
ARGUMENTS: Mapping[str, str] = MappingProxyType(
    {
        "eval_dataset": "eval_dataset_name",
        "train_dataset": "dataset_name",
        "peft_config": "use_peft",
        "resume_from_checkpoint": "resume_from_checkpoint",
    }
)
QUICKSTART: Mapping[str, str] = MappingProxyType(
    {
        "output_dir": "output-dir", "num_rounds": "rounds", "num_steps": "steps", "sampler": "sampler",
        "perplexity_weight": "perplexity-weight", "num_selected": "num-selected", "learning_rate": "learning-rate",
        "num_train_epochs": "epochs", "engine_batch_size": "batch-size", "seed": "seed",
        "resume_from_checkpoint": "resume",
    }
)  # fmt: skip
"""The quickstart's name of each option of `GiFTConfig` that it offers."""

_NOT_AGAIN = ("--resume", "--json", "--dry-run")


@dataclass(frozen=True, slots=True)
class Wording:
    """How a run speaks to its user.

    Attributes:
        phrase: Puts options in a line as the user gives them: `num_steps=5`, or `--steps 5`.
        offered: Names of the options that the user can give; None for all of `GiFTConfig`.
        dry_run: The command that says what the run takes; None if there is none.
        validate: The command that looks closer at the training tasks; None if there is none.
        command: The command line that has begun the run, without `trl-gift`; None for a script.
        measured: The flags of `trl-gift evaluate` that name the run's evaluation tasks; empty if they are not known.
    """

    phrase: Callable[[str], str] = str
    offered: Collection[str] | None = None
    dry_run: str | None = None
    validate: str | None = None
    command: tuple[str, ...] | None = None
    measured: tuple[str, ...] = ()

    def offers(self, option: str) -> bool:
        """Whether the user can give an option, by its name in `GiFTConfig`."""
        return self.offered is None or option in self.offered

    def to_record(self) -> dict[str, Any]:
        """What `run.json` records of it."""
        return {"command": None if self.command is None else list(self.command), "measured": list(self.measured)}


AS_PYTHON = Wording()
"""How a run speaks to a user of the trainer."""


def names_secret(item: str) -> bool:
    """Whether an argument of a command line is the flag of a token of the Hub, with its value or before it."""
    name = item.partition("=")[0]
    return name.startswith("--") and name.endswith(("_token", "-token")) and "eos" not in name and "pad" not in name


def to_repeat(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line as a run records it: without what holds for one call only, and without tokens of the Hub."""
    kept: list[str] = []
    is_secret = False
    for item in argv:
        if is_secret:
            is_secret = False
        elif names_secret(item):
            is_secret = "=" not in item
        elif item not in _NOT_AGAIN:
            kept.append(item)
    return tuple(kept)


def recorded_wording(recorded: Mapping[str, Any]) -> Wording:
    """How a run has spoken that is on disk.

    Args:
        recorded: Content of `run.json`. One without a record of the command is taken for a run of `trl-gift train`.
    """
    command = recorded.get("command", ["train"])
    measured = tuple(recorded.get("measured", ()))
    if command is None:
        return Wording(measured=measured)
    is_quickstart = command[:1] == ["quickstart"]
    own = {name: name for part in ("options", "training") for name in recorded.get(part, {})} | {**ARGUMENTS}
    names = QUICKSTART if is_quickstart else own
    offered = QUICKSTART if is_quickstart else None
    return Wording(partial(spell, names=names), offered, command=tuple(command), measured=measured)


def how_to_resume(recorded: Mapping[str, Any], output_dir: Path) -> str:
    """How a run that is on disk is continued, as a clause without a full stop.

    Args:
        recorded: Content of `run.json`.
        output_dir: Its folder.
    """
    command = recorded.get("command", ...)
    if command is ...:
        return f"the command that has begun it, with --resume and --output_dir {shlex.quote(str(output_dir))}, continues it"
    if command is None:
        return "trainer.train(resume_from_checkpoint=True) in its script continues it"
    name, *argv = command
    flag = "--output-dir" if name == "quickstart" else "--output_dir"
    given = any(item.partition("=")[0].replace("_", "-") == "--output-dir" for item in argv)
    # `sample` ends after the first half of a round; `train` goes on from there.
    line = ["trl-gift", "train" if name == "sample" else name, *argv]
    line += [] if given or "--config" in argv else [flag, str(output_dir)]
    return f"`{shlex.join([*line, '--resume'])}` continues it"
