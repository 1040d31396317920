"""The tests of a program: assertions, calls with expected results, or standard input and output.

The three kinds are frozen, compare and hash by their exact content (`1`, `1.0` and `True` differ), and survive
`to_dict`/`from_dict` (plain JSON) without loss. Tests that cannot fail are refused when they are built, because every
program would pass them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from trl_gift.sandbox.comparisons import COMPARISONS, Compare
from trl_gift.sandbox.languages import known
from trl_gift.sandbox.statements import can_fail, parse
from trl_gift.sandbox.values import codec
from trl_gift.sandbox.values.plain import from_plain, to_plain
from trl_gift.sandbox.values.show import show

PassBy = Literal["value", "reference"]

_PASS_BY = ("value", "reference")


class _ByContent:
    """Equality, hash and JSON by content; `exam()` is what the judge receives."""

    kind: ClassVar[str]
    _fields: ClassVar[tuple[str, ...]]

    def exam(self) -> dict[str, Any]:
        """The content as plain values, as the judge receives it."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in self._fields}}

    @cached_property
    def encoded(self) -> bytes:
        """The exam as bytes; encoded once, for all programs.

        Cases are encoded one by one, because the bounds of the codec hold for each of them. The judge decodes a case when
        it comes to it.
        """
        return codec.encode({**self.exam(), **self._encoded_cases()})

    def _encoded_cases(self) -> dict[str, Any]:
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the content, 32 hexadecimal digits; equal exactly if the tests are equal."""
        return hashlib.blake2b(self.encoded, digest_size=16).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` restores an equal object."""
        plain = to_plain(self.exam())
        assert isinstance(plain, dict)
        return plain

    @property
    def in_one_process(self) -> bool:
        """Whether the program runs in one process with the code that tests it, so that it could forge its verdict."""
        return False

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.encoded == self.encoded

    def __hash__(self) -> int:
        return hash(self.fingerprint)


@dataclass(frozen=True, eq=False)
class Case:
    """One test: a call (`args`, `kwargs`, `expected`) for `CallTests`, or a run (`stdin`, `stdout`) for `StdioTests`.

    Attributes:
        args: The positional arguments of the call, none by default.
        expected: The value that the call must return, None by default.
        stdin: The standard input of the run; None (the default) for a call.
        stdout: The expected standard output of the run; None (the default) for a call.
        kwargs: The keyword arguments of the call, none by default.

    Raises:
        ValueError: `args` is not a sequence of arguments, `stdin` or `stdout` is not a text, or only one of them is given.
    """

    args: tuple[Any, ...] = ()
    expected: Any = None
    stdin: str | None = None
    stdout: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.args, (str, bytes)) or not isinstance(self.args, Iterable):
            raise ValueError(
                f"Case(args={show(self.args)}): the arguments of a call must be a tuple; write ({show(self.args)},)"
            )
        object.__setattr__(self, "args", tuple(self.args))
        object.__setattr__(self, "kwargs", dict(self.kwargs))
        for name, text in (("stdin", self.stdin), ("stdout", self.stdout)):
            if text is not None and not isinstance(text, str):
                raise ValueError(f"Case({name}={show(text)}): must be a text; write {name}={show(show(text))}")
        if (self.stdin is None) != (self.stdout is None):
            raise ValueError(
                f"Case(stdin={_short(self.stdin)}, stdout={_short(self.stdout)}): a run needs both; give the other one "
                f'("" for none)'
            )

    def exam(self) -> dict[str, Any]:
        """The content as plain values."""
        if self.stdin is not None:
            return {"stdin": self.stdin, "stdout": self.stdout}
        return {"args": self.args, "kwargs": dict(self.kwargs), "expected": self.expected}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` restores an equal case."""
        plain = to_plain(self.exam())
        assert isinstance(plain, dict)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**from_plain(dict(data)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and codec.encode(self.exam()) == codec.encode(other.exam())

    def __hash__(self) -> int:
        return hash(codec.encode(self.exam()))


@dataclass(frozen=True, eq=False)
class AssertTests(_ByContent):
    """Python source that calls the program and asserts.

    The source and the prelude run in the judge. The program has to define every name that they use and do not define
    themselves; the judge reaches its functions through proxies.

    Attributes:
        source: Statements, as one string or a sequence of lines. Each top-level statement that can fail counts as one
            test. A HumanEval-style `def check(candidate)` is called with the entry point if the source does not call it.
        entry_point: Name of the function under test, possibly dotted; None (the default) if the source alone decides.
            The program must define it, and `candidate` stands for it.
        prelude: Trusted Python source that runs before the tests; empty by default.
        pass_by: `"value"` (the default) gives the program copies of the arguments. `"reference"` also copies the changes
            that the program makes to lists, dicts, sets, deques and bytearrays back into the tests' arguments.
        shared: Whether the tests run in the program's own interpreter, for tests that need its classes, mocks or
            callbacks; False by default. Such a verdict can be forged, and its outcome says so (`trusted=False`).

    Raises:
        ValueError: The source cannot fail, or a field is not valid.
    """

    source: str | Sequence[str]
    entry_point: str | None = None
    prelude: str = ""
    pass_by: PassBy = "value"
    shared: bool = False

    kind: ClassVar[str] = "assert"
    _fields: ClassVar[tuple[str, ...]] = ("source", "entry_point", "prelude", "pass_by", "shared")

    def __post_init__(self) -> None:
        if not isinstance(self.source, str):
            object.__setattr__(self, "source", "\n".join(self.source))
        _check_option("AssertTests", "pass_by", self.pass_by, _PASS_BY)
        _check_entry_point("AssertTests", self.entry_point)
        _parse("the prelude of the tests", self.prelude)
        tree = _parse("the source of the tests", self.text)
        if _uncalled_check(tree) and self.entry_point is not None:
            object.__setattr__(self, "source", f"{self.text}\n\ncheck({self.entry_point.replace('()', '')})\n")
        elif not any(can_fail(statement) for statement in tree.body):
            raise ValueError(
                f"tests {_short(self.text)}: no statement can fail, so every program would pass; "
                f"add an assert (or call the function that holds the asserts)"
            )

    @property
    def text(self) -> str:
        """The source as one string."""
        assert isinstance(self.source, str)
        return self.source

    @property
    def in_one_process(self) -> bool:
        """Whether the tests run in the program's own interpreter."""
        return self.shared

    @cached_property
    def num_tests(self) -> int:
        """The number of top-level statements that can fail."""
        return sum(can_fail(statement) for statement in _parse("AssertTests(source)", self.text).body)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**_without_kind(cls, data))


@dataclass(frozen=True, eq=False)
class CallTests(_ByContent):
    """Calls of a function with expected results.

    Attributes:
        entry_point: Name of the function. It may be dotted: `Solution.two_sum` makes one `Solution()` and calls its
            method.
        cases: The calls, at least one `Case(args=..., expected=...)`.
        abs_tol: Absolute tolerance of numbers at any depth, 0 by default.
        rel_tol: Relative tolerance of numbers at any depth, from 0 (the default) to below 1.
        decimals_only: Whether the tolerances hold only where the expected number is a float; False by default.
        compare: `"equal"` (the default) compares by `==`. `"json"` lets lists stand for tuples, for data sets that went
            through JSON; keys of dicts must be equal. `"apps"` also lets a list of one expected value stand for that value, as in the APPS evaluation,
            whose data wrap some results.
        prelude: Trusted Python source that runs before the calls; empty by default.
        pass_by: `"value"` (the default) or `"reference"`, as in `AssertTests`.

    Raises:
        ValueError: There is no case, or a field is not valid.
    """

    entry_point: str
    cases: Sequence[Case]
    abs_tol: float = 0.0
    rel_tol: float = 0.0
    compare: Literal["equal", "json", "apps"] = "equal"
    prelude: str = ""
    pass_by: PassBy = "value"
    decimals_only: bool = False

    kind: ClassVar[str] = "call"
    _fields: ClassVar[tuple[str, ...]] = (
        "entry_point", "abs_tol", "rel_tol", "compare", "prelude", "pass_by", "decimals_only",
    )  # fmt: skip

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", tuple(self.cases))
        _check_option("CallTests", "pass_by", self.pass_by, _PASS_BY)
        _check_option("CallTests", "compare", self.compare, ("equal", "json", "apps"))
        _check_entry_point("CallTests", self.entry_point)
        if self.entry_point is None:
            raise ValueError("CallTests(entry_point=None): the calls need a function; name it")
        _parse("CallTests(prelude)", self.prelude)
        _check_tolerances("CallTests", self.abs_tol, self.rel_tol)
        _check_cases("CallTests", self.cases, runs=False)
        _ = self.encoded  # refuses a value that cannot cross here, not once per program

    @property
    def num_tests(self) -> int:
        """The number of cases."""
        return len(self.cases)

    def exam(self) -> dict[str, Any]:
        """The content as plain values."""
        return {**super().exam(), "cases": [case.exam() for case in self.cases]}

    def _encoded_cases(self) -> dict[str, Any]:
        return {"cases": _encoded(type(self).__name__, self.cases)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**_with_cases(cls, data))


@dataclass(frozen=True, eq=False)
class StdioTests(_ByContent):
    """Runs of the program, each with its standard input and the expected standard output.

    Attributes:
        cases: The runs, at least one `Case(stdin=..., stdout=...)`.
        compare: `"lines"` (the default) compares every line, token by token, with numbers as decimals; the number of
            lines must match. `"exact"` compares the text. `"tokens"` compares all tokens in order and ignores lines.
            `"caseless"` is `"tokens"` without regard to the case of letters, as CodeContests' own tester compares.
            `"apps"` is the loose rule of the APPS evaluation, only for parity with published figures.
        abs_tol: Absolute tolerance of numbers, 0 by default.
        rel_tol: Relative tolerance of numbers, from 0 (the default) to below 1.
        decimals_only: Whether the tolerances hold only where the expected number has a decimal point or an exponent; False
            by default.
        checker: Python source that defines `check(stdin, stdout, expected)`; it runs in the judge and replaces the
            comparison. Empty by default.
        language: `"python"` (the default), or another of `trl_gift.sandbox.languages.known()`.
        after: Test code in the program's language that follows the program in its file, for a language other than Python;
            empty by default. Then the program could forge its verdict, and the outcome says so (`trusted=False`).
        caller: Code in the program's language that follows the program in its file and calls it with what standard input
            holds, for a language other than Python; empty by default. It knows no expected output, so the verdict is trusted
            (`trl_gift.sandbox.javascript`).
        before: Lines that precede the program where it does not hold them itself, such as includes; empty by default.
        opening: How the function begins that `after` or `caller` calls, for people and prompts; empty by default.

    Raises:
        ValueError: There is no case, or a field is not valid.
    """

    cases: Sequence[Case]
    compare: Compare = "lines"
    abs_tol: float = 0.0
    rel_tol: float = 0.0
    checker: str = ""
    language: str = "python"
    decimals_only: bool = False
    after: str = ""
    before: str = ""
    opening: str = ""
    caller: str = ""

    kind: ClassVar[str] = "stdio"
    _fields: ClassVar[tuple[str, ...]] = (
        "compare", "abs_tol", "rel_tol", "checker", "language", "decimals_only", "after", "before", "opening",
        "caller",
    )  # fmt: skip

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", tuple(self.cases))
        _check_option("StdioTests", "compare", self.compare, COMPARISONS)
        if self.language != "python":
            _check_option("StdioTests", "language", self.language, tuple(known()))
        elif self._following:
            raise ValueError(
                f"StdioTests(after={_short(self._following)}): tests in Python are AssertTests or CallTests; use these"
            )
        if (self.before or self.opening) and not self._following:
            raise ValueError(
                "StdioTests(after='', caller=''): 'before' and 'opening' belong to code that follows the program; give it"
            )
        _check_tolerances("StdioTests", self.abs_tol, self.rel_tol)
        _check_cases("StdioTests", self.cases, runs=True)
        tree = _parse("StdioTests(checker)", self.checker)
        if self.checker and not any(isinstance(s, ast.FunctionDef) and s.name == "check" for s in tree.body):
            raise ValueError(
                f"StdioTests(checker={_short(self.checker)}): does not define check(stdin, stdout, expected); add it"
            )

    @property
    def num_tests(self) -> int:
        """The number of cases."""
        return len(self.cases)

    @property
    def in_one_process(self) -> bool:
        """Whether test code follows the program in its file."""
        return bool(self.after)

    @property
    def _following(self) -> str:
        return "\n".join(filter(None, (self.after, self.caller)))

    def in_file(self, program: str) -> str:
        """The file that is compiled and run: the program with what stands before and after it."""
        if not self._following:
            return program
        held = {line.strip() for line in program.split("\n")}
        missing = [line for line in self.before.split("\n") if line.strip() and line.strip() not in held]
        return "\n".join([*missing, program, self._following])

    def exam(self) -> dict[str, Any]:
        """The content as plain values."""
        return {**super().exam(), "cases": [case.exam() for case in self.cases]}

    def _encoded_cases(self) -> dict[str, Any]:
        return {"cases": _encoded(type(self).__name__, self.cases)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**_with_cases(cls, data))


Tests = AssertTests | CallTests | StdioTests


def suite_from_dict(data: Mapping[str, Any]) -> Tests:
    """The tests of any kind that `to_dict` wrote."""
    for cls in (AssertTests, CallTests, StdioTests):
        if data.get("kind") == cls.kind:
            return cls.from_dict(data)
    raise ValueError(f"tests of kind {data.get('kind')!r}: expected assert, call or stdio; set kind")


def _uncalled_check(tree: ast.Module) -> bool:
    defined = any(isinstance(s, ast.FunctionDef) and s.name == "check" and s.args.args for s in tree.body)
    called = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
        for statement in tree.body
        if can_fail(statement) or isinstance(statement, (ast.Assign, ast.AnnAssign))
        for node in ast.walk(statement)
    )
    return defined and not called


def _parse(what: str, source: str) -> ast.Module:
    try:
        return parse(source)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{what}: {_short(source)} is not valid Python ({error}); fix it") from error


def _check_option(what: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{what}({name}={value!r}): unknown; choose one of {', '.join(choices)}")


def _check_entry_point(what: str, name: str | None) -> None:
    if name is not None and not all(part.isidentifier() for part in name.replace("()", "").split(".")):
        raise ValueError(f"{what}(entry_point={name!r}): not a (dotted) Python name; give the function's name")


def _check_tolerances(what: str, abs_tol: float, rel_tol: float) -> None:
    if not 0 <= abs_tol < float("inf") or not 0 <= rel_tol < 1:
        raise ValueError(
            f"{what}(abs_tol={abs_tol!r}, rel_tol={rel_tol!r}): such a tolerance accepts everything or nothing; give "
            f"abs_tol >= 0 and 0 <= rel_tol < 1"
        )


def _check_cases(what: str, cases: Sequence[Case], *, runs: bool) -> None:
    if not cases:
        raise ValueError(f"{what}(cases=[]): without a case every program would pass; give at least one Case")
    for index, case in enumerate(cases):
        if (case.stdin is not None) is not runs:
            wanted = "Case(stdin=..., stdout=...)" if runs else "Case(args=..., expected=...)"
            raise ValueError(f"{what}(cases[{index}]={_short(case)}): the wrong kind of case; use {wanted}")


def _encoded(what: str, cases: Sequence[Case]) -> list[bytes]:
    encoded = []
    for index, case in enumerate(cases):
        try:
            encoded.append(codec.encode(case.exam()))
        except codec.EncodeError as error:
            raise ValueError(f"{what}(cases[{index}]={show(case.args, 60)}): {error}; leave this case out") from None
    return encoded


def _without_kind(cls: type[_ByContent], data: Mapping[str, Any]) -> dict[str, Any]:
    if data.get("kind") != cls.kind:
        raise ValueError(f"{cls.__name__}.from_dict(kind={data.get('kind')!r}): expected {cls.kind!r}; set kind")
    return {key: value for key, value in from_plain(dict(data)).items() if key != "kind"}


def _with_cases(cls: type[_ByContent], data: Mapping[str, Any]) -> dict[str, Any]:
    fields = _without_kind(cls, data)
    return {**fields, "cases": [Case(**case) for case in fields["cases"]]}


def _short(value: object, limit: int = 80) -> str:
    text = value if isinstance(value, str) else show(value)
    return repr(text) if len(text) <= limit else repr(text[: limit - 3] + "...")
