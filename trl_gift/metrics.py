"""Metrics: the unbiased pass@k with honest intervals; as functions, and as a metric of the `evaluate` library.

`PassAtK` needs `evaluate`, which is imported when the name is used; everything else does without.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_gift.evaluation.pass_at_k import bootstrap_interval, pass_at_k, wilson_interval

__all__ = ["PassAtK", "PassAtKDetails", "bootstrap_interval", "metric_path", "pass_at_k", "wilson_interval"]

if TYPE_CHECKING:
    from trl_gift.evaluation.code_metric import PassAtK, PassAtKDetails


def metric_path() -> str:
    """The folder that `evaluate.load` takes, without any network: `evaluate.load(metric_path())`."""
    return str(Path(__file__).parent / "evaluation" / "evaluate_module" / "pass_at_k")


def __getattr__(name: str) -> Any:
    if name in ("PassAtK", "PassAtKDetails"):
        return getattr(importlib.import_module("trl_gift.evaluation.code_metric"), name)
    raise AttributeError(f"module 'trl_gift.metrics' has no attribute {name!r}")
