"""Programs with summaries, which a model sees before it describes a program.

The authors of GiFT show another task's program with a summary that a model wrote, not with the task's own description: a
description of a dataset teaches the reader to write docstrings of that dataset, doctests included. A dozen pairs of our
own come with the package, in `examples.jsonl`.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from trl_gift.common.words import json_reason
from trl_gift.errors import ConfigError
from trl_gift.prompts.protocol import Example


def load_examples(path: str | Path | None = None) -> tuple[Example, ...]:
    """The examples of a JSON Lines file, each line with `code` and `description`; those of the package if none is given.

    Args:
        path: The file.

    Raises:
        ConfigError: if the file cannot be read, or a line is not an example.
    """
    name = f"description_examples={str(path)!r}"
    try:
        source = Path(path).read_text(encoding="utf-8-sig") if path else _own()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} cannot be read ({error}); give a JSON Lines file.") from error
    return tuple(
        _example(line, f"{name}, line {number}") for number, line in enumerate(source.split("\n"), 1) if line.strip()
    )


def _own() -> str:
    return files("trl_gift.prompts").joinpath("examples.jsonl").read_text(encoding="utf-8")


def _example(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} is not JSON ({json_reason(error)}).") from error
    match row:
        case {"code": str(code), "description": str(description)} if code.strip() and description.strip():
            return Example(code, description)
    raise ConfigError(f"{where}: {line[:80]!r} must hold the texts 'code' and 'description'.")
