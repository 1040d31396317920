"""Imports that puzzle sites make before a solution runs: a `class Solution` written for them seldom has its own.

The site of `class Solution` runs a Python solution after star imports of the modules below, and after imports of the modules
themselves. A model that learned from such solutions uses `List`, `defaultdict` or `heapq` without a word. Here nothing is
imported behind a program's back: the missing imports are written into it, so what is executed is what is stored and
trained on.

Not covered: classes that the site defines (`ListNode`, `TreeNode`), because no test can hand over their objects.
"""

from __future__ import annotations

import ast
import importlib
import itertools
from functools import cache
from types import MappingProxyType

from trl_gift.codetext.bindings import free_names
from trl_gift.codetext.joining import is_future
from trl_gift.codetext.syntax import is_docstring, last_line, lines_of, tree_of

# In this order: what two modules hold (`Counter`) is that of the first.
_MODULES = (
    "collections", "heapq", "bisect", "itertools", "functools", "math", "string", "random", "operator", "typing",
)  # fmt: skip
_WHOLE_MODULES = frozenset({*_MODULES, "array", "copy", "datetime", "re", "statistics", "sys"})


def with_offered_imports(code: str) -> str:
    """`code` with imports of the names that it reads, binds nowhere, and that the site would have imported.

    Unchanged if nothing is missing, or if it does not parse.
    """
    tree = tree_of(code)
    missing = free_names(tree) if tree else set()
    if tree is None or not missing:
        return code
    dotted = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    modules = sorted(missing & dotted & _WHOLE_MODULES)
    held: dict[str, list[str]] = {}
    for name in sorted(missing - set(modules)):
        if (module := _holders().get(name)) is not None:
            held.setdefault(module, []).append(name)
    lines = [f"import {name}" for name in modules]
    lines += [f"from {module} import {', '.join(held[module])}" for module in sorted(held)]
    if not lines:
        return code
    written = lines_of(code)
    first = list(itertools.takewhile(lambda node: is_docstring(node) or is_future(node), tree.body))
    start = last_line(first[-1]) if first else 0
    text = "\n".join([*written[:start], *lines, "", *written[start:]])
    return text if tree_of(text) is not None else code


def offers_imports(code: str) -> bool:
    """Whether a program is written for the site: it has a `class Solution`."""
    tree = tree_of(code)
    return any(isinstance(node, ast.ClassDef) and node.name == "Solution" for node in (tree.body if tree else ()))


@cache
def _holders() -> MappingProxyType[str, str]:
    """The module that a name comes from, by name."""
    found: dict[str, str] = {}
    for name in _MODULES:
        module = importlib.import_module(name)
        content = vars(module)
        public = content.get("__all__") or [held for held in content if not held.startswith("_")]
        for held in public:
            found.setdefault(held, name)
    return MappingProxyType(found)
