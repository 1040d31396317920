"""`trl-gift quickstart`: the whole method on the embedded model and tasks, offline, on a CPU.

The tasks carry no reference solutions, so the model learns from its own verified programs alone. The held-out tasks have
other intentions than the tasks to learn from and than those of the pretraining.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from trl_gift.cli.following import next_commands
from trl_gift.cli.lines import LineParser, check_at_least
from trl_gift.common.spelling import spell
from trl_gift.common.words import plural
from trl_gift.errors import ConfigError
from trl_gift.playground import PLAYGROUND, model_path, playground_tasks
from trl_gift.run.wording import QUICKSTART, Wording, to_repeat

DEFAULT_OUTPUT = "quickstart-out"
BATCH_SIZE = 32  # of all processes together, so that a launcher of several changes nothing but the time


def run(argv: Sequence[str]) -> int:
    """Runs the quickstart."""
    options = _parser().parse_args(argv)
    check_at_least(1, {"--tasks": options.tasks, "--heldout": options.heldout, "--threads": options.threads})
    # Standard output is for the result; bars, lines and the output of libraries go to standard error.
    results = sys.stderr if options.json else sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        summary = _quickstart(options, results, ("quickstart", *to_repeat(argv)))
    if os.environ.get("RANK", "0") != "0":
        return 0  # the first of several processes speaks for all
    print(summary.pop("following"), f"{summary['seconds']:.0f} s", sep="\n\n", file=results)
    if options.json:
        print(json.dumps(summary))
    return 0


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings() | {**QUICKSTART}


def _quickstart(options: argparse.Namespace, results: TextIO, command: tuple[str, ...]) -> dict[str, Any]:
    started = time.monotonic()
    _quieten()
    import torch

    from trl_gift.cli.logs import CommandTrainer, quieten_logs
    from trl_gift.config import GiFTConfig
    from trl_gift.sandbox import LocalSandbox

    torch.set_num_threads(options.threads)
    output_dir = options.output_dir or (_latest_folder() if options.resume else _fresh_folder())
    measured = (
        "--eval_dataset_name",
        PLAYGROUND,
        "--dataset_test_split",
        "test",
        "--eval_limit",
        str(options.heldout),
    )
    config = GiFTConfig(
        output_dir=output_dir,
        num_rounds=options.rounds,
        sampler=options.sampler,
        hint="failing_test",
        num_steps=options.steps,
        num_generations=3,
        max_completion_length=64,
        max_description_length=64,
        num_description_examples=0,
        train_on_references=False,
        perplexity_weight=options.perplexity_weight,
        num_selected=options.num_selected,
        learning_rate=options.learning_rate,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=max(1, BATCH_SIZE // int(os.environ.get("WORLD_SIZE", "1"))),
        warmup_steps=10,
        weight_decay=0.05,
        max_length=256,
        execution_cpu_s=2.0,
        engine_batch_size=options.batch_size,
        seed=options.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=options.quiet,
    )
    with LocalSandbox(1, config.limits(), config.isolation, in_process=False) as sandbox:
        print(
            f"trl_gift quickstart: {plural(options.tasks, 'task')} without solutions, {plural(options.heldout, 'held-out task')}"
        )
        print(_place(options, output_dir), flush=True)
        phrase = partial(spell, names=QUICKSTART)
        trainer = CommandTrainer(
            Wording(phrase, frozenset(QUICKSTART), command=command, measured=measured),
            results,
            model=str(model_path()),
            args=config,
            train_dataset=playground_tasks("train", options.tasks),
            eval_dataset=playground_tasks("test", options.heldout),
            sandbox=sandbox,
        )
        # The table at the end says what the logs would; the bars stay.
        quieten_logs(trainer, losses=False)
        result = trainer.train(resume_from_checkpoint=options.resume)
        trainer.save_final_model(str(Path(output_dir) / "model"))
        following = next_commands(trainer.run, str(Path(output_dir) / "model"))
        isolation = sandbox.isolation
    seconds = round(time.monotonic() - started, 1)
    return _summary(trainer.run.read("base.json"), result.rounds) | {
        "seconds": seconds, "output_dir": output_dir, "isolation": isolation, "following": following
    }  # fmt: skip


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift quickstart",
        description="Watch the embedded model improve on its own verified programs: offline, on a CPU, in minutes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output-dir", help="where to put the run; by default a new folder, quickstart-out")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output-dir")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    parser.add_argument("--quiet", action="store_true", help="draw no progress bars")
    parser.add_argument("--rounds", type=int, default=2, help="self-training rounds")
    parser.add_argument("--steps", type=int, default=5, help="steps of each chain in a round")
    parser.add_argument("--tasks", type=int, default=200, help="tasks to learn from")
    parser.add_argument("--heldout", type=int, default=400, help="held-out tasks to measure on")
    parser.add_argument(
        "--sampler",
        default="gibbs",
        choices=("gibbs", "conditional", "rewrite", "hinted"),
        help="how programs are sampled",
    )
    parser.add_argument(
        "--perplexity-weight", type=float, default=2.0, help="preference for rare programs; 0 for none"
    )
    parser.add_argument("--num-selected", type=int, default=8, help="samples drawn for each solved task")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of the full fine-tuning")
    parser.add_argument("--epochs", type=float, default=2, help="of each round's fine-tuning")
    parser.add_argument("--batch-size", type=int, help="completions generated at once; the engine's choice by default")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; more are often slower on a busy CPU")
    parser.add_argument("--seed", type=int, default=42, help="of everything random")
    return parser


def _quieten() -> None:
    """Leaves only this command's own bars and lines; a first look needs no library's housekeeping."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _latest_folder() -> str:
    """The folder of the latest quickstart here, which `--resume` continues.

    Raises:
        ConfigError: if there is none.
    """
    found = [path for path in Path().glob(f"{DEFAULT_OUTPUT}*") if (path / "_gift/run.json").is_file()]
    if not found:
        raise ConfigError("--resume: there is no quickstart in this folder; leave --resume out, or give --output-dir.")
    return str(max(found, key=lambda path: (path / "_gift/run.json").stat().st_mtime))


def _place(options: argparse.Namespace, output_dir: str) -> str:
    """Where the run goes, in one line, and why there if the user has not said it."""
    if options.resume:
        return f"the run in {output_dir} is continued{'' if options.output_dir else ', the latest here'}"
    taken = options.output_dir is None and output_dir != DEFAULT_OUTPUT
    return f"the run goes into {output_dir}{f', because {DEFAULT_OUTPUT} exists already' if taken else ''}"


def _fresh_folder() -> str:
    """A folder that holds no run yet, so that a second quickstart does not touch the first."""
    number, name = 1, DEFAULT_OUTPUT
    while Path(name).exists():
        number += 1
        name = f"{DEFAULT_OUTPUT}-{number}"
    return name


def _summary(base: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("round", "solved_tasks", "tasks", "samples", "passed", "distinct_programs", "selected", "tokens")
    return {
        "base": _pass_at_1(base["metrics"]),
        "rounds": [
            {name: item[name] for name in names} | _pass_at_1(item["metrics"]) | {"gain": item["gain"]}
            for item in rounds
        ],
    }


def _pass_at_1(metrics: Mapping[str, float]) -> dict[str, Any]:
    return {"pass@1": metrics["pass@1"], "pass@1_ci": [metrics["pass@1_low"], metrics["pass@1_high"]]}
