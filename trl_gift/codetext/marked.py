"""Code that an answer marks without a fence: elements of HTML, and inline code in backticks.

Both take one pass over the text. An element that is never closed reaches to the end of the text.
"""

from __future__ import annotations

import html
import re
import textwrap

_ELEMENT = re.compile(r"<(pre|code)\b[^<>]{0,200}>", re.IGNORECASE)
_CLOSING = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("pre", "code")}
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
# What stands within such an element: marks of a highlighter, and one element in the other.
_WITHIN = re.compile(r"</?(?:pre|code|span|div)\b[^<>]{0,200}>", re.IGNORECASE)
_SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]+)\1(?!`)")


def html_code(text: str) -> list[str]:
    """The contents of the outermost `<pre>` and `<code>` elements, in order, as the text that a browser shows."""
    found: list[str] = []
    place = 0
    while (opening := _ELEMENT.search(text, place)) is not None:
        closing = _CLOSING[opening[1].lower()].search(text, opening.end())
        end = closing.start() if closing else len(text)
        content = _WITHIN.sub("", _BREAK.sub("\n", text[opening.end() : end]))
        found.append(textwrap.dedent(html.unescape(content)).strip("\n").rstrip())
        place = closing.end() if closing else len(text)
    return found


def inline_code(text: str) -> list[str]:
    """The contents of code spans of one or two backticks that begin and end on one line, in order."""
    return [found[2].strip() for found in _SPAN.finditer(text)]
