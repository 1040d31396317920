"""`trl-gift evaluate`: pass@1 and pass@k of a model; prints one JSON object."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence

from trl_gift.cli.arguments import eval_tasks, evaluate_model, parse, train_tasks


def run(argv: Sequence[str]) -> int:
    """Evaluates on the tasks of `eval_dataset_name` or `dataset_test_split`, or on those of `dataset_name`."""
    arguments, config, model, _ = parse("evaluate", argv)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        tasks = eval_tasks(arguments) or train_tasks(arguments)
        result = evaluate_model(config, model, tasks)
    metrics = {f"eval_{name}": value for name, value in result.metrics().items()}
    print(json.dumps({**metrics, "convention": result.convention}, indent=2))
    return 0
