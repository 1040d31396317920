"""What a program becomes as a training target, by kind of model, and which targets of references fail.

A base model and a chat model whose answers are opened write what follows the signature, so helpers of the module move.
Other chat models write the whole program. The prompts of a run take their targets from here and put what ends an answer
around them; a run executes its own targets. `unfit_references` knows them before there is a model.
"""

from __future__ import annotations

from collections.abc import Sequence

from trl_gift import codetext
from trl_gift.sandbox import Sandbox
from trl_gift.tasks.task import Task

BASE, OPENED, CHAT = "a base model", "a chat model whose answers are opened", "a chat model"


def target_of_base(task: Task, code: str, signature: str | None) -> str | None:
    """What a base model writes for a program: the body of the signature's function, or the program where there is none.

    Args:
        task: The task.
        code: A program of the task.
        signature: The signature as prompts show it; None for a whole program.

    Returns:
        None if the program does not fit after the signature.
    """
    return _without_docstrings(task, code) if signature is None else codetext.body_of(code, signature)


def target_of_chat(task: Task, code: str, signature: str | None) -> str:
    """What a chat model writes within a fence: the program without docstrings, and without what tests do not need."""
    code = _without_docstrings(task, code)
    if signature is None:
        return code
    return codetext.keep_needed(code, task.names_in_tests | codetext.pinned_names(signature))


def target_of_opened(task: Task, code: str, signature: str) -> str | None:
    """What a chat model writes after an opened answer; None if the program does not fit after the signature."""
    return codetext.after_signature(target_of_chat(task, code, signature), signature)


def _without_docstrings(task: Task, code: str) -> str:
    return codetext.strip_docstrings(code) if task.language == "python" else code


def target_programs(task: Task) -> dict[str, str | None]:
    """By kind of model, the program that the target of a task's reference gives; None if there is no such target."""
    reference, signature = task.reference, task.signature
    if reference is None or task.language != "python":
        return {}
    base, chat = target_of_base(task, reference, signature), target_of_chat(task, reference, signature)
    if signature is None:
        return {BASE: None if base is None else codetext.longest_prefix(codetext.lines_of(base)), CHAT: chat}
    opened, head = target_of_opened(task, reference, signature), signature.rstrip()
    return {
        BASE: None if base is None else codetext.complete(head, base),
        OPENED: None if opened is None else f"{head}\n{opened}",
        CHAT: codetext.pin(chat, signature),
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
