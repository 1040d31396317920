"""Test code that people have, as statements that the sandbox runs one by one: pytest, `unittest`, doctests.

Nothing is executed here; everything is done on the syntax tree.

* `convert` turns the source of test files into `TestCode`: each test function, test method and row of a literal
  `parametrize` becomes one statement, so that each has its own result. Imports of the program under test are dropped,
  `pytest.raises`, `pytest.approx` and `pytest.fail` become plain Python, and fixtures of the text itself are called.
* `doctest_source` turns the examples of docstrings into such source.
* `as_written` gives back the test that a statement of converted source runs.
* `UnderTest` is what the tests may know of the program; `needs_interpreter` says why they have to run beside it.

Not covered: fixtures of pytest and of its plugins, `conftest.py`, asynchronous tests and functions, `doctest` examples that test what a
function prints. They raise `Unsupported`, whose message names the construct and what to write instead.
"""

from trl_gift.tasks.testcode.convert import TestCode, convert
from trl_gift.tasks.testcode.doctests import doctest_source
from trl_gift.tasks.testcode.program import UnderTest, needs_interpreter
from trl_gift.tasks.testcode.unsupported import Unsupported
from trl_gift.tasks.testcode.written import as_written

__all__ = ["TestCode", "UnderTest", "Unsupported", "as_written", "convert", "doctest_source", "needs_interpreter"]
