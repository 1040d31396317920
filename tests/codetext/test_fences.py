"""Where fences are well-formed, the blocks are those of CommonMark, as a Markdown parser that is kept finds them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from trl_gift import codetext

# What precedes the first line of a block in its container, and what precedes the others.
CONTAINERS = [("", ""), ("> ", "> "), (">", ">"), ("> > ", "> > "), ("- ", "  "), ("12. ", "    "), ("> - ", ">   ")]
TAGS = {
    "": "",
    "python": "python",
    "py": "py",
    "Python": "python",
    "c++": "c++",
    "js": "js",
    "python title='x'": "python",
}
TAGS |= {"{.python}": "python", "{.python .numbers}": "python"}
LINES = [
    "x = 1",
    "    return x",
    "",
    "# comment",
    "print(`x`)",
    "> y",
    "- item",
    "s = 'a'",
    "\tif x:",
    "  # it's",
    "def f(x):",
]


@dataclass(frozen=True)
class Fenced:
    """A block of a document, and what it holds."""

    info: str
    lines: list[str]
    text: list[str]


@st.composite
def fenced(draw) -> Fenced:
    marker, length = draw(st.sampled_from("`~")), draw(st.integers(3, 6))
    first, others = draw(st.sampled_from(CONTAINERS))
    # What indents a fence after the marker of a list belongs to the list.
    indent = " " * (draw(st.integers(0, 3)) if first == others else 0)
    info = draw(st.sampled_from(["", " "])) + draw(st.sampled_from(sorted(TAGS)))
    other = "~" if marker == "`" else "`"
    # A shorter fence and one of the other kind are lines like others.
    inner = [marker * shorter for shorter in range(3, length)] + [other * 3]
    lines = draw(st.lists(st.sampled_from(LINES + inner), max_size=6))
    closing = (
        " " * draw(st.integers(0, 3)) + marker * (length + draw(st.integers(0, 2))) + draw(st.sampled_from(["", "  "]))
    )
    text = [f"{first}{indent}{marker * length}{info}"]
    text += [f"{others}{indent}{line}" if line else others.rstrip() for line in lines]
    return Fenced(info, lines, [*text, f"{others}{closing}"])


@st.composite
def documents(draw) -> list[str | Fenced]:
    words = st.sampled_from(["Some words.", "A `span` of code", "It's *done*: see", "1 + 1"])
    return draw(st.lists(fenced() | words, max_size=5))


@settings(max_examples=300)
@given(documents(), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_the_blocks_of_well_formed_documents_are_those_of_commonmark(parts, ends_open, line_end):
    lines: list[str] = []
    for part in parts:
        # Words at the margin end a list, to which an indented fence would belong.
        lines += [*([part] if isinstance(part, str) else part.text), "", "Then:", ""]
    if ends_open:
        lines += ["```python", "x = 1"]
    text = line_end.join(lines)
    tokens = [token for token in MarkdownIt("commonmark").parse(text) if token.type == "fence"]
    expected = [(TAGS[token.info.strip()], token.content.removesuffix("\n")) for token in tokens]
    assert [(block.tag, block.code) for block in codetext.fenced_blocks(text)] == expected
    assert len(tokens) == ends_open + sum(isinstance(part, Fenced) for part in parts)
