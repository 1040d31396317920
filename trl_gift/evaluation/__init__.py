"""Evaluation: pass@1 and pass@k of a model on tasks, with intervals; two evaluations compared task by task."""

from trl_gift.evaluation.attempts import Attempt, Evaluation, EvaluationSettings, evaluate, paired_difference

__all__ = ["Attempt", "Evaluation", "EvaluationSettings", "evaluate", "paired_difference"]
