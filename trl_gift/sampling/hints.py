"""Three rescues of a task that plain sampling did not solve: what the prompt of another try shows.

STaR (arXiv 2203.14465, section 3.2) shows the right answer. Its analogue for code is the reference solution, or, where
none is at hand, the first test that the latest try failed. Personalised Distillation (arXiv 2310.18628) shows the wrong
program with its failure, to be repaired. A sampler asks for each of them in the same way, by its kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from trl_gift import codetext
from trl_gift.prompts import Hint
from trl_gift.sampling.feedback import feedback
from trl_gift.sampling.records import INFRASTRUCTURE, PASSED, CodeSample
from trl_gift.sampling.showing import show_test
from trl_gift.sandbox import Outcome
from trl_gift.tasks import Task

HINTS = ("reference", "failing_test", "repair")


def hint_for(kind: str, task: Task, tries: Sequence[CodeSample]) -> Hint | None:
    """The hint of a kind for a task.

    Args:
        kind: `"reference"`, `"failing_test"` or `"repair"`.
        task: The task.
        tries: The samples that did not solve it, in the order of sampling.

    Returns:
        None where there is nothing to show: the task has no reference, or no program of the tries has failed a visible test.
    """
    if kind == "reference":
        return Hint(kind, task.reference) if task.reference is not None else None
    assert task.tests is not None, "a task that was tried and failed has tests"
    if kind == "repair":
        (best,) = furthest(task, tries, 1) or (None,)
        return None if best is None else Hint(kind, str(visible_failure(task, best)), best.code)
    # Where no try held a program, nothing has failed yet: the first test says most. Hidden tests come after the others
    # and are never shown: for one of these the last visible test stands in.
    failures = [sample.outcome["first_failure"] for sample in tries if sample.outcome]
    return Hint(kind, show_test(task.tests, (failures[-1] if failures else None) or 0))


def visible_failure(task: Task, sample: CodeSample) -> str | None:
    """What a failed program is told: its first failure, in words.

    Returns:
        None for a sample without a program, without a verdict, or whose first failure is in a hidden test: nothing that is
        told may come from these.
    """
    if sample.code is None or sample.outcome is None or sample.outcome["status"] in (INFRASTRUCTURE, PASSED):
        return None
    assert task.tests is not None, "a program with an outcome has been tested"
    outcome = Outcome.from_dict(sample.outcome)
    if outcome.first_failure is not None and outcome.first_failure >= task.tests.num_tests:
        return None
    return feedback(outcome, task.tests)


def furthest(task: Task, tries: Sequence[CodeSample], most: int) -> list[CodeSample]:
    """The distinct failed programs that passed most tests before their first failure, the earliest first among equals.

    Args:
        task: The task.
        tries: Samples of it.
        most: Number of programs, at most.
    """
    first: dict[str, CodeSample] = {}
    for sample in tries:
        if visible_failure(task, sample) is not None:
            first.setdefault(codetext.normalise(str(sample.code)), sample)
    return sorted(first.values(), key=_distance)[:most]


def _distance(sample: CodeSample) -> int:
    """Smaller for a program that failed later; 0 for one that failed its first test, or all tests at once."""
    assert sample.outcome is not None, "the program has failed"
    return -int(sample.outcome["first_failure"] or 0)
