"""`generate`: a trained model writes programs from a description, asked as in the training, and the sandbox tries them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_gift import codetext
from trl_gift.errors import ConfigError
from trl_gift.evaluation import Attempt, evaluate_sets
from trl_gift.inference.evaluating import Refinement, fitted
from trl_gift.inference.loading import LoadedModel, check_args, load
from trl_gift.sandbox import Tests
from trl_gift.tasks import Task, read_tests

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trl_gift.config import GiFTConfig
    from trl_gift.sandbox import Sandbox

_TASK_ID = "generate"
SAMPLING_TEMPERATURE = 1.0
"""Temperature of the programs after the first, if none is given."""


def generate(
    model: str | os.PathLike[str] | PreTrainedModel,
    description: str,
    signature: str | None = None,
    tests: Tests | str | Sequence[str] | Mapping[str, Any] | None = None,
    num_generations: int = 1,
    temperature: float | None = None,
    args: GiFTConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    sandbox: Sandbox | None = None,
    base: str | None = None,
    refine_steps: int = 0,
    **model_init_kwargs: Any,
) -> list[Attempt]:
    """Programs for a description, with the prompts of the training.

    Args:
        model: As for `evaluate`.
        description: What the program should do, in words.
        signature: Imports and the open `def` line that the program starts with; None for a whole program.
        tests: Tests that the programs must pass: tests of the sandbox, or what the column `tests` of a task takes, such as
            assertions or the source of a test file; None runs nothing.
        num_generations: Number of programs.
        temperature: Temperature of all programs; if not given, the first is greedy and the others are sampled at 1.
        args: As for `evaluate`.
        processing_class: As for `evaluate`.
        sandbox: As for `evaluate`.
        base: As for `evaluate`.
        refine_steps: How often the model may write a program again that fails the tests, which it then sees.
        model_init_kwargs: As for `evaluate`.

    Returns:
        The programs with their verdicts, in the order of sampling. Without tests, `status` is `"unverified"`. `refined` of
        an attempt is what its refinements have made of it.

    Raises:
        ConfigError: for a signature or tests that cannot be used, and as `evaluate`.
        IsolationUnavailable: if there are tests, and this machine cannot isolate programs.

    Examples:
        ```python
        (attempt,) = generate("out", "Sum of the squares of xs.", "def solve(xs):", "assert solve([1, 2]) == 5")
        print(attempt.status, attempt.code)
        ```
    """
    args = check_args(args)
    task = make_task(description, signature, tests)
    if num_generations < 1:
        raise ConfigError(f"num_generations={num_generations} is out of range; use a number that is at least 1.")
    if temperature is not None and temperature < 0:
        raise ConfigError(f"temperature={temperature!r} is out of range; use a number that is at least 0.")
    loaded = load(model, args, processing_class, base, **model_init_kwargs)
    return write(loaded, task, num_generations, temperature, args, sandbox, refine_steps)


def write(
    loaded: LoadedModel,
    task: Task,
    num_generations: int = 1,
    temperature: float | None = None,
    args: GiFTConfig | None = None,
    sandbox: Sandbox | None = None,
    refine_steps: int = 0,
) -> list[Attempt]:
    """Lets a loaded model write programs for a task; the other arguments and the result are those of `generate`."""
    greedy = not temperature
    settings = replace(
        fitted(loaded, {"generating": [task]}, args, Refinement(refine_steps, None)).settings,
        greedy=greedy,
        num_generations=num_generations - greedy,
        temperature=SAMPLING_TEMPERATURE if temperature is None else temperature,
    )
    with tempfile.TemporaryDirectory(prefix="trl-gift-generate-") as folder:
        rollouts = loaded.rollouts(args, Path(folder), sandbox)
        return list(evaluate_sets(rollouts, {"generating": [task]}, settings)["generating"].attempts)


def make_task(
    description: str,
    signature: str | None = None,
    tests: Tests | str | Sequence[str] | Mapping[str, Any] | None = None,
) -> Task:
    """The task that a description, a signature and tests make; the arguments are those of `generate`.

    Raises:
        ConfigError: for a signature that cannot be used.
        TaskError: for tests that cannot be used.
    """
    if not description.strip():
        raise ConfigError("the description is empty; say in words what the program should do.")
    if signature is not None and codetext.entry_point_of(signature) is None:
        raise ConfigError(
            f"signature={signature!r} is not the start of a function; give imports and one open def line, such as "
            "'def solve(xs):'."
        )
    if tests is not None and not isinstance(tests, Tests):
        tests = read_tests(tests, description, signature, "the tests")
    return Task(_TASK_ID, description, tests, signature)
