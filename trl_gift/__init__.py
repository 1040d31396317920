"""trl_gift: self-training of code models on their own verified code, as a TRL extension.

The names below are loaded on first use, so that `import trl_gift` stays instant and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_LAZY = {
    "GiFTConfig": "trl_gift.config",
    "GiFTTrainer": "trl_gift.trainer",
    "Task": "trl_gift.tasks",
    "evaluate": "trl_gift.inference",
    "load_run": "trl_gift.report",
    "load_tasks": "trl_gift.tasks",
}

__all__ = ["GiFTConfig", "GiFTTrainer", "Task", "__version__", "evaluate", "load_run", "load_tasks"]

if TYPE_CHECKING:
    from trl_gift.config import GiFTConfig
    from trl_gift.inference import evaluate
    from trl_gift.report import load_run
    from trl_gift.tasks import Task, load_tasks
    from trl_gift.trainer import GiFTTrainer


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'trl_gift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
