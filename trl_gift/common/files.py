"""Files that are written whole or not at all: to a temporary name first, renamed when complete.

A process that is killed in between leaves the old file, or none, and a temporary one that the next attempt replaces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends without an exception.

    Args:
        path: The file to be; its folder must exist.
    """
    target = Path(path)
    temporary = target.with_name(target.name + ".tmp")
    yield temporary
    os.replace(temporary, target)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON object, indented, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
