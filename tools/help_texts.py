"""Writes `trl_gift/cli/help/COMMAND.txt`: the help of the commands that take seconds to import what they need.

    python -m tools.help_texts

`tests/cli/test_help.py` fails when a text differs from what the command would print.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os

from trl_gift.cli.main import HELP_TEXTS

SLOW = ("train", "sample", "evaluate", "estimate", "merge")
COLUMNS = 100


def live_help(command: str) -> str:
    """What a command prints for `--help`, in lines of at most `COLUMNS` characters."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(COLUMNS)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            importlib.import_module(f"trl_gift.cli.{command}").run(["--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return printed.getvalue()


def main() -> None:
    """Writes the texts."""
    HELP_TEXTS.mkdir(exist_ok=True)
    for command in SLOW:
        (HELP_TEXTS / f"{command}.txt").write_text(live_help(command), encoding="utf-8")


if __name__ == "__main__":
    main()
