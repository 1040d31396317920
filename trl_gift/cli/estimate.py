"""`trl-gift estimate`: tokens, programs, hours, memory and disk of a run, before it starts.

The command takes the options of `trl-gift train`. It loads the weights only for the calibration run, and only if they fit.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, GenerationConfig
from trl import get_peft_config, get_quantization_config

from trl_gift.cli.arguments import (
    TaskArguments,
    eval_tasks,
    make_trainer,
    model_name,
    option_names,
    parse,
    train_tasks,
)
from trl_gift.cli.lines import LineParser, check_at_least
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.estimate import (
    DEFAULT_SECONDS,
    DEFAULT_TASKS,
    GIB,
    Calibration,
    Device,
    Forecast,
    RunEstimate,
    RunParts,
    calibrate,
    calibration_config,
    estimate_run,
    estimate_text,
    forecast_text,
    given_device,
    run_forecast,
    this_device,
)
from trl_gift.generation import default_dtype, positions_of
from trl_gift.run.trained import model_to_train
from trl_gift.run.wording import AS_PYTHON
from trl_gift.tasks.decontamination import clean
from trl_gift.training.checks import load_config, load_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import ModelConfig


def run(argv: Sequence[str]) -> int:
    """Prints the estimate.

    Raises:
        ConfigError: after the estimate, if the run does not fit.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(list(argv))
    if options.help or options.help_all:
        parser.print_help()
        if not options.help_all:
            return 0
        print("\noptions of the run, as for `trl-gift train`:\n")
        parse("estimate", ["--help-all"])
    if options.memory_gb is not None and options.memory_gb <= 0:
        raise ConfigError(f"--memory-gb {options.memory_gb:g}: must be above zero; give the card's memory in GiB.")
    check_at_least(2, {"--pilot": options.pilot})
    check_at_least(
        1, {"--calibration-tasks": options.calibration_tasks, "--calibration-seconds": options.calibration_seconds}
    )
    calibration_tasks = 0 if options.no_calibration else options.calibration_tasks
    if options.memory_gb is not None and not torch.accelerator.is_available():
        # The user asks about a card of another machine: here the options are only read, and nothing can be measured.
        if options.pilot is not None:
            raise ConfigError(
                f"--pilot {options.pilot} runs the model, and this machine has no GPU; leave --memory-gb out and give --use_cpu true."
            )
        rest += ["--use_cpu", "true"]
        calibration_tasks = 0
    arguments, config, model, _ = parse("estimate", rest, parser.names)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        estimate = estimate_from_arguments(
            arguments,
            config,
            model,
            device=given_device(options.memory_gb) if options.memory_gb else None,
            calibration_tasks=calibration_tasks,
            calibration_seconds=options.calibration_seconds,
        )
        forecast = None
        if options.pilot is not None and not estimate.fits:
            _say("pilot: left out, because the run does not fit; a model that does not fit is not loaded.")
        elif options.pilot is not None:
            forecast = forecast_from_arguments(arguments, config, model, options.pilot)
    if options.json:
        found = {} if forecast is None else {"forecast": forecast.to_record()}
        print(json.dumps({**estimate.to_dict(), **found}))
    else:
        print("\n\n".join([estimate_text(estimate), *([] if forecast is None else [forecast_text(forecast)])]))
    refuse_too_large(estimate)
    return 0


def forecast_from_arguments(
    arguments: TaskArguments, config: GiFTConfig, model: ModelConfig, num_tasks: int
) -> Forecast:
    """The forecast for the run that `trl-gift train` would start with these arguments.

    Args:
        arguments: The tasks.
        config: The run's options; not changed.
        model: The model.
        num_tasks: Tasks of the pilot.
    """
    parts = parts_from_arguments(arguments, config, model, on_gpu=False if config.use_cpu else None)
    _say(f"pilot: loading the weights of {parts.name}")
    with tempfile.TemporaryDirectory(prefix="trl-gift-pilot-") as folder:
        trainer = make_trainer(calibration_config(parts.config, Path(folder)), model, parts.tasks, None, AS_PYTHON)
        return run_forecast(trainer, num_tasks, _say)


def refuse_too_large(estimate: RunEstimate) -> None:
    """Raises one line that says what would help.

    Raises:
        ConfigError: if the run does not fit its device.
    """
    if estimate.fits:
        return
    peak = max(estimate.sampling_memory.peak, estimate.training_memory.peak)
    helps = bool(estimate.changes) and estimate.changes[-1].fits
    cure = ", ".join(change.options for change in estimate.changes) if helps else "a smaller model, or a larger device"
    raise ConfigError(
        f"{estimate.model} does not fit: the run needs {peak / GIB:.1f} GiB and {estimate.device.name} has "
        f"{estimate.device.usable / GIB:.1f} GiB for it; use {cure}."
    )


def estimate_from_arguments(
    arguments: TaskArguments,
    config: GiFTConfig,
    model: ModelConfig,
    device: Device | None = None,
    calibration_tasks: int = DEFAULT_TASKS,
    calibration_seconds: float = DEFAULT_SECONDS,
) -> RunEstimate:
    """The estimate of the run that `trl-gift train` would start with these arguments.

    Args:
        arguments: The tasks.
        config: The run's options; not changed.
        model: The model.
        device: The device that it has to fit on; that of this machine if not given.
        calibration_tasks: Tasks of the calibration run; 0 for none.
        calibration_seconds: Seconds of the calibration run, about, after the weights are loaded.
    """
    # A card of a size that the user names is taken for one with bfloat16.
    parts = parts_from_arguments(
        arguments, config, model, on_gpu=True if device else False if config.use_cpu else None
    )
    asked = device or this_device(config.use_cpu)
    estimate = estimate_run(parts, asked)
    here = estimate if device is None else estimate_run(parts)
    if not calibration_tasks or not here.fits:
        return estimate
    return estimate_run(parts, asked, _calibration(parts, model, calibration_tasks, calibration_seconds))


def parts_from_arguments(
    arguments: TaskArguments, config: GiFTConfig, model: ModelConfig, on_gpu: bool | None = None
) -> RunParts:
    """Collects what an estimate is made from, without the weights.

    Args:
        arguments: The tasks.
        config: The run's options.
        model: The model.
        on_gpu: Whether it is loaded for a GPU with bfloat16; if not given, this machine is asked.

    Raises:
        ConfigError: for a model whose config or tokenizer cannot be read.
    """
    options = config.model_init_kwargs or {}
    name = model_to_train(model_name(model))
    trust = bool(options.get("trust_remote_code", config.trust_remote_code))
    model_config = load_config(name, model.model_revision, trust)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=model.model_revision, trust_remote_code=trust)
    except (OSError, ValueError) as error:
        raise ConfigError(f"model_name_or_path={name!r}: its tokenizer cannot be read ({error}).") from error
    if config.eos_token is not None:
        tokenizer.eos_token = config.eos_token
    if config.chat_template_path is not None and Path(config.chat_template_path).is_file():
        tokenizer.chat_template = Path(config.chat_template_path).read_text(encoding="utf-8")
    given = eval_tasks(arguments) or []
    measured = [task for those in given.values() for task in those] if isinstance(given, dict) else given
    config = copy.copy(config)  # the run would lower this, too
    config.choose_completion_length(positions_of(model_config))
    peft_config = get_peft_config(model)
    unnamed = default_dtype(trains_weights=peft_config is None, on_gpu=on_gpu)
    return RunParts(
        config=config,
        model_config=model_config,
        tokenizer=tokenizer,
        tasks=clean(train_tasks(arguments, config.verify), measured, config.cleaning_settings()).kept,
        eval_tasks=measured,
        dtype=load_dtype(model_config, options.get("dtype", model.dtype or unnamed)),
        peft_config=peft_config,
        quantization=get_quantization_config(replace(model, dtype=model.dtype or unnamed)),
        name=str(model.model_name_or_path),
        end_ids=_end_ids(name, model.model_revision, tokenizer),
    )


def _end_ids(name: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a completion, as `trl_gift.generation.generate.end_ids` gives them for the loaded model."""
    try:
        configured = GenerationConfig.from_pretrained(name, revision=revision).eos_token_id
    except OSError:  # many models have none
        configured = None
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*several, tokenizer.eos_token_id) if token is not None)


def _calibration(parts: RunParts, model: ModelConfig, num_tasks: int, seconds: float) -> Calibration:
    _say(f"calibration: loading the weights of {parts.name}")
    with tempfile.TemporaryDirectory(prefix="trl-gift-estimate-") as folder:
        config = calibration_config(parts.config, Path(folder))
        return calibrate(make_trainer(config, model, parts.tasks, None, AS_PYTHON), num_tasks, seconds, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return {**_parser().spellings(), **option_names()}


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift estimate",
        usage="trl-gift estimate --config run.yaml [--json] [--pilot N] [--memory-gb N] [--no-calibration] [options of train]",
        description="Tokens, programs, hours, memory and disk of a run, before it starts. The options of the run are those of\n"
        "`trl-gift train`, which `trl-gift train --help` describes.",
        epilog="example:\n  trl-gift estimate --model_name_or_path Qwen/Qwen2.5-Coder-1.5B --use_peft --dataset_name mbpp "
        "--dataset_test_split test --memory-gb 24",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help and exit")
    parser.add_argument("--help-all", action="store_true", help="show this and all options of the run, and exit")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--pilot", type=int, metavar="N", help="will it help? about 50 programs for each of N tasks, and a sentence"
    )
    parser.add_argument("--memory-gb", type=float, metavar="N", help="ask about a card of N GiB instead of this one")
    parser.add_argument(
        "--no-calibration", action="store_true", help="load no weights; assume lengths and give no hours"
    )
    parser.add_argument(
        "--calibration-tasks",
        type=int,
        default=DEFAULT_TASKS,
        metavar="N",
        help=f"tasks of the calibration run (default: {DEFAULT_TASKS})",
    )
    parser.add_argument(
        "--calibration-seconds",
        type=float,
        default=DEFAULT_SECONDS,
        metavar="S",
        help=f"seconds of the calibration run, about, after the weights are loaded (default: {DEFAULT_SECONDS:.0f})",
    )
    return parser
