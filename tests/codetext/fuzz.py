"""Every function over model text, on texts that no person writes; `python -m tests.codetext.fuzz --minutes 10` goes on longer.

Prints each call that raises or takes more CPU time than `--seconds`, and exits with 1 if there was one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

from trl_gift import codetext
from trl_gift.generation import SamplingParams
from trl_gift.generation.stops import text_end
from trl_gift.prompts import clean_description, thoughts
from trl_gift.sampling.leaks import gives_away, is_copy

SIGNATURE = "import math\ndef f(x: int) -> int:"
CPP = frozenset({"cpp", "c++"})

FUNCTIONS: dict[str, Callable[[str], object]] = {
    "parse": codetext.parse,
    "normalise": codetext.normalise,
    "skeleton": codetext.skeleton,
    "strip_docstrings": codetext.strip_docstrings,
    "fenced_blocks": codetext.fenced_blocks,
    "fenced_blocks, open": lambda text: codetext.fenced_blocks(text, "open"),
    "find_program": lambda text: codetext.find_program(text, SIGNATURE),
    "find_program, renamed": lambda text: codetext.find_program(text, SIGNATURE, frozenset({"g"}), True),
    "find_program, fenced": lambda text: codetext.find_program(f"```python\n{text}\n```", SIGNATURE),
    "find_program, whole": lambda text: codetext.find_program(text, None),
    "find_text": lambda text: codetext.find_text(text, CPP),
    "complete": lambda text: codetext.complete(SIGNATURE, text),
    "complete, indented": lambda text: codetext.complete(SIGNATURE, "    " + text.replace("\n", "\n    ")),
    "pin": lambda text: codetext.pin(text, SIGNATURE),
    "body_of": lambda text: codetext.body_of(text, SIGNATURE),
    "after_signature": lambda text: codetext.after_signature(text, SIGNATURE),
    "signature_of": lambda text: codetext.signature_of(text, "f"),
    "entry_point_of": codetext.entry_point_of,
    "opens_class": codetext.opens_class,
    "pinned_names": codetext.pinned_names,
    "keep_needed": lambda text: codetext.keep_needed(text, {"f"}),
    "longest_prefix": lambda text: codetext.longest_prefix(codetext.lines_of(text)),
    "names": codetext.names,
    "called_names": codetext.called_names,
    "defined_functions": codetext.defined_functions,
    "imports_of": codetext.imports_of,
    "imports_used": lambda text: codetext.imports_used(text, text),
    "is_statement": codetext.is_statement,
    "clean_description": clean_description,
    "clean_description, cut": lambda text: clean_description(text, False),
    "thoughts.split": thoughts.split,
    "thoughts.split, opened": lambda text: thoughts.split(text, True),
    "gives_away": lambda text: gives_away(text, [text[: len(text) // 2], "def f(x):\n    return x + 1"], SIGNATURE),
    "is_copy": lambda text: is_copy(text, "def f(x):\n    return x"),
    "text_end": lambda text: text_end(text, SamplingParams(9, stop=("\n```", "\ndef "), fence="def f")),
}

PROGRAM = "import math\n\ndef g(x):\n    return math.sqrt(x)\n\ndef f(x):\n    '''Doc.'''\n    return g(x) + 1\n\nprint(f(1))\n"
ANSWER = f"<think>Hm.</think>\nHere: \n```python\n{PROGRAM}```\nIt returns `g(x)`.\n> ```\n> 3\n> ```\n1. Next:\n   ~~~py\n   f(2)\n   ~~~\n"

# Each text is repeated to the wanted length.
UNITS = [
    "<pre>", "<code>", "</pre>", "`def f(x): return x`", "&lt;",
    "`", "```", "```\n", "x```\n", "```python\n", "```python\ndef f(x):\n    return x\n```\n", "Here: ```python\n", "~~~\n", "> ",
    "> ```python\n> x\n", "- ", "1. ```\n", "\n", " ", "\t", "\r", "\r\n", "\x0c\n", "a\x85b\u2028c\n", "(", "[", "{", '"', "'",
    '"""', '"""\n', "'''\n```\n", "f'{", "f'{a}' ", "\\", "\\\n", "#", "# c\n", "@a\n", "@", "def f(x):\n", "def f(x):\n    return x\n",
    "def f(x):\n    return (\nwords\n", "class f:\n", "class Solution:\n    def f(self, x):\n        return x\n", "import a\n",
    "from a import *\n", "from __future__ import annotations\n", "x = 1\n", "x = 1\nThese are words here.\n", "x=1;", "a,", "a.", "a<", "a[", "a if b else ",
    "a and b or ", "not ", "await ", "lambda x: ", "(y:=1)\n", "*", "**", "x**", "+", "-", "~", "if x:\n", "else:\n", "elif x:\n", "global x\n",
    "return x\n", "print(f(1))\n", "assert f(1) == 2\n", "with a as b:\n    pass\n", "try:\n    x\nexcept A as b:\n    y\n",
    "match x:\n    case [a, *b]:\n        pass\n", "a: int\n", ">>> f(1)\n1\n", "<think>", "</think>", "<think>a</think>b", "a\0b\n", "\ud800", "😀", "é",
    "\xa0", "\u200b", "\ufeff", "9", "0x", "The value is one. ", "some prose = yes, and (more\n", "Example:\n\n", "if __name__ == '__main__':\n    f(1)\n",
]  # fmt: skip


def nested(size: int) -> list[str]:
    """Texts that are deep rather than long."""
    deep = min(size // 8, 5000)
    return [
        "def f(x):\n    return x" + " + x" * deep,
        "def f(x):\n    return " + "-" * min(deep, 800) + "x",
        "def f(x):\n    return x" + ".a()" * deep,
        "def f(x):\n    return x" + "[0]" * deep,
        "def f(x):\n    if x:\n        pass\n" + "    elif x:\n        pass\n" * min(deep, 2000),
        "f = " + "lambda x: " * min(deep, 400) + "x",
        "x = " + "(" * min(deep, 150) + "1" + ")" * min(deep, 150),
        "x = " + "9" * size,
        "x = 0x" + "f" * size + "\ndef f(x):\n    return x",
        "def " + "a" * size + "(x):\n    return x",
        "".join("  " * level + "if x:\n" for level in range(min(deep, 90))),
        "".join(f"a{i} = a{i - 1} + 1\n" for i in range(min(deep, size // 20), 0, -1)) + "def f(x):\n    return a1\n",
    ]


def corpus(size: int) -> list[str]:
    """All degenerate texts of about `size` characters."""
    return [*((unit * (size // len(unit) + 1))[:size] for unit in UNITS), *nested(size)]


def mutated(draw: random.Random, size: int) -> str:
    """A random text: units, pieces of an answer, truncated and joined."""
    pieces = []
    length = 0
    while length < size:
        if draw.random() < 0.5:
            piece = draw.choice(UNITS) * draw.choice((1, 1, 1, 2, 3, 50))
        else:
            start = draw.randrange(len(ANSWER))
            piece = ANSWER[start : start + draw.randrange(1, 120)]
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces)[:size]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=0.2, help="most CPU time of a call on 10,000 characters")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    until = time.monotonic() + 60 * options.minutes
    calls = wrong = 0
    slowest = (0.0, "")
    texts = corpus(10_000)
    while time.monotonic() < until:
        text = texts.pop() if texts else mutated(draw, draw.choice((20, 200, 2000, 10_000)))
        for name, function in FUNCTIONS.items():
            began = time.process_time()
            try:
                function(text)
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                wrong += 1
                print(f"{name}: {type(error).__name__}: {error}: {text[:200]!r}")
            spent = time.process_time() - began
            slowest = max(slowest, (spent, f"{name} on {text[:60]!r}"))
            if spent > options.seconds:
                wrong += 1
                print(f"{name}: {spent:.2f} s: {text[:200]!r}")
            calls += 1
    print(f"{calls:,} calls, {wrong} wrong; the slowest took {slowest[0]:.3f} s: {slowest[1]}")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
