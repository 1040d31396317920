"""What a user does after a run: the commands, complete, with this run's folder and tasks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trl_gift.cli.lines import as_options
from trl_gift.cli.show import round_folders
from trl_gift.run.folder import RunFolder
from trl_gift.run.wording import Wording
from trl_gift.sampling.store import passed_tasks
from trl_gift.tasks import Task

if TYPE_CHECKING:
    from trl_gift.cli.arguments import TaskArguments


def next_commands(
    output_dir: str,
    model: str,
    tasks: Sequence[Task],
    solved: Collection[str] = (),
    is_adapter: bool = False,
    measured: Sequence[str] = (),
    on_cpu: bool = False,
) -> str:
    """The lines that a finished run ends with.

    Args:
        output_dir: The run's folder.
        model: The folder of its trained model.
        tasks: Its tasks; the description of one is the example for `generate`.
        solved: Names of the tasks that a sample of the run has solved; the example is one of these, if there are any.
        is_adapter: Whether the model is an adapter, which can be merged.
        measured: The flags that name the tasks to measure on; empty if the run measured nothing.
        on_cpu: Whether the run used the CPU by choice.
    """
    cpu = ["--use_cpu", "--bf16", "false"] if on_cpu else []
    task = min(tasks, key=lambda task: (task.task_id not in solved, _is_awkward(task), len(task.description)))
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


def _is_awkward(task: Task) -> bool:
    """Whether a shell would not show a task's description as it is, or the command would take it for an option."""
    return task.description.startswith("-") or bool(set("'\"\n") & set(task.description))


def solved_tasks(run: RunFolder) -> set[str]:
    """Names of the tasks that a sample of a run has solved, in any round."""
    return {task for folder in round_folders(run) for task in passed_tasks(folder)}


def wording(argv: Sequence[str], arguments: TaskArguments) -> Wording:
    """How a run that was started by `trl-gift train` or `sample` speaks: with commands that work as they stand.

    Args:
        argv: The command line, without the name of the command.
        arguments: The tasks that it names.
    """
    return Wording(as_options, dry_run=dry_run_command(argv), validate=validate_command(arguments))


def dry_run_command(argv: Sequence[str]) -> str:
    """The command that says what the run of a command line takes."""
    left = [item for item in argv if item not in ("--resume", "--json", "--dry-run")]
    return shlex.join(["trl-gift", "train", *left, "--dry-run"])


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
