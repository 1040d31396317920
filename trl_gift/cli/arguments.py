"""Arguments that several commands share. TRL's parser makes dataclasses of them, from flags and a YAML file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from trl import ModelConfig, get_peft_config, get_quantization_config

from trl_gift.cli.launch import FLAGS, add_launch_arguments
from trl_gift.cli.parser import RunParser, read_options
from trl_gift.common.options import Stage, described, options_of
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError, UserError
from trl_gift.evaluation import Evaluation, evaluate
from trl_gift.generation import default_dtype
from trl_gift.playground import model_path, playground_tasks
from trl_gift.presets import preset_names, preset_options
from trl_gift.run.tracking import check_trackers
from trl_gift.tasks import Task, filter_tasks, load_tasks
from trl_gift.trainer import GiFTTrainer
from trl_gift.training.checks import check_model, check_quantization

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

PLAYGROUND = "playground"
_MOST_USED = ("model_name_or_path", "output_dir", "use_cpu", "seed", "report_to", "push_to_hub")
_DESCRIPTIONS = {
    "train": "Run the rounds of GiFTTrainer: sample programs, execute them, select, fine-tune, evaluate.",
    "sample": "Sample, execute and select in the first round only; `trl-gift train --resume` continues from there.",
    "evaluate": "Measure pass@1 and pass@k of a model.",
    "estimate": "Estimate the memory, time and disk space of a run.",
}
_HOW = (
    "Give options in a YAML file with `option: value` lines and on the command line. BOOL is true or false; an option\n"
    "without BOOL means true, and --no_OPTION means false. --use_peft trains LoRA, --load_in_4bit loads 4-bit weights."
)

_EXAMPLES = {
    "train": "--use_peft --dataset_name mbpp --dataset_test_split test --output_dir out",
    "sample": "--use_peft --dataset_name mbpp --dataset_test_split test --output_dir out",
    "evaluate": "--eval_dataset_name mbpp --eval_num_generations 4 --eval_k 1 4",
    "estimate": "--use_peft --dataset_name mbpp --dataset_test_split test --memory-gb 24",
}


@described
@dataclass
class TaskArguments:
    """Which tasks to train on and which to evaluate on."""

    dataset_name: Annotated[str | None, Stage("Tasks")] = None
    """Training tasks: a dataset on the Hub (name or name@revision), a .jsonl, .json, .parquet or .csv file, or
    'playground'."""

    dataset_config: str | None = None
    """Configuration of the Hub dataset."""

    dataset_train_split: str = "train"
    """Split of the training tasks. A file has only the split 'train'."""

    eval_dataset_name: str | None = None
    """Evaluation tasks, in the same forms. If not given, and dataset_test_split is, dataset_name is used; `evaluate`
    always uses it then."""

    dataset_test_split: str | None = None
    """Split of the evaluation tasks: 'test' if only eval_dataset_name is given, all tasks if that is a file. If neither is
    given, the run does not evaluate."""

    dataset_streaming: bool = False
    """Read Hub datasets row by row. With a limit, no more rows are read than needed."""

    filter: str | None = None
    """Condition on training tasks, such as 'difficulty == "easy" and len(tests) >= 3'; the docs describe it. Tasks
    that do not meet it are left out."""

    eval_filter: str | None = None
    """Condition on evaluation tasks, in the same form."""

    limit: int | None = None
    """Maximum number of training tasks."""

    eval_limit: int | None = None
    """Maximum number of evaluation tasks."""

    column_mapping: dict[str, Any] | str | None = None
    """Your names of columns as a JSON object, each with the name that it is read under, such as
    '{"question": "description"}'."""

    skip_invalid: bool = False
    """Leave out rows that are not valid tasks, and print how many, instead of stopping."""


def parse(
    command: str, argv: Sequence[str], also: Sequence[str] = ()
) -> tuple[TaskArguments, GiFTConfig, ModelConfig, bool | str]:
    """Parses the arguments of a command: flags, `--config FILE.yaml`, `--preset NAME` and `--resume`.

    Flags win over the file, and the file wins over the preset, which the file may name, too.

    Args:
        command: Its name.
        argv: The flags.
        also: Names of options that the command reads itself, for suggestions.

    Returns:
        The tasks, the run's options, the model's options, and whether or from which checkpoint to resume.

    Raises:
        ConfigError: for arguments that cannot be parsed or cannot work.
    """
    return parse_with_launch(command, argv, also)[:4]


def parse_with_launch(
    command: str, argv: Sequence[str], also: Sequence[str] = ()
) -> tuple[TaskArguments, GiFTConfig, ModelConfig, bool | str, argparse.Namespace]:
    """As `parse`, with the options of launching processes, which only `train` has, as a fifth value."""
    rest = [part for item in argv for part in (item.split("=", 1) if item.startswith("--config=") else [item])]
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
    if tasks.dataset_name is None and (command != "evaluate" or tasks.eval_dataset_name is None):
        name = "eval_dataset_name" if command == "evaluate" else "dataset_name"
        raise ConfigError(f"{name} is missing; name a dataset on the Hub or a .jsonl or .parquet file.")
    return tasks, config, model, others.resume or _resume(config.resume_from_checkpoint), others


def _resume(value: str | bool | None) -> bool | str:
    """The value of `resume_from_checkpoint`: a checkpoint, or whether to continue from the latest."""
    return {"true": True, "false": False}.get(str(value).lower(), str(value)) if value is not None else False


def _parser(command: str, also: Sequence[str]) -> RunParser:
    stages = dict.fromkeys(
        ("config", "preset", "resume", "dry-run", "accelerate_config", *FLAGS), "start"
    ) | dict.fromkeys(_MOST_USED, "the run")
    for kind in (TaskArguments, GiFTConfig):
        stages |= {name: option.stage.lower() for name, option in options_of(kind).items()}
    for item in fields(ModelConfig):
        stages.setdefault(item.name, "model (TRL's ModelConfig)")
    parser = RunParser(
        (TaskArguments, GiFTConfig, ModelConfig),
        stages,
        also=also,
        rest="training of each round (TRL's SFTConfig)",
        prog=f"trl-gift {command}",
        # `estimate` has printed its own usage by then.
        usage=argparse.SUPPRESS
        if command == "estimate"
        else f"trl-gift {command} [--config FILE.yaml] [--option value ...]",
        description=f"{_DESCRIPTIONS[command]}\n\n{_HOW}\n\nexample:\n  trl-gift {command} "
        f"--model_name_or_path Qwen/Qwen2.5-Coder-1.5B {_EXAMPLES[command]}",
    )
    # As TRL's guides advise; peft alone would train only the query and value projections.
    parser.set_defaults_with_config(lora_target_modules=["all-linear"], lora_dropout=0.0)
    # TRL's default would hide whether the user has named a type.
    parser.set_defaults_with_config(dtype=None)
    parser.add_argument("--config", help="YAML file of these options. Options on the command line win over it.")
    parser.add_argument(
        "--preset", help=f"Method whose options are used unless given otherwise: {', '.join(preset_names())}."
    )
    parser.add_argument("--resume", action="store_true", help="Continue the run in output_dir from where it stopped.")
    if command == "train":
        parser.add_argument("--dry-run", action="store_true", help="Print what the run would need, and stop.")
        add_launch_arguments(parser)
    return parser


def train_tasks(arguments: TaskArguments, require_tests: bool = True) -> list[Task]:
    """Loads the training tasks."""
    split = arguments.dataset_train_split
    return _tasks(arguments, str(arguments.dataset_name), split, arguments.filter, arguments.limit, require_tests)


def eval_tasks(arguments: TaskArguments) -> list[Task] | None:
    """Loads the evaluation tasks; None if there are none.

    Raises:
        ConfigError: for a filter or a limit of evaluation tasks that no option names.
    """
    if arguments.eval_dataset_name is None and arguments.dataset_test_split is None:
        for name, value in (("eval_filter", arguments.eval_filter), ("eval_limit", arguments.eval_limit)):
            if value is not None:
                raise ConfigError(
                    f"{name}={value!r}, but there are no evaluation tasks; give dataset_test_split or "
                    "eval_dataset_name, or leave it out."
                )
        return None
    return measured_tasks(arguments)


def measured_tasks(arguments: TaskArguments) -> list[Task]:
    """Loads the evaluation tasks; if no option names them, they are the test split of `dataset_name`.

    Raises:
        ConfigError: for a file as `dataset_name`, which has no test split, and for a filter or a limit of training tasks
            where only `dataset_name` is given.
    """
    name, split = arguments.eval_dataset_name or str(arguments.dataset_name), arguments.dataset_test_split
    is_file = Path(name).expanduser().is_file()
    if arguments.eval_dataset_name is None and split is None:
        if is_file:
            raise ConfigError(
                f"dataset_name={name!r} is a file and has no test split; to measure on its tasks, give it as "
                "eval_dataset_name."
            )
        for option in ("filter", "limit"):
            value = getattr(arguments, option)
            if value is not None and getattr(arguments, f"eval_{option}") is None:
                raise ConfigError(f"{option}={value!r} is for training tasks; use eval_{option}.")
    if split is None and not is_file:
        split = "test"
    return _tasks(arguments, name, split, arguments.eval_filter, arguments.eval_limit)


def _tasks(
    arguments: TaskArguments,
    name: str,
    split: str | None,
    filter: str | None,
    limit: int | None,
    require_tests: bool = True,
) -> list[Task]:
    if name == PLAYGROUND:
        if filter is None:
            return playground_tasks(str(split), limit)
        return filter_tasks(playground_tasks(str(split)), filter, limit)
    return load_tasks(
        name,
        split,
        arguments.dataset_config,
        limit,
        filter,
        streaming=arguments.dataset_streaming,
        skip_invalid=arguments.skip_invalid,
        require_tests=require_tests,
        column_mapping=_mapping(arguments.column_mapping),
    )


def _mapping(value: dict[str, Any] | str | None) -> dict[str, str] | None:
    """The value of `column_mapping`, from a YAML file or a JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f'column_mapping={value!r} is not JSON ({error}); write it as \'{{"yours": "description"}}\'.'
            ) from error
    if value is not None and (
        not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values())
    ):
        raise ConfigError(f"column_mapping={value!r} does not map names to names; write {{'yours': 'description'}}.")
    return value


def name_datasets(trainer: GiFTTrainer, arguments: TaskArguments) -> None:
    """Gives a trainer the names of its datasets, for the cards; the playground, which is not on the Hub, is not named."""
    names = [arguments.dataset_name, arguments.eval_dataset_name or arguments.dataset_name]
    publisher = trainer.publisher
    publisher.dataset_name, publisher.eval_dataset_name = (None if name == PLAYGROUND else name for name in names)


def make_trainer(
    config: GiFTConfig, model: ModelConfig, tasks: Sequence[Task], measured: Sequence[Task] | None
) -> GiFTTrainer:
    """Makes a trainer as TRL's scripts make theirs."""
    check_trackers(config.report_to)
    config.model_init_kwargs = _model_init_kwargs(config, model)
    with _said_about(model):
        return GiFTTrainer(
            model=_model_name(model),
            args=config,
            train_dataset=tasks,
            eval_dataset=measured,
            peft_config=get_peft_config(model),
            quantization_config=quantization_of(config, model),
        )


def evaluate_model(config: GiFTConfig, model: ModelConfig, tasks: Sequence[Task]) -> Evaluation:
    """Evaluates a model as these options load it."""
    name = _model_name(model)
    options = _model_init_kwargs(config, model)
    quantization = quantization_of(config, model)
    check_model(name, options, config.trust_remote_code)
    if quantization is not None:
        check_quantization(quantization)
        options["quantization_config"] = quantization
    if config.trust_remote_code:
        options["trust_remote_code"] = True
    with _said_about(model):
        return evaluate(name, tasks, config, **options)


def quantization_of(config: GiFTConfig, model: ModelConfig) -> BitsAndBytesConfig | None:
    """How the weights are quantized; a 4-bit model computes in the type that other weights would be loaded in."""
    dtype = model.dtype or default_dtype(trains_weights=False, on_gpu=False if config.use_cpu else None)
    return get_quantization_config(replace(model, dtype=dtype))


def _model_name(model: ModelConfig) -> str:
    return str(model_path() if model.model_name_or_path == PLAYGROUND else model.model_name_or_path)


def _model_init_kwargs(config: GiFTConfig, model: ModelConfig) -> dict[str, Any]:
    keywords: dict[str, Any] = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    given = {name: value for name, value in keywords.items() if value is not None}
    return {**given, **(config.model_init_kwargs or {})}


@contextmanager
def _said_about(model: ModelConfig) -> Iterator[None]:
    """Errors that the libraries raise while they load a model are about the model that they were given."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, OSError, ImportError) as error:
        raise ConfigError(f"model_name_or_path={model.model_name_or_path!r}: {error}") from error


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
    """The value of `--flag value` or `--flag=value`; the last one counts, as for argparse."""
    found = None
    for place, item in enumerate(argv):
        if item.startswith(f"{flag}="):
            found = item.partition("=")[2]
        elif item == flag and place + 1 < len(argv):
            found = argv[place + 1]
    return found


def _config_file(argv: Sequence[str]) -> dict[str, Any]:
    """The content of the YAML file; a missing or broken file raises an error that names it."""
    if "--config" not in argv:
        return {}
    place = argv.index("--config") + 1
    if place >= len(argv):
        raise ConfigError("--config needs a file; give the path of a YAML file.")
    return read_options("--config", Path(argv[place]))
