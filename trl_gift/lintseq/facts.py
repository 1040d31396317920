"""What a linter of syntax and names would say about a deletion, where it follows without asking.

From a clean program, deleting whole statements and whole `elif` or `else` clauses makes only these errors:

- a block is empty: the error points to its header;
- a name is used that the deleted lines bound, and nothing left binds it: each use is an error;
- the same, and what is left binds it too, but all in one scope: each use above the first binding is an error.

Anything else is for the linter to say: parts of statements, `import *`, names of the builtins, names bound in several scopes, names
in strings of a program with annotations or `__all__`, programs that catch `NameError`; pyflakes has rules for these.

`tests/lintseq/test_sampling.py` compares the sequences with and without this knowledge.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from trl_gift.lintseq.layout import Layout, bits

_BUILTINS = frozenset(dir(builtins)) | {"WindowsError"}
_WORD = re.compile(r"\w+")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_SCOPES = (*_DEFINITIONS, ast.Lambda)
_WITH_DOCSTRING = (ast.Module, *_DEFINITIONS)
_WITH_ELSE = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar)
_COMPOUND = (*_WITH_ELSE, ast.With, ast.AsyncWith, *_DEFINITIONS)
_CLAUSES = {
    "elif": re.compile(r"[ \t\f]*elif\b"),
    "else": re.compile(r"[ \t\f]*else[ \t\f]*:"),
    "finally": re.compile(r"[ \t\f]*finally[ \t\f]*:"),
    "case": re.compile(r"[ \t\f]*case\b"),
}
_LOADS_FIRST = (ast.Assign, ast.AugAssign)
_PATTERNS = (ast.MatchAs, ast.MatchStar, ast.MatchMapping)
_TYPING = ("typing", "typing_extensions")
_SEVERAL = -1
_NOTHING = -1


@dataclass(frozen=True, slots=True)
class Foresight:
    """What is known about a deletion.

    Attributes:
        whole: Whether it takes whole statements and clauses, and leaves no block empty.
        errors: The lines in error after it; None if only the linter can say.
    """

    whole: bool
    errors: int | None


_UNKNOWN = Foresight(False, None)
_WHOLE_BUT_UNKNOWN = Foresight(True, None)


class Facts:
    """The statements and names of a clean state. They also hold for states from which whole statements were deleted since."""

    def __init__(self, layout: Layout, kept: int) -> None:
        rows = layout.rows_of(kept)
        tree = ast.parse(layout.text(kept))
        self._code = kept & layout.has_code
        self._statements = _Statements(layout, rows, self._code, tree)
        self._names = _Names(rows, self._code, tree)

    def foresee(self, gone: int, rest: int) -> Foresight:
        """What is known about a deletion.

        Args:
            gone: The lines that are deleted.
            rest: The lines that are left.
        """
        gone &= self._code
        headers = self._statements.headers_in_error(gone, rest)
        if headers is None:
            return _UNKNOWN
        if headers:
            return Foresight(False, headers)
        names = self._names
        if gone & names.unclear:
            return _WHOLE_BUT_UNKNOWN
        errors = 0
        for line in bits(gone):
            for name in names.bound_on.get(line, ()):
                uses, quoted = names.uses.get(name, 0) & rest, names.quoted.get(name, 0) & rest
                if not uses and not quoted:
                    continue
                if quoted or not names.clear or name in _BUILTINS or name.startswith("__"):
                    return _WHOLE_BUT_UNKNOWN
                bound = names.binds[name] & rest
                found = self._uses_above(name, uses, bound) if bound else uses
                if found is None:
                    return _WHOLE_BUT_UNKNOWN
                errors |= found
        return Foresight(True, errors)

    def _uses_above(self, name: str, uses: int, bound: int) -> int | None:
        """The uses of a name before its first binding; None if lines do not tell the order."""
        if self._names.scope.get(name, _SEVERAL) == _SEVERAL:
            return None
        first = bound & -bound
        statement = self._statements.owner.get(first.bit_length() - 1, _NOTHING)
        if statement == _NOTHING or uses & self._statements.own[statement] & ~first:
            return None
        if uses & first and (not self._statements.loads_first[statement] or first & self._statements.crowded):
            return None
        return uses & ((first << 1) - 1)


class _Statements:
    """Which lines are of which statement and in which block.

    An `elif` or `else` clause counts as a statement in the one that it belongs to, but in no block.

    Attributes:
        owner: The innermost statement of each line.
        own: By statement, its lines that are of no inner one.
        loads_first: By statement, whether it uses names before it binds any.
        crowded: Lines on which several statements begin.
    """

    def __init__(self, layout: Layout, rows: Sequence[int], code: int, tree: ast.Module) -> None:
        self._rows, self._code, self._lines = rows, code, layout.lines
        self.owner: dict[int, int] = {}
        self.own: list[int] = []
        self.loads_first: list[bool] = []
        self.crowded = 0
        self._spans: list[int] = []
        self._parents: list[int] = []
        self._block_of: list[int] = []
        self._blocks: list[int] = []  # by block, its lines
        self._headers: list[int] = []  # by block, the line of its header
        self._begun = 0
        self._clear = True
        waiting: list[tuple[list[ast.stmt], int, int]] = [(tree.body, _NOTHING, _NOTHING)]
        while waiting:
            waiting += self._read_block(*waiting.pop())
        self._clear = self._clear and not self._continues_elsewhere()

    def headers_in_error(self, gone: int, rest: int) -> int | None:
        """The headers of the blocks that a deletion empties; None if it takes a part of a statement."""
        if not self._clear:
            return None
        headers = 0
        for line in bits(gone):
            statement = self.owner.get(line, _NOTHING)
            if statement == _NOTHING or self._spans[statement] & rest:
                return None
            parent = self._parents[statement]
            while parent != _NOTHING and not self._spans[parent] & rest:
                statement, parent = parent, self._parents[parent]
            block = self._block_of[statement]
            if parent != _NOTHING and block != _NOTHING and not self._blocks[block] & rest:
                header = self._headers[block]
                if header == _NOTHING or not rest >> header & 1:
                    return None
                headers |= 1 << header
        return headers

    def _read_block(self, body: list[ast.stmt], parent: int, header: int) -> list[tuple[list[ast.stmt], int, int]]:
        """Adds the statements of a block; returns the blocks in them, each with its statement and header."""
        block = len(self._blocks)
        self._blocks.append(0)
        self._headers.append(header)
        inner: list[tuple[list[ast.stmt], int, int]] = []
        above_first = above_last = 0
        for node in body:
            first, last = _rows_of(node)
            if first == above_last and (above_first < above_last or first < last):
                self._clear = False  # a line holds the end of one statement and another statement
            above_first, above_last = first, last
            statement = self._add(first, last, parent, block, isinstance(node, _LOADS_FIRST))
            begun = 1 << self._rows[first - 1]
            self.crowded |= self._begun & begun
            self._begun |= begun
            inner += self._blocks_in(node, statement)
        return inner

    def _add(self, first: int, last: int, parent: int, block: int, loads_first: bool) -> int:
        lines = self._between(first, last)
        statement = len(self._spans)
        self._spans.append(lines)
        self._parents.append(parent)
        self._block_of.append(block)
        self.own.append(lines)
        self.loads_first.append(loads_first)
        if block != _NOTHING:
            self._blocks[block] |= lines
        if parent != _NOTHING:
            self.own[parent] &= ~lines
        for line in bits(lines):
            self.owner[line] = statement
        return statement

    def _blocks_in(self, node: ast.stmt, statement: int) -> list[tuple[list[ast.stmt], int, int]]:
        if isinstance(node, ast.Match):
            return [
                (case.body, statement, self._header("case", case.pattern.lineno, node.lineno)) for case in node.cases
            ]
        if not isinstance(node, _COMPOUND):
            return []
        found = [(node.body, statement, self._rows[node.lineno - 1])]
        last = node.body[-1].end_lineno or 0
        if isinstance(node, ast.Try | ast.TryStar):
            for handler in node.handlers:
                found.append((handler.body, statement, self._rows[handler.lineno - 1]))
                last = handler.end_lineno or 0
        while isinstance(node, _WITH_ELSE) and node.orelse:
            end = node.orelse[-1].end_lineno or 0
            only = node.orelse[0]
            if isinstance(node, ast.If) and isinstance(only, ast.If) and self._begins(only.lineno, "elif"):
                clause = self._add(only.lineno, only.body[-1].end_lineno or 0, statement, _NOTHING, False)
                found.append((only.body, clause, self._rows[only.lineno - 1]))
                node, last = only, only.body[-1].end_lineno or 0
                continue
            row = self._row_above("else", _rows_of(only)[0], last)
            if row:
                clause = self._add(row, end, statement, _NOTHING, False)
                found.append((node.orelse, clause, self._rows[row - 1]))
            else:
                found.append((node.orelse, statement, _NOTHING))
            last = end
            break
        if isinstance(node, ast.Try | ast.TryStar) and node.finalbody:
            found.append((node.finalbody, statement, self._header("finally", _rows_of(node.finalbody[0])[0], last)))
        return found

    def _header(self, word: str, row: int, above: int) -> int:
        row = self._row_above(word, row, above)
        return self._rows[row - 1] if row else _NOTHING

    def _row_above(self, word: str, row: int, above: int) -> int:
        """The nearest row from `row` upwards that begins with a word, or 0; rows up to `above` are of what is before."""
        return next((one for one in range(row, above, -1) if self._begins(one, word)), 0)

    def _begins(self, row: int, word: str) -> bool:
        return _CLAUSES[word].match(self._lines[self._rows[row - 1]]) is not None

    def _continues_elsewhere(self) -> bool:
        """Whether a backslash joins lines that are not of one statement."""
        lines = bits(self._code)
        for line, below in zip(lines, [*lines[1:], _NOTHING], strict=True):
            if self._lines[line].rstrip("\r").endswith("\\") and self.owner.get(line, -1) != self.owner.get(below, -2):
                return True
        return False

    def _between(self, first: int, last: int) -> int:
        return ((1 << (self._rows[last - 1] + 1)) - (1 << self._rows[first - 1])) & self._code


class _Names:
    """Which lines bind and use which names.

    Attributes:
        bound_on: By line, the names that it binds.
        binds: By name, the lines that bind it.
        uses: By name, the lines that use it.
        quoted: By name, the lines of strings that may be annotations, or entries of `__all__`, with its word.
        scope: By name, the number of the one scope that binds and uses it, in the order of the lines; or `_SEVERAL`.
        unclear: Lines after whose deletion only the linter can say.
        clear: Whether each use of a name that nothing binds is an error.
    """

    def __init__(self, rows: Sequence[int], code: int, tree: ast.Module) -> None:
        self._rows, self._code = rows, code
        self.bound_on: defaultdict[int, list[str]] = defaultdict(list)
        self.binds: defaultdict[str, int] = defaultdict(int)
        self.uses: defaultdict[str, int] = defaultdict(int)
        self.quoted: defaultdict[str, int] = defaultdict(int)
        self.scope: dict[str, int] = {}
        self.unclear = 0
        self.clear = True
        self._strings: list[tuple[str, int, int]] = []
        self._docstrings: set[int] = set()
        self._annotated = False
        self._count = 0
        waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
        while waiting:
            node, scope = waiting.pop()
            inner = self._read(node, scope)
            waiting += [(child, inner) for child in ast.iter_child_nodes(node)]
        if self._annotated or "__all__" in self.binds:
            for text, first, last in self._strings:
                lines = self._between(first, last)
                for word in _WORD.findall(text):
                    self.quoted[word] |= lines

    def _read(self, node: ast.AST, scope: int) -> int:
        """Notes what a node binds and uses; returns the scope of what is in it."""
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self._use(node.id, node.lineno, scope)
            else:
                self._bind(node.id, node.lineno, scope)
                if isinstance(node.ctx, ast.Del):
                    self._use(node.id, node.lineno, _SEVERAL)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in self._docstrings:
                self._strings.append((node.value, node.lineno, node.end_lineno or node.lineno))
        elif isinstance(node, ast.arg):
            self._annotated = self._annotated or node.annotation is not None
            self._bind(node.arg, node.lineno, scope)
        elif isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name):
                self._use(node.target.id, node.target.lineno, scope)
        elif isinstance(node, ast.AnnAssign):
            self._annotated = True
            if node.value is None and isinstance(node.target, ast.Name):
                self.scope[node.target.id] = _SEVERAL  # it declares the name and binds nothing
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._read_import(node, scope)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            for name in node.names:
                self._bind(name, node.lineno, _SEVERAL)
                self._use(name, node.lineno, _SEVERAL)
        elif isinstance(node, ast.comprehension | ast.NamedExpr):
            for one in ast.walk(node.target):
                if isinstance(one, ast.Name):
                    self.scope[one.id] = _SEVERAL
        elif isinstance(node, ast.ExceptHandler):
            self._read_handler(node)
        elif isinstance(node, _PATTERNS):
            caught = node.rest if isinstance(node, ast.MatchMapping) else node.name
            if caught:
                # A pattern that spans lines has its name on any of them.
                for row in range(node.lineno, node.end_lineno + 1):
                    self._bind(caught, row, _SEVERAL)
        elif sys.version_info >= (3, 12) and isinstance(node, ast.TypeVar | ast.ParamSpec | ast.TypeVarTuple):
            self._bind(node.name, node.lineno, _SEVERAL)
        if isinstance(node, _WITH_DOCSTRING) and node.body and isinstance(node.body[0], ast.Expr):
            self._docstrings.add(id(node.body[0].value))
        if isinstance(node, _SCOPES):
            if isinstance(node, _DEFINITIONS):
                self._bind(node.name, node.lineno, scope)
            self._annotated = self._annotated or (isinstance(node, _FUNCTIONS) and node.returns is not None)
            self._count += 1
            return self._count
        return scope

    def _bind(self, name: str, row: int, scope: int) -> None:
        line = self._rows[row - 1]
        self.binds[name] |= 1 << line
        self.bound_on[line].append(name)
        if self.scope.setdefault(name, scope) != scope:
            self.scope[name] = _SEVERAL

    def _use(self, name: str, row: int, scope: int) -> None:
        self.uses[name] |= 1 << self._rows[row - 1]
        if self.scope.setdefault(name, scope) != scope:
            self.scope[name] = _SEVERAL

    def _between(self, first: int, last: int) -> int:
        return ((1 << (self._rows[last - 1] + 1)) - (1 << self._rows[first - 1])) & self._code

    def _read_import(self, node: ast.Import | ast.ImportFrom, scope: int) -> None:
        whole = self._between(node.lineno, node.end_lineno or node.lineno)
        for alias in node.names:
            self._bind((alias.asname or alias.name).split(".")[0], alias.lineno, scope)
            self._annotated = self._annotated or alias.name.split(".")[0] in _TYPING
            if alias.name == "*":
                self.clear = False
                self.unclear |= whole
        if isinstance(node, ast.ImportFrom):
            self._annotated = self._annotated or (node.module or "").split(".")[0] in _TYPING
            if node.module == "__future__":
                self.unclear |= whole

    def _read_handler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, node.lineno, _SEVERAL)
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(one is None or (isinstance(one, ast.Name) and one.id == "NameError") for one in caught):
            self.clear = False


def _rows_of(node: ast.stmt) -> tuple[int, int]:
    """First and last row of a statement, decorators included."""
    decorators = node.decorator_list if isinstance(node, _DEFINITIONS) else []
    return min([node.lineno, *(one.lineno for one in decorators)]), node.end_lineno or node.lineno
