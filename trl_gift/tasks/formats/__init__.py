"""Known datasets, recognised by their columns, as tasks.

A format is a name, the columns by which it is recognised, and a function from a row to a `Task`; each family of formats
has one small module. The first format whose columns are all present is used: the canonical columns come first, and a
format whose columns are a subset of another's comes after it.
"""

from __future__ import annotations

from collections.abc import Collection

from trl_gift.tasks.formats.apps import APPS, APPS_PLUS, TACO
from trl_gift.tasks.formats.codeinsight import CODEINSIGHT
from trl_gift.tasks.formats.common import Format, Row
from trl_gift.tasks.formats.contests import CODE_CONTESTS, SANDBOX_FUSION
from trl_gift.tasks.formats.humaneval import HUMANEVAL
from trl_gift.tasks.formats.livecodebench import LIVECODEBENCH
from trl_gift.tasks.formats.mbpp import MBPP, MBPP_PLUS, MBPP_SANITIZED
from trl_gift.tasks.formats.verifiable import VERIFIABLE
from trl_gift.tasks.task import Task

FORMATS: tuple[Format, ...] = (
    Format("canonical", frozenset({"task_id", "description", "tests"}), Task.from_row),
    HUMANEVAL,
    MBPP,
    MBPP_PLUS,
    MBPP_SANITIZED,
    APPS,
    TACO,
    APPS_PLUS,
    CODE_CONTESTS,
    LIVECODEBENCH,
    CODEINSIGHT,
    VERIFIABLE,
    SANDBOX_FUSION,
)


def recognise(columns: Collection[str]) -> Format | None:
    """The first format whose columns are all among `columns`."""
    return next((known for known in FORMATS if known.columns <= set(columns)), None)


__all__ = ["FORMATS", "Format", "Row", "recognise"]
