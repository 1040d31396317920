"""One-line errors about command lines: the value and the fix. Imports only the standard library."""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from trl_gift.common.words import json_reason
from trl_gift.errors import ConfigError

_INVALID_CHOICE = re.compile(
    r"argument (?P<start>.*: invalid choice: '(?P<seen>.*)') \(choose from (?P<choices>.*)\)", re.DOTALL
)


class LineParser(argparse.ArgumentParser):
    """Argparse's parser, but it raises a `ConfigError` where argparse would print its usage and exit.

    Attributes:
        names: The long names of its options.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.names: list[str] = []
        super().__init__(*args, **{"allow_abbrev": False, **options})
        if self.add_help:  # the help of these commands shows all options anyway
            self.add_argument("--help-all", action="help", help=argparse.SUPPRESS)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """As argparse's."""
        self.names += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; options may be spelled with `-` or `_`."""
        return super().parse_known_args([spelled(item, self.names) for item in args or ()], namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but an unknown option raises an error with a suggestion."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise unknown_option(unknown, self.names, self.prog)
        return found

    def spellings(self) -> dict[str, str]:
        """The name of each option on the command line, without dashes, by its name in Python."""
        return {name[2:].replace("-", "_"): name[2:] for name in self.names}

    def error(self, message: str) -> NoReturn:
        """Raises.

        Raises:
            ConfigError: always.
        """
        raise complaint(message, self.prog)


def printable(text: str) -> str:
    """A text with its control characters escaped: what tasks hold is printed to terminals."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in "\n\t" else ascii(sign)[1:-1] for sign in text)


def check_at_least(low: float, values: Mapping[str, float | None]) -> None:
    """Checks that the values of options are at least `low`; None passes.

    Args:
        low: The smallest allowed value.
        values: Each option's value by its name on the command line.

    Raises:
        ConfigError: for the first value below `low`.
    """
    for name, value in values.items():
        if value is not None and value < low:
            raise ConfigError(f"{name} {value:g}: must be at least {low:g}.")


def read_mapping(value: dict[str, Any] | str | None) -> dict[str, str] | None:
    """The value of `column_mapping`, from a YAML file or a JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f'column_mapping={value!r} is not JSON ({json_reason(error)}); write it as \'{{"yours": "description"}}\'.'
            ) from error
    if value is not None and (
        not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values())
    ):
        raise ConfigError(f"column_mapping={value!r} does not map names to names; write {{'yours': 'description'}}.")
    return value


def complaint(message: str, prog: str) -> ConfigError:
    """Argparse's message as one line that ends with the fix."""
    if (found := _INVALID_CHOICE.fullmatch(message)) is not None:
        choices = [item.strip(" '") for item in found["choices"].split(",")]
        if hint := nearest(found["seen"], choices):
            return ConfigError(f"{found['start']}; {hint}")
    return ConfigError(f"{message.removeprefix('argument ')}; `{prog} --help` describes the options.")


def spelled(item: str, names: Collection[str]) -> str:
    """An argument with its option spelled as the parser has it: `-` and `_` are the same in `--output-dir`.

    Args:
        item: An argument of a command line.
        names: The long names of the options that there are.
    """
    name, equals, value = item.partition("=")
    if not name.startswith("--") or name in names:
        return item
    found = next((known for known in names if known.replace("_", "-") == name.replace("_", "-")), name)
    return f"{found}{equals}{value}"


def unknown_option(unknown: Sequence[str], known: Iterable[str], prog: str) -> ConfigError:
    """The error about the first of several unknown options, with the nearest known name."""
    name = next((item for item in unknown if item.startswith("-")), unknown[0]).partition("=")[0]
    return ConfigError(
        f"{name} is not an option of `{prog}`; {nearest(name, known) or f'`{prog} --help` lists them.'}"
    )


def nearest(name: str, known: Iterable[str], quoted: bool = False) -> str:
    """Asks whether the nearest known name was meant, in quotes if asked for; empty if no name is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"did you mean {repr(close[0]) if quoted else close[0]}?" if close else ""
