"""Rooms import each other by their public names alone, and every public name is documented."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import trl_gift

PACKAGE = Path(trl_gift.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

# Names that need an extra.
EXTRAS = {"PassAtK": "evaluate", "PassAtKDetails": "evaluate"}


def public_modules(room):
    """The modules that the room's docstring names as public: in backquotes, after the words "Public modules"."""
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return set(re.findall(r"`([a-z_.]+)`(?! library)", text.partition("Public modules:")[2].partition("\n\n")[0]))


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def test_rooms_import_what_other_rooms_make_public():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0]
        for module, name in imports_of(path):
            package, _, rest = module.partition(".")
            room, _, inner = rest.partition(".")
            if package != "trl_gift" or room not in ROOMS or room == own:
                continue
            if (inner and inner not in public_modules(room)) or name.startswith("_"):
                wrong.append(f"{path.relative_to(PACKAGE)}: {module} {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_s_public_modules_exist(room):
    for name in public_modules(room):
        assert importlib.util.find_spec(f"trl_gift.{room}.{name}"), f"trl_gift.{room} names {name}"


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_public_names_exist_and_are_documented(room):
    module = importlib.import_module(f"trl_gift.{room}".rstrip("."))
    assert module.__doc__
    for name in vars(module).get("__all__", ()):
        if name in EXTRAS:
            pytest.importorskip(EXTRAS[name])
        if name == "RaySandbox" and importlib.util.find_spec("ray") is None:
            continue
        value = getattr(module, name)
        if isinstance(value, type) or inspect.isroutine(value):
            assert value.__doc__, f"{module.__name__}.{name}"
