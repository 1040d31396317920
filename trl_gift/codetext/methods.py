"""Methods as functions: models that know puzzle sites write a `class Solution` in place of a function."""

from __future__ import annotations

import ast

from trl_gift.codetext.syntax import INDENT, Function, inner, tree_of, unparsed


def method_as_function(code: str, entry_point: str) -> str | None:
    """A program whose class has a method of the name, with a function that calls the method of a new object."""
    tree = tree_of(code)
    for node in reversed(tree.body if tree else []):
        if not isinstance(node, ast.ClassDef):
            continue
        method = next((item for item in inner(node) if isinstance(item, Function) and item.name == entry_point), None)
        if method is None:
            continue
        static = any(isinstance(part, ast.Name) and part.id == "staticmethod" for part in method.decorator_list)
        taken, given = _handed_on(method.args, leave_out=not static)
        return f"{code.rstrip()}\n\n\ndef {entry_point}({taken}):\n{INDENT}return {node.name}().{entry_point}({given})"
    return None


def _handed_on(parameters: ast.arguments, leave_out: bool) -> tuple[str, str]:
    """The parameters of a function that calls another with them, and the arguments of that call.

    Args:
        parameters: Those of the function that is called.
        leave_out: Whether the first one is left out, as `self` of a method.
    """
    places = [*parameters.posonlyargs, *parameters.args]
    without = len(places) - len(parameters.defaults)
    defaults: list[ast.expr | None] = [*[None] * without, *parameters.defaults]
    taken = [_with_default(arg, default) for arg, default in zip(places, defaults, strict=True)][leave_out:]
    given = [arg.arg for arg in places][leave_out:]
    if parameters.vararg is not None:
        taken.append(f"*{parameters.vararg.arg}")
        given.append(f"*{parameters.vararg.arg}")
    elif parameters.kwonlyargs:
        taken.append("*")
    for arg, default in zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True):
        taken.append(_with_default(arg, default))
        given.append(f"{arg.arg}={arg.arg}")
    if parameters.kwarg is not None:
        taken.append(f"**{parameters.kwarg.arg}")
        given.append(f"**{parameters.kwarg.arg}")
    return ", ".join(taken), ", ".join(given)


def _with_default(arg: ast.arg, default: ast.expr | None) -> str:
    return arg.arg if default is None else f"{arg.arg}={unparsed(default) or None}"
