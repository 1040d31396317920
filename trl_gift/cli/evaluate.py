"""`trl-gift evaluate`: pass@1 and pass@k of a model; prints one JSON object."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence

from trl_gift.cli.arguments import evaluate_model, measured_tasks, parse


def run(argv: Sequence[str]) -> int:
    """Evaluates on the tasks of `eval_dataset_name`, or on the test split of `dataset_name`."""
    arguments, config, model, _ = parse("evaluate", argv)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        result = evaluate_model(config, model, measured_tasks(arguments))
    metrics = {f"eval_{name}": value for name, value in result.metrics().items()}
    print(json.dumps({**metrics, "convention": result.convention}, indent=2))
    return 0
