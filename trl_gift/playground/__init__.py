"""The playground: a small world of programming tasks and a tiny model of it, so that everything runs offline.

`playground_tasks` gives the tasks, `model_path` the folder of the model that is shipped with the package, `named_model` what the
command line's name for it stands for, and `is_playground_model` recognises its path in a record. None of them imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names

__all__ = ["PLAYGROUND", "is_playground_model", "model_path", "named_model", "playground_tasks"]

PLAYGROUND = "playground"
"""The name of the model and of the tasks on the command line."""

if TYPE_CHECKING:
    from trl_gift.playground.tasks import playground_tasks
else:
    __getattr__ = lazy_names(__name__, {"playground_tasks": "tasks"})


def model_path() -> Path:
    """The folder of the shipped model, for `from_pretrained`."""
    return Path(__file__).parent / "model"


def named_model(name: str) -> str:
    """A model as the libraries know it: the command line's name for the shipped one stands for its folder."""
    return str(model_path()) if name == PLAYGROUND else name


def is_playground_model(name: str) -> bool:
    """Whether the path of a model that a run has recorded is that of the shipped one, in this installation or another."""
    return Path(name).parts[-3:] == model_path().parts[-3:]
