"""Evaluation: pass@1 and pass@k of a model on tasks, with intervals; two evaluations compared task by task.

Public modules: `pass_at_k` (the estimators and their intervals), `code_metric` (the metric of the `evaluate` library).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trl_gift.evaluation.attempts import Attempt, Evaluation, EvaluationSettings, attempt_tasks, paired_difference

__all__ = [
    "Attempt",
    "Evaluation",
    "EvaluationSettings",
    "attempt_tasks",
    "code_metric",
    "evaluate",
    "evaluate_rollouts",
    "paired_difference",
    "pass_at_k",
]

if TYPE_CHECKING:
    from trl_gift.evaluation.rollouts import evaluate, evaluate_rollouts


def __getattr__(name: str) -> Any:
    if name in ("evaluate", "evaluate_rollouts"):  # these need torch
        return getattr(importlib.import_module("trl_gift.evaluation.rollouts"), name)
    raise AttributeError(f"module 'trl_gift.evaluation' has no attribute {name!r}")
