"""The program in a model's answer, or the reason why there is none.

An answer may hold a draft and a corrected version, a helper in one block and the function in the next, a sample input, an
example call, prose around all of it. `find_program` takes the program that a careful reader would run: of the blocks that
parse and define the function under test the last one, with what it needs of the other blocks and without what no test
needs.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from trl_gift.codetext.bodies import renamed
from trl_gift.codetext.fences import Block, fenced_blocks
from trl_gift.codetext.needed import free_names, joined, keep_needed
from trl_gift.codetext.prefixes import longest_prefix
from trl_gift.codetext.signatures import defines, entry_point_of, opened, pinned_names
from trl_gift.codetext.syntax import (
    INDENT,
    Function,
    arguments,
    find,
    functions,
    inner,
    is_stub,
    lines_of,
    tree_of,
)

PYTHON_TAGS = frozenset({"", "python", "py", "ipython", "sage"})
"""Languages of fences that may hold a Python program; an empty one among them."""

NO_CODE = "no code"
NO_FUNCTION = "no function of the name"
OTHER_LANGUAGE = "another language"
UNFINISHED_THOUGHT = "unfinished thought"
CUT_OFF = "cut off"
"""Kinds of reasons why an answer holds no program, as statistics count them."""

# A model writes the same text many times, and parsing is slow.
_REMEMBERED = 4096
# Search in prose parses each character this many times at most, times the tries for a beginning.
_MOST_PARSED = 2
_STARTS = re.compile(
    r"(?:(?:def|async|class|import|from|for|while|if|with|try|print|return)\b|@\w|[A-Za-z_][\w.]*(?:\[[^\]\n]*\])?\s*(?:[-+*/%]?=(?!=)|,[^.!?\n]*=(?!=)|\())"
)
# What is not Python in what should be: characters that look like spaces, or are invisible.
_INVISIBLE = str.maketrans(
    {"\xa0": " ", "\u202f": " ", "\u200b": None, "\ufeff": None, "\u200c": None, "\u2060": None}
)


@dataclass(frozen=True, slots=True)
class Found:
    """What an answer holds.

    Attributes:
        code: The program; None if there is none.
        kind: One of the kinds of reasons in this module if there is no program; empty otherwise.
        reason: The reason in words, such as `no function named count; found count_tables`; empty if there is a program.
    """

    code: str | None
    kind: str = ""
    reason: str = ""


@lru_cache(maxsize=_REMEMBERED)
def find_program(
    text: str,
    signature: str | None,
    names: frozenset[str] = frozenset(),
    rename_entry_point: bool = False,
) -> Found:
    """The program in an answer.

    Args:
        text: The answer, without thoughts.
        signature: The pinned signature; None for a whole program.
        names: What the tests use besides the entry point of the signature.
        rename_entry_point: Whether a function of another name counts if it is the only one with the right number of
            parameters.
    """
    found = Found(None)
    # A string that is never closed would swallow the blocks after it.
    for blocks in (fenced_blocks(text), fenced_blocks(text, strings="ignored")):
        python = [block for block in blocks if block.tag in PYTHON_TAGS]
        pieces = [piece for block in python if (piece := _cleaned(block))]
        if pieces:
            found = _choose(pieces, signature, names, rename_entry_point)
        elif blocks:
            found = Found(None, OTHER_LANGUAGE, f"code only in {_listed(sorted({block.tag for block in blocks}))}")
        if found.code is not None and tree_of(found.code) is not None:
            return found
    if found.code is not None or found.kind == NO_FUNCTION:
        return found
    regions = code_regions(text)
    if regions and (prose := _choose(regions, signature, names, rename_entry_point)).code is not None:
        return prose
    return found if found.kind else Found(None, NO_CODE, "no code in the answer")


@lru_cache(maxsize=_REMEMBERED)
def find_text(text: str, tags: frozenset[str]) -> Found:
    """The program of an answer in another language: its last block in that language, or the whole answer without a fence.

    Args:
        text: The answer, without thoughts.
        tags: What fences call the language, in lower case.
    """
    blocks = fenced_blocks(text, strings="ignored")
    own = [block.code.strip("\n") for block in blocks if block.tag in tags] or [
        block.code.strip("\n") for block in blocks if not block.tag
    ]
    own = [code for code in own if code.strip()]
    if own:
        return Found(own[-1])
    if blocks:
        return Found(None, OTHER_LANGUAGE, f"code only in {_listed(sorted({block.tag for block in blocks}))}")
    return Found(text.strip("\n")) if text.strip() else Found(None, NO_CODE, "no code in the answer")


def _listed(tags: Sequence[str]) -> str:
    return ", ".join(tag or "unnamed blocks" for tag in tags)


def _cleaned(block: Block) -> str:
    """The code of a block as Python would take it; empty if it holds none."""
    code = textwrap.dedent(block.code).strip("\n").rstrip()
    if code.startswith((">>> ", "$ ")):
        return ""
    first, _, rest = code.partition("\n")
    if not block.tag and first.strip().lower() in ("python", "python3", "py"):
        code = rest  # the language on a line of its own
    if tree_of(code) is None:
        visible = code.translate(_INVISIBLE)
        if visible != code and tree_of(visible) is not None:
            return visible
    return code


def _choose(pieces: Sequence[str], signature: str | None, names: frozenset[str], rename_entry_point: bool) -> Found:
    """The program among pieces of code."""
    if signature is None:
        return _whole_program(pieces)
    entry_point = entry_point_of(signature) or ""
    wanted = names | pinned_names(signature)
    defining = _defining(pieces, entry_point)
    if defining is not None:
        place, code = defining
        others = [*reversed(pieces[:place]), *pieces[place + 1 :]]
        return Found(keep_needed(joined(code, [other for other in others if tree_of(other)]), wanted))
    for piece in reversed(pieces):
        if (whole := _method_as_function(piece, entry_point)) is not None:
            return Found(keep_needed(whole, wanted))
    for piece in reversed(pieces):
        if (whole := _with_signature(piece, signature)) is not None:
            return Found(whole)
    function = find(opened(signature), entry_point)
    if rename_entry_point and isinstance(function, Function):
        for piece in reversed(pieces):
            if (whole := renamed(piece, entry_point, len(arguments(function)))) is not None:
                return Found(keep_needed(whole, wanted))
    # A block with a syntax error is still the model's answer: the execution reports the error.
    opening = re.compile(rf"\b(?:def|class)\s+{re.escape(entry_point)}\b")
    broken = [piece for piece in pieces if tree_of(piece) is None and opening.search(piece)]
    if broken:
        return Found(broken[-1])
    others = sorted({node.name for piece in pieces for node in functions(tree_of(piece))})
    also = f"; found {', '.join(others)}" if others else ""
    return Found(None, NO_FUNCTION, f"no function named {entry_point}{also}")


def _defining(pieces: Sequence[str], entry_point: str) -> tuple[int, str] | None:
    """The last piece that parses and defines the entry point, with its place; a stub only if there is nothing else."""
    stub: tuple[int, str] | None = None
    for place in range(len(pieces) - 1, -1, -1):
        code: str | None = pieces[place]
        tree = tree_of(pieces[place])
        if tree is None:
            code = longest_prefix(lines_of(pieces[place]))
            tree = tree_of(code) if code else None
        if code is None or tree is None or not defines(tree, entry_point):
            continue
        function = find(tree, entry_point)
        if function is None or not is_stub(function):
            return place, code
        stub = stub or (place, code)
    return stub


def _method_as_function(code: str, entry_point: str) -> str | None:
    """A program whose class has a method of the name, with a function that calls the method of a new object."""
    tree = tree_of(code)
    for node in reversed(tree.body if tree else []):
        if not isinstance(node, ast.ClassDef):
            continue
        method = next((item for item in inner(node) if isinstance(item, Function) and item.name == entry_point), None)
        if method is None:
            continue
        kinds = {part.id for part in method.decorator_list if isinstance(part, ast.Name)}
        taken = method.args
        shown = [arg.arg for arg in (*taken.posonlyargs, *taken.args)]
        if "staticmethod" not in kinds:
            shown = shown[1:]
        return (
            f"{code.rstrip()}\n\n\ndef {entry_point}({', '.join(shown)}):\n"
            f"{INDENT}return {node.name}().{entry_point}({', '.join(shown)})"
        )
    return None


def _with_signature(code: str, signature: str) -> str | None:
    """The program of a piece that holds only the body of the function."""
    tree = tree_of(code)
    if tree is None or not any(isinstance(node, ast.Return) for node in _statements(tree)):
        return None
    body = textwrap.indent(code, INDENT)
    whole = f"{signature.rstrip()}\n{body}"
    return whole if tree_of(whole) is not None else None


def _statements(tree: ast.Module) -> list[ast.AST]:
    """The statements of a module outside its functions and classes."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, Function | ast.ClassDef):
            waiting.extend(inner(node))
    return found


def _whole_program(pieces: Sequence[str]) -> Found:
    """The last piece that is a program by itself, or with what it needs of the others; otherwise the last that parses."""
    parsed = [(place, piece) for place, piece in enumerate(pieces) if _does_something(piece)]
    for place, piece in reversed(parsed):
        code = joined(piece, [*reversed(pieces[:place]), *pieces[place + 1 :]])
        tree = tree_of(code)
        if tree is not None and not free_names(tree) and _uses(tree, _OUTPUT):
            return Found(code)
    if parsed:
        return Found(parsed[-1][1])
    broken = [piece for piece in pieces if tree_of(piece) is None and "\n" in piece] or [
        piece for piece in pieces if tree_of(piece) is None
    ]
    # A program with a syntax error is still the model's answer: the execution reports the error.
    return Found(max(broken, key=len)) if broken else Found(None, NO_CODE, "no program in the answer")


_OUTPUT = frozenset({"print", "stdout", "write", "open", "os", "exec"})


def _does_something(code: str) -> bool:
    """Whether a piece is a program: more than constants and names, which a sample of input or output may be, too."""
    tree = tree_of(code)
    return tree is not None and any(
        not isinstance(node, ast.Expr | ast.AnnAssign) or isinstance(getattr(node, "value", None), ast.Call)
        for node in tree.body
    )


def _uses(tree: ast.Module, names: Collection[str]) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id in names) or (isinstance(node, ast.Attribute) and node.attr in names)
        for node in ast.walk(tree)
    )


def code_regions(text: str) -> list[str]:
    """The pieces of Python between lines of prose, in order; each line is parsed a few times at most."""
    lines = lines_of(text)
    regions: list[str] = []
    start = 0
    left = _MOST_PARSED * len(text) + 1000
    while start < len(lines) and left > 0:
        if not _STARTS.match(lines[start]):
            start += 1
            continue
        end = start + 1
        while end < len(lines) and not _is_prose(lines[end]):
            end += 1
        left -= sum(map(len, lines[start:end])) + end - start
        found = longest_prefix(lines[start:end])
        if found is None:
            start += 1
            while start < end and (not _STARTS.match(lines[start])):
                start += 1
            continue
        if _does_something(found):
            regions.append(found)
        start += len(lines_of(found))
    return regions


def _is_prose(line: str) -> bool:
    """Whether a line at the margin is neither the beginning nor the continuation of a statement."""
    return (
        bool(line)
        and not line[0].isspace()
        and line[0] not in ")]}#\"'"
        and not _STARTS.match(line)
        and not (line.startswith(("else:", "elif ", "except", "finally:")))
    )
