"""`trl-gift train`: a run of `GiFTTrainer` from flags or a YAML file, in as many processes as asked for.

With `--dry-run` it says what the run would take and stops. With `--json` standard output holds one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence

from trl_gift.cli.arguments import option_names, parse_with_launch
from trl_gift.cli.launch import is_launched, launch_from, run_processes
from trl_gift.cli.lines import spelled
from trl_gift.cli.worker import work
from trl_gift.run.folder import RunFolder
from trl_gift.run.summary import run_record


def run(argv: Sequence[str]) -> int:
    """Trains; with `--resume`, continues; with `--dry-run`, only estimates."""
    argv = [spelled(item, ("--dry-run", "--json", "--resume")) for item in argv]
    rest = [item for item in argv if item not in ("--dry-run", "--json")]
    arguments, config, model, resume, options = parse_with_launch("train", rest)
    as_json = "--json" in argv
    if "--dry-run" in argv:
        from trl_gift.cli.estimate import estimate_from_arguments, refuse_too_large
        from trl_gift.estimate import estimate_text

        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
            estimate = estimate_from_arguments(arguments, config, model)
        print(json.dumps(estimate.to_dict()) if as_json else estimate_text(estimate))
        refuse_too_large(estimate)
        return 0
    launch = launch_from(options)
    if launch.uses_accelerate or (config.one_round_per_process and not is_launched()):
        code = run_processes(launch, config, resume, [item for item in rest if item != "--resume"], quiet=as_json)
    else:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            work("train", rest, arguments, config, model, resume)
        code = 0
    if as_json and code == 0 and os.environ.get("RANK", "0") == "0":
        print(json.dumps(run_record(RunFolder(config.output_dir))))
    return code


def names() -> Mapping[str, str]:
    """How this command spells its options, by their names in Python."""
    return option_names()
