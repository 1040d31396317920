"""What a user does after a run: the commands, complete, with this run's folder and tasks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trl_gift.common.spelling import spell
from trl_gift.run.folder import RunFolder
from trl_gift.run.wording import Wording, to_repeat

if TYPE_CHECKING:
    from trl_gift.cli.arguments import TaskArguments

Command = tuple[str, Sequence[str]]
"""What a command is for, in a few words, and its arguments without `trl-gift`."""


def next_commands(run: RunFolder, model: str) -> str:
    """The lines that a finished run ends with.

    Args:
        run: The run. How it was measured and one of its tasks, which is the example for `generate`, are read from it.
        model: The folder of its trained model.
    """
    kind = "adapter" if _is_adapter(model) else "model"
    commands = [("the run at a glance", ["show", str(run.root.parent)]), *uses(run, model)]
    return "\n".join([f"The {kind} is in {model}. Next:", *titled(commands)])


def uses(run: RunFolder, model: str) -> list[Command]:
    """What can be done with the trained model of a run; the arguments are those of `next_commands`."""
    output_dir, example = str(run.root.parent), run.example()
    measured = list(run.read("run.json").get("measured", ()))
    commands: list[Command] = []
    if measured:
        commands.append(("the model, measured", ["evaluate", output_dir, *measured, "--compare", "base"]))
    if example is not None:
        commands.append(("a program", ["generate", output_dir, *example_arguments(example)]))
    if _is_adapter(model):
        commands.append(("a whole model", ["merge", model, "--output", f"{output_dir}-merged"]))
    return commands


def example_arguments(example: Mapping[str, str | None]) -> list[str]:
    """The arguments of `generate` that ask for a task: its description and, if it has one, its signature."""
    signature = example["signature"]
    return [str(example["description"]), *(["--signature", signature] if signature else [])]


def titled(commands: Sequence[Command]) -> list[str]:
    """A line for each command, with what it is for before it."""
    width = max((len(title) for title, _ in commands), default=0)
    return [f"  {title:<{width}}  {shlex.join(['trl-gift', *parts])}" for title, parts in commands]


def _is_adapter(model: str) -> bool:
    return (Path(model) / "adapter_config.json").is_file()


def wording(command: str, argv: Sequence[str], arguments: TaskArguments) -> Wording:
    """How a run that was started by `trl-gift train` or `sample` speaks: with commands that work as they stand.

    Args:
        command: The name of the command.
        argv: The command line after it.
        arguments: The tasks that it names.
    """
    from trl_gift.cli.arguments import option_names  # loaded by whoever has parsed the arguments

    return Wording(
        partial(spell, names=option_names()),
        dry_run=dry_run_command(argv),
        validate=validate_command(arguments),
        command=(command, *to_repeat(argv)),
        measured=tuple(measured_flags(arguments)),
    )


def dry_run_command(argv: Sequence[str]) -> str:
    """The command that says what the run of a command line takes."""
    return shlex.join(["trl-gift", "train", *to_repeat(argv), "--dry-run"])


def validate_command(arguments: TaskArguments) -> str:
    """The command that looks closer at the training tasks."""
    name = str(arguments.dataset_name)
    options = {
        "split": None if Path(name).expanduser().is_file() else arguments.dataset_train_split,
        "name": arguments.dataset_config,
        "filter": arguments.filter,
        "limit": arguments.limit,
    }
    flags = [*_flags(options), *_reading_flags(arguments, streaming="streaming")]
    return shlex.join(["trl-gift", "validate", name, *flags])


def _reading_flags(arguments: TaskArguments, streaming: str) -> list[str]:
    """The flags that say how rows become tasks, whichever rows they are.

    Args:
        arguments: The tasks.
        streaming: The command's name of `dataset_streaming`.
    """
    mapping = arguments.column_mapping
    flags = _flags(
        {
            "column_mapping": mapping if mapping is None or isinstance(mapping, str) else json.dumps(mapping),
            "output_comparison": arguments.output_comparison,
        }
    )
    flags += [part for path in arguments.language_file or () for part in ("--language_file", path)]
    switches = {streaming: arguments.dataset_streaming, "skip_invalid": arguments.skip_invalid}
    return flags + [f"--{name}" for name, value in switches.items() if value]


def _flags(options: Mapping[str, object]) -> list[str]:
    return [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]


def measured_flags(arguments: TaskArguments) -> list[str]:
    """The flags that name a run's evaluation tasks again; empty if it has none."""
    if arguments.eval_dataset_name is None and arguments.dataset_test_split is None:
        return []
    names = arguments.eval_dataset_name or [str(arguments.dataset_name)]
    flags = ["--eval_dataset_name", *names]
    # A set may be given as name=place.
    is_file = any(Path(place).expanduser().is_file() for name in names for place in (name, name.partition("=")[2]))
    options = {
        "dataset_config": arguments.dataset_config,
        "dataset_test_split": arguments.dataset_test_split or (None if is_file else "test"),
        "eval_filter": arguments.eval_filter,
        "eval_limit": arguments.eval_limit,
    }
    return [*flags, *_flags(options), *_reading_flags(arguments, streaming="dataset_streaming")]
