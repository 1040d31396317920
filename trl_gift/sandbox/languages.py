"""The languages of `StdioTests`: a YAML file each, in `language_files/` or the user's own.

Python needs no command: its programs are compiled once and forked per input. Programs in a compiled language are compiled
in a confined process that may start compilers and write to a scratch folder. All run in a process that may execute only
the result.

The keys of a file are the fields of `Language`; its name is the file's. In commands and in the environment, `{source}` and
`{program}` stand for the files, `{folder}` for the folder that holds both, `{cache}` for a folder that stays from program to
program and that only compilers write to, `{temp}` for a folder of temporary files that is empty when a run starts, and
`{memory_mb}` for the memory that the program may use, in MiB.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from trl_gift.sandbox.outcome import SandboxError

SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store")
"""The folders whose programs a confined compiler may start, whatever the language."""

_FOLDER = Path(__file__).with_name("language_files")
_NAME = re.compile(r"[a-z][a-z0-9_+#-]*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PLACEHOLDERS = ("source", "program", "folder", "cache", "temp", "memory_mb")
_VERSION = re.compile(r"[\s.]*[\d.]+$")
_PROBE_S = 20


class ToolchainMissing(SandboxError):
    """The compiler or interpreter of a language is not installed here."""


class LanguageFileError(ValueError):
    """A language file with a mistake: one line with the file, the key, the reason and the fix."""


@dataclass(frozen=True)
class Naming:
    """What people and models call a language.

    Attributes:
        title: Its name in a sentence.
        tags: What code fences call it, in lower case; the first is the one to write.
        comment: What begins a comment line.
        comment_end: What ends it, if the end of the line does not.
    """

    title: str
    tags: tuple[str, ...]
    comment: str
    comment_end: str = ""


@dataclass(frozen=True)
class Language:
    """How programs of one language are called, compiled and run.

    The first word of a command is looked up on the PATH.

    Attributes:
        name: What `StdioTests` calls it.
        title: Its name in a sentence, as in prompts.
        source: Name of the file that holds the source.
        run: The command that runs the program; empty for Python alone.
        compile: The command that compiles it, or checks its syntax; empty (the default) if the language needs none.
        tags: What code fences and data sets call it, in lower case; the first is the one to write. By default the name.
        comment: What begins a comment line; `"#"` by default.
        comment_end: What ends it, if the end of the line does not; empty by default.
        version: The command that prints the version; by default the first tool with `--version`.
        package: The Debian packages that bring the tools, for messages; empty if there is none.
        tools: The programs that must be installed; by default the first words of the commands.
        read: More files and folders, also as patterns, that compilers and programs may read and execute.
        environment: Variables of compilers and programs.
        reserves_memory: Whether the interpreter maps far more memory than it uses, so that only its data can be limited.
        temporary_files: Whether a program may make files in `{temp}`, for interpreters that do not start without.
        extra_memory_mb: What the interpreter itself takes, in MiB, on top of a program's limit; 0 by default.
        open_files: How many open files the interpreter asks for; 0 by default.
        cpu_factor: Factor of a program's time limits, for interpreters that start slowly; 1 by default.
        memory_errors: What the standard error says when memory is exhausted; the status is then `memory`.
    """

    name: str
    title: str
    source: str
    run: tuple[str, ...] = ()
    compile: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    comment: str = "#"
    comment_end: str = ""
    version: tuple[str, ...] = ()
    package: str = ""
    tools: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    reserves_memory: bool = False
    temporary_files: bool = False
    extra_memory_mb: int = 0
    open_files: int = 0
    cpu_factor: float = 1.0
    memory_errors: tuple[str, ...] = ()

    @property
    def naming(self) -> Naming:
        """What it is called."""
        return Naming(self.title, self.tags, self.comment, self.comment_end)

    @property
    def needed(self) -> tuple[str, ...]:
        """The programs that must be installed."""
        firsts = [words[0] for words in (self.compile, self.run) if words and not words[0].startswith("{")]
        return self.tools or tuple(dict.fromkeys(firsts))


@dataclass(frozen=True)
class Toolchain:
    """What is installed here for one language.

    Attributes:
        language: Name of the language.
        title: Its name in a sentence.
        version: The first line that its probe prints; None if a tool is missing.
        problem: Why it cannot be used, with the fix; empty if it can.
    """

    language: str
    title: str
    version: str | None
    problem: str = ""


_own: dict[str, Language] = {}


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Language]:
    languages = {path.stem: read_language(path) for path in sorted(_FOLDER.glob("*.yaml"))}
    return {"python": languages.pop("python"), **languages}


def known() -> Mapping[str, Language]:
    """All languages by name, Python first; those of the user's files replace ours of the same name."""
    return {**_shipped(), **_own}


def add_language_file(path: str | os.PathLike[str]) -> Language:
    """Make the language of a user's file known in this process.

    Raises:
        LanguageFileError: As `read_language`; and for a file that describes Python.
    """
    language = read_language(path)
    if language.name == "python":
        raise LanguageFileError(
            f"{os.fspath(path)}: python needs no file, it is run without commands; give another name."
        )
    add_language(language)
    return language


def add_language(language: Language) -> None:
    """Make a language known in this process, as that of a user's file."""
    _own[language.name] = language


def own_language(name: str) -> Language | None:
    """The language of this name that came from a user's file; None if none did."""
    return _own.get(name)


def read_language(path: str | os.PathLike[str]) -> Language:
    """The language of a file.

    Raises:
        LanguageFileError: For a file that is absent or wrong; names the file, the key, the reason and the fix.
    """
    import yaml  # only here: a program that runs Python alone need not load it

    place = Path(path).expanduser()
    try:
        content = yaml.safe_load(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise LanguageFileError(
            f"{place}: the language file cannot be read ({error.strerror}); check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LanguageFileError(f"{place}: not YAML ({' '.join(str(error).split())}); correct it.") from None
    if not isinstance(content, dict):
        raise LanguageFileError(
            f"{place}: not a mapping; write lines such as 'title: Ruby' and 'run: [ruby, \"{{source}}\"]'."
        )
    return _Reader(place, content).language()


class _Reader:
    """Checks the keys of one file."""

    def __init__(self, place: Path, content: dict[Any, Any]) -> None:
        self.place = place
        self.content = content

    def wrong(self, key: str, reason: str) -> LanguageFileError:
        seen = f" is {self.content[key]!r}" if key in self.content else ""
        return LanguageFileError(f"{self.place}: key {key!r}{seen}: {reason}.")

    def language(self) -> Language:
        kinds = {item.name: item for item in fields(Language)}
        for key in self.content:
            if key not in kinds:
                raise self.wrong(str(key), f"unknown; the keys are {', '.join(kinds)}")
        for key, item in kinds.items():
            if key not in self.content and item.default is MISSING and key != "name":
                raise self.wrong(key, "missing; add it")
        name = self.text("name") or self.place.stem.lower()
        if not _NAME.fullmatch(name):
            raise LanguageFileError(
                f"{self.place}: {name!r} is not a name for a language; add 'name:' with lower-case letters."
            )
        if "run" not in self.content and name != "python":
            raise self.wrong("run", 'missing; give the command, such as [ruby, "{source}"]')
        source = self.text("source")
        if os.path.basename(source) != source or source in ("", "program", "temp"):
            raise self.wrong("source", "must be the name of a file without a folder, such as main.rb")
        return Language(
            name=name,
            title=self.text("title"),
            source=source,
            run=self.command("run"),
            compile=self.command("compile"),
            tags=tuple(tag.lower() for tag in self.words("tags")) or (name,),
            comment=self.text("comment", "#"),
            comment_end=self.text("comment_end"),
            version=self.words("version"),
            package=self.text("package"),
            tools=self.words("tools"),
            read=self.paths(),
            environment=self.environment(),
            reserves_memory=self.flag("reserves_memory"),
            temporary_files=self.flag("temporary_files"),
            extra_memory_mb=int(self.number("extra_memory_mb", 0, whole=True)),
            open_files=int(self.number("open_files", 0, whole=True)),
            cpu_factor=self.number("cpu_factor", 1.0),
            memory_errors=self.words("memory_errors"),
        )

    def text(self, key: str, default: str = "") -> str:
        value = self.content.get(key, default)
        if not isinstance(value, str) or (key in self.content and not value.strip()) or "\n" in value:
            raise self.wrong(key, "must be a text of one line")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            raise self.wrong(key, "must be a list of texts, such as [ruby, --version]; put numbers in quotes")
        if key in self.content and not value:
            raise self.wrong(key, "must not be empty; leave it out")
        return tuple(value)

    def command(self, key: str) -> tuple[str, ...]:
        words = self.words(key)
        for word in words:
            self.known_placeholders(key, word)
        if words and words[0].startswith("{") and words[0] != "{program}":
            raise self.wrong(key, "must begin with a program on the PATH or with '{program}'")
        if (
            key == "run"
            and words
            and not any(found in word for word in words for found in ("{source}", "{program}", "{folder}"))
        ):
            raise self.wrong(key, "names neither '{source}' nor '{program}'; without one no program would run")
        return words

    def known_placeholders(self, key: str, text: str) -> None:
        for found in _PLACEHOLDER.findall(text):
            if found not in _PLACEHOLDERS:
                names = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
                raise self.wrong(key, f"{{{found}}} is unknown; use {names}")

    def paths(self) -> tuple[str, ...]:
        paths = tuple(os.path.expanduser(path) for path in self.words("read"))
        for path in paths:
            if not os.path.isabs(path) or os.path.normpath(path) in ("/", os.path.expanduser("~"), "/home", "/root"):
                raise self.wrong(
                    "read", f"{path!r} is not a folder that programs may see; give the toolchain's own folder"
                )
        return paths

    def environment(self) -> tuple[tuple[str, str], ...]:
        value = self.content.get("environment", {})
        if not isinstance(value, dict) or not all(isinstance(word, str) for pair in value.items() for word in pair):
            raise self.wrong("environment", "must map names to texts; put numbers and on/off in quotes")
        for text in value.values():
            self.known_placeholders("environment", text)
        return tuple(value.items())

    def flag(self, key: str) -> bool:
        value = self.content.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def number(self, key: str, default: float, *, whole: bool = False) -> float:
        value = self.content.get(key, default)
        least = 0 if whole else 1
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= 1 << 16:
            raise self.wrong(key, f"must be a {'whole ' if whole else ''}number of at least {least}")
        return float(value)


def naming(language: str) -> Naming:
    """What a language is called; one that is not known here is called by its own name."""
    found = known().get(language)
    return found.naming if found is not None else Naming(language, (language.lower(),), "#")


def language_named(name: str) -> str | None:
    """The language of a name as data sets write it, such as `"C++17"` for `"cpp"`; None for one that is not known."""
    plain = name.strip().lower()
    for spelled in (plain, _VERSION.sub("", plain)):
        for language, entry in known().items():
            if spelled == language or spelled in entry.tags:
                return language
    return None


def commands(language: Language) -> dict[str, Any]:
    """What a worker needs to run a language: its commands with the full paths of its tools, as plain values.

    Raises:
        ToolchainMissing: A tool is not installed, or lies where confined programs cannot read.
    """
    readable = sorted({path for pattern in language.read for path in glob.glob(pattern)})
    tools = {tool: _found(language, tool, readable) for tool in language.needed}
    plain = asdict(language)
    for step in ("compile", "run"):
        plain[step] = [tools.get(word, word) if place == 0 else word for place, word in enumerate(plain[step])]
    kept = (
        "name",
        "source",
        "compile",
        "run",
        "reserves_memory",
        "memory_errors",
        "extra_memory_mb",
        "open_files",
        "temporary_files",
    )
    return {**{key: plain[key] for key in kept}, "read": readable, "environment": dict(language.environment)}


def require(name: str) -> None:
    """Raise `ToolchainMissing` unless the tools of a language are installed here."""
    if name != "python":
        commands(known()[name])


def available() -> tuple[str, ...]:
    """The languages whose tools are installed here, Python first."""
    return tuple(name for name in known() if _is_installed(name))


def toolchains() -> list[Toolchain]:
    """What is installed here, for every language but Python; runs the version probe of each that is."""
    return [_probed(language) for name, language in known().items() if name != "python"]


def _is_installed(name: str) -> bool:
    with contextlib.suppress(ToolchainMissing):
        require(name)
        return True
    return False


def _probed(language: Language) -> Toolchain:
    try:
        commands(language)
    except ToolchainMissing as error:
        return Toolchain(language.name, language.title, None, str(error))
    words = language.version or (language.needed[0], "--version")
    environment = {**os.environ, **{key: text for key, text in language.environment if "{" not in text}}
    try:
        words = (_found(language, words[0], list(language.read)), *words[1:])
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_PROBE_S, env=environment, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired, ToolchainMissing) as error:
        return Toolchain(language.name, language.title, None, f"{' '.join(words)}: {error}{_install(language)}")
    lines = (done.stdout or done.stderr).strip().splitlines()
    if done.returncode or not lines:
        said = lines[-1] if lines else f"exit status {done.returncode}"
        return Toolchain(language.name, language.title, None, f"{' '.join(words)}: {said}{_install(language)}")
    return Toolchain(language.name, language.title, lines[0].strip())


def _install(language: Language) -> str:
    return f"; install it (apt-get install {language.package})" if language.package else "; install it"


def _found(language: Language, tool: str, readable: list[str]) -> str:
    """The full path of a tool: the first on the PATH that a confined process may start."""
    outside = ""
    for path in _candidates(tool):
        if any(f"{path}/".startswith(f"{folder.rstrip('/')}/") for folder in (*SYSTEM, *readable)):
            return path
        outside = outside or path
    if outside:
        raise ToolchainMissing(
            f"programs in {language.title} need {tool}, and {outside} is not in a folder that confined programs may read; "
            f"install it in {SYSTEM[0]}, or name its folder under 'read' in a language file"
        )
    raise ToolchainMissing(
        f"programs in {language.title} need {tool}, which is not installed here{_install(language)}, or leave those tasks out"
    )


def _candidates(tool: str) -> Iterator[str]:
    for folder in [""] if os.path.isabs(tool) else os.get_exec_path():
        found = shutil.which(os.path.join(folder, tool))
        if found is not None:
            yield os.path.realpath(found)
