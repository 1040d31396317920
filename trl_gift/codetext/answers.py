"""The program in a model's answer, or the reason why there is none.

An answer may hold a draft and a corrected version, a helper in one block and the function in the next, a sample input, an
example call, prose around all of it. `find_program` takes the program that a careful reader would run: of the blocks that
parse and define the function under test the last one, with what it needs of the other blocks and without what no test
needs.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from trl_gift.codetext.bindings import free_names, outside_definitions
from trl_gift.codetext.bodies import renamed
from trl_gift.codetext.fences import Block, Strings, fenced_blocks
from trl_gift.codetext.joining import joined
from trl_gift.codetext.marked import html_code, inline_code
from trl_gift.codetext.methods import method_as_function, only_method_as_function
from trl_gift.codetext.needed import keep_needed
from trl_gift.codetext.offered import offers_imports, with_offered_imports
from trl_gift.codetext.prefixes import longest_prefix
from trl_gift.codetext.signatures import defines, entry_point_of, opened, pinned_names
from trl_gift.codetext.syntax import (
    INDENT,
    REMEMBERED,
    Definition,
    Function,
    Import,
    arguments,
    definitions,
    find,
    functions,
    is_stub,
    last_line,
    lines_of,
    tree_of,
)

PYTHON_TAGS = frozenset({"", "python", "py", "ipython", "sage"})
"""Languages of fences that may hold a Python program; an empty one among them."""

# What models call blocks of Python, too, and blocks of other texts.
_UNSPECIFIC_TAGS = frozenset(
    {"tool_code", "code", "solution", "program", "pycon", "doctest", "text", "txt", "plaintext"}
)
_MARKDOWN_TAGS = frozenset({"markdown", "md"})

NO_CODE = "no code"
NO_FUNCTION = "no function of the name"
OTHER_LANGUAGE = "another language"
UNFINISHED_THOUGHT = "unfinished thought"
"""Kinds of reasons why an answer holds no program, as statistics count them."""

# Search in prose parses each character this many times at most, times the tries for a beginning.
_MOST_PARSED = 2
# The last pieces of a whole program that are tried with what they need of the others.
_MOST_JOINED = 4
# The last pieces that elements of HTML or inline code hold, each of which is parsed.
_MOST_MARKED = 100
_STARTS = re.compile(
    r"(?:(?:def|async|class|import|from|for|while|if|with|try|print|return)\b|@\w|[A-Za-z_][\w.]*(?:\[[^\]\n]*\])?\s*(?:[-+*/%]?=(?!=)|,[^.!?\n]*=(?!=)|\())"
)
_NOTEBOOK_COMMAND = re.compile(r"^(?:[%!]|pip3? install )[^\n]*\n", re.MULTILINE)
_LEFT_OUT = re.compile(
    r"^\s*#\s*(?:\.\.\.|…)|^\s*#.*\b(?:rest of the|remaining code|same as before|as above)\b", re.IGNORECASE
)
_MARKS = re.compile(r"[({;=]")
_CALLED = re.compile(r"([\w$]+)\s*\(")
# What is not Python in what should be: characters that look like spaces, or are invisible.
_INVISIBLE = str.maketrans(
    dict.fromkeys("\xa0\u202f\u2002\u2003\u2009\u3000", " ") | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
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


@lru_cache(maxsize=REMEMBERED)
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
    for blocks in (_blocks(text, _begins_as_python), _blocks(text, _begins_as_python, strings="ignored")):
        python = [piece for block in blocks if _is_of(block, PYTHON_TAGS) and (piece := _cleaned(block))]
        if python:
            found = _choose(python, signature, names, rename_entry_point)
        if found.code is None:
            other = [
                piece for block in blocks if _is_of(block, _UNSPECIFIC_TAGS) and tree_of(piece := _cleaned(block))
            ]
            meant = _choose(other, signature, names, rename_entry_point) if other else found
            found = meant if meant.code is not None and (signature or _is_whole(meant.code)) else found
        if found.code is None and not python and any(block.code.strip() for block in blocks):
            found = _only_in(blocks)
        if found.code is not None and tree_of(found.code) is not None:
            return found
    if found.code is not None or found.kind == NO_FUNCTION:
        return found
    # Lines of prose may end within an element, whose characters are written as HTML has them.
    if (marked := _in_marks(html_code(text), signature, names, rename_entry_point)) is not None:
        return marked
    regions = code_regions(_without_other_languages(text)) or _indented_code(text)
    if regions and (prose := _choose(regions, signature, names, rename_entry_point)).code is not None:
        return prose
    if (marked := _in_marks(inline_code(text), signature, names, rename_entry_point)) is not None:
        return marked
    return found if found.kind else Found(None, NO_CODE, "no code in the answer")


def _in_marks(
    pieces: Sequence[str], signature: str | None, names: frozenset[str], rename_entry_point: bool
) -> Found | None:
    """The program in pieces that elements of HTML or inline code hold, if there is one.

    Prose names functions and statements in such marks, too: only a definition with a body is a program there, or where a whole
    program is wanted, one that reads its input.
    """
    pieces = pieces[-_MOST_MARKED:]
    programs = [piece for piece in pieces if _is_definition(piece) or (signature is None and _uses(piece, _INPUT))]
    if not programs:
        return None
    others = [piece for piece in pieces if piece not in programs and _imports_alone(piece)]
    found = _choose([*others, *programs], signature, names, rename_entry_point)
    return found if found.code is not None and (signature is not None or _is_whole(found.code)) else None


def _is_definition(code: str) -> bool:
    """Whether a piece defines a function or class that is more than a stub."""
    tree = tree_of(code)
    return any(
        (isinstance(node, Definition) and not is_stub(node))
        or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda))
        for node in (tree.body if tree else ())
    )


def _imports_alone(code: str) -> bool:
    tree = tree_of(code)
    return tree is not None and all(isinstance(node, Import) for node in tree.body)


def _blocks(text: str, is_code: Callable[[str], bool], strings: Strings = "closed") -> list[Block]:
    """The blocks of an answer; those in a block of Markdown in its place.

    Args:
        text: The answer.
        is_code: Whether the text before the first fence is a block whose opening fence is missing.
        strings: As in `fenced_blocks`.
    """
    blocks = fenced_blocks(text, strings)
    if blocks and not blocks[0].tag and is_code(head := text[: blocks[0].start]):
        prose = not blocks[0].closed  # what the fence that closes the head has opened
        blocks = [Block("", head, True, 0, blocks[0].start), *blocks[prose:]]
    found: list[Block] = []
    for block in blocks:
        found += (_is_of(block, _MARKDOWN_TAGS) and fenced_blocks(block.code, strings)) or [block]
    return found


def _begins_as_python(head: str) -> bool:
    code = textwrap.dedent(head)
    tree = tree_of(code)
    return tree is not None and (
        any(isinstance(node, Definition | Import | ast.Return) for node in tree.body) or _uses(code, _INPUT)
    )


def _begins_as_other(head: str) -> bool:
    return head.rstrip().endswith(("}", ";"))


def _without_other_languages(text: str) -> str:
    """`text` without its closed blocks that name another language than Python."""
    pieces: list[str] = []
    place = 0
    for block in fenced_blocks(text, strings="ignored"):
        if block.closed and not _is_of(block, PYTHON_TAGS | _UNSPECIFIC_TAGS | _MARKDOWN_TAGS):
            pieces.append(text[place : block.start])
            place = block.end
    return "".join([*pieces, text[place:]])


def _is_of(block: Block, tags: Collection[str]) -> bool:
    """Whether a block is of one of some languages, whose name may have a version (`python3`, `c++17`)."""
    return block.tag in tags or (block.tag.rstrip("0123456789") or block.tag) in tags


def _only_in(blocks: Sequence[Block]) -> Found:
    tags = sorted({block.tag for block in blocks})
    return Found(None, OTHER_LANGUAGE, f"code only in {', '.join(tag or 'unnamed blocks' for tag in tags)}")


@lru_cache(maxsize=REMEMBERED)
def find_text(text: str, tags: frozenset[str], opening: str = "") -> Found:
    """The program of an answer in another language: a block in that language, or the whole answer without a fence.

    It is the last block that defines the function under test, or the last one if none does.

    Args:
        text: The answer, without thoughts.
        tags: What fences call the language, in lower case.
        opening: The line that opens the function under test; empty for a whole program, where it is `main`.
    """
    blocks = [block for block in _blocks(text, _begins_as_other, strings="ignored") if block.code.strip()]
    own = [block for block in blocks if _is_of(block, tags)]
    # A sample of input or output may have a block, too; it has fewer marks than a program.
    own = own or [block for block in blocks if not block.tag and _MARKS.search(block.code)]
    own = own or [block for block in blocks if not block.tag]
    if own:
        called = _CALLED.search(opening)
        definition = _definition_of(called[1] if called else "main")
        whole = [block for block in own if definition.search(block.code)]
        return Found((whole or own)[-1].code.strip("\n"))
    if blocks:
        return _only_in(blocks)
    return Found(text.strip("\n")) if text.strip() else Found(None, NO_CODE, "no code in the answer")


def _definition_of(name: str) -> re.Pattern[str]:
    """What defines a function in languages with braces: words, its name, parameters and a brace; or a constant with an arrow."""
    name = re.escape(name)
    return re.compile(
        rf"(?:[\w>\]][\s*&]+{name}\s*\([^;{{}}]{{0,300}}\)[^;{{}}()]{{0,100}}\{{)|(?:\b(?:const|let|var)\s+{name}\s*=)"
    )


def _cleaned(block: Block) -> str:
    """The code of a block as Python would take it; empty if it holds none."""
    code = textwrap.dedent(block.code).strip("\n").rstrip()
    if code.startswith("$ "):
        return ""
    if code.startswith(">>> "):
        return _of_transcript(code)
    first, _, rest = code.partition("\n")
    if not block.tag and first.strip().lower() in ("python", "python3", "py"):
        code = rest  # the language on a line of its own
    if tree_of(code) is None:
        visible = code.translate(_INVISIBLE)
        for other in (visible, _NOTEBOOK_COMMAND.sub("", visible)):
            if other != code and tree_of(other) is not None:
                return other.strip("\n")
    return code


def _of_transcript(text: str) -> str:
    """The statements of an interpreter's transcript if they define something; empty if they only use it."""
    typed = [line[4:] for line in lines_of(text) if line.startswith((">>> ", "... ")) or line in (">>>", "...")]
    code = "\n".join(typed)
    return code if definitions(tree_of(code)) else ""


def _choose(pieces: Sequence[str], signature: str | None, names: frozenset[str], rename_entry_point: bool) -> Found:
    """The program among pieces of code."""
    if signature is None:
        return _whole_program(pieces)
    found = _function(pieces, signature, names, rename_entry_point)
    if found.code is None or not offers_imports(found.code):
        return found
    return replace(found, code=with_offered_imports(found.code))


def _function(pieces: Sequence[str], signature: str, names: frozenset[str], rename_entry_point: bool) -> Found:
    """The program among pieces of code that defines what a signature opens."""
    entry_point = entry_point_of(signature) or ""
    wanted = names | pinned_names(signature)
    defining = _defining(pieces, entry_point)
    if defining is not None:
        place, code = defining
        return Found(keep_needed(joined(code, _others(pieces, place)), wanted))
    for place in reversed(range(len(pieces))):
        if (whole := method_as_function(pieces[place], entry_point)) is not None:
            return Found(keep_needed(joined(whole, _others(pieces, place)), wanted))
    for piece in reversed(pieces):
        if (whole := _with_signature(piece, signature)) is not None:
            return Found(whole)
    function = find(opened(signature), entry_point)
    if rename_entry_point and isinstance(function, Function):
        parameters = len(arguments(function))
        for place in reversed(range(len(pieces))):
            piece = pieces[place]
            renamed_piece = renamed(piece, entry_point, parameters) or only_method_as_function(
                piece, entry_point, parameters
            )
            if renamed_piece is not None:
                return Found(keep_needed(joined(renamed_piece, _others(pieces, place)), wanted))
    # A block with a syntax error is still the model's answer: the execution reports the error.
    opening = re.compile(rf"\b(?:def|class)\s+{re.escape(entry_point)}\b")
    broken = [piece for piece in pieces if tree_of(piece) is None and opening.search(piece)]
    if broken:
        return Found(broken[-1])
    others = sorted({name for piece in pieces for name in _function_names(tree_of(piece))})
    also = f"; found {', '.join(others)}" if others else ""
    return Found(None, NO_FUNCTION, f"no function named {entry_point}{also}")


def _others(pieces: Sequence[str], place: int) -> list[str]:
    """The pieces besides the one at `place`, as far as they parse: those before it, the nearest first, then the rest."""
    others = [*reversed(pieces[:place]), *pieces[place + 1 :]]
    return [code for other in others if (code := other if tree_of(other) else longest_prefix(lines_of(other)))]


def _function_names(tree: ast.Module | None) -> list[str]:
    """The names of functions, and of methods as `Solution.count`."""
    return [node.name for node in functions(tree)] + [
        f"{node.name}.{item.name}"
        for node in definitions(tree)
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, Function) and not item.name.startswith("_")
    ]


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
        if function is None or not (is_stub(function) or _is_sketch(code, function)):
            return place, code
        stub = stub or (place, code)
    return stub


def _is_sketch(code: str, function: Definition) -> bool:
    """Whether a function says that something is left out: `# ... rest of the function`, or a statement `...`."""
    lines, end = lines_of(code), last_line(function)
    comments = itertools.takewhile(lambda line: line[:1].isspace() or not line, lines[end:])
    parts = [node for part in function.body for node in outside_definitions(part)]
    # `except ValueError: ...` leaves nothing out.
    ignored = {node for part in parts if isinstance(part, ast.ExceptHandler) for node in part.body}
    return any(_LEFT_OUT.search(line) for line in (*lines[function.lineno - 1 : end], *comments)) or any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and node.value.value is ...
        and node not in ignored
        for node in parts
    )


def _with_signature(code: str, signature: str) -> str | None:
    """The program of a piece that holds only the body of the function; its first line may have lost its indentation."""
    body = textwrap.indent(code, INDENT) if tree_of(code) is not None else f"{INDENT}{code.lstrip()}"
    tree = tree_of(f"def body():\n{body}")
    function = tree.body[0] if tree is not None and len(tree.body) == 1 else None
    if not isinstance(function, Function) or not any(
        _gives_a_result(node) for part in function.body for node in outside_definitions(part)
    ):
        return None
    whole = f"{signature.rstrip()}\n{body}"
    return whole if tree_of(whole) is not None else None


def _gives_a_result(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr | ast.Assign) else None
    return isinstance(node, ast.Return) or isinstance(value, ast.Yield | ast.YieldFrom)


def _whole_program(pieces: Sequence[str]) -> Found:
    """The last piece that is a program by itself, or with what it needs of the others; otherwise the last that parses.

    A piece that reads its input comes first: an example call or a part that is explained may follow the program.
    """
    parsed = [(place, piece) for place, piece in enumerate(pieces) if _does_something(piece)]
    alone = [piece for _, piece in reversed(parsed)]
    together = [joined(piece, _others(pieces, place)) for place, piece in parsed[: -_MOST_JOINED - 1 : -1]]
    for reads in (_INPUT, None):
        for code in (*alone, *together):
            if _is_whole(code) and (reads is None or _uses(code, reads)):
                return Found(code)
    if parsed:
        return Found(parsed[-1][1])
    broken = [piece for piece in pieces if tree_of(piece) is None and "\n" in piece] or [
        piece for piece in pieces if tree_of(piece) is None
    ]
    # A program with a syntax error is still the model's answer: the execution reports the error.
    return Found(max(broken, key=len)) if broken else Found(None, NO_CODE, "no program in the answer")


_INPUT = frozenset({"input", "stdin", "fileinput", "read", "readline", "readlines"})
_OUTPUT = frozenset({"print", "stdout", "write", "open", "os", "exec"})


def _is_whole(code: str) -> bool:
    """Whether a program writes something when it runs, and has all names that it reads."""
    tree = tree_of(code)
    if tree is None or free_names(tree) or not _uses(code, _OUTPUT):
        return False
    return any(not isinstance(node, Definition | Import) and _calls(node) for node in tree.body)


def _does_something(code: str) -> bool:
    """Whether a piece is a program: more than constants and names, which a sample of input or output may be, too."""
    tree = tree_of(code)
    return tree is not None and any(
        not isinstance(node, ast.Expr | ast.AnnAssign) or _calls(node) for node in tree.body
    )


def _calls(statement: ast.stmt) -> bool:
    return any(isinstance(part, ast.Call) for part in ast.walk(statement))


def _uses(code: str, names: Collection[str]) -> bool:
    tree = tree_of(code)
    return tree is not None and any(
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
        lines_found = lines_of(found)
        start += len(lines_found)
        while lines_found[-1].startswith("#") or not lines_found[-1].strip():
            lines_found.pop()  # a heading of Markdown rather than a comment
        if _does_something(found):
            regions.append("\n".join(lines_found))
    return regions


def _indented_code(text: str) -> list[str]:
    """The code blocks of Markdown that have no fence: lines that are indented after a blank line."""
    found: list[str] = []
    block: list[str] = []
    before = "."  # a text that begins with indented lines is the body of a function
    for line in [*lines_of(text), "."]:
        if line.startswith((INDENT, "\t")) and (block or not before.strip()):
            block.append(line)
        elif block and not line.strip():
            block.append("")
        elif block:
            code = textwrap.dedent("\n".join(block)).strip("\n")
            found += [code] if _does_something(code) else []
            block = []
        before = line
    return found


def _is_prose(line: str) -> bool:
    """Whether a line at the margin is neither the beginning nor the continuation of a statement."""
    return (
        bool(line)
        and not line[0].isspace()
        and line[0] not in ")]}#\"'"
        and not _STARTS.match(line)
        and not (line.startswith(("else:", "elif ", "except", "finally:")))
    )
