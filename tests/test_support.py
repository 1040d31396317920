"""What tests share stands in `tests/support` or in a conftest: test modules do not import from each other."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def imports(path):
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_module_does_not_import_from_a_test_module_or_a_conftest():
    found = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for name in imports(path)
        if name.startswith("tests.")
        and any(part == "conftest" or part.startswith("test_") for part in name.split("."))
    ]
    assert not found, "move what is shared into tests/support"
