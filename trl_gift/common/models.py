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


def why_unreachable(error: BaseException) -> str:
    """Why a library could not ask the Hub, as a clause; empty if it could, or failed for another reason.

    Args:
        error: What the library has raised, perhaps because of other errors.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled  # slow, and rarely needed

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled | ConnectionError):
            offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
            return "HF_HUB_OFFLINE keeps this process off the Hub" if offline else "the Hub cannot be reached"
        cause = cause.__cause__ or cause.__context__
    return ""
