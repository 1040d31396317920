"""Tests that run in the program's own interpreter (`AssertTests(shared=True)`): their verdict can be forged."""

from __future__ import annotations

import types
from typing import Any

from trl_gift.sandbox.statements import failing_line, steps


def run_shared(module: types.ModuleType, exam: dict[str, Any]) -> list[tuple[str, str]]:
    """Run the tests in the program's namespace; `(status, message)` per test."""
    namespace = module.__dict__
    program = dict(namespace)
    exec(compile(exam["prelude"], "<prelude>", "exec", dont_inherit=True), namespace)
    namespace.update({name: program[name] for name in program if name == exam["entry_point"]})
    if exam["entry_point"] in namespace:
        namespace.setdefault("candidate", namespace[exam["entry_point"]])
    results: list[tuple[str, str]] = []
    for step in steps(exam["source"]):
        try:
            exec(step.code, namespace)
        except BaseException as error:  # noqa: BLE001  everything that the tests or the program raise is data
            status = "failed" if isinstance(error, AssertionError) else "error"
            results.append((status, f"{failing_line(error, exam['source'])}: {type(error).__name__}: {error}"[:2000]))
            if exam["stop"] or not step.is_test:
                break
        else:
            if step.is_test:
                results.append(("passed", ""))
    return results
