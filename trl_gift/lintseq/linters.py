"""Linters: what decides whether a state of a program is clean.

- `fast` (default): Python's own compiler for syntax, and pyflakes for names that are undefined or used before they are assigned.
  It runs in this process.
- `pylint`: what the paper's authors used: errors and fatal messages, bad indentation and a missing call of `super().__init__`.
  It needs the extra `pylint`.

Anything else with the two members of `Linter` works too.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import Protocol

from pyflakes import messages
from pyflakes.checker import Checker

from trl_gift.errors import ConfigError

NAMES = ("fast", "pylint")
_UNDEFINED = (messages.UndefinedName, messages.UndefinedLocal, messages.UndefinedExport)
_ON_LINE = re.compile(r"\bon line (\d+)")
_OF_THE_PAPER = "E,F,bad-indentation,super-init-not-called"


class Linter(Protocol):
    """What a linter must offer."""

    @property
    def only_names(self) -> bool:
        """Whether all errors are those of syntax and of pyflakes' names; most verdicts are then known without asking."""

    def errors(self, code: str) -> tuple[int, ...]:
        """The lines that errors point to, from 1 and as Python counts lines; empty for a clean program.

        A line beyond the program stands for its last line.
        """


class FastLinter:
    """Syntax by the compiler, names by pyflakes."""

    only_names = True

    def errors(self, code: str) -> tuple[int, ...]:
        """As `Linter.errors`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(code)
                found = tuple(item.lineno for item in Checker(tree).messages if isinstance(item, _UNDEFINED))
                if not found:
                    # Some errors of syntax, such as `return` outside a function, are not the parser's.
                    compile(code, "<program>", "exec", dont_inherit=True)
            except SyntaxError as error:
                return (_line_of(error),)
        return found


class PylintLinter:
    """pylint with the messages that the paper counts."""

    only_names = False

    def __init__(self) -> None:
        if importlib.util.find_spec("pylint") is None:
            raise ConfigError(
                "linter='pylint': pylint is not installed; `pip install 'trl-gift[pylint]'`, or use linter='fast'."
            )
        self._folder = tempfile.TemporaryDirectory(prefix="lintseq-")
        self._count = 0

    def errors(self, code: str) -> tuple[int, ...]:
        """As `Linter.errors`."""
        # Imported late: it takes most of a second.
        from astroid import MANAGER
        from pylint.lint import Run
        from pylint.reporters import CollectingReporter

        self._count += 1
        path = Path(self._folder.name) / f"state_{os.getpid()}_{self._count}.py"
        path.write_text(code, encoding="utf-8", newline="")
        reporter = CollectingReporter()
        # A user's own configuration must not decide what is clean.
        options = [
            f"--rcfile={os.devnull}",
            "--persistent=n",
            "--disable=all",
            f"--enable={_OF_THE_PAPER}",
            "--score=n",
        ]
        try:
            Run([*options, str(path)], reporter=reporter, exit=False)
        finally:
            path.unlink()
            MANAGER.astroid_cache.pop(path.stem, None)
        lines = []
        for message in reporter.messages:
            named = _ON_LINE.search(message.msg) if message.symbol == "syntax-error" else None
            lines.append(int(named[1]) if named else message.line)
        return tuple(lines)


def linter_of(linter: str | Linter) -> Linter:
    """The linter of a name; a linter of the caller's own as it is.

    Raises:
        ConfigError: for an unknown name, or if pylint is not installed.
    """
    if not isinstance(linter, str):
        return linter
    if linter == "fast":
        return FastLinter()
    if linter == "pylint":
        return PylintLinter()
    raise ConfigError(f"linter={linter!r} is not known; use one of {', '.join(NAMES)}, or an object with `errors`.")


def _line_of(error: SyntaxError) -> int:
    """The line to delete: that which the message names, such as the `if` whose block is missing."""
    named = _ON_LINE.search(error.msg)
    return int(named[1]) if named else error.lineno or 1
