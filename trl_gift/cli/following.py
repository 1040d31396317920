"""What a user does after a run: the commands, complete, with this run's folder and tasks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trl_gift.tasks import Task

if TYPE_CHECKING:
    from trl_gift.cli.arguments import TaskArguments


def next_commands(
    output_dir: str,
    model: str,
    tasks: Sequence[Task],
    is_adapter: bool = False,
    measured: Sequence[str] = (),
    on_cpu: bool = False,
) -> str:
    """The lines that a finished run ends with.

    Args:
        output_dir: The run's folder.
        model: The folder of its trained model.
        tasks: Its tasks; the description of one is the example for `generate`.
        is_adapter: Whether the model is an adapter, which can be merged.
        measured: The flags that name the tasks to measure on; empty if the run measured nothing.
        on_cpu: Whether the run used the CPU by choice.
    """
    cpu = ["--use_cpu", "--bf16", "false"] if on_cpu else []
    # One that a shell shows as it is, if there is one.
    task = min(tasks, key=lambda task: (bool(set("'\"\n") & set(task.description)), len(task.description)))
    signature = ["--signature", task.signature] if task.signature else []
    commands = [
        ("every sample", ["show", output_dir]),
        ("the model, measured", ["evaluate", output_dir, *measured, "--compare", "base", *cpu] if measured else []),
        ("a program", ["generate", output_dir, task.description, *signature]),
        ("a whole model", ["merge", model, "--output", f"{output_dir.rstrip('/')}-merged"] if is_adapter else []),
    ]
    width = max(len(title) for title, parts in commands if parts)
    lines = [f"  {title:<{width}}  {shlex.join(['trl-gift', *parts])}" for title, parts in commands if parts]
    return "\n".join([f"The {'adapter' if is_adapter else 'model'} is in {model}. Next:", *lines])


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
    mapping = arguments.column_mapping
    if mapping is not None:
        options["column_mapping"] = mapping if isinstance(mapping, str) else json.dumps(mapping)
    flags += [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    switches = {"dataset_streaming": arguments.dataset_streaming, "skip_invalid": arguments.skip_invalid}
    return flags + [f"--{name}" for name, value in switches.items() if value]
