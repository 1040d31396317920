"""MultiPL-E: HumanEval and MBPP in other languages. Its tests are code in that language, which follows the program in one file.

Columns as in nuprl/MultiPL-E. A row's `prompt` is comment lines and the line that opens a function; its `tests` call the function
in assertions. Here a model writes the whole function, so a brace with which the tests would close it is left out. An assertion
that fails is printed and ends the tests; the last line of the tests prints a text, and a program passes only if this text ends
the output. So one that ends the process early does not pass. Program and tests still share one process: the outcome says
`trusted=False`.

Not covered: other languages than C++ and JavaScript. Their tests need libraries or a build of their own, or a function that
stands within a class. The rows have no solutions, so there are no references.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from trl_gift.sandbox import Case, StdioTests
from trl_gift.tasks.formats.common import Format, Row, content_id
from trl_gift.tasks.formats.humaneval import split_doctests
from trl_gift.tasks.task import Task, bad, id_field, language_field, text_field

_COMMENT = re.compile(r"//+ ?")
_CHECKER = "def check(stdin, stdout, expected):\n    return stdout.rstrip().endswith(expected)\n"


_JAVASCRIPT_END = """} catch (error) {
  if (error.code !== 'ERR_ASSERTION') throw error;
  console.log(error.message);
}"""
# The program may have switched assertions off.
_CPP_ASSERT = """#undef main
#undef assert
#define assert(...) ((__VA_ARGS__) ? (void)0 : (std::puts("false: " #__VA_ARGS__), std::exit(0)))"""


@dataclass(frozen=True, slots=True)
class _Way:
    """How tests of one language follow a program.

    Attributes:
        before: Further lines before the program.
        after: The code after the program, from the tests and the text that is to end the output; None for tests of another
            form.
    """

    before: str
    after: Callable[[str, str], str | None]


def _javascript(tests: str, end: str) -> str | None:
    # In a block of their own, because an answer may have loaded `assert` or defined a `test`, too.
    if tests.lstrip().startswith("}"):
        return None
    return f"try {{\n{tests.strip()}\nconsole.log('\\n{end}');\n{_JAVASCRIPT_END}\n"


def _cpp(tests: str, end: str) -> str | None:
    body = tests.strip()
    if not (body.startswith("}") and body.endswith("}") and "main()" in body):
        return None
    return f'{_CPP_ASSERT}\n{body[1:-1]}    std::puts("\\n{end}");\n}}\n'


# A model likes to end with a program that tries the function out; its `main` must not be that of the tests.
_WAYS = {
    "cpp": _Way("#include <bits/stdc++.h>\n#define main main_of_the_answer", _cpp),
    "javascript": _Way("", _javascript),
}


def _read(row: Row, where: str) -> Task:
    prompt, tests = text_field(row, "prompt", where), text_field(row, "tests", where)
    language = language_field(row.get("language"), where)
    way = _WAYS.get(language)
    if way is None:
        cure = f"of MultiPL-E the tests in {' and '.join(_WAYS)} can be run; take these parts, or HumanEval or MBPP"
        raise bad(where, "language", row.get("language"), cure)
    *lines, opening = prompt.rstrip().split("\n")
    if not opening.rstrip().endswith("{"):
        raise bad(where, "prompt", prompt, "must be comment lines and the line that opens the function")
    comments = [line for line in lines if line.startswith("//")]
    before = [line for line in lines if line.strip() and not line.startswith("//")]
    if any(not line.startswith("#include") for line in before):
        raise bad(
            where,
            "prompt",
            prompt,
            "declares more than includes before the function, which is not supported; leave the row out",
        )
    name = id_field(row, where, "name")
    end = content_id("end of tests", prompt, tests)
    after = way.after(tests, end)
    if after is None:
        raise bad(where, "tests", tests, "are not of the form that MultiPL-E has in this language; leave the row out")
    description, doctests = split_doctests("\n".join(_COMMENT.sub("", line, count=1) for line in comments))
    if not description.strip():
        raise bad(where, "prompt", prompt, "must describe the task in comment lines")
    return Task(
        task_id=name,
        description=description.strip(),
        tests=StdioTests(
            (Case(stdin="", stdout=end),),
            checker=_CHECKER,
            language=language,
            after=after,
            before="\n".join([*before, way.before]).strip(),
            opening=opening.strip(),
        ),
        examples=(doctests,) if doctests else (),
    )


MULTIPLE = Format("MultiPL-E", frozenset({"name", "language", "prompt", "tests", "stop_tokens"}), _read)
