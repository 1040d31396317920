"""Which tests change nothing but names of their own, so that one judge can run them for program after program.

Most tests are such: MBPP's assertions, HumanEval's `check`. All other tests run in a fork of the judge, which costs as much
as the fork of the program.
"""

from __future__ import annotations

import ast
import builtins
from functools import lru_cache

from trl_gift.sandbox.statements import parse

# Builtin functions without effects. `iter` and `next` are absent, and so is all that runs, reads or defines anything.
_PURE = frozenset({
    "abs", "all", "any", "bool", "dict", "enumerate", "filter", "float", "frozenset", "int", "isinstance", "len", "list", "map",
    "max", "min", "range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "zip",
})  # fmt: skip
_BUILTINS = frozenset(dir(builtins))
_PURE_MODULES = frozenset({"math", "cmath"})
_PLAIN = (
    # Statements
    ast.Module, ast.Assert, ast.Assign, ast.AugAssign, ast.Break, ast.Continue, ast.Expr, ast.For, ast.If, ast.Pass, ast.Return,
    # Expressions
    ast.BinOp, ast.BoolOp, ast.Compare, ast.Constant, ast.Dict, ast.DictComp, ast.FormattedValue, ast.GeneratorExp, ast.IfExp,
    ast.JoinedStr, ast.Lambda, ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Slice, ast.Starred, ast.Tuple, ast.UnaryOp,
    # Parts of them
    ast.arg, ast.arguments, ast.boolop, ast.cmpop, ast.comprehension, ast.expr_context, ast.keyword, ast.operator, ast.unaryop,
)  # fmt: skip


@lru_cache(maxsize=512)
def is_plain(source: str, prelude: str = "") -> bool:
    """Whether tests bind names and compare values, and have no other effect.

    They call only the program, functions of their own and builtin functions without effects. They set no attribute and no
    item, because what they set may belong to a module or to a value of the program.

    Args:
        source: The tests.
        prelude: What runs before them.
    """
    nodes = [node for text in (prelude, source) for node in ast.walk(parse(text))]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names if _is_pure(alias)}
    return all(_is_plain(node, modules) for node in nodes)


def _is_pure(imported: ast.alias) -> bool:
    """Whether an import binds a pure module under the module's own name."""
    return imported.name in _PURE_MODULES and imported.asname is None


def _is_plain(node: ast.AST, modules: set[str]) -> bool:
    match node:
        case ast.Name(name, ast.Load()):
            return name in _PURE or not (name in _BUILTINS or name.startswith("__"))
        case ast.Name(name):  # bound; a module's name stays the module's
            return name not in modules and not name.startswith("__")
        case ast.Call(ast.Name() | ast.Attribute() | ast.Call()):
            return True  # the parts decide
        case ast.Attribute(ast.Name(name), _, ast.Load()):
            return name in modules
        case ast.Subscript(ctx=ast.Load()):
            return True
        case ast.FunctionDef(name, decorator_list=[]) | ast.arg(name):
            return name not in modules
        case ast.Import(names):
            return all(map(_is_pure, names))
        case ast.ImportFrom("typing", names, 0):
            return all(alias.name[0].isupper() for alias in names)  # not `get_type_hints`, which evaluates text
        case ast.alias():
            return True
    return isinstance(node, _PLAIN)
