"""What a reference becomes as a training target, by kind of model, and which of these targets fail.

A base model and a chat model whose answers are opened write what follows the signature, so helpers of the module move.
Other chat models write the whole program. The prompts of a run decide by the same functions of `trl_gift.codetext`, and a
run executes its own targets; here they are known before there is a model.
"""

from __future__ import annotations

from collections.abc import Sequence

from trl_gift import codetext
from trl_gift.sandbox import Sandbox
from trl_gift.tasks.task import Task

BASE, OPENED, CHAT = "a base model", "a chat model whose answers are opened", "a chat model"


def target_programs(task: Task) -> dict[str, str | None]:
    """By kind of model, the program that the target of a task's reference gives; None if there is no such target."""
    reference, signature = task.reference, task.signature
    if reference is None or task.language != "python":
        return {}
    code = codetext.strip_docstrings(reference)
    if signature is None:
        return {BASE: codetext.longest_prefix(codetext.lines_of(code)), CHAT: code}
    code = codetext.keep_needed(code, task.names_in_tests | codetext.pinned_names(signature))
    body, after = codetext.body_of(code, signature), codetext.after_signature(code, signature)
    head = signature.rstrip()
    return {
        BASE: None if body is None else codetext.complete(head, body),
        OPENED: None if after is None else f"{head}\n{after}",
        CHAT: codetext.pin(code, signature),
    }


def unfit_references(tasks: Sequence[Task], sandbox: Sandbox) -> list[tuple[str, str]]:
    """Runs the programs of all targets; each task with a kind of model for which its reference gives no passing target.

    Args:
        tasks: Tasks whose references pass; those without a reference or without tests are passed over.
        sandbox: Runs the programs.
    """
    found: list[tuple[str, str]] = []
    jobs: list[tuple[Task, str, str]] = []
    for task in tasks:
        for kind, program in target_programs(task).items() if task.tests is not None else ():
            if program is None:
                found.append((task.task_id, f"has no training target for {kind}: it does not fit after the signature"))
            elif program != task.reference:
                jobs.append((task, kind, program))
    futures = sandbox.submit_all([(program, task.all_tests) for task, _, program in jobs])
    for (task, kind, _), future in zip(jobs, futures, strict=True):
        if why := future.result().failure:
            found.append((task.task_id, f"its training target for {kind} fails its tests ({why})"))
    return found
