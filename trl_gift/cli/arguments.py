"""Arguments that several commands share, parsed by TRL's own parser: dataclasses from flags and a YAML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trl import ModelConfig, get_peft_config, get_quantization_config

from trl_gift.cli.launch import FLAGS, add_launch_arguments
from trl_gift.cli.parser import RunParser, read_options
from trl_gift.config import GiFTConfig, option_stages
from trl_gift.errors import ConfigError, UserError
from trl_gift.playground import model_path, playground_tasks
from trl_gift.presets import preset_names, preset_options
from trl_gift.run.tracking import check_trackers
from trl_gift.tasks import Task, filter_tasks, load_tasks
from trl_gift.trainer import GiFTTrainer

PLAYGROUND = "playground"
_MOST_USED = ("model_name_or_path", "output_dir", "use_cpu", "seed", "report_to", "push_to_hub")
_DESCRIPTIONS = {
    "train": "Sample codes, execute them, select, fine-tune, evaluate: the rounds of GiFTTrainer.",
    "sample": "Sample, execute and select the codes of the first round; `trl-gift train --resume` goes on from there.",
    "evaluate": "Measure pass@1 and pass@k of a model.",
    "estimate": "What a run would take.",
}
_HOW = (
    "Options come from a YAML file with `option: value` lines and from the command line. BOOL is true or false, and\n"
    "true if left out; --no_OPTION turns off what is on by default. LoRA is --use_peft, 4-bit is --load_in_4bit."
)

_EXAMPLE = (
    "example:\n  trl-gift {command} --model_name_or_path Qwen/Qwen2.5-Coder-1.5B --use_peft --dataset_name mbpp "
    "--dataset_test_split test --output_dir out"
)


@dataclass
class TaskArguments:
    """Which tasks to learn from and to measure on."""

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "Seed tasks: a dataset on the Hub (name or name@revision), a .jsonl, .json, .parquet or .csv file, or "
            "'playground'."
        },
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the Hub dataset."})
    dataset_train_split: str = field(default="train", metadata={"help": "Split of the seed tasks."})
    eval_dataset_name: str | None = field(
        default=None,
        metadata={"help": "Tasks to measure on, in the same forms; the seed dataset if a split is given."},
    )
    dataset_test_split: str | None = field(
        default=None, metadata={"help": "Split of the tasks to measure on; none are measured if this is not given "
                                "and eval_dataset_name neither."},
    )  # fmt: skip
    dataset_streaming: bool = field(
        default=False, metadata={"help": "Read Hub datasets row by row; with a limit, no further than needed."}
    )
    filter: str | None = field(
        default=None,
        metadata={
            "help": "Which seed tasks to use, such as 'difficulty == \"easy\" and len(tests) >= 3'; see the docs."
        },
    )
    eval_filter: str | None = field(default=None, metadata={"help": "The same for the tasks to measure on."})
    limit: int | None = field(default=None, metadata={"help": "Use at most this many seed tasks."})
    eval_limit: int | None = field(default=None, metadata={"help": "Measure on at most this many tasks."})
    skip_invalid: bool = field(
        default=False,
        metadata={"help": "Leave out rows that are no valid task, and say how many, instead of stopping."},
    )


def parse(
    command: str, argv: Sequence[str], also: Sequence[str] = ()
) -> tuple[TaskArguments, GiFTConfig, ModelConfig, bool | str]:
    """The arguments of a command, from flags, `--config FILE.yaml` and `--preset NAME`; the last is `--resume`.

    Flags win over the file, and the file over the preset, which the file may name as well.

    Args:
        command: Its name.
        argv: The flags.
        also: Names of options that the command reads itself, for suggestions.

    Raises:
        ConfigError: for what cannot be parsed or cannot work.
    """
    return parse_with_launch(command, argv, also)[:4]


def parse_with_launch(
    command: str, argv: Sequence[str], also: Sequence[str] = ()
) -> tuple[TaskArguments, GiFTConfig, ModelConfig, bool | str, argparse.Namespace]:
    """As `parse`; the last are the options of launching processes, which `train` alone has."""
    rest = [part for item in argv for part in (item.split("=", 1) if item.startswith("--config=") else [item])]
    resume = "--resume" in rest
    if resume:
        rest.remove("--resume")
    content = _config_file(rest)
    parser = _parser(command, also)
    preset = _value_of("--preset", rest) or content.get("preset")
    if preset is not None:
        parser.set_defaults_with_config(**preset_options(str(preset)))
    try:
        tasks, config, model, others = parser.parse_args_and_config(rest)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(str(error)) from error
    if model.model_name_or_path is None:
        raise ConfigError("model_name_or_path is missing; name a model on the Hub or a local folder.")
    if tasks.dataset_name is None:
        raise ConfigError("dataset_name is missing; name a dataset on the Hub or a .jsonl or .parquet file.")
    return tasks, config, model, resume or _resume(config.resume_from_checkpoint), others


def _resume(value: str | bool | None) -> bool | str:
    """TRL's own option: a checkpoint, or whether to go on from the latest."""
    return {"true": True, "false": False}.get(str(value).lower(), str(value)) if value is not None else False


def _parser(command: str, also: Sequence[str]) -> RunParser:
    stages = dict.fromkeys(
        ("config", "preset", "resume", "dry-run", "accelerate_config", *FLAGS), "start"
    ) | dict.fromkeys(_MOST_USED, "the run")
    stages |= dict.fromkeys((item.name for item in fields(TaskArguments)), "tasks")
    stages |= {name: stage.lower() for name, stage in option_stages().items()}
    for item in fields(ModelConfig):
        stages.setdefault(item.name, "model (TRL's ModelConfig)")
    parser = RunParser(
        (TaskArguments, GiFTConfig, ModelConfig),
        stages,
        also=also,
        rest="training of each round (TRL's SFTConfig)",
        prog=f"trl-gift {command}",
        usage=f"trl-gift {command} [--config FILE.yaml] [--option value ...]",
        description=f"{_DESCRIPTIONS[command]}\n\n{_HOW}\n\n{_EXAMPLE.format(command=command)}",
    )
    parser.add_argument("--config", help="YAML file of these options; those of the command line come on top.")
    parser.add_argument(
        "--preset", help=f"Options of a method, for all that is not given: {', '.join(preset_names())}."
    )
    parser.add_argument("--resume", action="store_true", help="Continue the run in output_dir from where it stopped.")
    if command == "train":
        parser.add_argument("--dry-run", action="store_true", help="Say what the run would take, and stop.")
        add_launch_arguments(parser)
    return parser


def seed_tasks(arguments: TaskArguments, require_tests: bool = True) -> list[Task]:
    """The tasks to learn from."""
    split = arguments.dataset_train_split
    return _tasks(
        arguments, str(arguments.dataset_name), split, "train", arguments.filter, arguments.limit, require_tests
    )


def eval_tasks(arguments: TaskArguments) -> list[Task] | None:
    """The tasks to measure on, or None."""
    if arguments.eval_dataset_name is None and arguments.dataset_test_split is None:
        return None
    name = str(arguments.eval_dataset_name or arguments.dataset_name)
    split = arguments.dataset_test_split or "test"
    return _tasks(arguments, name, split, "test", arguments.eval_filter, arguments.eval_limit)


def _tasks(
    arguments: TaskArguments,
    name: str,
    split: str,
    playground_split: str,
    filter: str | None,
    limit: int | None,
    require_tests: bool = True,
) -> list[Task]:
    if name == PLAYGROUND:
        if filter is None:
            return playground_tasks(playground_split, limit)
        return filter_tasks(playground_tasks(playground_split), filter, limit)
    return load_tasks(
        name,
        split,
        arguments.dataset_config,
        limit,
        filter,
        streaming=arguments.dataset_streaming,
        skip_invalid=arguments.skip_invalid,
        require_tests=require_tests,
    )


def name_datasets(trainer: GiFTTrainer, arguments: TaskArguments) -> None:
    """Tells a trainer what its tasks are called, for the cards; what is not on the Hub is not named there."""
    names = [arguments.dataset_name, arguments.eval_dataset_name or arguments.dataset_name]
    trainer.dataset_name, trainer.eval_dataset_name = (None if name == PLAYGROUND else name for name in names)


def make_trainer(
    config: GiFTConfig, model: ModelConfig, seeds: Sequence[Task], measured: Sequence[Task] | None
) -> GiFTTrainer:
    """A trainer as TRL's scripts make theirs."""
    check_trackers(config.report_to)
    keywords: dict[str, Any] = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    given = {name: value for name, value in keywords.items() if value is not None}
    config.model_init_kwargs = {**given, **(config.model_init_kwargs or {})}
    name = model.model_name_or_path
    if name == PLAYGROUND:
        name = str(model_path())
    try:
        return GiFTTrainer(
            model=name,
            args=config,
            train_dataset=seeds,
            eval_dataset=measured,
            peft_config=get_peft_config(model),
            quantization_config=get_quantization_config(model),
        )
    except UserError:
        raise
    except (ValueError, OSError, ImportError) as error:
        # What the libraries complain of while they build a trainer is about what they were given.
        raise ConfigError(f"model_name_or_path={model.model_name_or_path!r}: {error}") from error


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
    """What `--flag value` or `--flag=value` gives; the last one counts, as for argparse."""
    found = None
    for place, item in enumerate(argv):
        if item.startswith(f"{flag}="):
            found = item.partition("=")[2]
        elif item == flag and place + 1 < len(argv):
            found = argv[place + 1]
    return found


def _config_file(argv: Sequence[str]) -> dict[str, Any]:
    """The content of the YAML file; names a missing or broken one before the parser trips over it."""
    if "--config" not in argv:
        return {}
    place = argv.index("--config") + 1
    if place >= len(argv):
        raise ConfigError("--config needs a file; give the path of a YAML file.")
    return read_options("--config", Path(argv[place]))
