"""Known datasets, recognised by their columns, as tasks.

A format is a name, the columns by which it is recognised, and a function from a row to a `Task`; each family of formats
has one small module. The first format whose columns are all present is used: the canonical columns come first, and a
format whose columns are a subset of another's comes after it.
"""

from __future__ import annotations

from collections.abc import Collection

from trl_gift.tasks.formats.acecode import ACECODE
from trl_gift.tasks.formats.apps import APPS, TACO
from trl_gift.tasks.formats.apps_plus import APPS_PLUS, APPS_PLUS_QUESTION
from trl_gift.tasks.formats.bigcodebench import BIGCODEBENCH
from trl_gift.tasks.formats.codeinsight import CODEINSIGHT
from trl_gift.tasks.formats.common import Format, Row, content_id
from trl_gift.tasks.formats.contests import CODE_CONTESTS, SANDBOX_FUSION
from trl_gift.tasks.formats.humaneval import HUMANEVAL
from trl_gift.tasks.formats.kodcode import KODCODE, KODCODE_FIRST
from trl_gift.tasks.formats.livecodebench import LIVECODEBENCH
from trl_gift.tasks.formats.mbpp import MBPP, MBPP_PLUS, MBPP_SANITIZED
from trl_gift.tasks.formats.multiple import MULTIPLE
from trl_gift.tasks.formats.opencodereasoning import OPENCODEREASONING
from trl_gift.tasks.formats.rstar import RSTAR
from trl_gift.tasks.formats.verifiable import VERIFIABLE
from trl_gift.tasks.task import Task


def _without_id(row: Row, where: str) -> Task:
    """A row in the canonical columns that has no `task_id`: its content gives it one."""
    parts = [row.get(name) for name in ("description", "signature", "tests", "hidden_tests")]
    return Task.from_row({**row, "task_id": content_id("task", *parts)}, where)


FORMATS: tuple[Format, ...] = (
    Format("canonical", frozenset({"task_id", "description", "tests"}), Task.from_row),
    HUMANEVAL,
    MBPP,
    MBPP_PLUS,
    MBPP_SANITIZED,
    BIGCODEBENCH,
    APPS,
    TACO,
    RSTAR,
    APPS_PLUS,
    APPS_PLUS_QUESTION,
    CODE_CONTESTS,
    LIVECODEBENCH,
    KODCODE,
    KODCODE_FIRST,
    ACECODE,
    CODEINSIGHT,
    VERIFIABLE,
    OPENCODEREASONING,
    MULTIPLE,
    SANDBOX_FUSION,
    Format("canonical, without an id", frozenset({"description", "tests"}), _without_id),
)


def recognise(columns: Collection[str]) -> Format | None:
    """The first format whose columns are all among `columns`."""
    return next((known for known in FORMATS if known.columns <= set(columns)), None)


__all__ = ["FORMATS", "Format", "Row", "recognise"]
