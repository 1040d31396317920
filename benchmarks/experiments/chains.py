"""Figures of the chains of one round on the playground, where the distribution of programs is known.

The world draws the idiom of a program from a known marginal. A chain that has forgotten its task's wording writes passing
programs in that marginal; plain sampling stays with the idiom that the wording suggests.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trl_gift import codetext
from trl_gift.playground.world import IDIOMS, WORDINGS, idiom_probability, wording_probability
from trl_gift.sampling.records import CodeSample
from trl_gift.tasks import Task

LAGS = (1, 2, 3)
LAST_STEPS = 2
"""A chain is stuck if one of its programs has passed, but no program of this number of last steps."""


def idiom(code: str) -> str | None:
    """The idiom of a program of this world; None for one that does not parse."""
    try:
        (function,) = ast.parse(code).body
    except (SyntaxError, ValueError):
        return None
    nodes = list(ast.walk(function))
    if any(isinstance(node, ast.For) for node in nodes):
        return "loop"
    if any(isinstance(node, ast.Lambda) for node in nodes):
        return "functional"
    statements = [node for node in nodes if isinstance(node, ast.Assign)]
    return "stepwise" if statements else "nested"


def marginal() -> dict[str, float]:
    """The world's probability of each idiom: `sum over wordings of P(wording) P(idiom | wording)`."""
    return {
        name: sum(wording_probability(w) * idiom_probability(place, w) for w in range(len(WORDINGS)))
        for place, name in enumerate(IDIOMS)
    }


def total_variation(counts: Counter[str]) -> float | None:
    """Distance of the idioms of some programs from the world's marginal, from 0 to 1; None without programs."""
    total = counts.total()
    return sum(abs(counts[name] / total - p) for name, p in marginal().items()) / 2 if total else None


def agreement(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of the two idioms of each pair: 1 if they are always equal, 0 if they agree as chance would have it."""
    if not pairs:
        return None
    first, second = Counter(one for one, _ in pairs), Counter(two for _, two in pairs)
    chance = sum(first[name] * second[name] for name in first) / len(pairs) ** 2
    return (sum(one == two for one, two in pairs) / len(pairs) - chance) / (1 - chance) if chance < 1 else None


def chain_figures(samples: Sequence[CodeSample]) -> dict[str, Any]:
    """Figures of each step, and of the chains.

    Args:
        samples: All samples of a round, a task's in the order of its steps.

    Returns:
        `steps`, a list by step of `samples`, `yield`, `distinct` (new passing programs), `total_variation`, `drawn`
        (descriptions) and `leaks`; `autocorrelation` by lag; `chains`, `never_started` and `stuck`, numbers of chains.
    """
    steps: dict[int, dict[str, int]] = defaultdict(Counter)
    idioms: dict[int, Counter[str]] = defaultdict(Counter)
    ways: dict[str, dict[int, str]] = defaultdict(dict)
    found: dict[str, set[str]] = defaultdict(set)
    last: dict[str, int] = {}  # by chain, its last step
    passed: dict[str, int] = {}  # by chain, the last step with a passing program
    for sample in samples:
        tally = steps[sample.step]
        tally["samples"] += 1
        tally["passed"] += sample.passed
        if last.get(sample.task_id) != sample.step:  # the samples of a chain's step share a description
            last[sample.task_id] = sample.step
            tally["drawn"] += sample.description_tries
            tally["leaks"] += sample.description_leaks
        if not sample.passed or sample.code is None:
            continue
        passed[sample.task_id] = sample.step
        way = idiom(sample.code)
        if way is not None:
            idioms[sample.step][way] += 1
            if sample.continues:
                ways[sample.task_id][sample.step] = way
        program = codetext.normalise(sample.code)
        if program not in found[sample.task_id]:
            found[sample.task_id].add(program)
            tally["distinct"] += 1
    lagged = {lag: [(one[step], one[step + lag]) for one in ways.values() for step in one if step + lag in one]
              for lag in LAGS}  # fmt: skip
    return {
        "steps": [
            {
                "samples": tally["samples"],
                "yield": tally["passed"] / tally["samples"],
                "distinct": tally["distinct"],
                "total_variation": total_variation(idioms[step]),
                "drawn": tally["drawn"],
                "leaks": tally["leaks"],
            }
            for step, tally in sorted(steps.items())
        ],
        "autocorrelation": {str(lag): agreement(pairs) for lag, pairs in lagged.items()},
        "chains": len(last),
        "never_started": len(last) - len(passed),
        "stuck": sum(last[task_id] - step >= LAST_STEPS for task_id, step in passed.items()),
    }


def described_tasks(samples: Sequence[CodeSample], tasks: Sequence[Task]) -> list[Task]:
    """A task for each description that a chain or a rewriting has drawn: its words, and the tests of the task it is of.

    Their identifiers end with the step, so that a greedy program of each tells how true the description is.
    """
    by_id = {task.task_id: task for task in tasks}
    drawn = {(sample.task_id, sample.step): sample.description for sample in samples if sample.description_tokens > 0}
    return [
        replace(by_id[task_id], task_id=f"{task_id}@{step}", description=text, reference=None)
        for (task_id, step), text in drawn.items()
    ]


def fidelity(greedy: dict[str, bool]) -> dict[str, float]:
    """By step, the share of descriptions from which the greedy program passes."""
    by_step: dict[str, list[bool]] = defaultdict(list)
    for task_id, passed in greedy.items():
        by_step[task_id.rpartition("@")[2]].append(passed)
    return {step: sum(values) / len(values) for step, values in sorted(by_step.items(), key=lambda item: int(item[0]))}
