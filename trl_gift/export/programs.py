"""The distinct programs of a run, by task: those that passed, and those that failed a test of their task.

What is left out, each counted by its reason:

- completions without a program;
- copies of a reference which their chain has read, as the selection leaves them out;
- programs that were not executed, because the run does not verify or for lack of a sandbox: they are neither right nor wrong;
- repetitions of a program, which differ in layout, comments, docstrings or names of local variables alone;
- programs with both verdicts, such as one that is too slow now and then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from trl_gift import codetext
from trl_gift.sampling.records import COPIED, NO_CODE, PASSED, UNVERIFIED, CodeSample
from trl_gift.sandbox import Status

ERROR_CLASSES: Mapping[str, str] = {
    PASSED: "passed",
    Status.FAILED: "failed_test",
    Status.ERROR: "runtime_error",
    Status.TIMEOUT: "runtime_error",
    Status.MEMORY: "runtime_error",
    Status.VIOLATION: "runtime_error",
    Status.SYNTAX_ERROR: "compile_error",
    NO_CODE: "no_program",
    COPIED: "passed",
}
"""CodeRL's four classes, and one for completions without a program, by the status of a sample that was executed."""

_FAILED = frozenset(status for status, kind in ERROR_CLASSES.items() if kind not in ("passed", "no_program"))


@dataclass(frozen=True, slots=True)
class Program:
    """A distinct program of a task.

    Attributes:
        sample: The first sample that holds it, without its token ids.
        places: The round and the step of every sample that holds it.
    """

    sample: CodeSample
    places: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one task, in the order of the chain.

    Attributes:
        passed: Those that passed.
        failed: Those that failed.
        unverified: Those that were not executed because the run does not verify.
    """

    passed: tuple[Program, ...] = ()
    failed: tuple[Program, ...] = ()
    unverified: tuple[Program, ...] = ()


@dataclass(slots=True)
class ProgramsOfRun:
    """The programs of a run, and what is not among them.

    Attributes:
        by_task: The programs of each task, in the order of `task_id`.
        left_out: Number of samples that are not among them, by the reason.
    """

    by_task: dict[str, Programs] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def distinct_programs(samples: Iterable[CodeSample]) -> ProgramsOfRun:
    """Sorts the samples of all rounds by task, program and verdict.

    Args:
        samples: The samples, those of a task in the order of round, step and index.
    """
    found: dict[str, dict[str, dict[str, Program]]] = {}
    left_out: Counter[str] = Counter()
    for sample in samples:
        verdict = _verdict(sample)
        if verdict is None or sample.code is None or sample.target is None:
            left_out[sample.status] += 1
            continue
        programs = found.setdefault(sample.task_id, {}).setdefault(verdict, {})
        key, place = codetext.normalise(sample.code), (sample.round, sample.step)
        if key in programs:
            left_out["repeated"] += 1
            programs[key] = replace(programs[key], places=programs[key].places | {place})
        else:
            light = replace(sample, token_ids=(), completion="")
            programs[key] = Program(light, frozenset({place}))
    by_task = {}
    for task_id in sorted(found):
        verdicts = found[task_id]
        both = verdicts.get("passed", {}).keys() & verdicts.get("failed", {}).keys()
        left_out["with both verdicts"] += 2 * len(both)
        by_task[task_id] = Programs(
            **{
                verdict: tuple(program for key, program in programs.items() if key not in both)
                for verdict, programs in verdicts.items()
            }
        )
    return ProgramsOfRun(by_task, +left_out)


def _verdict(sample: CodeSample) -> str | None:
    if sample.status == PASSED:
        return "passed"
    if sample.status == UNVERIFIED:
        return "unverified"
    return "failed" if sample.status in _FAILED else None
