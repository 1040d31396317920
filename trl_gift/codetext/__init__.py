"""Code as text: the questions that prompts, selection and loaders have about Python source, and about answers that hold it.

Everything goes through the syntax tree, never through regular expressions over code: return annotations, nested
parentheses and `def` inside strings are all legal Python. Model output is data: every function takes any text, gives a
value (`None`, or the text unchanged, where the text does not parse), never raises, and takes time that is nearly linear
in the length of the text.

Of other languages only the block of an answer is known (`find_text`); their programs pass through untouched.
"""

from trl_gift.codetext.answers import (
    NO_CODE,
    NO_FUNCTION,
    OTHER_LANGUAGE,
    UNFINISHED_THOUGHT,
    Found,
    find_program,
    find_text,
)
from trl_gift.codetext.bodies import after_signature, body_of, complete, pin
from trl_gift.codetext.fences import Block, fenced_blocks
from trl_gift.codetext.keys import is_statement, normalise, skeleton, strip_docstrings
from trl_gift.codetext.needed import keep_needed
from trl_gift.codetext.offered import with_offered_imports
from trl_gift.codetext.prefixes import longest_prefix
from trl_gift.codetext.signatures import (
    called_names,
    defined_functions,
    entry_point_of,
    imports_of,
    imports_used,
    names,
    opens_class,
    pinned_names,
    signature_of,
    takes_nothing,
)
from trl_gift.codetext.syntax import INDENT, identifier, lines_of, parse

__all__ = [
    "INDENT",
    "NO_CODE",
    "NO_FUNCTION",
    "OTHER_LANGUAGE",
    "UNFINISHED_THOUGHT",
    "Block",
    "Found",
    "after_signature",
    "body_of",
    "called_names",
    "complete",
    "defined_functions",
    "entry_point_of",
    "fenced_blocks",
    "find_program",
    "find_text",
    "identifier",
    "imports_of",
    "imports_used",
    "is_statement",
    "keep_needed",
    "lines_of",
    "longest_prefix",
    "names",
    "normalise",
    "opens_class",
    "parse",
    "pin",
    "pinned_names",
    "signature_of",
    "skeleton",
    "strip_docstrings",
    "takes_nothing",
    "with_offered_imports",
]
