"""Methods as functions: models that know puzzle sites write a `class Solution` in place of a function."""

from __future__ import annotations

import ast

from trl_gift.codetext.syntax import INDENT, Function, inner, takes, tree_of, unparsed


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
        return _with_function(code, entry_point, node, method, static)
    return None


def only_method_as_function(code: str, entry_point: str, parameters: int) -> str | None:
    """As `method_as_function`, for the only public method of the last class if it takes that many arguments."""
    tree = tree_of(code)
    classes = [node for node in (tree.body if tree else ()) if isinstance(node, ast.ClassDef)]
    methods = [item for item in classes[-1].body if isinstance(item, Function)] if classes else []
    public = [item for item in methods if not item.name.startswith("_")]
    if len(public) != 1:
        return None
    static = any(isinstance(part, ast.Name) and part.id == "staticmethod" for part in public[0].decorator_list)
    if not takes(public[0], parameters + (not static)):
        return None
    return _with_function(code, entry_point, classes[-1], public[0], static)


def _with_function(code: str, name: str, owner: ast.ClassDef, method: Function, static: bool) -> str:
    defaults = [*method.args.defaults, *(default for default in method.args.kw_defaults if default)]
    taken = given = "*args, **kwargs"
    if not any(isinstance(part, ast.Name) for default in defaults for part in ast.walk(default)):
        taken, given = _handed_on(method.args, leave_out=not static)  # else a default may be known in the class alone
    return f"{code.rstrip()}\n\n\ndef {name}({taken}):\n{INDENT}return {owner.name}().{method.name}({given})"


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
