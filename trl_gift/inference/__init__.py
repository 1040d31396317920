"""A model in use: what a name stands for, loading it as it was trained, measuring it, letting it write programs.

Public modules: `sources` (what a name stands for), `loading` (a model ready to write programs), `evaluating` and `generating`
(with a model that is loaded already), `sampling_model` (one that samples for another), `saved` (evaluations on disk, and their comparison).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names

__all__ = ["evaluate", "evaluating", "generate", "generating", "loading", "sampling_model", "saved", "sources"]

if TYPE_CHECKING:
    from trl_gift.inference.evaluating import evaluate
    from trl_gift.inference.generating import generate
else:  # these need torch
    __getattr__ = lazy_names(__name__, {"evaluate": "evaluating", "generate": "generating"})
