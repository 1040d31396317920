"""What users give as a model: an object in memory, a name on the Hub or a folder."""

from __future__ import annotations

import os
from typing import Any

from trl_gift.errors import ConfigError


def as_model(model: Any, processing_class: Any = None) -> Any:
    """A model as the libraries take it, where a folder is a text.

    Args:
        model: What the user gave as a model.
        processing_class: What the user gave as its tokenizer.

    Raises:
        ConfigError: if `model` is not a model, or is a model in memory whose tokenizer cannot be found.
    """
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    if not hasattr(model, "config"):
        raise ConfigError(f"model is a {type(model).__name__}; give a model, a name on the Hub or a folder.")
    if processing_class is None and not model.config.name_or_path:
        raise ConfigError(
            "processing_class is missing, and the model does not say where it was loaded from; give its tokenizer as "
            "processing_class."
        )
    return model
