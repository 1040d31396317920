"""Programming tasks with tests: what a task is, and how known datasets become tasks.

Public modules: `filters`, `decontamination` and `overlap` (which tasks are left out), `references` (which references fail, and
which reading of a row is right), `sources` (rows of files and of the Hub, each with its place), `stdio` (functions as whole
programs), `targets` (what a model would write for a program), `testcode` (test files as tests), `validate` (whether the tests of
a task can be trusted), `visible` (which tests may be seen while a task is being solved).
"""

from trl_gift.tasks.loaders import filter_tasks, is_task_sets, load_tasks, task_sets, tasks_from_rows
from trl_gift.tasks.sources import HUB_NAMES
from trl_gift.tasks.task import Reading, Task, fingerprint, read_tests

__all__ = [
    "HUB_NAMES",
    "Reading",
    "Task",
    "decontamination",
    "filter_tasks",
    "filters",
    "fingerprint",
    "is_task_sets",
    "load_tasks",
    "overlap",
    "read_tests",
    "references",
    "sources",
    "stdio",
    "targets",
    "task_sets",
    "tasks_from_rows",
    "testcode",
    "validate",
    "visible",
]
