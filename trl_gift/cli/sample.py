"""`trl-gift sample`: samples, executes and selects the programs of the first round, without training.

It leaves the folder of a run that stopped before its first training; `trl-gift train --resume` continues it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence

from trl_gift.cli.arguments import eval_tasks, make_trainer, option_names, parse, train_tasks
from trl_gift.cli.following import wording


def run(argv: Sequence[str]) -> int:
    """Samples; with `--resume`, continues."""
    arguments, config, model, resume = parse("sample", [item for item in argv if item != "--json"])
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        tasks, measured = train_tasks(arguments, config.verify), eval_tasks(arguments)
        trainer = make_trainer(config, model, tasks, measured, wording("sample", argv, arguments))
        path = trainer.sample(resume_from_checkpoint=bool(resume))
        trainer.accelerator.end_training()
    print(json.dumps({"output_dir": str(config.output_dir), "folder": str(path)}) if "--json" in argv else path)
    return 0


def names() -> Mapping[str, str]:
    """How this command spells its options, by their names in Python."""
    return option_names()
