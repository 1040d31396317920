"""Programs as coloured text: pygments says what each part is, the page's script writes the parts as plain text.

A program's spans are one short text, `"3k1p5f"`: three characters of a keyword, one that is plain, five of a function's
name. Lengths count UTF-16 units, as a browser does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, String, _TokenType

_CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "c"),
    (Keyword, "k"),
    (Name.Builtin, "b"),
    (Name.Class, "f"),
    (Name.Decorator, "d"),
    (Name.Function, "f"),
    (Number, "n"),
    (String, "s"),
)
_PLAIN = "p"
_MARKS = {"cpp": ("#include", "int main"), "javascript": ("console.log", "require(", "=>", "const ")}


def language_of(programs: Iterable[str]) -> str:
    """The language of the first program that shows it; Python if none does. Records do not name the language."""
    for program in programs:
        try:
            ast.parse(program)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            for language, marks in _MARKS.items():
                if any(mark in program for mark in marks):
                    return language
        else:
            return "python"
    return "python"


def spans(program: str, language: str = "python") -> str:
    """The spans of a program.

    Args:
        program: Its text; it need not be valid.
        language: A name that pygments knows.
    """
    parts: list[tuple[int, str]] = []
    # Unprocessed: the other method of a lexer changes line ends, and the lengths would not fit the text.
    for _, kind, text in _lexer(language).get_tokens_unprocessed(program):
        length, mark = len(text.encode("utf-16-le", "surrogatepass")) // 2, _mark(kind)
        if parts and parts[-1][1] == mark:
            parts[-1] = (parts[-1][0] + length, mark)
        else:
            parts.append((length, mark))
    return "".join(f"{length}{mark}" for length, mark in parts)


@cache
def _lexer(language: str) -> Lexer:
    return get_lexer_by_name(language)


@cache
def _mark(kind: _TokenType) -> str:
    return next((mark for parent, mark in _CLASSES if kind in parent), _PLAIN)
