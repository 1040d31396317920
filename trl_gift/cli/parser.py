"""The parser of `trl-gift train`, `sample`, `evaluate` and `estimate`: TRL's, with grouped help and one-line errors.

Before any dataclass is made, the parser refuses unknown names (and suggests the nearest known one) and values of a wrong
type in the YAML file, which argparse does not check.
"""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from trl import TrlParser

from trl_gift.cli.lines import complaint, nearest, spelled, unknown_option
from trl_gift.errors import ConfigError

# The help lists more choices than these after the text instead of between braces.
_MOST_CHOICES_SHOWN = 6
_PLACEHOLDERS = {"int": "INT", "float": "FLOAT", "number_or_text": "FLOAT", "string_to_bool": "BOOL"}
_WORDS = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text, in quotes if need be",
    list: "a list", dict: "a mapping", type(None): "null",
}  # fmt: skip


class RunParser(TrlParser):  # type: ignore[misc]
    """TRL's parser of dataclasses.

    Args:
        dataclass_types: The dataclasses, as for `TrlParser`.
        stages: Title of the group for each option that has one; the groups come in this order.
        rest: Title of the group of all other options; it comes last.
        also: Names of options that another parser reads, for suggestions.
        usual: Names of the options that `--help` lists; `--help-all` lists all.
        repeatable: Names of list options that may be given several times, each time with more values.
        honoured: Names of the options that the command reads; the help lists no others. None for all.
        check: Looks at the parsed options before any dataclass is made of them.
        options: As for argparse.
    """

    def __init__(
        self,
        dataclass_types: Sequence[type],
        stages: Mapping[str, str],
        rest: str,
        also: Sequence[str] = (),
        usual: Collection[str] = (),
        repeatable: Sequence[str] = (),
        honoured: Collection[str] | None = None,
        check: Callable[[argparse.Namespace], None] | None = None,
        **options: Any,
    ) -> None:
        self._honoured = honoured
        self._check = check
        self._stages = stages
        self._rest = rest
        self._also = also
        self._usual = usual
        self.lists_all = False
        self._repeatable = repeatable
        self._groups: dict[str, Any] = {}
        self._names: list[str] = []
        self._kinds: dict[str, Any] = {}
        self._hints: dict[str, Any] = {}
        for item in dataclass_types:
            self._hints |= typing.get_type_hints(item)
        style = argparse.RawDescriptionHelpFormatter
        super().__init__(dataclass_types, formatter_class=style, allow_abbrev=False, **options)

    def add_argument(self, *names: str, **options: Any) -> Any:
        """Adds an option to the group of its stage. The help shows one spelling of it and a short placeholder."""
        if names[0] in ("-h", "--help-all"):
            self._names += [name for name in names if name.startswith("--")]
            return super().add_argument(*names, **options)
        # `parse_known_args` reads `--num-steps` as `--num_steps`, so the help shows one spelling only.
        spellings = [name for name in names if "-" not in name.lstrip("-")] or list(names)
        name = spellings[0].lstrip("-")
        if {float, str} <= set(_members(self._hints.get(name))):  # HfArgumentParser would take numbers alone
            options["type"] = number_or_text
        if name in self._repeatable:
            options["action"] = _Collect
        self._names += [item for item in spellings if item.startswith("--")]
        self._kinds.setdefault(name, options.get("type"))
        if options.get("action") == "store_true":
            self._hints.setdefault(name, bool)
        if options.get("action") == "store_false":
            options["help"] = argparse.SUPPRESS  # the description explains the --no_ form once for all switches
        elif options.get("action") in (None, _Collect):
            _shorten(options)
        return self._group(self._stages.get(name, self._rest)).add_argument(*spellings, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but an unknown option raises an error with a suggestion, before any dataclass is made."""
        found, unknown = super().parse_known_args([spelled(item, self._names) for item in args or []], namespace)
        if unknown:
            raise unknown_option(unknown, [*self._names, *self._also], self.prog)
        if self._check is not None:
            self._check(found)
        return found, []

    def set_defaults_with_config(self, **config: Any) -> list[str]:
        """As TRL's, but checks each value of the YAML file.

        Raises:
            ConfigError: for an unknown name, or a value of another type than the option's.
        """
        values = {name.replace("-", "_"): value for name, value in config.items()}
        for name, value in values.items():
            if name not in self._kinds:
                hint = nearest(name, self._kinds, quoted=True) or f"`{self.prog} --help` lists the options."
                raise ConfigError(f"--config: {name!r} is not an option; {hint}")
            if name == "resume_from_checkpoint" and isinstance(value, bool):
                value = str(value).lower()  # the option is a text, for the path of a checkpoint
            values[name] = self._checked(name, value)
        return list(super().set_defaults_with_config(**values))

    def format_help(self) -> str:
        """The help: of the usual options, or of all, as far as the command reads them."""
        shown: dict[argparse.Action, str | None] = {}
        for action in self._actions:
            names = {name.lstrip("-") for name in action.option_strings}
            is_listed = self.lists_all or names & {*self._usual}
            is_read = self._honoured is None or names & {*self._honoured}
            if action.option_strings and not names & {"help", "help-all"} and not (is_listed and is_read):
                shown[action], action.help = action.help, argparse.SUPPRESS
        try:
            return str(super().format_help())
        finally:
            for action, text in shown.items():
                action.help = text

    def error(self, message: str) -> NoReturn:
        """Raises.

        Raises:
            ConfigError: always.
        """
        raise complaint(message, self.prog)

    def _group(self, title: str) -> Any:
        if not self._groups:
            for name in dict.fromkeys([*self._stages.values(), self._rest]):
                self._groups[name] = self.add_argument_group(name)
        return self._groups[title]

    def _checked(self, name: str, value: Any) -> Any:
        """Converts a value of the YAML file to the option's type; a single value may stand for a list of one."""
        hint = self._hints.get(name, Any)
        members = _members(hint)
        takes_list = list in members and str not in members
        values = value if isinstance(value, list) else [value]
        is_switch = hint is bool and self._kinds[name] is None
        texts = all(isinstance(item, str) for item in values) and not is_switch
        if texts and (takes_list or not isinstance(value, list)):
            try:
                converted = [self._kinds[name](item) if self._kinds[name] else item for item in values]
            except (ValueError, argparse.ArgumentTypeError):
                pass
            else:
                return converted if takes_list else converted[0]
        elif takes_list and value is not None and not isinstance(value, dict) and _fits(values, hint):
            return values
        elif _fits(value, hint):
            return value
        words = " or ".join(_WORDS.get(member, str(member)) for member in members)
        raise ConfigError(f"--config: {name!r}: {value!r} is of the wrong type; give {words}.")


class _Collect(argparse.Action):
    """Collects the values of an option that is given several times; they win over its default, as those of others do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._found: tuple[argparse.Namespace | None, list[Any]] = (None, [])

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Adds the values to those that this namespace has got."""
        before = self._found[1] if self._found[0] is namespace else []
        self._found = (namespace, [*before, *values])
        setattr(namespace, self.dest, self._found[1])


class HelpAll(argparse.Action):
    """`--help-all`: prints the help of all options and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> None:
        """Prints and exits."""
        assert isinstance(parser, RunParser)
        parser.lists_all = True
        parser.print_help()
        parser.exit()


def number_or_text(value: str) -> float | str:
    """The value of an option that takes a number or a word."""
    try:
        return float(value)
    except ValueError:
        return value


def _shorten(options: dict[str, Any]) -> None:
    """Sets a short placeholder and appends the default to the help, unless there is none or the help mentions it."""
    text = str(options.get("help") or "")
    default = options.get("default")
    if default not in (None, "", []) and "default" not in text.lower():
        text += " (default: %(default)s)"
    choices = options.get("choices")
    if choices is None:
        kind = options.get("type")
        options["metavar"] = _PLACEHOLDERS.get(kind.__name__ if callable(kind) else "", "TEXT")
    elif len(choices) > _MOST_CHOICES_SHOWN:
        options["metavar"] = "NAME"
        text += f" One of: {', '.join(map(str, choices))}."
    options["help"] = text


def _members(hint: Any) -> list[Any]:
    """The plain types of a hint: `[int, NoneType]` for `int | None`, `[list]` for `list[str]`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return [kind for member in arguments for kind in _members(member)]
    return list(arguments) if origin is typing.Literal else [origin or hint]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of a YAML file is of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, member) for member in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint in (int, float):
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def read_options(flag: str, path: Path) -> dict[str, Any]:
    """The content of a YAML file of options.

    Args:
        flag: The option that named the file, for the error.
        path: The file.

    Raises:
        ConfigError: for a file that is absent, is not UTF-8 or not YAML, or does not hold a mapping of names.
    """
    if not path.is_file():
        raise ConfigError(f"{flag} {path}: no such file; check the path.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise ConfigError(f"{flag} {path}: not UTF-8 ({byte}); save the file as UTF-8.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{flag} {path}: not YAML ({error}); fix the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{flag} {path}: must hold 'option: value' lines, not {type(content).__name__}.")
    for name in content:
        if not isinstance(name, str):
            raise ConfigError(
                f"{flag} {path}: {name!r} is not the name of an option; write 'option: value' lines, with a name that YAML "
                "takes for another type in quotes."
            )
    return content
