"""Evaluation: pass@1 and pass@k of a model on tasks, with intervals; two evaluations compared task by task.

Public modules: `pass_at_k` (the estimators and their intervals), `code_metric` (the metric of the `evaluate` library).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names
from trl_gift.evaluation.attempts import Attempt, Evaluation, EvaluationSettings, attempt_tasks, paired_difference

__all__ = [
    "Attempt",
    "Evaluation",
    "EvaluationSettings",
    "attempt_tasks",
    "code_metric",
    "evaluate",
    "evaluate_once",
    "evaluate_rollouts",
    "paired_difference",
    "pass_at_k",
]

if TYPE_CHECKING:
    from trl_gift.evaluation.cache import evaluate_once
    from trl_gift.evaluation.rollouts import evaluate, evaluate_rollouts
else:  # these need torch
    __getattr__ = lazy_names(
        __name__, {"evaluate": "rollouts", "evaluate_once": "cache", "evaluate_rollouts": "rollouts"}
    )
