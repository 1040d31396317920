"""A run's recorded programs as data sets for TRL's other trainers: pairs, labelled programs, passing programs, all attempts.

Public modules: `exporting` (from a run's folder to a data set), `pairs` (which passing and failing programs are set against each other), `programs` (the distinct programs of
a run, by task and verdict), `rows` (rows in TRL's formats).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names
from trl_gift.export import pairs, programs, rows

__all__ = ["KINDS", "Exported", "export_run", "exporting", "pairs", "programs", "rows"]

if TYPE_CHECKING:
    from trl_gift.export.exporting import KINDS, Exported, export_run
else:  # these load what writes cards
    __getattr__ = lazy_names(__name__, {"KINDS": "exporting", "Exported": "exporting", "export_run": "exporting"})
