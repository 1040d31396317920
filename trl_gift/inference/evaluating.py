"""`evaluate`: pass@1 and pass@k of a model without a trainer."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from trl_gift.errors import ConfigError
from trl_gift.evaluation import Evaluation, EvaluationSettings, evaluate_sets
from trl_gift.generation import positions_of
from trl_gift.inference.loading import LoadedModel, check_args, load, settings_of
from trl_gift.sampling.lengths import default_length, fitting, left_out_line
from trl_gift.tasks import Task, is_task_sets, tasks_from_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trl_gift.config import GiFTConfig
    from trl_gift.sandbox import Sandbox

_logger = logging.getLogger(__name__)
Rows = str | os.PathLike[str] | Iterable[Task | Mapping[str, Any]]


@overload
def evaluate(
    model: str | os.PathLike[str] | PreTrainedModel,
    tasks: Mapping[str, Rows],
    args: GiFTConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    sandbox: Sandbox | None = None,
    base: str | None = None,
    refine_steps: int = 0,
    visible_tests: int | None = 1,
    **model_init_kwargs: Any,
) -> dict[str, Evaluation]: ...


@overload
def evaluate(
    model: str | os.PathLike[str] | PreTrainedModel,
    tasks: Rows,
    args: GiFTConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    sandbox: Sandbox | None = None,
    base: str | None = None,
    refine_steps: int = 0,
    visible_tests: int | None = 1,
    **model_init_kwargs: Any,
) -> Evaluation: ...


def evaluate(
    model: str | os.PathLike[str] | PreTrainedModel,
    tasks: Rows | Mapping[str, Rows],
    args: GiFTConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    sandbox: Sandbox | None = None,
    base: str | None = None,
    refine_steps: int = 0,
    visible_tests: int | None = 1,
    **model_init_kwargs: Any,
) -> Evaluation | dict[str, Evaluation]:
    """pass@1 of greedy programs and, if asked for, the unbiased pass@k of sampled programs; needs no trainer.

    Args:
        model: A model; a name on the Hub or a folder, of a model or of an adapter, which is loaded on its base and not
            merged; or the `output_dir` of a run, for its trained model.
        tasks: Tasks from `load_tasks`, or a dataset in a known format: a `datasets.Dataset`, a pandas `DataFrame`, rows, a
            file, or the Hub name of a dataset, of which the split "test" is taken; or several sets of them, by name.
        args: Options of the evaluation (`eval_num_generations`, `eval_k`, `max_completion_length`, `generation_engine`,
            `execution_cpu_s`, ...), as for a run; their defaults if not given. With `generation_engine="server"` and a
            model's name, the server's model is measured, and the name stands for its tokenizer.
        processing_class: The tokenizer; loaded with the model if not given.
        sandbox: Runs the programs; a `LocalSandbox` with the options' limits if not given. A given sandbox is not closed.
        base: The base of an adapter; the one that the adapter names if not given.
        refine_steps: How often the model may write a program again that fails the visible tests of its task. It sees the
            program and its first failure on them. All tests, hidden ones too, decide about each program.
        visible_tests: Of a task without hidden tests, how many of its tests are visible; None for all.
        model_init_kwargs: Arguments of `from_pretrained`, such as `dtype`, `revision` or `quantization_config`. The base of an
            adapter is loaded as in its training unless these say otherwise; `quantization_config=None` loads it unquantised.
            If no `dtype` is given or recorded, the weights are loaded as bfloat16 on a GPU that has it, else as float32.

    Returns:
        All attempts; `metrics()` gives `pass@1` and `sampled_pass@k` with their 95 % intervals, and with refinements
        `refined_pass@1` and `refined_sampled_pass@k` of the whole procedure. For several sets, the evaluation of each set by
        its name.

    Raises:
        TaskError: for a row that is not a valid task, or without any task.
        ConfigError: if `model` cannot be loaded, or `args` is not a `GiFTConfig`.
        IsolationUnavailable: if this machine cannot isolate programs.

    Examples:
        ```python
        result = trl_gift.evaluate("Qwen/Qwen2.5-Coder-1.5B", load_tasks("mbpp", split="test"))
        print(result.metrics()["pass@1"])
        ```
    """
    several = is_task_sets(tasks)
    given: Any = tasks
    sets = (
        {str(name): tasks_from_rows(rows, f"tasks[{name!r}]", split="test") for name, rows in given.items()}
        if several
        else {"evaluating": tasks_from_rows(given, "tasks", split="test")}
    )
    args = check_args(args)
    refinement = Refinement(refine_steps, visible_tests)
    loaded = load(model, args, processing_class, base, **model_init_kwargs)
    results = measure(loaded, sets, args, sandbox, refinement)
    return results if several else results["evaluating"]


def measure(
    loaded: LoadedModel,
    sets: Mapping[str, Sequence[Task]],
    args: GiFTConfig | None = None,
    sandbox: Sandbox | None = None,
    refinement: Refinement | None = None,
) -> dict[str, Evaluation]:
    """Measures a loaded model on sets of tasks; the arguments and the result are those of `evaluate`."""
    return measure_fitted(loaded, fitted(loaded, sets, args, refinement), args, sandbox)


@dataclass(frozen=True, slots=True)
class Refinement:
    """How programs that fail are written again.

    Attributes:
        steps: As `refine_steps` of `evaluate`.
        visible_tests: As `visible_tests` of `evaluate`.

    Raises:
        ConfigError: for a number out of range.
    """

    steps: int = 0
    visible_tests: int | None = 1

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ConfigError(f"refine_steps={self.steps!r} is out of range; use a number that is at least 0.")
        if self.visible_tests is not None and self.visible_tests < 1:
            raise ConfigError(
                f"visible_tests={self.visible_tests!r} is out of range; without a visible test nothing says that a program "
                "must be refined. Use a number that is at least 1."
            )


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is measured, once the model is known.

    Attributes:
        settings: How completions are drawn.
        sets: The tasks that fit into the model's positions, by the name of their set.
        left_out: The `task_id` of the others, likewise.
    """

    settings: EvaluationSettings
    sets: dict[str, list[Task]]
    left_out: dict[str, tuple[str, ...]]


def measure_fitted(
    loaded: LoadedModel, fit: Fitted, args: GiFTConfig | None = None, sandbox: Sandbox | None = None
) -> dict[str, Evaluation]:
    """Measures a loaded model on what `fitted` returned; the other arguments and the result are those of `evaluate`."""
    with tempfile.TemporaryDirectory(prefix="trl-gift-evaluate-") as folder:
        found = evaluate_sets(loaded.rollouts(args, Path(folder), sandbox), fit.sets, fit.settings)
    return {name: replace(result, left_out=fit.left_out[name]) for name, result in found.items()}


def fitted(
    loaded: LoadedModel,
    sets: Mapping[str, Sequence[Task]],
    args: GiFTConfig | None,
    refinement: Refinement | None = None,
) -> Fitted:
    """The settings and the tasks that fit into the model's positions, as a run has them; what is left out is logged.

    Raises:
        ConfigError: if no task of a set fits.
    """
    positions = args.positions(loaded.model) if args else positions_of(loaded.model.config)
    settings = settings_of(args)
    if args is None or args.max_completion_length is None:
        settings = replace(settings, max_completion_length=default_length(positions))
    if refinement is not None:
        settings = replace(
            settings, refine_steps=refinement.steps, visible_tests=refinement.visible_tests, positions=positions
        )
    prompts = loaded.prompts(args)
    kept, omitted = {}, {}
    for name, tasks in sets.items():
        kept[name], left_out = fitting(tasks, prompts, settings.max_completion_length, positions)
        omitted[name] = tuple(task.task_id for task in left_out)
        if line := left_out_line(omitted[name], len(tasks), f"tasks of {name}", positions):
            _logger.warning(line)
    return Fitted(settings, kept, omitted)
