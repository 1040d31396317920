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


def is_module(room, name):
    return importlib.util.find_spec(f"trl_gift.{room}.{name}") is not None


def public_modules(room):
    """The modules among a room's public names. One that lies deeper is named in the room's docstring."""
    module = importlib.import_module(f"trl_gift.{room}")
    deeper = re.findall(r"`([a-z_]+\.[a-z_]+)`", module.__doc__)
    return {name for name in vars(module).get("__all__", ()) if is_module(room, name)} | set(deeper)


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


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_public_names_exist_and_are_documented(room):
    module = importlib.import_module(f"trl_gift.{room}".rstrip("."))
    assert module.__doc__
    assert module.__all__
    for name in module.__all__:
        if name in EXTRAS:
            pytest.importorskip(EXTRAS[name])
        if name == "RaySandbox" and importlib.util.find_spec("ray") is None:
            continue
        if room and is_module(room, name):
            assert f"`{name}`" in module.__doc__, f"{module.__name__} does not describe {name}"
            continue
        value = getattr(module, name)
        if isinstance(value, type) or inspect.isroutine(value):
            assert value.__doc__, f"{module.__name__}.{name}"


def lazy(package):
    """The names that a package loads on first use."""
    for node in ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from (alias.name for item in node.body if isinstance(item, ast.ImportFrom) for alias in item.names)


def test_no_name_that_is_loaded_on_first_use_is_that_of_a_module():
    """An import of the module would put the module in the place of the name."""
    packages = [path.parent for path in PACKAGE.rglob("__init__.py")]
    assert "serving" in lazy(PACKAGE / "generation/server")
    assert not [
        f"{package.name}.{name}"
        for package in packages
        for name in lazy(package)
        if (package / f"{name}.py").exists() or (package / name).is_dir()
    ]
