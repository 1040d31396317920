"""The statements that run tests: one for each test function, test method and row of a literal `parametrize`."""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trl_gift.tasks.testcode.imports import Imports
from trl_gift.tasks.testcode.unsupported import Unsupported

_MOST_ROWS = 1000  # more rows of one test run in a loop, as one test
_CASE_BASES = ("unittest.TestCase", "TestCase")
_SKIPS = ("unittest.skip", "skip")
RUN = "_run_"
"""What the name of a function begins with that gives a test its fixtures."""
_FIXTURE = "_fixture_"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class _Fixture:
    """A fixture of the text: its parameters are other fixtures."""

    parameters: tuple[str, ...]
    yields: bool
    automatic: bool


@dataclass(frozen=True, slots=True)
class _Rows:
    """One `parametrize`: the names, and either the values of each row or an expression that gives the rows."""

    names: tuple[str, ...]
    rows: tuple[tuple[ast.expr, ...], ...] | None
    expression: ast.expr


@dataclass(slots=True)
class _Marks:
    """What the decorators of a test say."""

    skip: bool = False
    patched: bool = False
    rows: list[_Rows] = field(default_factory=list)
    others: list[ast.expr] = field(default_factory=list)


class Functions:
    """Test functions, the fixtures that they take, and the rows that they are run with.

    Args:
        body: The statements of the text.
        imports: Its imports.
    """

    def __init__(self, body: Sequence[ast.stmt], imports: Imports) -> None:
        self._imports = imports
        self._fixtures: dict[str, _Fixture] = {}
        for node in body:
            if isinstance(node, _Function) and self._fixture_mark(node) is not None:
                self._fixtures[node.name] = self._fixture(node)

    def read(self, node: _Function, called: set[str]) -> tuple[ast.stmt, list[ast.stmt]]:
        """A function without the decorators of pytest, and the statements that run it.

        Raises:
            Unsupported: a construct that cannot be used.
        """
        if node.name in self._fixtures:
            plain = copy.copy(node)
            plain.decorator_list, plain.name = [], f"{_FIXTURE}{node.name}"
            return plain, []
        if not node.name.startswith("test") or node.name in called:
            return node, []
        return self.runs(node, node.name, node.name)

    def runs(
        self, node: _Function, call: str, label: str, before: str = "", after: str = "", is_method: bool = False
    ) -> tuple[_Function, list[ast.stmt]]:
        """A test without the decorators of pytest, and the statements that run it.

        Args:
            node: The function or method.
            call: The expression that is called.
            label: A name of the test that can be part of an identifier.
            before: Statements that run before it.
            after: Statements that run after it, whether it fails or not.
            is_method: Whether its first parameter is the object.
        """
        if isinstance(node, ast.AsyncFunctionDef):
            raise Unsupported(f"'async def {node.name}': the sandbox has no event loop; test a plain function")
        marks = self._marks(node)
        plain = copy.copy(node)
        plain.decorator_list = marks.others
        if marks.skip:
            return plain, []
        parameters = [item.arg for item in node.args.args[is_method:]]
        without_default = parameters[: len(parameters) - len(node.args.defaults)]
        given = [name for rows in marks.rows for name in rows.names]
        wanted = [] if marks.patched else [name for name in without_default if name not in given]
        automatic = [name for name, fixture in self._fixtures.items() if fixture.automatic]
        needed = self._in_order([*automatic, *wanted], node.name)
        if not needed and not before and not after:
            return plain, _calls(call, marks.rows)
        arguments = [*(f"{name}={name}" for name in wanted), "**given"]
        lines = [f"def {RUN}{label}(**given):", "    with contextlib.ExitStack() as open_fixtures:"]
        lines += [f"        {name} = {self._value(name)}" for name in needed]
        lines += [f"        {line}" for line in before.split("\n")]
        lines += ["        try:", f"            {call}({', '.join(arguments)})", "        finally:"]
        lines += [f"            {line}" for line in (after or "pass").split("\n")]
        wrapper = ast.parse("\n".join(["import contextlib", *lines])).body
        return plain, [*wrapper, *_calls(f"{RUN}{label}", marks.rows)]

    def is_mark(self, decorator: ast.expr, name: str) -> bool:
        """Whether a decorator is `pytest.mark.<name>`, called or not."""
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        return (
            isinstance(target, ast.Attribute) and target.attr == name and self._imports.is_pytest(target.value, "mark")
        )

    def _marks(self, node: _Function) -> _Marks:
        marks = _Marks()
        for decorator in node.decorator_list:
            target = decorator.func if isinstance(decorator, ast.Call) else decorator
            text = ast.unparse(target)
            if self.is_mark(decorator, "parametrize") and isinstance(decorator, ast.Call):
                marks.rows.insert(0, self._rows(decorator, node.name))
            elif self.is_mark(decorator, "skip") or text in _SKIPS:
                marks.skip = True
            elif isinstance(target, ast.Attribute) and self._imports.is_pytest(target.value, "mark"):
                if target.attr in ("skipif", "xfail", "usefixtures", "asyncio", "anyio", "trio"):
                    raise Unsupported(f"'@{text}' on {node.name}: leave the mark out, or the test")
            elif text.endswith(("skipIf", "skipUnless", "expectedFailure")):
                raise Unsupported(f"'@{text}' on {node.name}: leave the decorator out, or the test")
            else:
                marks.patched |= "patch" in text
                marks.others.append(decorator)
        return marks

    def _rows(self, decorator: ast.Call, test: str) -> _Rows:
        keywords = {keyword.arg: keyword.value for keyword in decorator.keywords}
        arguments = [*decorator.args, *(keywords[name] for name in ("argnames", "argvalues") if name in keywords)]
        if "indirect" in keywords or len(arguments) != 2:
            raise Unsupported(f"'parametrize' of {test}: give names and a list of values, without 'indirect'")
        match arguments[0]:
            case ast.Constant(value=str() as text):
                names = tuple(name.strip() for name in text.split(",") if name.strip())
            case ast.List(elts=items) | ast.Tuple(elts=items) if all(isinstance(item, ast.Constant) for item in items):
                names = tuple(str(item.value) for item in items if isinstance(item, ast.Constant))
            case other:
                raise Unsupported(f"'parametrize({ast.unparse(other)}, ...)' of {test}: write the names as a text")
        values = arguments[1]
        if any(self._is_param(node) for node in ast.walk(values)) and not isinstance(values, ast.List | ast.Tuple):
            raise Unsupported(f"'pytest.param' in {test}: write the values of the row as a tuple")
        rows: list[tuple[ast.expr, ...]] = []
        for item in values.elts if isinstance(values, ast.List | ast.Tuple) else ():
            row = self._row(item, len(names), test)
            if row is None:
                return _Rows(names, None, values)
            rows.append(row)
        return _Rows(names, tuple(rows) if isinstance(values, ast.List | ast.Tuple) else None, values)

    def _row(self, item: ast.expr, width: int, test: str) -> tuple[ast.expr, ...] | None:
        """The values of a row; None if only a run shows them."""
        if isinstance(item, ast.Call) and self._is_param(item):
            if any(keyword.arg == "marks" for keyword in item.keywords):
                raise Unsupported(f"'pytest.param(..., marks=...)' in {test}: leave the mark out, or the row")
            values: Sequence[ast.expr] = item.args
        elif width == 1:
            values = [item]
        elif isinstance(item, ast.List | ast.Tuple):
            values = item.elts
        else:
            return None
        if len(values) != width or any(isinstance(value, ast.Starred) for value in values):
            raise Unsupported(f"'parametrize' of {test}: {ast.unparse(item)} must have {width} values")
        return tuple(values)

    def _is_param(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and self._imports.is_pytest(node.func, "param")

    def _fixture_mark(self, node: _Function) -> ast.expr | None:
        for decorator in node.decorator_list:
            target = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self._imports.is_pytest(target, "fixture"):
                return decorator
        return None

    def _fixture(self, node: _Function) -> _Fixture:
        mark = self._fixture_mark(node)
        keywords = {item.arg: item.value for item in mark.keywords} if isinstance(mark, ast.Call) else {}
        refused = next((name for name in keywords if name in ("params", "name")), None)
        if refused or isinstance(node, ast.AsyncFunctionDef):
            what = f"with {refused}=" if refused else "that is async"
            raise Unsupported(f"fixture {node.name!r} {what}: call a plain function in each test instead")
        automatic = keywords.get("autouse")
        yields = any(isinstance(inner, ast.Yield) for inner in ast.walk(node))
        parameters = tuple(item.arg for item in node.args.args)
        return _Fixture(parameters, yields, isinstance(automatic, ast.Constant) and bool(automatic.value))

    def _in_order(self, wanted: Iterable[str], test: str, path: tuple[str, ...] = ()) -> list[str]:
        """The fixtures to call, each after those that it takes."""
        order: list[str] = []
        for name in wanted:
            fixture = self._fixtures.get(name)
            if fixture is None or name in path:
                raise Unsupported(
                    f"{test} takes {name!r}, which is not a fixture of this text; make the value in the test itself"
                )
            order += [*self._in_order(fixture.parameters, name, (*path, name)), name]
        return list(dict.fromkeys(order))

    def _value(self, name: str) -> str:
        fixture = self._fixtures[name]
        arguments = ", ".join(f"{item}={item}" for item in fixture.parameters)
        if fixture.yields:
            return f"open_fixtures.enter_context(contextlib.contextmanager({_FIXTURE}{name})({arguments}))"
        return f"{_FIXTURE}{name}({arguments})"


def test_case(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> tuple[ast.ClassDef, list[ast.stmt]] | None:
    """A `unittest.TestCase` and the statements that run its tests; None for another class.

    Raises:
        Unsupported: a construct that cannot be used.
    """
    lineage = _lineage(node, classes)
    bases = {ast.unparse(base) for item in lineage for base in item.bases}
    if any(base.endswith("IsolatedAsyncioTestCase") for base in bases):
        raise Unsupported(
            f"class {node.name}(IsolatedAsyncioTestCase): the sandbox has no event loop; test a plain function"
        )
    if bases.isdisjoint(_CASE_BASES):
        return None
    decorators = [
        *node.decorator_list,
        *(item for method in _methods(lineage).values() for item in method.decorator_list),
    ]
    for decorator in decorators:
        text = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if text.endswith(("skipIf", "skipUnless", "expectedFailure", "parameterized.expand")):
            cure = "use self.subTest in a loop" if text.endswith("expand") else "leave the decorator out, or the test"
            raise Unsupported(f"'@{text}' in class {node.name}: {cure}")
    names = [
        name
        for name, method in _methods(lineage).items()
        if name.startswith("test")
        and not any(_is_skip(item) for item in (*node.decorator_list, *method.decorator_list))
    ]
    for name in names:
        if isinstance(_methods(lineage)[name], ast.AsyncFunctionDef):
            raise Unsupported(f"'async def {name}': the sandbox has no event loop; test a plain function")
    runs = [f"{node.name}({name!r}).debug()" for name in names]
    return node, _around(node.name, lineage, ("setUpClass", "tearDownClass"), ast.parse("\n".join(runs)).body)


def pytest_class(
    node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], functions: Functions
) -> tuple[ast.ClassDef, list[ast.stmt]] | None:
    """A class `Test...` of pytest and the statements that run its tests; None for another class.

    Raises:
        Unsupported: a construct that cannot be used.
    """
    lineage = _lineage(node, classes)
    methods = _methods(lineage)
    if not node.name.startswith("Test") or not any(name.startswith("test") for name in methods):
        return None
    before, after = (
        "\n".join(
            f"case.{name}({'None' if len(methods[name].args.args) > 1 else ''})" for name in names if name in methods
        )
        for names in (("setup_method",), ("teardown_method",))
    )
    plain = copy.copy(node)
    plain.body, runs = [], []
    if any(functions.is_mark(item, "skip") for item in node.decorator_list):
        return plain_class(node), []
    plain.decorator_list = [item for item in node.decorator_list if "mark" not in ast.unparse(item)]
    own = {id(method) for method in methods.values()}
    for item in node.body:
        if isinstance(item, _Function) and id(item) in own and item.name.startswith("test"):
            method, calls = functions.runs(
                item, f"case.{item.name}", f"{node.name}_{item.name}", f"case = {node.name}()\n{before}", after, True
            )
            plain.body.append(method)
            runs += calls
        else:
            plain.body.append(item)
    return plain, _around(node.name, lineage, ("setup_class", "teardown_class"), runs)


def plain_class(node: ast.ClassDef) -> ast.ClassDef:
    """An empty class in place of one whose tests are skipped."""
    empty = copy.copy(node)
    empty.decorator_list, empty.body = [], [ast.Pass()]
    return empty


def runs_alone(body: Sequence[ast.stmt], tests: list[ast.stmt]) -> list[ast.stmt]:
    """The tests between the set-up and tear-down functions of the module."""
    names = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    before = [f"_ready = {name}()" for name in ("setUpModule", "setup_module") if name in names and tests]
    after = [f"_done = {name}()" for name in ("tearDownModule", "teardown_module") if name in names and tests]
    return [*ast.parse("\n".join(before)).body, *tests, *ast.parse("\n".join(after)).body]


def _calls(call: str, decorators: Sequence[_Rows]) -> list[ast.stmt]:
    """The calls of a test for every combination of its rows, the last `parametrize` varying fastest."""
    count = 1
    for item in decorators:
        count *= len(item.rows) if item.rows is not None else _MOST_ROWS + 1
    if count <= _MOST_ROWS:
        texts = []
        for chosen in itertools.product(*(item.rows or () for item in decorators)):
            pairs = [
                f"{name}={ast.unparse(value)}"
                for item, row in zip(decorators, chosen, strict=True)
                for name, value in zip(item.names, row, strict=True)
            ]
            texts.append(f"{call}({', '.join(pairs)})")
        return ast.parse("\n".join(texts)).body
    lines = []
    for depth, item in enumerate(decorators):
        target = ", ".join(f"row_{name}" for name in item.names)
        lines.append(f"{' ' * depth}for {target} in {ast.unparse(item.expression)}:")
    arguments = ", ".join(f"{name}=row_{name}" for item in decorators for name in item.names)
    lines.append(f"{' ' * len(decorators)}{call}({arguments})")
    return ast.parse("\n".join(lines)).body


def _around(
    name: str, lineage: Sequence[ast.ClassDef], hooks: tuple[str, str], runs: list[ast.stmt]
) -> list[ast.stmt]:
    """The tests between the set-up and tear-down of a class. As assignments, these do not count as tests."""
    present = [hook if hook in _methods(lineage) and runs else "" for hook in hooks]
    before, after = (ast.parse(f"_class = {name}.{hook}()" if hook else "").body for hook in present)
    return [*before, *runs, *after]


def _lineage(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """A class and those of its bases that the text defines, nearest first."""
    found = [node]
    for item in found:
        names = [base.id for base in item.bases if isinstance(base, ast.Name)]
        found += [classes[name] for name in names if name in classes and classes[name] not in found]
    return found


def _methods(lineage: Sequence[ast.ClassDef]) -> dict[str, _Function]:
    methods: dict[str, _Function] = {}
    for node in lineage:
        for item in node.body:
            if isinstance(item, _Function):
                methods.setdefault(item.name, item)
    return methods


def _is_skip(decorator: ast.expr) -> bool:
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator) in _SKIPS
