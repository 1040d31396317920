"""The fenced blocks of an answer: those of CommonMark, and what models write in their place.

CommonMark decides the kind and length of a fence, its indentation, quotes (`> `) and lists around it. Beyond it:

- a fence that follows words on a line (`Here: ```python`), and code that follows on the opening line,
- a closing fence at the end of a line of code,
- an opening fence with the name of a language within an open block, which a model forgot to close,
- a fence within a string that spans lines does not close the block.

One pass over the lines finds them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from trl_gift.codetext.syntax import lines_of

# Quotes and one list marker around a fence, then the fence; group `rest` is the info string.
_OPENING = re.compile(
    r"(?P<around>(?:[ \t]{0,3}>)*[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<fence>`{3,}|~{3,})(?P<rest>.*)", re.DOTALL
)
# What a language's name may end with.
_TAG_END = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+#-."
_TAG = re.compile(r"[ \t]*\{?\.?([A-Za-z][\w+#]*)(?:[-.]?[0-9.]+)?\}?")
_CODE_WORDS = frozenset({"def", "class", "import", "from", "async"})
_QUOTES = re.compile(r"(?:[ \t]{0,3}> ?)*")

Strings = Literal["closed", "open", "ignored"]
"""What a fence within a string that spans lines means: see `fenced_blocks`."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        tag: The language that its fence names, in lower case; empty if it names none.
        code: Its lines, without the quotes and the indentation of its fence.
        closed: Whether it has a closing fence.
        start: Place in the text where the line of its opening fence begins.
        end: Place in the text after the closing fence; the length of the text for an open block.
    """

    tag: str
    code: str
    closed: bool
    start: int
    end: int


@dataclass(slots=True)
class _Open:
    """The block that is being read."""

    tag: str
    marker: str
    length: int
    quotes: int
    indent: int
    lines: list[str]
    start: int = 0
    string: str = ""  # the delimiter of the string that spans the next line


def fenced_blocks(text: str, strings: Strings = "closed") -> list[Block]:
    """The fenced blocks of `text`, in order.

    Args:
        text: What a model wrote.
        strings: A fence within a string that spans lines belongs to the string if `text` closes the string later
            (`"closed"`), in any case (`"open"`: more text may come), or never (`"ignored"`).
    """
    last = {quote: text.rfind(quote) for quote in ('"""', "'''")}
    blocks: list[Block] = []
    block: _Open | None = None
    place = 0
    for line in lines_of(text):
        start, place = place, place + len(line)
        place += 2 if text.startswith("\r\n", place) else 1
        if block is not None:
            inside = _unquoted(line, block.quotes)
            in_string = bool(block.string) and (
                strings == "open" or (strings == "closed" and last[block.string] > start)
            )
            opened = None if in_string else _opening(line)
            if not in_string and _closes(inside, block):
                blocks.append(_finished(block, True, start + len(line)))
                block = None
            elif opened is not None and opened.tag and opened.length >= block.length and not opened.lines:
                blocks.append(_finished(block, False, start))
                block = replace(opened, start=start)
            else:
                content = _unindented(inside, block.indent)
                cut, block.string = _scan(content, block)
                block.lines.append(content[:cut])
                if cut < len(content):
                    blocks.append(_finished(block, True, start + len(line)))
                    block = None
            continue
        block = _opening(line) or _opening_after_words(line)
        if block is not None:
            block.start = start
        if block is not None and block.lines:
            content = block.lines.pop()
            cut, block.string = _scan(content, block)
            block.lines.append(content[:cut].rstrip())
            if cut < len(content):
                blocks.append(_finished(block, True, start + len(line)))
                block = None
    if block is not None:
        blocks.append(_finished(block, False, len(text)))
    return blocks


def _finished(block: _Open, closed: bool, end: int) -> Block:
    return Block(block.tag, "\n".join(block.lines), closed, block.start, end)


def _opening(line: str) -> _Open | None:
    """The block that a line opens, with the code on that line."""
    found = _OPENING.fullmatch(line)
    if found is None:
        return None
    fence, rest = found["fence"], found["rest"]
    tag, code = _info(rest)
    if "`" in rest and fence[0] == "`" and not (code and code.rstrip().endswith(fence)):
        return None  # `inline code` of many backticks
    around = found["around"]
    indent = len(around.expandtabs(4)) - (len(_quotes(around).expandtabs(4)) if ">" in around else 0)
    return _Open(tag, fence[0], len(fence), around.count(">"), indent, [code] if code else [])


def _opening_after_words(line: str) -> _Open | None:
    """The block that a line opens after words: by a fence with a language, or with nothing after a colon."""
    line = line.rstrip(" \t")
    head = line.rstrip(_TAG_END)
    tag, fenced = line[len(head) :], head.rstrip(" \t")
    words = fenced.rstrip("`")
    length = len(fenced) - len(words)
    if length >= 3 and not tag:  # opened on the same line?
        fence = "`" * length
        start = words.rfind(fence)
        language, code = _info(words[start + length :]) if start >= 0 else ("", "")
        if code:
            return _Open(language, "`", length, 0, 0, [code + fence])
    if length < 3 or not words.strip() or not (tag or words.rstrip().endswith(":")):
        return None
    return _Open(_info(tag)[0], "`", length, 0, 0, [])


def _info(rest: str) -> tuple[str, str]:
    """The language in an info string, and the code that follows it on the same line."""
    found = _TAG.match(rest)
    if found is None:
        return "", ""
    word, after = found[1], rest[found.end() :].strip()
    if word in _CODE_WORDS:
        return "", rest.strip()
    first = re.match(r"\w+|@", after)
    is_code = bool(first) and (after.startswith("@") or (first is not None and first[0] in _CODE_WORDS))
    return word.lower(), after if is_code else ""


def _closes(line: str, block: _Open) -> bool:
    stripped = line.strip(" \t")
    indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip(" "))
    return len(stripped) >= block.length and not stripped.strip(block.marker) and indent <= block.indent + 3


def _quotes(line: str) -> str:
    found = _QUOTES.match(line)
    return found[0] if found else ""


def _unquoted(line: str, quotes: int) -> str:
    """A line of a quoted block without the quote marks of the block."""
    for _ in range(quotes):
        stripped = line.lstrip(" \t")
        if not stripped.startswith(">"):
            return line
        line = stripped[1:].removeprefix(" ")
    return line


def _unindented(line: str, indent: int) -> str:
    """A line without the indentation of the block's fence, as far as it has it."""
    place = 0
    while place < min(indent, len(line)) and line[place] == " ":
        place += 1
    return line[place:]


def _scan(line: str, block: _Open) -> tuple[int, str]:
    """Where a closing fence at the end of a line of code begins, and the string that spans the next line.

    Reads strings and comments of Python, so that a fence in one of them does not count.
    """
    string = block.string
    place, size = 0, len(line)
    fence = block.marker * block.length
    tail = len(line.rstrip(block.marker + " \t"))
    while place < size:
        if string:
            if line[place] == "\\":
                place += 2
            elif line.startswith(string, place):
                place, string = place + len(string), ""
            else:
                place += 1
            continue
        character = line[place]
        if character == "#":
            break
        if place >= tail > 0 and line.startswith(fence, place):
            return len(line[:place].rstrip()), ""
        if line.startswith(('"""', "'''"), place):
            string, place = line[place : place + 3], place + 3
        elif character in "\"'":
            string, place = character, place + 1
        else:
            place += 1
    return size, string if len(string) == 3 else ""
