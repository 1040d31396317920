"""`Task`: one programming task, described in words (`description`, the paper's d_i) and decided by tests.

A row of a dataset becomes a task through `Task.from_row` (the canonical columns) or through one of the formats in
`trl_gift.tasks.formats`. Every task has at least one test: an empty list would be passed by any program.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trl_gift import codetext
from trl_gift.common.words import plural
from trl_gift.errors import TaskError
from trl_gift.sandbox import AssertTests, CallTests, Case, StdioTests, Tests, suite_from_dict
from trl_gift.sandbox.javascript import javascript_calls
from trl_gift.sandbox.languages import known, language_named
from trl_gift.sandbox.statements import free_names, is_python
from trl_gift.sandbox.values.show import show
from trl_gift.tasks.owntests import Program
from trl_gift.tasks.testcode import UnderTest, Unsupported, needs_interpreter

_MOST_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a row whose data leave a choice.

    Attributes:
        reference: A solution.
        signature: The signature of the task, if this solution is its reference.
        tests: How this reading reads the tests; None for the tests of the task.
    """

    reference: str
    signature: str | None = None
    tests: Tests | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A programming task.

    Attributes:
        task_id: Unique within a dataset.
        description: What the program should do, in words; the chain of a task starts from it.
        tests: The tests that a program must pass; prompts and hints may show them. None if the task has no tests: then
            no program of the task counts as correct, and only a run with `verify=False` accepts the task.
        signature: The open `def` or `class` line that every program of the task starts with, and the imports that it
            needs; None for whole programs that read standard input.
        reference: A correct program, or None.
        prelude: Trusted helper code that the tests use; it is never part of the program.
        hidden_tests: Further tests of the same kind, which a program must pass too and which are never shown. None if
            there are none.
        language: The language of the program, one of those of `StdioTests`. By default that of the tests, which are in
            Python unless they are runs of a program.
        examples: Texts such as assertions that prompts show beside every description of the task, the chain's own
            descriptions included (`prompt_tests`). They are not part of a description.
        readings: The ways to read a row whose data leave a choice, such as several solutions; the first whose reference
            passes its tests is the right one (`trl_gift.tasks.references` finds it). Empty if there is one way only.

    Raises:
        TaskError: if the hidden tests cannot be run together with the visible tests, or the tests are for another language.
    """

    task_id: str
    description: str
    tests: Tests | None
    signature: str | None = None
    reference: str | None = None
    prelude: str = ""
    hidden_tests: Tests | None = None
    language: str = ""
    examples: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = field(default=(), compare=False, repr=False)
    _all_tests: Tests | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", self._agreed_language())
        together = self.tests
        if self.tests is not None and self.hidden_tests is not None:
            together = _together(self.task_id, self.tests, self.hidden_tests)
        object.__setattr__(self, "_all_tests", together)

    def _agreed_language(self) -> str:
        """The one language of the task and of its tests."""
        if self.tests is None:
            return self.language or "python"
        of_tests = self.tests.language if isinstance(self.tests, StdioTests) else "python"
        if self.language not in ("", of_tests):
            cure = (
                f"its tests are for programs in {of_tests}; give the language to the tests, StdioTests(language=...)"
            )
            if not isinstance(self.tests, StdioTests):
                cure = "only tests with 'stdin' and 'stdout' can test programs in another language than Python"
            raise bad(f"task {self.task_id!r}", "language", self.language, cure)
        return of_tests

    @property
    def all_tests(self) -> Tests:
        """Visible and hidden tests together; they decide whether a program is correct.

        Raises:
            TaskError: for a task without tests.
        """
        if self._all_tests is None:
            raise untested(f"task {self.task_id!r}")
        return self._all_tests

    def read_as(self, reading: Reading | None) -> Task:
        """The task with one of its readings as the only one; None stands for how it is read now."""
        if reading is None:
            return replace(self, readings=())
        tests = self.tests if reading.tests is None else reading.tests
        return replace(self, reference=reading.reference, signature=reading.signature, tests=tests, readings=())

    @property
    def entry_point(self) -> str | None:
        """The function under test; None for whole programs."""
        if self.tests is None:
            return codetext.entry_point_of(self.signature) if self.signature else None
        return None if isinstance(self.tests, StdioTests) else self.tests.entry_point

    @property
    def opening(self) -> str:
        """How the function under test begins, in a language other than Python; empty for whole programs."""
        return self.tests.opening if isinstance(self.tests, StdioTests) else ""

    @property
    def names_in_tests(self) -> frozenset[str]:
        """The names that the tests may use of a program, the entry point among them; empty for a whole program."""
        if self.entry_point is None:
            return frozenset()
        parts = (self.tests, self.hidden_tests)
        used = [free_names(part.text, part.prelude) for part in parts if isinstance(part, AssertTests)]
        return frozenset({self.entry_point}).union(*used)

    def to_row(self) -> dict[str, Any]:
        """The canonical columns of this task; `tests` is JSON text, so that all kinds of tests fit one table."""
        return {
            "task_id": self.task_id,
            "description": self.description,
            "signature": self.signature,
            "reference": self.reference,
            "prelude": self.prelude,
            "tests": json.dumps(self.tests.to_dict()) if self.tests else None,
            "hidden_tests": json.dumps(self.hidden_tests.to_dict()) if self.hidden_tests else None,
            "language": self.language,
            "examples": list(self.examples) or None,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str = "row", require_tests: bool = True) -> Task:
        """A task from the canonical columns.

        Args:
            row: `task_id`, `description` and `tests`; optionally `signature`, `reference`, `prelude`,
                `hidden_tests`, `language`, `examples`. `tests` is a list of assertions or sources of test files,
                `{"entry_point", "inputs", "outputs"}` (in Python or JavaScript) or `{"stdin", "stdout"}`, the JSON text of one of these, the source
                of one test file, doctest examples, or `"doctest"` for the examples in the reference's docstrings or the
                description.
            where: File and line, or dataset and index, for the error message.
            require_tests: Whether a row without `tests` is refused. An empty list of tests is always refused.

        Raises:
            TaskError: if the row is not a task; names the place, the field, the value seen and the fix.
        """
        language = language_field(row.get("language"), where)
        if language == "javascript" and _has_calls(row):
            return _javascript_function(row, where)
        program = Program(
            description=text_field(row, "description", where),
            signature=optional_text(row, "signature", where),
            reference=optional_text(row, "reference", where),
            prelude=optional_text(row, "prelude", where) or "",
        )
        program = program.with_method_as_function(_decoded(row.get("tests")))
        signature, reference = program.signature, program.reference
        if signature is not None and codetext.entry_point_of(signature) is None:
            raise bad(where, "signature", signature, "give imports and one open def line, such as 'def solve(xs):'")
        entry_point = codetext.entry_point_of(signature) if signature else None
        given_hidden = row.get("hidden_tests")
        tests = hidden = None
        if require_tests or row.get("tests") is not None or given_hidden not in (None, ""):
            tests = _tests_from_column(row.get("tests"), entry_point, program, where, "tests", language)
        if given_hidden not in (None, ""):
            hidden = _tests_from_column(given_hidden, entry_point, program, where, "hidden_tests", language)
        if isinstance(tests, AssertTests) and isinstance(hidden, AssertTests):
            tests, hidden = in_one_place(tests, hidden)
        if signature is None and isinstance(tests, AssertTests | CallTests):
            signature = codetext.signature_of(reference, tests.entry_point or "") if reference is not None else None
        if signature is None and isinstance(tests, AssertTests | CallTests):
            raise bad(
                where, "signature", None, "function tests need one; give 'signature' or a 'reference' that defines it"
            )
        return cls(
            task_id=id_field(row, where),
            description=program.description,
            tests=tests,
            signature=signature,
            reference=reference,
            prelude=program.prelude,
            hidden_tests=hidden,
            language=language,
            examples=_examples(row.get("examples"), where),
        )


_FUNCTION = re.compile(r"\s*(?:async\s+)?function\s+([A-Za-z_$][\w$]*)\s*\([^(){}]*\)\s*\{?\s*")


def _has_calls(row: Mapping[str, Any]) -> bool:
    tests = _decoded(row.get("tests"))
    return isinstance(tests, Mapping) and tests.get("inputs") is not None and "kind" not in tests


def _javascript_function(row: Mapping[str, Any], where: str) -> Task:
    """A task of a function in JavaScript, with calls as tests."""
    signature = optional_text(row, "signature", where) or ""
    if signature and _FUNCTION.fullmatch(signature) is None:
        raise bad(where, "signature", signature, "give the line that opens the function: 'function add(a, b) {'")
    hidden = row.get("hidden_tests") not in (None, "")
    return Task(
        task_id=id_field(row, where),
        description=text_field(row, "description", where),
        tests=_javascript_tests(row, "tests", signature, where),
        hidden_tests=_javascript_tests(row, "hidden_tests", signature, where) if hidden else None,
        reference=optional_text(row, "reference", where),
        examples=_examples(row.get("examples"), where),
    )


def _javascript_tests(row: Mapping[str, Any], column: str, signature: str, where: str) -> StdioTests:
    given = _decoded(row[column])
    if not isinstance(given, Mapping):
        raise bad(where, column, given, "tests of a function in JavaScript are {'inputs', 'outputs'}; give these")
    opened = _FUNCTION.fullmatch(signature)
    name = opened[1] if opened else given.get("entry_point")
    if not isinstance(name, str):
        raise bad(where, column, given, "name the function: 'entry_point', or 'signature' in the row")
    cases = call_cases(given.get("inputs"), given.get("outputs"), where=where, field=column)
    try:
        return javascript_calls(name, cases, f"{signature.strip().rstrip(' {')} {{" if signature else "")
    except ValueError as error:
        raise bad(where, column, given, str(error)) from error


def read_tests(value: object, description: str, signature: str | None = None, where: str = "tests") -> Tests:
    """The tests of a task without a reference, in any of the forms that the column `tests` takes.

    Args:
        value: As the column `tests` of `Task.from_row`.
        description: The description, for doctests in it.
        signature: The signature; None for whole programs, and then the tests say which function they test.
        where: What the error message begins with.

    Raises:
        TaskError: for tests that cannot be used.
    """
    program = Program(description, signature, None).with_method_as_function(_decoded(value))
    entry_point = codetext.entry_point_of(signature) if signature else None
    return _tests_from_column(value, entry_point, program, where, "tests", "python")


def fingerprint(tasks: Sequence[Task]) -> str:
    """A hash of the tasks' content, independent of their order: 32 hexadecimal digits."""
    rows = sorted(json.dumps(task.to_row(), sort_keys=True) for task in tasks)
    return hashlib.blake2b("\n".join(rows).encode(), digest_size=16).hexdigest()


def bad(where: str, field: str, value: object, cure: str) -> TaskError:
    """The error about a field of a row; all errors about rows have this form.

    Args:
        where: File and line, or dataset and index.
        field: The column.
        value: The value seen.
        cure: The reason and the fix, without a full stop.
    """
    return TaskError(f"{where}: field {field!r}: {show(value, _MOST_SHOWN)}: {cure}.")


def untested(where: str) -> TaskError:
    """The error about a task without tests in a run that verifies programs."""
    return bad(
        where, "tests", None, "any program would pass; give tests, or train with verify=False, which runs nothing"
    )


def text_field(row: Mapping[str, Any], field: str, where: str) -> str:
    """A required, non-empty text."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise bad(where, field, value, "must be a non-empty text")
    return value


def optional_text(row: Mapping[str, Any], field: str, where: str) -> str | None:
    """A text, or None if it is absent or blank."""
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise bad(where, field, value, "must be a text or null")
    return value if value and value.strip() else None


def language_field(value: object, where: str, field: str = "language") -> str:
    """The language that a row names, as the sandbox calls it; empty if it names none."""
    if value is None or value == "":
        return ""
    language = language_named(value) if isinstance(value, str) else None
    if language is None:
        raise bad(
            where,
            field,
            value,
            f"its programs cannot be run; the sandbox runs {', '.join(known())}: leave such rows out",
        )
    return language


def id_field(row: Mapping[str, Any], where: str, field: str = "task_id") -> str:
    """The identifier as text; whole numbers are accepted, because MBPP has them."""
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise bad(where, field, value, "must be a non-empty text or a whole number")
    return str(value)


def assert_tests(
    assertions: Sequence[str],
    *,
    where: str,
    field: str = "tests",
    entry_point: str | None = None,
    program: UnderTest | None = None,
    prelude: str = "",
) -> AssertTests:
    """`AssertTests` from a list of assertions.

    Args:
        assertions: Statements.
        where: The row's place.
        field: The column.
        entry_point: The function or class under test; None to take the first that they call.
        program: What is known of the program; None if nothing is.
        prelude: Trusted source that runs before them.

    Returns:
        The tests. They run in the program's own interpreter if they use its classes, or pass it functions or objects.
    """
    if not assertions:
        raise bad(where, field, assertions, "any program would pass an empty list; give at least one assertion")
    for assertion in assertions:
        if not isinstance(assertion, str) or not is_python(assertion):
            raise bad(where, field, assertion, "must be Python source such as 'assert add(1, 2) == 3'")
    source = "\n".join(assertions)
    if entry_point is None:
        called = codetext.called_names(source)
        defined = (
            [name for names in (program.functions, program.classes) for name in called if name in names]
            if program
            else called
        )
        entry_point = next(iter(defined), None)
    if entry_point is None:
        raise bad(
            where, field, source, "the assertions call no function that could be the tested one; give 'signature'"
        )
    try:
        tests = AssertTests(source, entry_point=entry_point, prelude=prelude)
    except ValueError as error:
        raise bad(where, field, source, str(error)) from error
    known = program or UnderTest()
    if entry_point not in known.names:
        known = replace(known, functions=(*known.functions, entry_point))
    return replace(tests, shared=needs_interpreter(source, known, prelude) is not None)


def in_one_place(tests: AssertTests, hidden: AssertTests) -> tuple[AssertTests, AssertTests]:
    """Visible and hidden tests, both in the program's own interpreter if one of them needs it."""
    shared = tests.shared or hidden.shared
    return replace(tests, shared=shared), replace(hidden, shared=shared)


def stdio_tests(stdin: object, stdout: object, *, where: str, field: str = "tests", **settings: Any) -> StdioTests:
    """`StdioTests` from two lists of texts that have the same length, with other settings of it."""
    if not isinstance(stdin, Sequence) or isinstance(stdin, str) or not stdin:
        raise bad(where, field, stdin, "'stdin' must be a non-empty list of texts")
    if not isinstance(stdout, Sequence) or isinstance(stdout, str) or len(stdout) != len(stdin):
        raise bad(where, field, stdout, f"'stdout' must be a list of {len(stdin)} texts, one for each 'stdin'")
    for text in (*stdin, *stdout):
        if not isinstance(text, str):
            raise bad(where, field, text, "'stdin' and 'stdout' must hold texts")
    cases = tuple(Case(stdin=i, stdout=o) for i, o in zip(stdin, stdout, strict=True))
    try:
        return StdioTests(cases=cases, **settings)
    except (ValueError, TypeError) as error:
        raise bad(where, field, settings, str(error)) from None


def call_tests(entry_point: object, inputs: object, outputs: object, *, where: str, field: str = "tests") -> CallTests:
    """`CallTests` from a list of argument lists and the list of expected values."""
    if not isinstance(entry_point, str) or not entry_point.isidentifier():
        raise bad(where, field, entry_point, "'entry_point' must be the name of the function under test")
    return CallTests(entry_point, cases=call_cases(inputs, outputs, where=where, field=field))


def call_cases(inputs: object, outputs: object, *, where: str, field: str = "tests") -> tuple[Case, ...]:
    """The calls of a list of argument lists and the list of expected values."""
    if not isinstance(inputs, Sequence) or isinstance(inputs, str) or not inputs:
        raise bad(where, field, inputs, "'inputs' must be a non-empty list of argument lists")
    if not isinstance(outputs, Sequence) or isinstance(outputs, str) or len(outputs) != len(inputs):
        raise bad(
            where, field, outputs, f"'outputs' must be a list of {plural(len(inputs), 'value')}, one for each input"
        )
    for arguments in inputs:
        if not isinstance(arguments, Sequence) or isinstance(arguments, str):
            raise bad(where, field, arguments, "each of 'inputs' must be the list of arguments of one call")
    return tuple(Case(args=tuple(i), expected=o) for i, o in zip(inputs, outputs, strict=True))


_STDIO_SETTINGS = ("compare", "abs_tol", "rel_tol", "decimals_only", "checker")


def with_checker(task: Task, checker: object, where: str) -> Task:
    """The task with a checker that the row brings along: it decides on every output, instead of a comparison.

    Args:
        task: The task, as its format reads it.
        checker: The value of the row's column `checker`: Python source that defines `check(stdin, stdout, expected)`; None or
            blank if there is none.
        where: The row's place.

    Raises:
        TaskError: for anything else, and if the tests are not runs of a program.
    """
    if checker is None or (isinstance(checker, str) and not checker.strip()):
        return task
    if not isinstance(checker, str) or not isinstance(task.tests, StdioTests):
        raise bad(
            where, "checker", checker, "must be Python source, beside tests with 'stdin' and 'stdout'; leave it out"
        )
    try:
        suites = [
            replace(suite, checker=checker) if isinstance(suite, StdioTests) else suite
            for suite in (task.tests, task.hidden_tests)
        ]
    except ValueError as error:
        raise bad(where, "checker", checker, str(error)) from None
    return replace(task, tests=suites[0], hidden_tests=suites[1])


def _together(task_id: str, tests: Tests, hidden: Tests) -> Tests:
    """One suite of both; their kinds and settings must be the same."""
    if isinstance(tests, AssertTests) and isinstance(hidden, AssertTests):
        prelude = tests.prelude if tests.prelude == hidden.prelude else f"{tests.prelude}\n{hidden.prelude}"
        joint: Tests = replace(tests, source=f"{tests.text}\n\n{hidden.text}", prelude=prelude)
        alike = replace(hidden, source=tests.text, prelude="") == replace(tests, prelude="")
    elif (isinstance(tests, CallTests) and isinstance(hidden, CallTests)) or (
        isinstance(tests, StdioTests) and isinstance(hidden, StdioTests)
    ):
        joint = replace(tests, cases=(*tests.cases, *hidden.cases))
        alike = replace(hidden, cases=tests.cases[:1]) == replace(tests, cases=tests.cases[:1])
    else:
        raise bad(
            f"task {task_id!r}", "hidden_tests", hidden.kind, f"must be of the same kind as 'tests', {tests.kind!r}"
        )
    if not alike:
        cure = "must have the same entry point and settings as 'tests'"
        raise bad(f"task {task_id!r}", "hidden_tests", hidden.to_dict(), cure)
    return joint


def _examples(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text.strip() for text in value):
        raise bad(where, "examples", value, "must be a list of texts, such as ['assert add(1, 2) == 3']")
    return tuple(value)


def _decoded(value: object) -> object:
    """The value of a text that is JSON; any other text is test code."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _tests_from_column(
    value: object, entry_point: str | None, program: Program, where: str, field: str, language: str
) -> Tests:
    value = _decoded(value)
    if isinstance(value, str) and value.strip().endswith(".py") and "\n" not in value.strip():
        raise bad(
            where, field, value, "a path is read only in a data file, from its folder; give the text of the file"
        )
    if isinstance(value, Mapping):
        # Arrow adds the keys of other rows, with nulls as values.
        given = {key: item for key, item in value.items() if item is not None}
        if "kind" in given:
            try:
                return suite_from_dict(given)
            except (ValueError, TypeError, KeyError) as error:
                raise bad(where, field, value, str(error)) from error
        if "stdin" in given:
            settings = {name: given[name] for name in _STDIO_SETTINGS if name in given}
            settings["language"] = language_field(given.get("language"), where, field) or language or "python"
            return stdio_tests(given["stdin"], given.get("stdout"), where=where, field=field, **settings)
        if "inputs" in given:
            name = program.method or given.get("entry_point", entry_point)
            return call_tests(name, given["inputs"], given.get("outputs"), where=where, field=field)
    elif isinstance(value, str | Sequence) and value:
        return _own_tests(value, entry_point, program, where, field)
    cure = "any program would pass an empty list; give at least one assertion"
    if value not in ("", []):
        cure = "give a list of assertions, test code, {'entry_point', 'inputs', 'outputs'} or {'stdin', 'stdout'}"
    raise bad(where, field, value, cure)


def _own_tests(
    value: str | Sequence[object], entry_point: str | None, program: Program, where: str, field: str
) -> AssertTests:
    sources: list[str] = []
    for text in [value] if isinstance(value, str) else value:
        if not isinstance(text, str) or not text.strip():
            raise bad(where, field, text, "must be Python source such as 'assert add(1, 2) == 3'")
        sources.append(text)
    try:
        return program.tests(sources, entry_point)
    except ValueError as error:
        no_test = isinstance(value, str) and not isinstance(error, Unsupported)
        cure = f"a text must be JSON, test code or doctests: {error}" if no_test else str(error)
        raise bad(where, field, "\n".join(sources), cure) from error
