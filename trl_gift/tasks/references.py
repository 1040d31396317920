"""References that fail their own tests: a run must not learn from them, read them or show them."""

from __future__ import annotations

from collections.abc import Sequence

from trl_gift.sandbox import Sandbox, Status
from trl_gift.tasks.task import Task


def failing_references(tasks: Sequence[Task], sandbox: Sandbox) -> dict[str, str]:
    """Runs every reference once against its own tests.

    Args:
        tasks: The tasks; those without a reference or without tests are passed over.
        sandbox: Runs the references.

    Returns:
        By task, why its reference fails. A reference that could not be run for lack of a sandbox is not among them.
    """
    having = [task for task in tasks if task.reference is not None and task.tests is not None]
    futures = sandbox.submit_all([(str(task.reference), task.all_tests) for task in having])
    failing = {}
    for task, future in zip(having, futures, strict=True):
        outcome = future.result()
        if outcome.status not in (Status.PASSED, Status.INFRASTRUCTURE):
            failing[task.task_id] = f"{outcome.status}: {outcome.message}".rstrip(": ")
    return failing
