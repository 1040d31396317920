"""`PassAtK`: pass@k of programs as a metric of the `evaluate` library, with every program confined in the sandbox.

The call and the results are those of `code_eval`. What differs is how a verdict comes about: `code_eval` runs a
candidate and its tests in one unconfined interpreter and takes a quiet end for a pass; here the tests run in a judge
that the candidate cannot reach.

How much a verdict is worth is decided by the tests alone, never by the candidate, which could choose to its advantage:

* Tests that lean on one function of the candidate are judged from outside. Their verdicts cannot be forged.
* Tests that lean on several names are judged from outside too, but one of these names may be what the tests check
  with (the HumanEval task whose tests call the prompt's `poly`), and the candidate defines it.
* Tests that use classes of the candidate run in its own interpreter.

The last two kinds are reported as untrusted.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate

from trl_gift.common.words import agree, plural
from trl_gift.evaluation.pass_at_k import Interval, bootstrap_interval, pass_at_k, wilson_interval
from trl_gift.sandbox import AssertTests, Limits, LocalSandbox, Outcome, Sandbox, Status
from trl_gift.sandbox.statements import free_names

_DESCRIPTION = """\
pass@k: the probability that at least one of k candidate programs passes the tests, estimated without bias from n >= k \
candidates for each task. Programs are executed in a sandbox, out of reach of the tests that judge them.
"""

_CITATION = """\
@misc{chen2021evaluating,
      title={Evaluating Large Language Models Trained on Code},
      author={Mark Chen and Jerry Tworek and Heewoo Jun and Qiming Yuan and Henrique Ponde de Oliveira Pinto and others},
      year={2021},
      eprint={2107.03374},
      archivePrefix={arXiv},
      primaryClass={cs.LG}
}
"""

_INPUTS = """\
Args:
    predictions: for each task, the list of its candidate programs (Python source, whole programs).
    references: for each task, the test code: assertions that call the candidate's functions.
    k: the values of k (default [1, 10, 100]); those above the number of candidates of a task are left out.
    num_workers: programs that run at once (default 4).
    timeout: CPU seconds that one program may take (default 3.0); three times as much by the clock.
    sandbox: a sandbox to run the programs in; one with isolation required is made, and closed, if not given.
    shared: True to run all tests in the candidates' own interpreters, False for none; by the tests if not given.
Returns:
    pass_at_k: a dictionary such as {"pass@1": 0.5}.
    results: for each task's index a list of (completion_id, {"task_id", "passed", "result", "completion_id"}).
Examples:
    >>> from trl_gift.metrics import PassAtK
    >>> metric = PassAtK()
    >>> pass_at_k, results = metric.compute(
    ...     predictions=[["def add(a, b): return a * b", "def add(a, b): return a + b"]],
    ...     references=["assert add(2, 3) == 5"],
    ...     k=[1, 2],
    ... )
    >>> print(pass_at_k)
    {'pass@1': 0.5, 'pass@2': 1.0}
"""


@dataclass(frozen=True, slots=True)
class PassAtKDetails:
    """What `code_eval` has no place for.

    Attributes:
        intervals: The 95 % interval of each `pass@k`: Wilson's for one candidate a task, else by bootstrap over tasks.
        outcomes: The outcome of each candidate, by task.
        untrusted: Indices of the tasks whose tests lean on the candidate in a way that lets it forge a pass.
        infrastructure_failures: Candidates that could not be judged; they are in no figure.
        isolation: The layers that confined the programs.
    """

    intervals: dict[str, Interval]
    outcomes: tuple[tuple[Outcome, ...], ...]
    untrusted: tuple[int, ...]
    infrastructure_failures: int
    isolation: str


class PassAtK(evaluate.Metric):
    """pass@k with `code_eval`'s call and results, through the sandbox.

    `compute(predictions, references, k, num_workers, timeout)` returns `(pass_at_k, results)`; afterwards `details` holds
    intervals, outcomes and how far the verdicts can be trusted. There is no `HF_ALLOW_CODE_EVAL` to set: that switch
    asks for consent to run unknown programs unconfined, and here none does. Where programs cannot be confined,
    `compute` raises `IsolationUnavailable`.

    Attributes:
        details: Of the last `compute`; None before.

    Raises:
        ValueError: from `compute`, for test code that is no Python or in which nothing can fail, naming the reference.
        IsolationUnavailable: from `compute`, if this machine cannot confine programs.
    """

    details: PassAtKDetails | None = None

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("string")), "references": datasets.Value("string")}
            ),
            reference_urls=["https://arxiv.org/abs/2107.03374"],
            license="Apache-2.0",
        )

    def _compute(
        self,
        predictions: Sequence[Sequence[str]],
        references: Sequence[str],
        k: Sequence[int] | int = (1, 10, 100),
        num_workers: int = 4,
        timeout: float = 3.0,
        sandbox: Sandbox | None = None,
        shared: bool | None = None,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        tests = [_tests(reference, index, shared) for index, reference in enumerate(references)]
        limits = Limits(cpu_s=timeout, wall_s=3 * timeout)
        jobs = [(task, candidate) for task, candidates in enumerate(predictions) for candidate in candidates]
        outcomes: list[list[Outcome]] = [[] for _ in predictions]
        with LocalSandbox(num_workers) if sandbox is None else nullcontext(sandbox) as executor:
            pairs = ((candidate, tests[task]) for task, candidate in jobs)
            for (task, _), (_, outcome) in zip(jobs, executor.map(pairs, limits=limits), strict=True):
                outcomes[task].append(outcome)
            isolation = executor.isolation
        values, intervals = _estimates(outcomes, [k] if isinstance(k, int) else list(k))
        failures = [one for group in outcomes for one in group if one.status is Status.INFRASTRUCTURE]
        if failures:
            warnings.warn(
                f"{len(failures)} of {plural(len(jobs), 'candidate')} could not be judged and {agree(len(failures), 'is', 'are')} in no figure; the first: "
                f"{failures[0].message}",
                stacklevel=2,
            )
        self.details = PassAtKDetails(
            intervals=intervals,
            outcomes=tuple(map(tuple, outcomes)),
            untrusted=tuple(
                task
                for task, group in enumerate(outcomes)
                if len(_needed(references[task])) > 1 or any(not outcome.trusted for outcome in group)
            ),
            infrastructure_failures=len(failures),
            isolation=isolation,
        )
        return values, {
            task: [
                (number, {"task_id": task, "passed": one.passed, "result": _result(one), "completion_id": number})
                for number, one in enumerate(group)
            ]
            for task, group in enumerate(outcomes)
        }


def _estimates(
    outcomes: Sequence[Sequence[Outcome]], ks: Sequence[int]
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Each pass@k that all tasks have candidates for, over the tasks that kept as many, and its interval."""
    judged = [[one.passed for one in group if one.status is not Status.INFRASTRUCTURE] for group in outcomes]
    values, intervals = {}, {}
    for k in ks:
        enough = [group for group in judged if len(group) >= k]
        if any(len(group) < k for group in outcomes) or not enough:
            continue
        estimates = [pass_at_k(len(group), sum(group), k) for group in enough]
        values[f"pass@{k}"] = sum(estimates) / len(estimates)
        intervals[f"pass@{k}"] = (
            wilson_interval(sum(group[0] for group in enough), len(enough))
            if all(len(group) == 1 for group in enough)
            else bootstrap_interval(estimates)
        )
    return values, intervals


def _result(outcome: Outcome) -> str:
    match outcome.status:
        case Status.PASSED:
            return "passed"
        case Status.TIMEOUT:
            return "timed out"
        case Status.INFRASTRUCTURE:
            return f"infrastructure: {outcome.message}"
    return f"failed: {outcome.message}"


def _tests(reference: str, index: int, shared: bool | None) -> AssertTests:
    try:
        names = _needed(reference)
        return AssertTests(
            reference,
            entry_point=next(iter(names)) if len(names) == 1 else None,
            shared=_uses_classes(reference, names) if shared is None else shared,
        )
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"references[{index}]: {error}") from error


def _needed(reference: str) -> frozenset[str]:
    """The names that the tests take from the candidate; modules of the standard library are the judge's own."""
    tree = ast.parse(reference)
    modules = _bases(tree) & sys.stdlib_module_names
    return free_names(reference) - modules - {"candidate"}


def _uses_classes(reference: str, names: frozenset[str]) -> bool:
    """Whether the tests use what only lives in the candidate's interpreter: its classes, and what they make.

    By PEP 8: a capitalised name that is called, a name with attributes, one that is caught, tested for or extended.
    """
    tree = ast.parse(reference)
    used = _bases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id.lstrip("_")[:1].isupper():
                used.add(node.func.id)
            if node.func.id in ("isinstance", "issubclass"):
                used |= _names_in(node.args[1:])
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            used |= _names_in([node.type])
        elif isinstance(node, ast.ClassDef):
            used |= _names_in(node.bases)
    return bool(used & names)


def _bases(tree: ast.AST) -> set[str]:
    """The names of which attributes are taken."""
    return {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def _names_in(nodes: Sequence[ast.expr]) -> set[str]:
    return {node.id for root in nodes for node in ast.walk(root) if isinstance(node, ast.Name)}
