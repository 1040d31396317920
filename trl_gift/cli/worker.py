"""One process of a run, as `trl_gift.cli.launch` starts it: `trl-gift worker train|sample` with the options of train."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from trl import ModelConfig

from trl_gift.cli.arguments import (
    TaskArguments,
    eval_tasks,
    make_trainer,
    name_datasets,
    option_names,
    parse,
    train_tasks,
)
from trl_gift.cli.following import next_commands, wording
from trl_gift.cli.logs import quieten_logs
from trl_gift.config import GiFTConfig


def run(argv: Sequence[str]) -> int:
    """Trains, or only samples."""
    stage, *rest = argv
    work(stage, rest, *parse("train", rest))
    return 0


def work(
    stage: str,
    argv: Sequence[str],
    arguments: TaskArguments,
    config: GiFTConfig,
    model: ModelConfig,
    resume: bool | str,
) -> None:
    """Trains, or only samples; saves the model once the run is finished.

    Args:
        stage: "train" or "sample".
        argv: The command line that the rest was read from, for what is printed.
        arguments: The tasks.
        config: The run's options.
        model: The model's options.
        resume: Whether or from which checkpoint to continue.
    """
    tasks, measured = train_tasks(arguments, config.verify), eval_tasks(arguments)
    trainer = make_trainer(config, model, tasks, measured, wording("train", argv, arguments), sys.stdout)
    quieten_logs(trainer)
    name_datasets(trainer, arguments)
    if stage == "sample":
        trainer.sample(resume_from_checkpoint=resume)
    else:
        trainer.train(resume_from_checkpoint=resume)
    if trainer.is_finished and not trainer.is_sharded:
        trainer.save_final_model(str(config.output_dir))
        if config.push_to_hub:
            trainer.push_to_hub()
        trainer.say(next_commands(trainer.run, str(config.output_dir)), trainer.results)
    trainer.accelerator.end_training()


def names() -> Mapping[str, str]:
    """How this command spells its options, by their names in Python."""
    return option_names()
