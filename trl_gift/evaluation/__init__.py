"""Evaluation: pass@1 and pass@k of a model on tasks, with intervals; two evaluations compared task by task.

`trl_gift.inference` measures a model by its name.

Public modules: `pass_at_k` (the estimators and their intervals), `code_metric` (the metric of the `evaluate` library),
`refining` (programs that fail the visible tests are written again).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names
from trl_gift.evaluation.attempts import Attempt, Evaluation, EvaluationSettings, attempt_tasks
from trl_gift.evaluation.comparison import Comparison, compare, paired_difference

__all__ = [
    "Attempt",
    "Comparison",
    "Evaluation",
    "EvaluationSettings",
    "attempt_tasks",
    "code_metric",
    "compare",
    "evaluate_once",
    "evaluate_rollouts",
    "evaluate_sets",
    "paired_difference",
    "pass_at_k",
    "refining",
]

if TYPE_CHECKING:
    from trl_gift.evaluation.cache import evaluate_once
    from trl_gift.evaluation.rollouts import evaluate_rollouts, evaluate_sets
else:  # these need torch
    __getattr__ = lazy_names(
        __name__, {"evaluate_once": "cache", "evaluate_rollouts": "rollouts", "evaluate_sets": "rollouts"}
    )
