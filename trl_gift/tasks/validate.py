"""Validation of a task set before training: do the references pass, and can the tests fail?

Reading a task's tests comes first (`testchecks`): tests that never mention the function, assertions that cannot fail, an
`async def`. What does not make a task useless, such as one assertion of many that cannot fail, or the description and tests of
an earlier task, is a note.

A task is quarantined if its reference fails its own tests or passes them only sometimes, or if its tests pass vacuously:
for an empty body, for `return None`, for an object that equals everything, or for an echo of the input. If a reference
fails with the tests as they are, two other modes are tried. The first passes arguments by reference, for tasks that work
in place; its verdicts stay trusted. The second runs the tests in the program's own interpreter; the program could forge
its verdicts, so the task is quarantined unless `allow_shared` is set. So is a task whose tests were loaded in this mode,
or whose tests in another language follow the program in its file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trl_gift.codetext import INDENT, entry_point_of
from trl_gift.common.words import plural
from trl_gift.sandbox import AssertTests, CallTests, Outcome, Sandbox, Status, StdioTests, Tests
from trl_gift.tasks.references import settled
from trl_gift.tasks.targets import unfit_references
from trl_gift.tasks.task import Task
from trl_gift.tasks.testchecks import notes_on, reason_against

RUNS = 3
"""How many times a reference must pass."""

_ALWAYS_EQUAL = (
    "class _Equal:\n"
    f"{INDENT}def __eq__(self, other):\n{INDENT * 2}return True\n"
    f"{INDENT}def __ne__(self, other):\n{INDENT * 2}return False\n"
    f"{INDENT}def __hash__(self):\n{INDENT * 2}return 0\n"
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A task that is left out, and why.

    Attributes:
        task_id: The task.
        reason: Why it is left out, for people.
    """

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """What is worth knowing about a task that is kept.

    Attributes:
        task_id: The task.
        note: The words, for people.
    """

    task_id: str
    note: str


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of validating a task set.

    Attributes:
        clean: The tasks to use, with the tests of the mode in which their reference passes.
        quarantined: The tasks that are left out.
        by_reference: Identifiers of the clean tasks whose arguments must be passed by reference.
        shared: Identifiers of the clean tasks whose tests must share the program's interpreter; a program could forge
            their verdicts.
        without_reference: Identifiers of the clean tasks without a reference; only their tests were checked.
        notes: What is worth knowing about clean tasks.
    """

    clean: tuple[Task, ...]
    quarantined: tuple[Quarantined, ...]
    by_reference: tuple[str, ...]
    shared: tuple[str, ...]
    without_reference: tuple[str, ...]
    notes: tuple[Note, ...] = ()

    def summary(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "tasks": len(self.clean) + len(self.quarantined),
            "valid": len(self.clean),
            "quarantined": [asdict(item) for item in self.quarantined],
            "by_reference": list(self.by_reference),
            "shared": list(self.shared),
            "without_reference": list(self.without_reference),
            "notes": [asdict(item) for item in self.notes],
        }


@dataclass(frozen=True, slots=True)
class _Job:
    """One program to run: the reference in one mode, or a probe that must fail."""

    task: Task
    name: str
    program: str
    tests: Tests


def validate(
    tasks: Sequence[Task],
    sandbox: Sandbox,
    runs: int = RUNS,
    allow_shared: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Validation:
    """Runs references and probes in the sandbox.

    Args:
        tasks: The tasks to check.
        sandbox: Runs the programs.
        runs: How many times a reference must pass.
        allow_shared: Keep tasks whose tests work only in the program's own interpreter.
        progress: Called with the number of programs that have run.

    Returns:
        The clean tasks, and the others with the reason.
    """
    reasons = {task.task_id: reason for task in tasks if (reason := reason_against(task)) is not None}
    read = settled([task for task in tasks if task.task_id not in reasons], sandbox)
    outcomes = _run(list(_jobs(read, runs)), sandbox, progress)
    kept: dict[str, Task] = {}
    for task in read:
        passed_probe = next((name for name in PROBES if _passes(outcomes[task.task_id].get(name, []))), None)
        references = outcomes[task.task_id]["reference"]
        if passed_probe is not None:
            reasons[task.task_id] = f"the tests are vacuous: {PROBES[passed_probe]} passes"
        elif _passes(references) or task.reference is None:
            kept[task.task_id] = task
        elif any(outcome.passed for outcome in references):
            count = sum(outcome.passed for outcome in references)
            reasons[task.task_id] = f"flaky: the reference passed {count} of {plural(len(references), 'run')}"
        else:
            reasons[task.task_id] = _failure(references[0])
    failing = [task for task in read if task.task_id in reasons and not _passes_any(outcomes[task.task_id])]
    by_reference = _rescue(failing, {"pass_by": "reference"}, sandbox, runs)
    still = [task for task in failing if task.task_id not in by_reference]
    shared = _rescue(still, {"shared": True}, sandbox, runs)
    for task_id, task in shared.items():
        if not allow_shared:
            reasons[task_id] = (
                "passes only with tests in the program's own interpreter, where a verdict can be forged: "
                f"{reasons[task_id]}"
            )
            continue
        kept[task_id] = task
    kept |= by_reference
    loaded_shared = [task_id for task_id, task in kept.items() if task_id not in shared and _is_shared(task)]
    if not allow_shared:
        for task_id in loaded_shared:
            del kept[task_id]
            reasons[task_id] = "its tests run in the program's own process, where a verdict can be forged"
    return Validation(
        clean=tuple(kept[task.task_id] for task in tasks if task.task_id in kept),
        quarantined=tuple(Quarantined(t.task_id, reasons[t.task_id]) for t in tasks if t.task_id not in kept),
        by_reference=tuple(by_reference),
        shared=tuple(task_id for task_id in (*shared, *loaded_shared) if task_id in kept),
        without_reference=tuple(t.task_id for t in tasks if t.reference is None and t.task_id in kept),
        notes=(
            *_notes([t for t in tasks if t.task_id in kept]),
            *(Note(*note) for note in unfit_references(list(kept.values()), sandbox)),
        ),
    )


def _notes(tasks: Sequence[Task]) -> Iterator[Note]:
    first: dict[tuple[object, ...], str] = {}
    for task in tasks:
        content = (" ".join(task.description.split()), task.signature, task.tests, task.hidden_tests)
        repeated = first.setdefault(content, task.task_id)
        if repeated != task.task_id:
            yield Note(task.task_id, f"repeats {repeated!r}: the same description and tests")
        yield from (Note(task.task_id, note) for note in notes_on(task))


def number_of_programs(tasks: Sequence[Task], runs: int = RUNS) -> int:
    """How many programs `validate` runs, but for those that decide between readings, and for second modes."""
    return sum(1 for _ in _jobs([task for task in tasks if reason_against(task) is None], runs))


PROBES = {
    "empty": "an empty body",
    "none": "`return None`",
    "equal": "an object that equals everything",
    "echo": "an echo of the input",
}
"""Programs that solve nothing, with their names in reports."""


def probe_programs(task: Task) -> dict[str, str]:
    """The probes for one task, by name."""
    if isinstance(task.tests, StdioTests):
        return {"empty": "pass", "echo": "import sys\nsys.stdout.write(sys.stdin.read())"}
    signature = (task.signature or "").rstrip()
    name = entry_point_of(signature)
    bodies = {"empty": "pass", "none": "return None"}
    programs = {probe: f"{signature}\n{INDENT}{body}" for probe, body in bodies.items()}
    # These two ignore the parameters of the signature, so they take any arguments.
    programs["equal"] = f"{_ALWAYS_EQUAL}\ndef {name}(*args, **kwargs):\n{INDENT}return _Equal()"
    programs["echo"] = f"def {name}(*args, **kwargs):\n{INDENT}return args[0] if len(args) == 1 else args"
    return programs


def _jobs(tasks: Sequence[Task], runs: int) -> Iterator[_Job]:
    for task in tasks:
        if task.reference is not None:
            for _ in range(runs):
                yield _Job(task, "reference", task.reference, task.all_tests)
        if task.language == "python":
            for name, program in probe_programs(task).items():
                yield _Job(task, name, program, task.all_tests)


def _run(
    jobs: Sequence[_Job], sandbox: Sandbox, progress: Callable[[int], object] | None = None
) -> dict[str, dict[str, list[Outcome]]]:
    """Outcomes by task and name of the program."""
    outcomes: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    pairs = ((job.program, job.tests) for job in jobs)
    for index, outcome in sandbox.map(pairs, ordered=False, stop_at_first_failure=True, progress=progress):
        outcomes[jobs[index].task.task_id][jobs[index].name].append(outcome)
    return outcomes


def _rescue(tasks: Sequence[Task], mode: dict[str, Any], sandbox: Sandbox, runs: int) -> dict[str, Task]:
    """The tasks whose tests tell right from wrong in another mode, by identifier, with these tests.

    There the reference passes every run, and no probe passes.
    """
    others = [
        _in_mode(task, mode)
        for task in tasks
        if isinstance(task.tests, AssertTests) or (isinstance(task.tests, CallTests) and "pass_by" in mode)
    ]
    outcomes = _run(list(_jobs(others, runs)), sandbox)
    return {
        task.task_id: task
        for task in others
        if _passes((found := outcomes[task.task_id])["reference"]) and not any(_passes(found[name]) for name in PROBES)
    }


def _is_shared(task: Task) -> bool:
    return task.tests is not None and task.tests.in_one_process


def _in_mode(task: Task, mode: dict[str, Any]) -> Task:
    tests, hidden = (suite and replace(suite, **mode) for suite in (task.tests, task.hidden_tests))
    return replace(task, tests=tests, hidden_tests=hidden)


def _passes(outcomes: Sequence[Outcome]) -> bool:
    return bool(outcomes) and all(outcome.passed for outcome in outcomes)


def _passes_any(outcomes: dict[str, list[Outcome]]) -> bool:
    return any(outcome.passed for group in outcomes.values() for outcome in group)


def _failure(outcome: Outcome) -> str:
    if outcome.status is Status.INFRASTRUCTURE:
        return f"the reference could not be run: {outcome.message}"
    return f"the reference does not pass ({outcome.status}): {outcome.message}"
