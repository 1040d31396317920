"""Options in a line for people, as the user of a command gives them: `--num_steps 3` for `num_steps=3`.

The package's own lines name options as Python does. A command has flags, of which some may have other names.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

# A value as `repr` writes it. None is no value of a flag.
_VALUE = r"""True|False|'[^']*'|"[^"]*"|\[[^\[\]]*\]|\{[^{}]*\}|-?\d+(?:\.\d+)?(?:e-?\d+)?\b|-?inf\b|nan\b"""
# Neither a part of a path or a quoted name, nor the argument of a call, such as `trainer.sample(resume_from_checkpoint=True)`.
_BEFORE = r"""(?<![\w/.'"-])(?<!\w\()"""


def spell(text: str, names: Mapping[str, str]) -> str:
    """A line with its options as flags.

    Args:
        text: The line, with options as Python has them: `num_steps=3`, or `num_steps` alone.
        names: The command's name of each option, without dashes, by its name in Python. An option whose name is empty here is
            no flag but a value that stands alone, such as the folder in `trl-gift generate FOLDER`.
    """
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    if not known:
        return text
    text = re.sub(rf"{_BEFORE}(?P<name>{known})=(?P<value>{_VALUE})", lambda found: _flag(found, names), text)
    # A name of one word may be a word of the sentence, but not where a refusal says what has changed.
    text = re.sub(
        rf"{_BEFORE}(?<!the )(?P<name>{known})(?= was (?:None|{_VALUE}) and is now )",
        lambda found: f"--{names[found['name']]}" if names[found["name"]] else found[0],
        text,
    )
    bare = "|".join(sorted((name for name, flag in names.items() if "_" in name and flag), key=len, reverse=True))
    if not bare:
        return text
    return re.sub(
        rf"""{_BEFORE}(?P<name>{bare})(?![\w/.'"=-]*\w)(?!['"=(])""", lambda found: f"--{names[found['name']]}", text
    )


def flags_of(name: str, value: Any) -> list[str]:
    """An option and its value as arguments of a command line.

    Args:
        name: The flag, without dashes.
        value: Its value; True needs none, and a list gives each of its members.
    """
    if value is True:
        return [f"--{name}"]
    if isinstance(value, dict):
        return [f"--{name}", json.dumps(value)]
    values = value if isinstance(value, list | tuple) else [value]
    return [f"--{name}", *(str(item).lower() if isinstance(item, bool) else str(item) for item in values)]


def _flag(option: re.Match[str], names: Mapping[str, str]) -> str:
    name, text = option["name"], option["value"]
    flag = names[name]
    if not flag:
        return text
    if option[0] == "resume_from_checkpoint=True":
        return "--resume"
    if text.lstrip("-")[0] in "0123456789in":
        return f"--{flag} {text}"  # a number, as it is
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):  # looks like a value and is none
        return option[0]
    return shlex.join(flags_of(flag, value))
