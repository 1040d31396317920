"""Imports in test code: those of the program under test are dropped, those of `pytest` replaced by plain Python."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from functools import lru_cache

from trl_gift.tasks.testcode.program import UnderTest
from trl_gift.tasks.testcode.standin import ATTRIBUTES, NAME
from trl_gift.tasks.testcode.unsupported import Unsupported

_MARKERS = ("mark", "fixture", "param")  # used by decorators, which are not kept


class Imports:
    """What the imports of one text bind, and the statements that stand in for them.

    Attributes:
        pytest: Names under which the module `pytest` is known.
        from_pytest: Names taken from `pytest`, each with what it is there.
        replaced: Whether an import was dropped or replaced.
    """

    def __init__(self, tree: ast.Module, program: UnderTest) -> None:
        self.pytest: set[str] = set()
        self.from_pytest: dict[str, str] = {}
        self.replaced = False
        self._program = program
        self._tree = tree

    def statements(self, node: ast.Import | ast.ImportFrom) -> list[ast.stmt]:
        """What takes the place of one import.

        Raises:
            Unsupported: a name that neither the program nor plain Python gives.
        """
        if isinstance(node, ast.ImportFrom):
            return self._names(node)
        kept: list[ast.alias] = []
        new: list[ast.stmt] = []
        for alias in node.names:
            bound = alias.asname or alias.name
            if alias.name == "pytest":
                self.pytest.add(bound)
                new += self._bind(bound, NAME)
            elif (used := self._attributes(bound)) and self._is_under_test(alias.name, used):
                fields = ", ".join(f"{name}={name}" for name in sorted(used))
                new += [*ast.parse("import types").body, *self._bind(bound, f"types.SimpleNamespace({fields})")]
            else:
                kept.append(alias)
        return [*([ast.Import(kept)] if kept else []), *new]

    def is_pytest(self, node: ast.expr, name: str) -> bool:
        """Whether an expression is `pytest.<name>`, under any name that the imports give it."""
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=attribute):
                return module in self.pytest and attribute == name
            case ast.Name(id=bound):
                return self.from_pytest.get(bound) == name
        return False

    def _names(self, node: ast.ImportFrom) -> list[ast.stmt]:
        if node.module == "pytest":
            new: list[ast.stmt] = []
            for alias in node.names:
                self.from_pytest[alias.asname or alias.name] = alias.name
                if alias.name in ATTRIBUTES:
                    new += self._bind(alias.asname or alias.name, f"{NAME}.{alias.name}")
                elif alias.name not in _MARKERS:
                    raise unsupported_attribute(alias.name)
            self.replaced = True
            return new
        names = {alias.name for alias in node.names}
        if not node.level and not self._is_under_test(node.module or "", names):
            known = names & self._program.names
            if known and not _is_library(node.module or ""):
                missing = ", ".join(sorted(names - known))
                raise Unsupported(
                    f"'{ast.unparse(node)}': the program under test does not define {missing}; add it to 'reference', or "
                    "import it from the module that has it"
                )
            return [node]
        self.replaced = True
        renamed = [alias for alias in node.names if alias.asname not in (None, alias.name)]
        return [statement for alias in renamed for statement in self._bind(str(alias.asname), alias.name)]

    def _is_under_test(self, module: str, names: set[str]) -> bool:
        """Whether a module is the program: it gives only names that the program defines, and is no library."""
        return not _is_library(module) and (names <= self._program.names or names == {"*"})

    def _attributes(self, module: str) -> set[str]:
        return {
            node.attr
            for node in ast.walk(self._tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
        }

    def _bind(self, name: str, value: str) -> list[ast.stmt]:
        self.replaced = True
        return [] if name == value else ast.parse(f"{name} = {value}").body


def check_attributes(tree: ast.AST, imports: Imports) -> None:
    """Refuses what is left of `pytest` and has no plain equivalent.

    Raises:
        Unsupported: naming the attribute.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=attribute):
                if module in imports.pytest and attribute not in ATTRIBUTES:
                    raise unsupported_attribute(attribute)
            case ast.Name(id=name):
                if imports.from_pytest.get(name, ATTRIBUTES[0]) not in ATTRIBUTES:
                    raise unsupported_attribute(imports.from_pytest[name])


def unsupported_attribute(name: str) -> Unsupported:
    """The error about a name of `pytest` without a plain equivalent."""
    return Unsupported(
        f"'pytest.{name}' is not supported; only {', '.join(ATTRIBUTES)}, fixture and mark.parametrize are"
    )


def _is_library(module: str) -> bool:
    """Whether a module is Python's own, or of an installed package: tests may compare the program with it."""
    top = module.split(".")[0]
    return top in sys.stdlib_module_names or top in _installed()


@lru_cache(maxsize=1)
def _installed() -> frozenset[str]:
    return frozenset(importlib.metadata.packages_distributions())
