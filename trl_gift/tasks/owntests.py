"""A row's own test code as `AssertTests`: which function or class it tests, and where it has to run.

`class Solution` of contest sites becomes a function: see `trl_gift.tasks.functions`. Test code may still call the method of
`Solution()`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trl_gift import codetext
from trl_gift.sandbox import AssertTests
from trl_gift.sandbox.statements import free_names
from trl_gift.tasks.functions import function_program, starter_signature
from trl_gift.tasks.testcode import UnderTest, Unsupported, convert, doctest_source

DOCTEST = "doctest"
"""The text that stands for the doctests of the row itself."""
_SOLUTION = "Solution"


@dataclass(frozen=True, slots=True)
class Program:
    """What a row says about the program that its tests test.

    Attributes:
        description: The task's description.
        signature: The open `def` or `class` line with what precedes it, if it is given.
        reference: A correct program, if there is one.
        prelude: Trusted helper code of the tests.
        method: The method of `class Solution` that has become a function; None if there is none.
    """

    description: str
    signature: str | None
    reference: str | None
    prelude: str = ""
    method: str | None = None

    def with_method_as_function(self, tests: object) -> Program:
        """The program with the one method of `class Solution` that the tests call as a function.

        Args:
            tests: A list of texts, a text, or a mapping with calls.

        Returns:
            The program unchanged if there is no such class, or the tests call several of its methods.
        """
        starter = f"{self.signature.rstrip()}\n{codetext.INDENT * 2}pass\n" if self.signature else ""
        methods = _methods(self.reference or "") or _methods(starter)
        called = [name for name in methods if _calls(tests, name)]
        if isinstance(tests, Mapping) and tests.get("entry_point") is None:
            called = methods
        if len(called) != 1:
            return self
        (name,) = called
        reference = function_program(self.reference, name) if self.reference else None
        signature = self.signature
        if signature is not None and codetext.entry_point_of(signature) != name:
            signature = starter_signature(signature, name) or signature
        return replace(self, reference=reference or self.reference, signature=signature, method=name)

    def tests(self, texts: Sequence[str], entry_point: str | None) -> AssertTests:
        """The tests in the sources of test files, in assertions or in doctests.

        Args:
            texts: The sources. `["doctest"]` stands for the doctests of the reference or the description.
            entry_point: The function or class under test; None to take it from the tests.

        Raises:
            ValueError: tests that cannot be used; the message names the construct and the fix.
        """
        if list(texts) == [DOCTEST]:
            texts = [doctest_source(self.reference, self.description)]
        sources = [convert(text, UnderTest()).source if codetext.parse(text) is None else text for text in texts]
        source = "\n".join(sources)
        known = UnderTest.of(self.reference, self.signature)
        if self.method is not None and _SOLUTION in codetext.names(source):
            stand_in = f"{_SOLUTION} = type('{_SOLUTION}', (), {{'{self.method}': staticmethod({self.method})}})"
            source = f"{stand_in}\n{source}"
            known = replace(known, classes=tuple({*known.classes, _SOLUTION}))
        code = convert(source, known, self.prelude)
        prelude = "\n".join(part for part in (self.prelude, code.prelude) if part)
        entry_point = entry_point or self.method or self._under_test(code.source, known)
        if entry_point is not None:
            self._refuse_several(code.source, entry_point, known)
        if entry_point is None:
            raise Unsupported("the assertions call no function that could be the tested one; give 'signature'")
        return AssertTests(code.source, entry_point=entry_point, prelude=prelude, shared=code.shared is not None)

    def _under_test(self, source: str, known: UnderTest) -> str | None:
        """The first function that the tests call, or class that they use, among those that the program defines."""
        called = codetext.called_names(source)
        if self.reference is None and self.signature is None:
            defined = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, _Definition)}
            return next((name for name in called if name not in defined), None)
        only = known.functions if len(known.functions) == 1 and "candidate" in codetext.names(source) else ()
        free = free_names(source)
        used = [name for name in (*known.functions, *known.classes) if name in free]
        return next((name for name in (*called, *used, *only) if name in known.names), None)

    def _refuse_several(self, source: str, entry_point: str, known: UnderTest) -> None:
        given = UnderTest.of(None, self.signature).names
        needed = free_names(source, self.prelude) & {*known.functions, *known.classes}
        others = sorted(needed - given - {entry_point})
        if others:
            raise Unsupported(
                f"they use {entry_point!r} and {', '.join(map(repr, others))} of the program, but a task asks for one function "
                "or class, and the completion of a base model ends after it: give a row for each, write the others into "
                "'signature' above its open line, or leave this row out"
            )


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _methods(code: str) -> list[str]:
    """The public methods of `class Solution`, if it takes no arguments."""
    tree = codetext.parse(code)
    for node in tree.body if tree else ():
        if isinstance(node, ast.ClassDef) and node.name == _SOLUTION:
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            if not any(item.name == "__init__" for item in methods):
                return [item.name for item in methods if not item.name.startswith("_")]
    return []


def _calls(tests: Any, name: str) -> bool:
    """Whether tests call a method or function of this name."""
    if isinstance(tests, Mapping):
        return str(tests.get("entry_point")).replace("()", "").removeprefix(f"{_SOLUTION}.") == name
    texts = [tests] if isinstance(tests, str) else tests if isinstance(tests, Sequence) else []
    trees = [tree for text in texts if isinstance(text, str) and (tree := codetext.parse(text)) is not None]
    return any(
        (isinstance(node, ast.Attribute) and node.attr == name) or (isinstance(node, ast.Name) and node.id == name)
        for tree in trees
        for node in ast.walk(tree)
    )
