"""What a saved adapter says of itself: its settings, its base model, its tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from peft import PeftConfig
from transformers import AutoTokenizer

from trl_gift.errors import ConfigError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def check_adapter_folder(adapter: str) -> None:
    """Looks at a folder before the Hub is asked for a repository of that name.

    Raises:
        ConfigError: for a path that cannot be an adapter.
    """
    folder = Path(adapter)
    if folder.is_file():
        raise ConfigError(f"{adapter!r} is a file; give the folder that holds adapter_config.json.")
    if not folder.is_dir():
        if _HUB_NAME.fullmatch(adapter) is None:
            raise ConfigError(f"{adapter!r} does not exist; check the path, or give a name on the Hub (owner/name).")
        return
    if (folder / "adapter_config.json").is_file():
        return
    if (folder / "config.json").is_file():
        raise ConfigError(
            f"{adapter!r} holds a whole model, which needs no merge; use it as it is, or give an adapter."
        )
    raise ConfigError(
        f"{adapter!r} holds no adapter_config.json; give a folder with one, such as a checkpoint, or the folder that the "
        "trainer's save_model wrote with peft_config."
    )


def is_adapter(name: str, revision: str | None = None) -> bool:
    """Whether a folder or a name on the Hub is an adapter; what is neither is none.

    Args:
        name: A folder, or a name on the Hub.
        revision: Of a repository on the Hub.
    """
    if Path(name).exists():
        return (Path(name) / "adapter_config.json").is_file()
    if _HUB_NAME.fullmatch(name) is None:
        return False
    try:
        hf_hub_download(name, "adapter_config.json", revision=revision)
    except (OSError, HFValidationError):  # absent, private, or out of reach: loading it as a model says which
        return False
    return True


def read_adapter(adapter: str, revision: str | None = None) -> Any:
    """The `PeftConfig` of an adapter.

    Args:
        adapter: A folder, or a name on the Hub.
        revision: Of the adapter on the Hub.

    Raises:
        ConfigError: if there is none that can be read.
    """
    try:
        return PeftConfig.from_pretrained(adapter, revision=revision)
    except (OSError, ValueError, TypeError) as error:
        what = "is not an adapter" if Path(adapter).is_dir() else "is neither a folder here nor an adapter on the Hub"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"{adapter!r} {what} ({reason}); give a folder with adapter_config.json, such as one that the trainer's "
            "save_model wrote with peft_config."
        ) from error


def adapter_tokenizer(adapter: str, base: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The tokenizer that the adapter was saved with, or the base's.

    Args:
        adapter: A folder, or a name on the Hub.
        base: The base model.
        revision: Of the base.
        trust_remote_code: Whether code of the base's repository may run.
    """
    if (Path(adapter) / "tokenizer_config.json").exists():
        return AutoTokenizer.from_pretrained(adapter)
    return AutoTokenizer.from_pretrained(base, revision=revision, trust_remote_code=trust_remote_code)
