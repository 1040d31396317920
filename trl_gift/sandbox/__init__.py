"""Runs untrusted programs: verdicts that a program cannot forge, at the speed of a fork.

    with LocalSandbox(num_workers=2) as sandbox:
        outcome = sandbox.run(program, AssertTests("assert add(1, 2) == 3", entry_point="add"))

Each program runs in a confined process of its own. Its tests run in another process, which the program can neither see
nor reach. The sandbox is usable alone: nothing here imports torch, or any other part of trl_gift.

The folders are internal: `pool/` is the trainer's side, `inside/` runs in the confined processes, `confine/` puts the layers in
force, and `values/` serves both sides.

Public modules: `statements` (assertions as statements), `languages` (the YAML files of languages, what is installed), `comparisons` (names
of the rules for printed output), `javascript` (calls of a function in JavaScript), `values.show` (values as short text), `digits` (numbers of any length).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trl_gift.sandbox.cases import AssertTests, CallTests, Case, StdioTests, Tests, suite_from_dict
from trl_gift.sandbox.languages import ToolchainMissing
from trl_gift.sandbox.local import LocalSandbox
from trl_gift.sandbox.outcome import IsolationUnavailable, Limits, Outcome, SandboxClosed, SandboxError, TestResult
from trl_gift.sandbox.pool.isolation import LayerReport, probe_isolation
from trl_gift.sandbox.protocol import Sandbox
from trl_gift.sandbox.status import Status

_LAZY = {
    "RaySandbox": "trl_gift.sandbox.ray",
    "SandboxFusionSandbox": "trl_gift.sandbox.remote",
}

__all__ = [
    "AssertTests",
    "CallTests",
    "Case",
    "IsolationUnavailable",
    "LayerReport",
    "Limits",
    "LocalSandbox",
    "Outcome",
    "RaySandbox",
    "Sandbox",
    "SandboxClosed",
    "SandboxError",
    "SandboxFusionSandbox",
    "Status",
    "StdioTests",
    "TestResult",
    "Tests",
    "ToolchainMissing",
    "comparisons",
    "digits",
    "javascript",
    "languages",
    "probe_isolation",
    "statements",
    "suite_from_dict",
]

if TYPE_CHECKING:
    from trl_gift.sandbox.ray import RaySandbox
    from trl_gift.sandbox.remote import SandboxFusionSandbox


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'trl_gift.sandbox' has no attribute {name!r}")
