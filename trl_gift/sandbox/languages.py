"""The languages of `StdioTests`: a table of compile and run commands.

Python needs no command: its programs are compiled once and forked per input. Programs in a compiled language are compiled
in a confined process that may start compilers and write to a scratch folder. All run in a process that may execute only
the result. `{source}` and `{program}` stand for the files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from typing import Any

from trl_gift.sandbox.outcome import SandboxError


class ToolchainMissing(SandboxError):
    """The compiler or interpreter of a language is not installed here."""


@dataclass(frozen=True)
class Naming:
    """What people and models call a language.

    Attributes:
        title: Its name in a sentence.
        tags: What code fences call it, in lower case; the first is the one to write.
        comment: What begins a comment line.
    """

    title: str
    tags: tuple[str, ...]
    comment: str


_NAMING = {
    "python": Naming("Python", ("python", "py", "pypy"), "#"),
    "c": Naming("C", ("c",), "//"),
    "cpp": Naming("C++", ("cpp", "c++", "cc", "cxx"), "//"),
    "javascript": Naming("JavaScript", ("javascript", "js", "node", "nodejs", "node.js"), "//"),
}


def naming(language: str) -> Naming:
    """What a language is called; one that is not known here is called by its own name."""
    return _NAMING.get(language) or Naming(language, (language.lower(),), "#")


@dataclass(frozen=True)
class Language:
    """How programs of one language are compiled and run. The first word of a command is looked up on the PATH.

    Attributes:
        source: Name of the file that holds the source.
        run: The command that runs the program.
        compile: The command that compiles it; empty (the default) if the language needs none.
        reserves_memory: Whether the interpreter maps far more memory than it uses, so that only its data can be limited.
    """

    source: str
    run: tuple[str, ...]
    compile: tuple[str, ...] = ()
    reserves_memory: bool = False


LANGUAGES: dict[str, Language] = {
    "c": Language("main.c", ("{program}",), ("gcc", "-O2", "-std=gnu17", "-o", "{program}", "{source}", "-lm")),
    "cpp": Language("main.cpp", ("{program}",), ("g++", "-O2", "-std=gnu++17", "-o", "{program}", "{source}")),
    "javascript": Language("main.js", ("node", "--stack-size=4096", "{source}"), reserves_memory=True),
}
NAMES = ("python", *LANGUAGES)
_VERSION = re.compile(r"[\s.]*[\d.]+$")


def language_named(name: str) -> str | None:
    """The language of a name as data sets write it, such as `"C++17"` for `"cpp"`; None for one that cannot be run."""
    plain = name.strip().lower()
    for spelled in (plain, _VERSION.sub("", plain)):
        for language in NAMES:
            if spelled == language or spelled in naming(language).tags:
                return language
    return None


def commands(name: str) -> dict[str, Any]:
    """The commands of a language with the full paths of its tools; raises `ToolchainMissing` if one is not installed."""
    language = LANGUAGES[name]
    resolved = {}
    for step in ("compile", "run"):
        words = list(getattr(language, step))
        if words and not words[0].startswith("{"):
            found = shutil.which(words[0])
            if found is None:
                raise ToolchainMissing(
                    f"programs in {name} need {words[0]}, which is not on the PATH; install it, or leave those tasks out"
                )
            words[0] = os.path.realpath(found)
        resolved[step] = words
    return {"source": language.source, "reserves_memory": language.reserves_memory, **resolved}


def available() -> dict[str, dict[str, Any]]:
    """The commands of every language whose tools are installed here."""
    found = {}
    for name in LANGUAGES:
        with contextlib.suppress(ToolchainMissing):
            found[name] = commands(name)
    return found
