"""Presets: the methods that are special cases of one pipeline, as YAML files that set options of `GiFTConfig` only.

Each file begins with its command and its source. Options that a preset does not set keep their defaults; options that
the user gives (by name or in a config file) win over the preset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from trl_gift.errors import ConfigError

_FOLDER = Path(__file__).parent

__all__ = ["preset_names", "preset_options"]


def preset_names() -> tuple[str, ...]:
    """The names of all presets, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def preset_options(name: str) -> dict[str, Any]:
    """The options that a preset sets.

    Raises:
        ConfigError: for an unknown preset, naming the known ones.
    """
    if name not in preset_names():
        raise ConfigError(f"preset {name!r} is unknown; use one of {', '.join(map(repr, preset_names()))}.")
    options: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return options
