"""Evaluation of a model by its rollouts: shared among the processes of a trainer, or without a trainer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.utils import extract_model_from_parallel
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift.common.models import as_model
from trl_gift.errors import ConfigError
from trl_gift.evaluation.attempts import Evaluation, EvaluationSettings, attempt_tasks
from trl_gift.generation import default_dtype, end_ids
from trl_gift.prompts import prompt_format
from trl_gift.sampling.progress import SamplingProgress
from trl_gift.sampling.rollouts import Rollouts, RolloutSettings, tokens_of
from trl_gift.tasks import Task, tasks_from_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trl_gift.config import GiFTConfig
    from trl_gift.sandbox import Sandbox


def evaluate_rollouts(
    rollouts: Rollouts, tasks: Sequence[Task], settings: EvaluationSettings, heading: str = "evaluating"
) -> Evaluation:
    """Each process attempts its share of the tasks; every process gets all attempts.

    Args:
        rollouts: The model, its engine and the sandbox.
        tasks: The tasks of all processes.
        settings: What is measured.
        heading: Heading of the progress bar.
    """
    mine = rollouts.share(tasks)
    total = len(mine) * (1 + settings.num_generations)
    with (
        rollouts.executing(),
        rollouts.engine() as engine,
        SamplingProgress(heading, total, rollouts.quiet) as progress,
    ):
        result = attempt_tasks(
            mine,
            engine,
            rollouts.sandbox,
            rollouts.prompts,
            settings,
            on_attempt=lambda attempt: progress.add(attempt.passed, tokens_of(engine)),
            on_step=lambda: progress.tick(tokens_of(engine)),
        )
    attempts = rollouts.gather(result.attempts)
    return replace(result, attempts=tuple(sorted(attempts, key=lambda item: (item.task_id, item.index))))


def evaluate(
    model: str | os.PathLike[str] | PreTrainedModel,
    tasks: Iterable[Task | Mapping[str, Any]],
    args: GiFTConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    sandbox: Sandbox | None = None,
    **model_init_kwargs: Any,
) -> Evaluation:
    """pass@1 of greedy programs and, if asked for, the unbiased pass@k of sampled programs; needs no trainer.

    Args:
        model: A model, or a name on the Hub or a folder.
        tasks: Tasks from `load_tasks`, or rows in a known format.
        args: Options of the evaluation (`eval_num_generations`, `eval_k`, `max_completion_length`, `generation_engine`,
            `execution_cpu_s`, ...), as for a run; their defaults if not given.
        processing_class: The tokenizer; loaded with the model if not given.
        sandbox: Runs the programs; a `LocalSandbox` with the options' limits if not given. A given sandbox is not closed.
        model_init_kwargs: Arguments of `from_pretrained`, such as `dtype` or `revision`. If no `dtype` is given, the
            weights are loaded as bfloat16 on a GPU that has it, else as float32.

    Returns:
        All attempts; `metrics()` gives `pass@1` and `sampled_pass@k` with their 95 % intervals.

    Raises:
        TaskError: for a row that is not a valid task, or without any task.
        ConfigError: if `model` is not a model, or `args` is not a `GiFTConfig`.
        IsolationUnavailable: if this machine cannot isolate programs.

    Examples:
        ```python
        result = trl_gift.evaluate("Qwen/Qwen2.5-Coder-1.5B", load_tasks("mbpp", split="test"))
        print(result.metrics()["pass@1"])
        ```
    """
    found = tasks_from_rows(tasks, "tasks")
    _check_args(args)
    model = as_model(model, processing_class)
    if model_init_kwargs and not isinstance(model, str):
        raise ConfigError(
            f"{next(iter(model_init_kwargs))} is an argument of from_pretrained, and the model is loaded already; leave it "
            "out, or give the model's name."
        )
    processes = _Processes(cpu=args.use_cpu if args else False)
    if isinstance(model, str):
        on_gpu = False if processes.device.type == "cpu" else None
        options = {"dtype": default_dtype(trains_weights=False, on_gpu=on_gpu), **model_init_kwargs}
        if processing_class is None:
            places = {name: options[name] for name in ("revision", "trust_remote_code") if name in options}
            processing_class = AutoTokenizer.from_pretrained(model, **places)
        options.setdefault("device_map", None if processes.device.type == "cpu" else {"": processes.device})
        model = AutoModelForCausalLM.from_pretrained(model, **options)
    elif processing_class is None:
        processing_class = _tokenizer_of(model.config.name_or_path)
    make_prompts = args.prompts if args else prompt_format
    settings = args.evaluation_settings() if args else EvaluationSettings()
    with tempfile.TemporaryDirectory(prefix="trl-gift-evaluate-") as folder:
        rollouts = Rollouts(
            model,
            processing_class,
            make_prompts(processing_class, end_ids=end_ids(model, processing_class)),
            processes,
            args.rollout_settings() if args else RolloutSettings(),
            Path(folder),
            sandbox,
        )
        return evaluate_rollouts(rollouts, found, settings)


class _Processes(PartialState):
    """The processes and the device, as an `Accelerator` knows them.

    An `Accelerator` would fix the precision of all later ones in this process, a trainer's among them.
    """

    def unwrap_model(self, model: Any) -> Any:
        return extract_model_from_parallel(model)


def _check_args(args: object) -> None:
    """Refuses options of another class; the config cannot be imported here, because it imports this room."""
    if args is not None and not hasattr(args, "evaluation_settings"):
        raise ConfigError(f"args is a {type(args).__name__}; give a GiFTConfig, which takes the same options.")


def _tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"processing_class is missing, and {name!r}, where the model was loaded from, holds no tokenizer; give it as "
            "processing_class."
        ) from error
    return tokenizer
