"""What every write prompt of a task shows, whatever the description is: the signature and examples.

The authors' code of GiFT pins the imports of the reference and, for MBPP, the first assertion. The imports of a solution tell in part how it solves the task, so a pass@1
that is measured with them cannot be compared with published figures.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from trl_gift import codetext
from trl_gift.tasks import Task


@dataclass(frozen=True, slots=True)
class Pinned:
    """The part of a write prompt that belongs to the task.

    Attributes:
        imports: Whether the imports of the reference precede the signature.
        tests: Number of the task's examples that are shown; None for all.
    """

    imports: bool = False
    tests: int | None = 1

    def signature(self, task: Task) -> str | None:
        """The signature as prompts show it; None for whole programs."""
        if task.signature is None or not self.imports or task.reference is None:
            return task.signature
        present = codetext.imports_of(f"{task.signature.rstrip()}\n{codetext.INDENT}pass")
        missing = [line for line in codetext.imports_of(task.reference) if line not in present]
        return "\n".join([*missing, task.signature])

    def examples(self, task: Task) -> tuple[str, ...]:
        """The examples that prompts show, assertions as doctests, which models know from docstrings."""
        return tuple(map(_as_doctest, task.examples[: self.tests]))

    def __str__(self) -> str:
        # A task may have fewer examples than are asked for, or none.
        shown = f"at most {self.tests} test{'' if self.tests == 1 else 's'}" if self.tests else "no tests"
        shown = "all tests" if self.tests is None else shown
        return f"{shown} shown, imports of the reference {'shown' if self.imports else 'not shown'}"


def _as_doctest(example: str) -> str:
    """`assert f(1) == 2` as the call and its result, another assertion as a statement that passes, other text as it is."""
    tree = codetext.parse(example)
    match tree.body if tree else []:
        case [ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]))]:
            return f">>> {ast.unparse(left)}\n{ast.unparse(right)}"
        case [ast.Assert()]:
            return f">>> {example.strip()}"
    return example
