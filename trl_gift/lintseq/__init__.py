"""LintSeq (arXiv 2410.02749): programs as sequences of edits each of whose states lints clean, and back.

Usable alone, without torch. Programs are compiled, never executed.

Public modules: `rows` (the rows of a dataset, for `datasets.map`).
"""

from trl_gift.lintseq import rows
from trl_gift.lintseq.edits import (
    DIFF_TOKEN,
    Edit,
    EditSequence,
    Hunk,
    HunkError,
    apply,
    grow,
    marked,
    parse,
    resolve,
    to_text,
)
from trl_gift.lintseq.linters import FastLinter, Linter, PylintLinter, linter_of
from trl_gift.lintseq.sampling import MOST_LINES, ProgramError, check_language, sample_edit_sequences

__all__ = [
    "DIFF_TOKEN",
    "MOST_LINES",
    "Edit",
    "EditSequence",
    "FastLinter",
    "Hunk",
    "HunkError",
    "Linter",
    "ProgramError",
    "PylintLinter",
    "apply",
    "check_language",
    "grow",
    "linter_of",
    "marked",
    "parse",
    "resolve",
    "rows",
    "sample_edit_sequences",
    "to_text",
]
