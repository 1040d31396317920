"""Arguments that several commands share. TRL's parser makes dataclasses of them, from flags and a YAML file."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import transformers
from trl import ModelConfig, get_peft_config, get_quantization_config

from trl_gift.cli.launch import FLAGS, add_launch_arguments
from trl_gift.cli.lines import read_mapping, spelled
from trl_gift.cli.logs import CommandTrainer
from trl_gift.cli.parser import HelpAll, RunParser, read_options
from trl_gift.common.options import Stage, described, options_of
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError, UserError
from trl_gift.generation import default_dtype
from trl_gift.inference.loading import LoadedModel, load
from trl_gift.inference.sources import ModelSource, measuring_device, recorded_options
from trl_gift.playground import PLAYGROUND, named_model, playground_tasks
from trl_gift.presets import preset_names, preset_options
from trl_gift.run.folder import RunFolder
from trl_gift.run.tracking import check_trackers
from trl_gift.run.wording import ARGUMENTS, Wording
from trl_gift.tasks import Task, filter_tasks, load_tasks
from trl_gift.trainer import GiFTTrainer

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

# Read before all others are.
_READ_BEFORE = ("--config", "--preset", "--model_name_or_path")
_QUANTIZING = {"load_in_4bit", "load_in_8bit"}
_NAMED_SET = re.compile(r"(?P<name>[\w.+-]+)=(?P<place>.+)")
_MOST_USED = ("model_name_or_path", "output_dir", "use_cpu", "seed", "report_to", "push_to_hub")
# What `--help` lists; `--help-all` lists all.
_USUAL = (
    *_MOST_USED, "config", "preset", "resume", "quiet", "dry-run", "num_processes", "accelerate_config",
    "base", "save", "compare", "json",
    "dataset_name", "dataset_test_split", "eval_dataset_name", "limit", "filter", "eval_limit", "column_mapping",
    "num_rounds", "sampler", "num_steps", "max_tokens_per_round", "num_generations", "temperature", "max_completion_length",
    "num_selected", "perplexity_weight", "train_on_references", "prompt_format",
    "eval_num_generations", "eval_k", "learning_rate", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "max_length", "generation_engine", "push_samples",
    "use_peft", "lora_r", "load_in_4bit", "dtype", "model_revision", "trust_remote_code",
)  # fmt: skip
_DESCRIPTIONS = {
    "train": "Run the rounds of GiFTTrainer: sample programs, execute them, select, fine-tune, evaluate.",
    "sample": "Sample, execute and select in the first round only; `trl-gift train --resume` continues from there.",
    "evaluate": "Measure pass@1 and pass@k of a model, of an adapter on its base, or of the trained model of a run.\n"
    "MODEL_OR_RUN is a folder or a name on the Hub, the output_dir of a run, or 'playground'; it comes first and stands\n"
    "for --model_name_or_path. With only --config, the trained model in the output_dir of that run is measured. Tasks\n"
    "come from --eval_dataset_name; how a run has asked its model (prompts, lengths, limits) is its default.\n"
    "The file of a run may be given with --config; options that only training reads are ignored and not listed here.\n"
    "Exit codes: 0 measured, 1 a failure while running, 2 bad input.",
    "estimate": "Estimate the memory, time and disk space of a run.",
}
_HOW = (
    "Give options in a YAML file with `option: value` lines and on the command line. BOOL is true or false; an option\n"
    "without BOOL means true, and --no_OPTION means false. Options may be spelled with - or _. --load_in_4bit loads\n"
    "4-bit weights"
)
_HOW_TO_TRAIN = ", and --use_peft trains LoRA."

_MODEL = "--model_name_or_path Qwen/Qwen2.5-Coder-1.5B"
_EXAMPLES = {
    "train": f"{_MODEL} --use_peft --dataset_name mbpp --dataset_test_split test --output_dir out",
    "sample": f"{_MODEL} --use_peft --dataset_name mbpp --dataset_test_split test --output_dir out",
    "evaluate": "out --eval_dataset_name mbpp humaneval --eval_num_generations 4 --eval_k 1 4",
    "estimate": f"{_MODEL} --use_peft --dataset_name mbpp --dataset_test_split test --memory-gb 24",
}
# The options that only `evaluate` has.
_MEASURING = {
    "--base": "Base model of an adapter. The default is the one that the adapter names.",
    "--save": "Folder for evaluation.json and evaluation.parquet (every attempt). The default is a new folder, evaluation, in "
    "the folder of a run, and none for another model.",
    "--compare": "Earlier evaluation of the same tasks: a folder of --save, or a run's _gift/base.json or _gift/round-N; "
    "'base' and 'round-N' stand for those of the measured run.",
    "--refine_steps": "How often the model may write a program again that fails the visible tests. It sees the program and its first "
    "failure on them; all tests decide. (default: 0)",
    "--visible_tests": "Of a task without hidden tests, how many of its tests are visible to --refine_steps; 0 for all. (default: 1)",
    "--json": "Print one JSON object.",
}
_NUMBERS = {"--refine_steps": 0, "--visible_tests": 1}


# What `evaluate` reads of the options of a run.
_OF_A_MEASUREMENT = frozenset(
    (
        *(name[2:] for name in _MEASURING), "config", "preset", "quiet", "model_name_or_path", "output_dir", "seed", "samples_seed",
        "use_cpu", "disable_tqdm", "dataset_name", "dataset_config", "eval_dataset_name", "dataset_test_split",
        "dataset_streaming", "eval_filter", "eval_limit", "column_mapping", "output_comparison", "language_file",
        "skip_invalid", "max_completion_length", "train_on_thinking", "eval_num_generations", "eval_k",
        "eval_temperature", "model_init_kwargs", "model_revision", "dtype", "attn_implementation", "trust_remote_code",
        "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage",
        *(name for name, option in options_of(GiFTConfig).items() if option.stage in ("Prompts", "Engine", "Execution")),
    )
) - {"verify"}  # fmt: skip


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

    eval_dataset_name: list[str] | None = None
    """Evaluation tasks, in the same forms; several names, also in the form name=dataset, are sets that are measured one after
    the other. The option may be repeated. If not given, and dataset_test_split is, dataset_name is used; `evaluate` always
    uses it then."""

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

    output_comparison: str | None = None
    """How printed output is compared, instead of the rule of the set: lines, tokens, caseless, exact or apps, with a
    tolerance for decimal numbers as in 'lines:1e-6'."""

    language_file: list[str] | None = None
    """Your own YAML file of a programming language, or several; the docs describe it."""

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
    """As `parse`, with the options that only this command has as a fifth value.

    These are the options of launching processes of `train`, and those of `evaluate`. Of the latter, `named` is what stands
    before all options, or None; `flags` and `file` are the names of the options that the command line and the file give.
    """
    argv = [spelled(item, _READ_BEFORE) for item in argv]
    rest = [part for item in argv for part in (item.split("=", 1) if item.startswith("--config=") else [item])]
    named = rest.pop(0) if command == "evaluate" and rest and not rest[0].startswith("-") else None
    content = _config_file(rest)
    parser = _parser(command, also, lambda given: _check_named(command, named, given))
    if named is not None:
        _refuse_two_models(named, rest)
        # How a run has asked its model holds unless anything else is given.
        parser.set_defaults_with_config(**recorded_options(named))
    if command == "evaluate" and not {"-h", "--help", "--help-all"} & {*rest}:  # the help is the same on all machines
        parser.set_defaults_with_config(**measuring_device(named))
    preset = _value_of("--preset", rest) or content.get("preset")
    if preset is not None:
        parser.set_defaults_with_config(**preset_options(str(preset)))
    try:
        tasks, config, model, others = parser.parse_args_and_config(rest)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(str(error)) from error
    others.named, others.file = named, frozenset(content)
    config.disable_tqdm = config.disable_tqdm or others.quiet
    flags = (item.partition("=")[0] for item in rest if item.startswith("--"))
    others.flags = frozenset(flag[2:].replace("-", "_") for flag in flags)
    model.model_name_or_path = named or model.model_name_or_path
    return tasks, config, model, others.resume or _resume(config.resume_from_checkpoint), others


@cache
def option_names() -> Mapping[str, str]:
    """How these commands spell the options and arguments of a trainer, by their names in Python."""
    kinds = (TaskArguments, GiFTConfig, ModelConfig)
    return MappingProxyType({item.name: item.name for kind in kinds for item in fields(kind)} | {**ARGUMENTS})


def _check_named(command: str, named: str | None, given: argparse.Namespace) -> None:
    """Checks that the model and the tasks are named, before the options are judged on this machine.

    Raises:
        ConfigError: for the first that is not.
    """
    if named is None and given.model_name_or_path is None:
        raise ConfigError("model_name_or_path is missing; name a model on the Hub or a local folder.")
    if given.dataset_name is None and (command != "evaluate" or given.eval_dataset_name is None):
        if named is not None and RunFolder(named).exists:
            own = RunFolder(named).read("run.json").get("measured")
            again = (
                f"those of the run: `{shlex.join(['trl-gift', 'evaluate', named, *own])}`"
                if own
                else "the run's file with --config"
            )
            raise ConfigError(
                f"the run in {named!r} does not hold the tasks themselves; name them with --eval_dataset_name, or give {again}."
            )
        name = "eval_dataset_name" if command == "evaluate" else "dataset_name"
        raise ConfigError(f"{name} is missing; name a dataset on the Hub or a .jsonl or .parquet file.")


def _refuse_two_models(named: str, argv: Sequence[str]) -> None:
    flag = "--model_name_or_path"
    other = _value_of(flag, argv)
    if other is not None:
        raise ConfigError(f"{named!r} and {flag} {other!r} both name what to measure; leave one of them out.")


def _resume(value: str | bool | None) -> bool | str:
    """The value of `resume_from_checkpoint`: a checkpoint, or whether to continue from the latest."""
    return {"true": True, "false": False}.get(str(value).lower(), str(value)) if value is not None else False


def _parser(command: str, also: Sequence[str], check: Callable[[argparse.Namespace], None]) -> RunParser:
    stages = dict.fromkeys(
        (
            "config",
            "preset",
            "resume",
            "quiet",
            "dry-run",
            "accelerate_config",
            *FLAGS,
            *(name[2:] for name in _MEASURING),
        ),
        "start",
    ) | dict.fromkeys(_MOST_USED, "the run")
    for kind in (TaskArguments, GiFTConfig):
        stages |= {name: option.stage.lower() for name, option in options_of(kind).items()}
    for item in fields(ModelConfig):
        stages.setdefault(item.name, "model (TRL's ModelConfig)")
    positional = "[MODEL_OR_RUN] " if command == "evaluate" else ""
    parser = RunParser(
        (TaskArguments, GiFTConfig, ModelConfig),
        stages,
        also=also,
        usual=_USUAL,
        repeatable=("eval_dataset_name",),
        honoured=_OF_A_MEASUREMENT if command == "evaluate" else None,
        check=check,
        rest="training of each round (TRL's SFTConfig)",
        prog=f"trl-gift {command}",
        # `estimate` has printed its own usage by then.
        usage=argparse.SUPPRESS
        if command == "estimate"
        else f"trl-gift {command} {positional}[--config FILE.yaml] [--option value ...]",
        description=f"{_DESCRIPTIONS[command]}\n\n{_HOW}{'.' if command == 'evaluate' else _HOW_TO_TRAIN}\n\nexample:\n  trl-gift {command} {_EXAMPLES[command]}",
    )
    # As TRL's guides advise; peft alone would train only the query and value projections.
    parser.set_defaults_with_config(lora_target_modules=["all-linear"], lora_dropout=0.0)
    # TRL's default would hide whether the user has named a type.
    parser.set_defaults_with_config(dtype=None)
    parser.add_argument(
        "--help-all", action=HelpAll, help="show all options, those of TRL and transformers too, and exit"
    )
    parser.add_argument("--quiet", action="store_true", help="Draw no progress bars.")
    parser.add_argument("--config", help="YAML file of these options. Options on the command line win over it.")
    parser.add_argument(
        "--preset", help=f"Method whose options are used unless given otherwise: {', '.join(preset_names())}."
    )
    # `evaluate` reads the files of runs, which may hold it.
    resume = argparse.SUPPRESS if command == "evaluate" else "Continue the run in output_dir from where it stopped."
    parser.add_argument("--resume", action="store_true", help=resume)
    if command == "evaluate":
        for name, text in _MEASURING.items():
            if name == "--json":
                parser.add_argument(name, action="store_true", help=text)
            elif name in _NUMBERS:
                parser.add_argument(name, type=int, default=_NUMBERS[name], help=text)
            else:
                parser.add_argument(name, help=text)
    if command in ("train", "sample"):
        parser.add_argument("--json", action="store_true", help="Print one JSON object at the end.")
    if command == "train":
        parser.add_argument("--dry-run", action="store_true", help="Print what the run would need, and stop.")
        add_launch_arguments(parser)
    return parser


def train_tasks(arguments: TaskArguments, require_tests: bool = True) -> list[Task]:
    """Loads the training tasks."""
    split = arguments.dataset_train_split
    return _tasks(arguments, str(arguments.dataset_name), split, arguments.filter, arguments.limit, require_tests)


def eval_tasks(arguments: TaskArguments) -> list[Task] | dict[str, list[Task]] | None:
    """Loads the evaluation tasks: of several names, or of a set that the user has named, by name; None if there are none.

    Raises:
        ConfigError: for a filter or a limit of evaluation tasks that no option names, and as `measured_sets`.
    """
    if arguments.eval_dataset_name is None and arguments.dataset_test_split is None:
        for name, value in (("eval_filter", arguments.eval_filter), ("eval_limit", arguments.eval_limit)):
            if value is not None:
                raise ConfigError(
                    f"{name}={value!r}, but there are no evaluation tasks; give dataset_test_split or "
                    "eval_dataset_name, or leave it out."
                )
        return None
    sets, several = measured_sets(arguments)
    return sets if several else next(iter(sets.values()))


def measured_sets(arguments: TaskArguments) -> tuple[dict[str, list[Task]], bool]:
    """Loads the evaluation tasks of every name in `eval_dataset_name`, or the test split of `dataset_name`.

    Returns:
        The tasks of each set by its name, and whether the user has named the sets or given several.

    Raises:
        ConfigError: for two sets of one name, and as `eval_tasks`.
    """
    if not arguments.eval_dataset_name:
        return {_short_name(str(arguments.dataset_name)): _measured(arguments, None)}, False
    named = [_named(item) for item in arguments.eval_dataset_name]
    sets: dict[str, list[Task]] = {}
    for name, place in named:
        if (name or _short_name(place)) in sets:
            raise ConfigError(
                f"eval_dataset_name={place!r}: another set is called {name or _short_name(place)!r} too; name each one "
                f"(name={place})."
            )
        sets[name or _short_name(place)] = _measured(arguments, place)
    return sets, len(named) > 1 or named[0][0] is not None


def _named(item: str) -> tuple[str | None, str]:
    """The name of a set, if it has one, and its place; a file whose path holds an equals sign is a place."""
    found = _NAMED_SET.fullmatch(item)
    if found is None or Path(item).expanduser().exists():
        return None, item
    return found["name"], found["place"]


def _short_name(place: str) -> str:
    """`mbpp` for `org/mbpp@main`, `tasks` for `data/tasks.jsonl`."""
    path = Path(place)
    return path.stem if path.is_file() else path.name.partition("@")[0]


def _measured(arguments: TaskArguments, place: str | None) -> list[Task]:
    """Loads evaluation tasks; those of `dataset_name` if no place is given.

    Raises:
        ConfigError: for a file as `dataset_name`, which has no test split, and for a filter or a limit of training tasks
            where only `dataset_name` is given.
    """
    name, split = place or str(arguments.dataset_name), arguments.dataset_test_split
    is_file = Path(name).expanduser().is_file()
    if place is not None and RunFolder(place).exists:
        raise ConfigError(
            f"eval_dataset_name={place!r} is the folder of a run, and no dataset; what is measured comes first: "
            f"`trl-gift evaluate {place} --eval_dataset_name ...`."
        )
    if place is None and split is None:
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
        column_mapping=read_mapping(arguments.column_mapping),
        output_comparison=arguments.output_comparison,
        language_file=arguments.language_file or (),
    )


def name_datasets(trainer: GiFTTrainer, arguments: TaskArguments) -> None:
    """Gives a trainer the names of its datasets, for the cards; the playground, which is not on the Hub, is not named."""
    measured = (arguments.eval_dataset_name or [str(arguments.dataset_name)])[0]
    names = [arguments.dataset_name, _named(measured)[1]]
    publisher = trainer.publisher
    publisher.dataset_name, publisher.eval_dataset_name = (None if name == PLAYGROUND else name for name in names)


def make_trainer(
    config: GiFTConfig,
    model: ModelConfig,
    tasks: Sequence[Task],
    measured: Sequence[Task] | Mapping[str, Sequence[Task]] | None,
    wording: Wording,
    results: TextIO | None = None,
) -> GiFTTrainer:
    """Makes a trainer as TRL's scripts make theirs; `wording` and `results` are those of `CommandTrainer`."""
    check_trackers(config.report_to)
    config.model_init_kwargs = _model_init_kwargs(config, model)
    with _said_about(model):
        return CommandTrainer(
            wording,
            results,
            model=model_name(model),
            args=config,
            train_dataset=tasks,
            eval_dataset=measured,
            peft_config=get_peft_config(model),
            quantization_config=quantization_of(config, model),
        )


def load_model(
    source: ModelSource, config: GiFTConfig, model: ModelConfig, asked: Collection[str] = ()
) -> LoadedModel:
    """Loads a model, or an adapter on its base, as these options ask for, and else as in its training.

    Args:
        source: What to load.
        config: The options of the evaluation.
        model: The options of the model.
        asked: The names of the options that were given.
    """
    if source.adapter is not None:
        model = replace(model, dtype=model.dtype or source.loaded.dtype)
    options = _model_init_kwargs(config, model)
    options.pop("revision", None)  # the source has it
    quantization = quantization_of(config, model)
    if quantization is not None or _QUANTIZING & {*asked}:
        options["quantization_config"] = quantization
    with _said_about(model):
        return load(source, config, **options)


def quantization_of(config: GiFTConfig, model: ModelConfig) -> BitsAndBytesConfig | None:
    """How the weights are quantized; a 4-bit model computes in the type that other weights would be loaded in."""
    dtype = model.dtype or default_dtype(trains_weights=False, on_gpu=False if config.use_cpu else None)
    return get_quantization_config(replace(model, dtype=dtype))


def model_name(model: ModelConfig) -> str:
    """The model as the libraries know it: that of the playground is a folder."""
    return named_model(str(model.model_name_or_path))


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
    """Errors that the libraries raise while they load a model are about the model; their bars of loading are not drawn."""
    transformers.logging.disable_progress_bar()
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
