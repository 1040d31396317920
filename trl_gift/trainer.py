"""`GiFTTrainer`: Gibbs Fine-Tuning as a trainer. The round loop is `train`; each stage is a module of its own.

Source: "GiFT: Gibbs Fine-Tuning for Code Generation" (arXiv 2502.11466). Every round samples programs with the
current model, executes them, selects by perplexity and fine-tunes, by default from the base weights again, on samples of
all rounds so far.

An in-place reset to the base weights does not reach the sharded weights of DeepSpeed and FSDP. With them a round takes
two processes (`one_round_per_process`): one that samples with whole weights, and one that trains from the base weights
as they were loaded.
"""

from __future__ import annotations

import copy
import datetime
import os
import secrets
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeVar

from datasets import Dataset
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, set_seed

from trl_gift.common.clock import StageClock, timed
from trl_gift.common.files import write_json
from trl_gift.common.models import as_model
from trl_gift.common.randomness import stream_key
from trl_gift.common.words import agree, plural
from trl_gift.config import GiFTConfig
from trl_gift.distillation import Lesson, Teacher
from trl_gift.distillation.sets import ALONE, lessons
from trl_gift.distillation.stage import teach
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.evaluation import Evaluation, evaluate_once, evaluate_sets
from trl_gift.generation import SamplingParams, choose_engine, default_dtype, end_ids, parked
from trl_gift.hub import PAPER, Hooks, Publisher, PushCheckpoints, Repositories, dataset_origin, training_line
from trl_gift.inference.sampling_model import SamplingModel
from trl_gift.lintseq import check_language
from trl_gift.prompts import EditPrompts, load_examples, prints_date, prompts_fingerprint
from trl_gift.report import report_of
from trl_gift.run.ending import best_round, run_text, unmeasured_line
from trl_gift.run.example import example_record
from trl_gift.run.folder import SAVED_MARK, RunFolder, describe_run
from trl_gift.run.next_step import NextStep, Stage, next_step
from trl_gift.run.prompts import PROMPTS, write_prompts
from trl_gift.run.resuming import (
    asked_to_resume,
    check_weights,
    find_checkpoint,
    holds_last_weights,
    refuse_other_checkpoints,
)
from trl_gift.run.samples import RoundSamples, ends_of_chains, read_rounds
from trl_gift.run.sets import attempts_record, base_record
from trl_gift.run.summary import summarise
from trl_gift.run.tracking import RunIdentity, Tracking
from trl_gift.run.trained import model_to_train
from trl_gift.run.weights import LoadedAs
from trl_gift.run.wording import AS_PYTHON
from trl_gift.sampling.allocation import Allocation, allocate
from trl_gift.sampling.budget import unspent_line
from trl_gift.sampling.context import ChainSettings
from trl_gift.sampling.curation import Curation, measure_rates
from trl_gift.sampling.drawing import Drawing
from trl_gift.sampling.learner import Learner
from trl_gift.sampling.lengths import fitting, left_out_line
from trl_gift.sampling.pilot import best_temperature, pilot_line, run_pilot
from trl_gift.sampling.progress import no_dataset_bars
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.rollouts import Rollouts
from trl_gift.sampling.store import is_complete, read_samples, write_parquet
from trl_gift.sandbox import Sandbox
from trl_gift.tasks import Task, is_task_sets, task_sets, tasks_from_rows
from trl_gift.tasks.decontamination import clean
from trl_gift.tasks.references import check_references, with_readings
from trl_gift.training.adapters import without_fused
from trl_gift.training.checks import (
    check_can_be_saved,
    check_early_stopping,
    check_evaluations,
    check_fills_a_batch,
    check_model,
    check_optimizer,
    check_router,
    check_trainable,
    check_vocabulary,
    load_config,
)
from trl_gift.training.edits import (
    add_edit_row,
    add_edit_token,
    ready_for_fused_loss,
    save_single_tokens,
    training_edit_token,
)
from trl_gift.training.modalities import freeze_other_modalities, load_to_train, load_tokenizer, text_tokenizer
from trl_gift.training.pairs import TrainingPairs, training_pairs
from trl_gift.training.quantization import keep_trainable_after_sampling
from trl_gift.training.rounds import RoundCheckpoint, RoundTrainer, check_sharded, end_checkpoint
from trl_gift.training.selection import SelectedSample, select, write_selection
from trl_gift.training.targets import failing_targets

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import (
        BitsAndBytesConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        ProcessorMixin,
        TrainerCallback,
    )

Tasks = str | os.PathLike[str] | Iterable[Task | Mapping[str, Any]] | Mapping[str, Sequence[Any]]
T = TypeVar("T")


# Arguments of SFTTrainer that a run of rounds cannot take, with the reason that the error gives.
_REFUSED = {
    "data_collator": "each round's examples are made here, as token ids",
    "formatting_func": "each round's examples are made here, as token ids",
    "compute_metrics": "what is measured is whether programs pass their tests",
    "preprocess_logits_for_metrics": "what is measured is whether programs pass their tests",
    "compute_loss_func": "TRL drops it in 2.0; subclass and override compute_loss",
    "optimizers": "every round needs a new optimizer; name one with the option optim",
}


class GiFTTrainOutput(NamedTuple):
    """What `train` returns: the fields of transformers' `TrainOutput` for the last round, and every round's metrics.

    Attributes:
        global_step: Optimizer steps of all rounds.
        training_loss: Mean loss of the last round's training.
        metrics: The last round's training metrics.
        rounds: One dictionary for each round, as in `round-N/metrics.json`.
    """

    global_step: int
    training_loss: float
    metrics: dict[str, float]
    rounds: list[dict[str, Any]]


class GiFTTrainer(RoundTrainer):
    """Self-training of a code model on its own verified programs.

    Args:
        model: As for `SFTTrainer`: a model, or a name or path.
        args: The options; `GiFTConfig("gift-output")` if not given.
        train_dataset: The tasks to learn from: tasks from `load_tasks`, or a dataset in a known format: a
            `datasets.Dataset`, a pandas `DataFrame`, rows, columns, a file, or the Hub name of a dataset, of which the split
            "train" is taken. Tasks that overlap with `eval_dataset` are left out, see `decontaminate`.
        eval_dataset: Tasks to measure on, in the same forms; of a dataset on the Hub the split "test". They are never sampled
            for training. Several sets by name, `{"mbpp": ..., "humaneval": ...}`, are measured one after the other, and their
            metrics carry the name: `eval_mbpp_pass@1`. The first set chooses the best round (`keep_best_round`).
        processing_class: The tokenizer, or a processor whose tokenizer is used; loaded with the model if not given.
        callbacks: As for `SFTTrainer`.
        quantization_config: As for `SFTTrainer`; with `peft_config` for 4-bit LoRA.
        peft_config: As for `SFTTrainer`.
        sandbox: Runs the programs; by default a `LocalSandbox(in_process=False)` with the options' limits. A given one is
            not closed.
        others: `optimizer_cls_and_kwargs`, as for `SFTTrainer`.

    Raises:
        TaskError: for a row that is not a valid task.
        ConfigError: for options that cannot work together.
        IsolationUnavailable: from `train` and `evaluate`, if programs cannot be isolated on this machine.

    Examples:
        ```python
        trainer = GiFTTrainer(
            model="Qwen/Qwen2.5-Coder-1.5B",
            args=GiFTConfig(output_dir="out", num_rounds=2),
            train_dataset=load_tasks("mbpp", split="train"),
            eval_dataset=load_tasks("mbpp", split="test"),
            peft_config=LoraConfig(),
        )
        trainer.train()
        ```
    """

    _tag_names = ["trl", "gift"]  # noqa: RUF012  as TRL's trainers have it
    _name = "GiFT"
    _paper = PAPER

    args: GiFTConfig
    control: Any
    wording = AS_PYTHON  # a command has its own
    results: TextIO | None = None  # where the table at the end goes; standard error if None
    says_what_follows = True  # a command that saves the model itself says more

    def __init__(
        self,
        model: str | os.PathLike[str] | PreTrainedModel,
        args: GiFTConfig | None = None,
        train_dataset: Tasks | None = None,
        eval_dataset: Tasks | Mapping[str, Tasks] | None = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        callbacks: list[TrainerCallback] | None = None,
        quantization_config: BitsAndBytesConfig | None = None,
        peft_config: PeftConfig | None = None,
        sandbox: Sandbox | None = None,
        **others: Any,
    ) -> None:
        _refuse(others)
        if train_dataset is None:
            raise ConfigError("train_dataset is missing; give the tasks to learn from, such as load_tasks('mbpp').")
        args = args or GiFTConfig("gift-output")
        if not isinstance(args, GiFTConfig):
            raise ConfigError(f"args is a {type(args).__name__}; give a GiFTConfig, which takes the same options.")
        args = copy.copy(args)  # what is not given is filled in below, and the caller's options stay as they are
        model = as_model(model, processing_class)
        named = model
        if isinstance(model, str):
            model = model_to_train(model)
            check_model(model, args.model_init_kwargs or {}, args.trust_remote_code, processing_class is None)
            check_trainable(quantization_config, peft_config)
            dtype = default_dtype(trains_weights=peft_config is None, on_gpu=False if args.use_cpu else None)
            args.model_init_kwargs = {"dtype": dtype, **(args.model_init_kwargs or {})}
        processing_class = _tokenizer(model, processing_class, args)
        self.eval_sets = task_sets(eval_dataset) if eval_dataset is not None else {}
        tasks = tasks_from_rows(train_dataset, "train_dataset", require_tests=args.verify)
        measured = [task for those in self.eval_sets.values() for task in those]
        self.cleaning = clean(tasks, measured, args.cleaning_settings())
        self.tasks = list(self.cleaning.kept)
        self.repositories = Repositories(args)
        check_evaluations(args, list(self.eval_sets))
        args.choose_learning_rate(peft_config is not None or isinstance(model, PeftModel))
        _make_output_dir(args)
        # SFTTrainer sets the seed only after it has built the adapter, and a resumed run needs the very same adapter.
        set_seed(args.seed)
        peft_config = without_fused(peft_config, _model_type(model, args))
        # SFTTrainer wants data at construction; each round brings its own in this same pre-tokenised form.
        init_kwargs = args.model_init_kwargs
        given = model
        if args.target_format == "edits":
            model, peft_config = _with_edits(
                model, processing_class, args, self.tasks, quantization_config, peft_config
            )
            if model is not given:  # then these have been used
                quantization_config = args.model_init_kwargs = None
        placeholder = Dataset.from_dict({"input_ids": [[0, 0]], "labels": [[-100, 0]]})
        with no_dataset_bars():
            super().__init__(
                model=model,
                args=args,
                train_dataset=placeholder,
                eval_dataset=placeholder if self.eval_sets else None,
                processing_class=processing_class,
                callbacks=callbacks,
                quantization_config=quantization_config,
                peft_config=peft_config,
                **others,
            )
        args.model_init_kwargs = init_kwargs
        ready_for_fused_loss(self.model)
        if model is not given and isinstance(given, str):
            save_single_tokens(self.model)
        if args.loss_weighting == "example":
            # Then transformers does not count the tokens of a step: the loss is a mean over those of each batch of one.
            self.model_accepts_loss_kwargs = False
        if any(isinstance(callback, EarlyStoppingCallback) for callback in self.callback_handler.callbacks):
            check_early_stopping(args)
        if self.is_sharded:
            check_sharded(args, self.accelerator.state)
        model_now = self.accelerator.unwrap_model(self.model)
        if self.optimizer_cls_and_kwargs is None:
            check_optimizer(args, self.model)
        if not isinstance(self.model, PeftModel):  # of which the adapter alone is saved
            check_can_be_saved(self.model)
        if args.num_selected is not None:
            most = len(self.tasks) * args.num_selected
            most += sum(bool(task.reference) for task in self.tasks) if args.train_on_references else 0
            check_fills_a_batch(args, most, self.accelerator.num_processes, "a round has at most")
        if args.sampler == "hinted" and args.hint == "reference" and not any(task.reference for task in self.tasks):
            raise ConfigError(
                f"hint='reference' shows reference solutions, and none of the {plural(len(self.tasks), 'task')} has one; use "
                "hint='failing_test'."
            )
        check_router(model_now)
        freeze_other_modalities(model_now)
        keep_trainable_after_sampling(self.model)
        if args.trained_engine == "server":
            args.server_options().check(self.model)
        chosen = choose_engine(args.trained_engine, model_now)
        self._sampling = SamplingModel.find(args) if args.sampling_model is not None else None
        if self._sampling is None:
            args.generation_engine = chosen.name
        self.run = RunFolder(args.output_dir)
        dated = self._sampling is not None and self._sampling.prints_date
        if args.prompt_date is None and (dated or prints_date(self.processing_class)):
            args.prompt_date = self.run.option("prompt_date") or datetime.date.today().isoformat()
        if args.distillation != "none":
            self._teacher(args.chain_settings(1, "").code_params).check()
        self.prompts = args.prompts(self.processing_class, end_ids(model_now, self.processing_class))
        if self.tasks:
            ids = self.prompts.write(self.tasks[0], self.tasks[0].description).ids
            check_vocabulary(model_now, self.processing_class, ids)
        self.examples = load_examples(args.description_examples)
        self._positions = args.positions(model_now)
        self._is_shortened = args.choose_completion_length(self._positions)
        self.tasks, too_long = self._fitting(self.tasks, "training tasks")
        self._sampling_positions = None
        if self._sampling is not None:
            kind = f"training tasks of {self._sampling.name}"
            self._sampling_positions = self._sampling.positions(args)
            self.tasks, too_long_there = self._fitting(self.tasks, kind, self._sampling)
            too_long += too_long_there
        self._given_tasks = self.tasks
        self._steps: dict[str, int] = {}
        self.eval_sets, self._left_out = self._fitting_sets(self.eval_sets)
        self._too_long = {
            "tasks": too_long,
            **{f"eval_dataset {name}".strip(): those for name, those in self._left_out.items()},
        }
        self.tracking = Tracking(self.callback_handler.callbacks, args, self.accelerator.is_main_process)
        self.clock = StageClock()
        self._tokens_per_second: float | None = None
        if given != named:
            self.say(f"{named} is the folder of a run: its trained model, {given}, is trained on.")
        for line in (chosen.line, self.cleaning.line()):
            if line:
                self.say(line)
        self.rollouts = Rollouts(
            self.model,
            self.processing_class,
            self.prompts,
            self.accelerator,
            replace(args.rollout_settings(), engine=chosen.name),
            self.run.root / "server",
            sandbox,
            self.own_precision,
        )
        self.publisher = Publisher(
            args,
            self.accelerator,
            model_now,
            self.processing_class,
            self.prompts,
            self.tasks,
            self.run,
            self.repositories,
            Hooks(
                save_model=lambda folder: self.save_model(folder, _internal_call=True),
                create_model_card=self.create_model_card,
                on_push_begin=lambda: self.callback_handler.on_push_begin(self.args, self.state, self.control),
            ),
        )
        self.publisher.dataset_name = dataset_origin(train_dataset)
        several = is_task_sets(eval_dataset)
        first: Any = (
            next(iter(eval_dataset.values())) if several and isinstance(eval_dataset, Mapping) else eval_dataset
        )
        self.publisher.eval_dataset_name = dataset_origin(first)
        self.add_callback(PushCheckpoints(self.publisher))
        self._training_loss = 0.0
        self._train_metrics: dict[str, float] = {}

    def train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None = None) -> GiFTTrainOutput:
        """Runs all rounds: sample, execute, select, fine-tune, evaluate.

        Args:
            resume_from_checkpoint: True to continue the run in `output_dir` from where it stopped (or to begin, if it has
                not begun); the path of one of its checkpoints to continue from there. Options that change samples must
                keep their values; `num_rounds` may grow. The trainer prints a line for each changed option of the training.

        Returns:
            The output of any trainer, with the metrics of each round besides.

        Raises:
            ResumeError: if `output_dir` holds a run and `resume_from_checkpoint` is not set, or the run there has other
                options, seeds or tasks, or more rounds; under DeepSpeed or FSDP, if the next round is not sampled yet.
        """
        if self.is_sharded:
            checkpoint = self._begin(resume_from_checkpoint)
            self._check_references()
            self._curate()
            self._train_sampled_round(checkpoint)
            return self._end()
        with self.rollouts.executing(self.args.verify or bool(self.eval_sets)):
            checkpoint = self._begin(resume_from_checkpoint)
            if checkpoint and self.is_finished and self._agreed(holds_last_weights(self.run, checkpoint)):
                self.enter_after(checkpoint)
                return self._end()
            self._check_references()
            self._curate()
            self._evaluate_base()
            for round_index in self._rounds_to_run(checkpoint):
                started = time.monotonic()
                samples = self._sample(round_index)
                selected = self._select(round_index, samples)
                pairs = self._pair(round_index, selected)
                self._fine_tune(round_index, pairs, checkpoint)
                self._measure(round_index, samples, selected, pairs, started)
        return self._end()

    def sample(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None = None) -> Path:
        """Samples, executes and selects the programs of the first round, and stops before training.

        With `one_round_per_process` it samples the next round, with the weights of the last trained round, and measures
        these weights first if they are not measured yet.

        Args:
            resume_from_checkpoint: True to continue the sampling in `output_dir`. `train` continues in the same way from
                what this method leaves.

        Returns:
            The folder of the round; the folder of the last round, if the run is finished.
        """
        with self.rollouts.executing(self.args.verify):
            checkpoint = self._begin(resume_from_checkpoint)
            self._check_references()
            self._curate()
            step = NextStep(1, Stage.SAMPLE)
            if self.args.one_round_per_process:
                self._evaluate_base()
                step = self._measure_trained_round(checkpoint)
                self.tracking.close(self.args, self.state, self.control)
                self.publisher.finish()
            if step.stage is Stage.DONE:
                self._finish(self.run.measured_rounds())
                return self.run.round(self.args.num_rounds)
            samples = self._sample(step.round)
            self._select(step.round, samples)
        without = len(self.tasks) - len(samples.eligible)
        kind = "passing program" if self.args.verify else "program; none was executed (verify=False)"
        self.say(f"{without} of {plural(len(self.tasks), 'task')} {agree(without, 'has', 'have')} no {kind}.")
        return self.run.round(step.round)

    @property
    def eval_tasks(self) -> list[Task]:
        """The tasks to measure on; with several sets those of the first, which chooses the best round."""
        return next(iter(self.eval_sets.values()), [])

    @property
    def is_finished(self) -> bool:
        """Whether all rounds are trained and measured."""
        return next_step(self.run, None, self.args.num_rounds).stage is Stage.DONE

    def evaluate(
        self,
        eval_dataset: Tasks | Mapping[str, Tasks] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """pass@1 of greedy programs and, with `eval_num_generations`, the unbiased pass@k of sampled programs.

        Args:
            eval_dataset: Tasks to measure on, or several sets of them by name; those of the trainer if not given.
            ignore_keys: Not used; part of the method's signature in transformers.
            metric_key_prefix: Begins each key.

        Returns:
            `eval_pass@1`, the bounds of its 95 % interval `eval_pass@1_low` and `eval_pass@1_high`, and
            `eval_sampled_pass@k` likewise. With several sets, the name of the set follows the prefix: `eval_mbpp_pass@1`.
        """
        sets, left_out = self.eval_sets, self._left_out
        if eval_dataset is not None:
            sets, left_out = self._fitting_sets(task_sets(eval_dataset))
        if not any(sets.values()):
            raise ConfigError("there is nothing to evaluate on; give eval_dataset.")
        results = self._attempt(sets, "evaluating", left_out)
        with self._tracked_apart():
            return self._report_evaluations(results, metric_key_prefix)

    def predict(self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test") -> Any:
        """Not offered: it would return the logits of fixed texts, and what is measured here is generated programs.

        Raises:
            ConfigError: always; the message names what to call instead.
        """
        raise ConfigError(
            "predict returns the logits of fixed texts, and a program has to be generated and run; call trainer.evaluate(tasks) "
            "for pass@1, or trl_gift.evaluate(model, tasks), which also returns each program."
        )

    # The Hub ----------------------------------------------------------------------------------------------------

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """Writes `README.md` into the output folder.

        Args:
            model_name: Title of the card; the last part of `hub_model_id` or of the output folder if not given.
            dataset_name: The Hub's name of the dataset that the tasks come from; remembered for later cards.
            tags: Tags for the card, besides those of the method.
        """
        if not self.is_world_process_zero():
            return
        given = [tags] if isinstance(tags, str) else list(tags or ())
        super().create_model_card(model_name=model_name, tags=[*given, *self.publisher.model_tags])
        self.publisher.dataset_name = dataset_name or self.publisher.dataset_name
        self.publisher.complete_card(model_name)

    def write_card(self) -> None:
        """Writes the card of weights that may have changed into the output folder, if this process saves."""
        self.publisher.saved_model = None
        if self.args.should_save:
            self.create_model_card()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the model, its tokenizer and its card.

        Args:
            output_dir: The folder; that of the run if not given.
            _internal_call: Set by transformers and by pushes, whose cards have another text.
        """
        super().save_model(output_dir, _internal_call)
        if not _internal_call and self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            self.publisher.saved_model = folder
            self.create_model_card()
            self.publisher.copy_card(folder)
            weights = LoadedAs.of(self.accelerator.unwrap_model(self.model)).to_record()
            mark = {"run": self.run_key, "round": self.run.final_round or self._round, "weights": weights}
            write_json(folder / SAVED_MARK, mark)

    def save_final_model(self, output_dir: str) -> None:
        """Saves the model of the finished run, unless it lies in the folder already, as after a resume of a finished run.

        Args:
            output_dir: The folder.
        """
        if not self._agreed(self.run.has_saved(Path(output_dir))):
            self.save_model(output_dir)
        elif self.args.should_save:
            self.publisher.saved_model = Path(output_dir)
            self.create_model_card()

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Creates the model's repository and, with `push_samples`, that of the samples, unless they exist.

        Args:
            token: The token for the Hub; `hub_token` if not given.
            private: Whether new repositories are private; `hub_private_repo` if not given.

        Raises:
            ConfigError: if the Hub refuses, or cannot be reached.
        """
        if self.is_world_process_zero():
            self.hub_model_id = self.repositories.create(token, private)
            self.push_in_progress = None

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Pushes the model or adapter, the tokenizer and the card and, with `push_samples`, the samples dataset.

        To be called on all processes; the main one pushes.

        Args:
            commit_message: Message of the commits.
            blocking: Whether to return only when everything is on the Hub.
            token: The token for the Hub; `hub_token` if not given.
            revision: The model's branch, made if absent; `hub_revision` if not given.
            private: Whether new repositories are private; `hub_private_repo` if not given.
            kwargs: For `create_model_card`: `model_name`, `dataset_name`, `tags`.

        Returns:
            On the main process the model's `CommitInfo`, or with `blocking=False` a future of it; None on the others.

        Raises:
            ConfigError: if a repository cannot be created, or with `blocking=True` if a push fails.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        return self.publisher.push(commit_message, blocking, token, revision, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Does nothing: `PushCheckpoints` pushes a checkpoint once it is complete.

        This private method of transformers would push the output folder before. A contract test guards it.
        """

    # Stages -----------------------------------------------------------------------------------------------------

    def _begin(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None) -> RoundCheckpoint | None:
        args, resume = self.args, asked_to_resume(resume_from_checkpoint)
        description = describe_run(
            args.gift_options(),
            self._model_name(),
            self._given_tasks,
            self.eval_tasks,
            args.seeds(),
            args.training_options(),
            prompts=prompts_fingerprint(self.prompts, self._given_tasks),
            weights=LoadedAs.of(self.accelerator.unwrap_model(self.model)).to_record(),
            eval_sets={name: those for name, those in self.eval_sets.items() if name},
            left_out={kind: names for kind, names in self._too_long.items() if names},
            use_cpu=bool(args.use_cpu),
            wording=self.wording.to_record(),
            sampling_model=self._sampling_record(),
        )
        exists = self._agreed(self.run.exists)
        if isinstance(resume, Path) and not exists:
            raise ResumeError(
                f"resume_from_checkpoint='{resume}', and {args.output_dir} holds no run; give the "
                "output_dir that the checkpoint belongs to, or leave it out to begin a run."
            )
        checkpoint = None
        if resume and exists:
            checkpoint, changed = find_checkpoint(self.run, resume, args.num_rounds, description, args.may_change())
            if checkpoint is not None:
                self.check_adapter(checkpoint)
            for line in changed:
                self.say(f"{line}; what is trained from here on is trained with the new value.")
        else:
            if resume:
                self.say(f"{args.output_dir} holds no run to continue; a new one begins.")
            if not exists:
                refuse_other_checkpoints(self.run)
                if args.distillation != "none" and self.accelerator.is_main_process:
                    self._teacher(args.chain_settings(1, "").code_params).check_reachable()
                self.accelerator.wait_for_everyone()
            if exists or self.accelerator.is_main_process:
                self.run.start(description)
        if self.accelerator.is_main_process and not self.run.has("decontamination.json"):
            self.run.write("decontamination.json", self.cleaning.record())
        self.accelerator.wait_for_everyone()
        self.run_key = self.run.key
        self.begin_again()
        self._track(checkpoint, continued=bool(resume and exists))
        if self.is_finished:
            done = "its round is" if args.num_rounds == 1 else f"all its {args.num_rounds} rounds are"
            verb = "measured" if self.eval_sets else "trained"
            self.say(f"The run in {args.output_dir} is finished: {done} {verb}. A larger num_rounds continues it.")
            return checkpoint
        self.say(f"training {training_line(self.args, self.accelerator.unwrap_model(self.model))}.")
        self.say(self._plan())
        if self.rollouts.is_executing:
            self.say(self._isolation())
        return checkpoint

    def _fitting(
        self, tasks: Sequence[Task], kind: str, sampling: SamplingModel | None = None
    ) -> tuple[list[Task], tuple[str, ...]]:
        """The tasks whose prompt and completion fit into the model, and the names of the others; prints how many.

        Args:
            tasks: The tasks.
            kind: What they are for.
            sampling: The model that samples, if it is the one that they have to fit into.
        """
        prompts, positions = self.prompts, self._positions
        if sampling is not None:
            prompts, positions = sampling.prompts(self.args), self._sampling_positions
        kept, others = fitting(tasks, prompts, self.args.completion_length, positions)
        left_out = tuple(task.task_id for task in others)
        if line := left_out_line(left_out, len(tasks), kind, positions):
            self.say(line)
        return kept, left_out

    def _sampling_record(self) -> dict[str, str] | None:
        """What the run records of the model that samples in place of the one in training."""
        if self._sampling is None:
            return None
        prompts = prompts_fingerprint(self._sampling.prompts(self.args), self._given_tasks)
        return {"name": self._sampling.name, "fingerprint": self._sampling.fingerprint, "prompts": prompts}

    def _fitting_sets(
        self, sets: Mapping[str, Sequence[Task]]
    ) -> tuple[dict[str, list[Task]], dict[str, tuple[str, ...]]]:
        """As `_fitting`, for the evaluation tasks of each set."""
        found = {
            name: self._fitting(tasks, f"evaluation tasks{f' of {name}' if name else ''}")
            for name, tasks in sets.items()
        }
        return {name: kept for name, (kept, _) in found.items()}, {name: names for name, (_, names) in found.items()}

    def _check_references(self) -> None:
        """Runs the references, once for a run, which decides between the readings of a row.

        From then on references that fail their own tests are as if absent.
        """
        self.tasks = self._given_tasks
        if not self.args.verify or all(task.reference is None for task in self.tasks):
            return
        if not self._agreed(self.run.has("references.json")):
            if self.is_sharded:
                return  # nothing is executed here; the process that samples has run them
            checked = check_references(self.tasks, self.rollouts.sandbox) if self.rollouts.is_main else None
            self._write("references.json", asdict(checked) if checked else {})
        record = self.run.read("references.json")
        failing = record["failing"]
        self.tasks = with_readings(self.tasks, record.get("readings", {}))
        if not failing:
            return
        self.tasks = [replace(task, reference=None) if task.task_id in failing else task for task in self.tasks]
        total = sum(task.reference is not None for task in self._given_tasks)
        self.say(
            f"{len(failing)} of {plural(total, 'reference')} {agree(len(failing), 'fails its', 'fail their')} own tests and "
            f"{agree(len(failing), 'is', 'are')} not trained on, not read and not shown. "
            f"{self.run.root / 'references.json'} says why"
            f"{f'; `{self.wording.validate}` looks closer' if self.wording.validate else ''}."
        )

    def _curate(self) -> None:
        """Measures the untrained model on every task, once for a run, which decides on the tasks and on the steps of each."""
        args = self.args
        if not args.curate and args.step_allocation == "uniform":
            return
        if not self._agreed(self.run.has("curation.json")):
            if self.is_sharded:
                return  # nothing is sampled here; the process that samples has measured
            self.release_memory_for_sampling()
            chain = self.args.chain_settings(1, "", self._piloted_temperature(), self._positions)
            curation = measure_rates(self.rollouts, self.tasks, chain, args.curation_settings())
            self._write("curation.json", curation.record())
            if args.curate:
                self.say(curation.line(self.tasks))
        curation = Curation.read(self.run.read("curation.json"))
        if args.curate:
            self.tasks = curation.kept(self.tasks)
        if args.step_allocation == "uncertain":
            self._allocate(curation)

    def _allocate(self, curation: Curation) -> None:
        """Divides the steps of a round among the tasks by their pass rates, once for a run."""
        if not self._agreed(self.run.has("allocation.json")):
            rates = {task.task_id: curation.rates[task.task_id] for task in self.tasks}
            smallest = 2 if self.args.sampler == "hinted" else 1  # one to try, and one to try again with a hint
            allocation = allocate(rates, curation.settings.num_generations, self.args.num_steps, smallest)
            self._write("allocation.json", allocation.record())
            self.say(allocation.line())
        self._steps = Allocation.read(self.run.read("allocation.json")).steps

    def _plan(self) -> str:
        """What the run will sample, in one line."""
        args, count = self.args, len(self.tasks)
        total = count * args.num_steps * args.num_generations
        limit = args.max_tokens_per_round
        rounds = "one round" if args.num_rounds == 1 else f"each of {args.num_rounds} rounds"
        return (
            f"{rounds}: {plural(count, 'task')} × {plural(args.num_steps, 'step')} × "
            f"{plural(args.num_generations, 'completion')} = {plural(total, 'completion')} "
            f"of at most {args.completion_length} tokens"
            f"{f', or fewer: sampling stops at {limit:,} tokens' if limit else ''}"
            f"{f' (the model has {self._positions} positions)' if self._is_shortened else ''}"
            f"{f'; `{self.wording.dry_run}` says how long that takes' if self.wording.dry_run else ''}."
        )

    def _isolation(self) -> str:
        """How the programs are confined that the model writes, in one line."""
        layers = self.rollouts.sandbox.isolation
        how = "without any isolation (isolation='none')" if layers == "none" else f"isolated by {layers}"
        return f"programs run {how}."

    def _track(self, checkpoint: RoundCheckpoint | None, continued: bool) -> None:
        """Gives the run the name that its trackers know it by, or will."""
        key = self.run_key
        self.args.run_name = self.args.run_name or f"{self._tracked_name()}-{key}"
        step = (checkpoint.step if checkpoint else 0) if continued else None
        self.tracking.open(RunIdentity(self.args.run_name, key, step=step))

    @contextmanager
    def _tracked_apart(self) -> Iterator[None]:
        """A tracker's run of its own for what is measured without any training, which belongs to no step of a run."""
        if self.tracking.is_open:
            yield
            return
        name, self.args.run_name = self.args.run_name, f"{self._tracked_name()}-evaluation"
        self.tracking.open(RunIdentity(self.args.run_name, secrets.token_hex(4), folder="evaluation"))
        yield
        self.tracking.close(self.args, self.state, self.control)
        self.tracking.is_open, self.args.run_name = False, name

    def _tracked_name(self) -> str:
        return self.args.run_name or Path(self.args.output_dir).resolve().name

    def _next_step(self, checkpoint: RoundCheckpoint | None) -> NextStep:
        return self._agreed(next_step(self.run, checkpoint, self.args.num_rounds))

    def _rounds_to_run(self, checkpoint: RoundCheckpoint | None) -> range:
        """The rounds of this process.

        Only a checkpoint holds weights, so a process that runs all rounds repeats the rounds after the checkpoint from
        their recorded samples. With `one_round_per_process` it is the next round alone.
        """
        last = self.args.num_rounds
        if not self.args.one_round_per_process:
            return range(checkpoint.mark.round if checkpoint else 1, last + 1)
        step = self._next_step(checkpoint)
        check_weights(self.run, checkpoint, step)
        if checkpoint and checkpoint.mark.round < step.round:
            self.enter_after(checkpoint)
        return range(step.round, min(step.round, last) + 1)

    def _measure_trained_round(self, checkpoint: RoundCheckpoint | None) -> NextStep:
        """Loads the last trained round, measures it if it is not measured yet, and returns the step after that."""
        step = self._next_step(checkpoint)
        check_weights(self.run, checkpoint, step)
        if checkpoint and checkpoint.mark.is_end:
            self.enter_after(checkpoint)
        if step.stage is not Stage.MEASURE:
            return step
        started = time.monotonic()
        samples = self._sample(step.round)
        selected = self._select(step.round, samples)
        self._measure(step.round, samples, selected, self._pair(step.round, selected), started)
        return self._next_step(checkpoint)

    def _train_sampled_round(self, checkpoint: RoundCheckpoint | None) -> None:
        """Trains the sampled round from the base weights; `sample` measures the result."""
        step = self._next_step(checkpoint)
        if step.stage is Stage.SAMPLE:
            raise ResumeError(
                f"round {step.round} is not sampled yet, and DeepSpeed and FSDP cannot sample; call trainer.sample("
                "resume_from_checkpoint=True) in processes without them first, or let `trl-gift train "
                "--accelerate_config FILE --one_round_per_process true` do both in turn."
            )
        if step.stage is not Stage.TRAIN:
            return
        if checkpoint and checkpoint.mark.is_end:
            self.enter_after(checkpoint, weights=False)
        selected = self._select(step.round, self._sample(step.round))
        self._fine_tune(step.round, self._pair(step.round, selected), checkpoint)

    def _end(self) -> GiFTTrainOutput:
        rounds = self.run.measured_rounds()
        if self.is_finished and not self.is_sharded:
            self._finish(rounds)
        self.tracking.close(self.args, self.state, self.control)
        self.publisher.finish()
        # A launcher reads the files of this run as soon as one of its processes has ended.
        self.accelerator.wait_for_everyone()
        return GiFTTrainOutput(self.state.global_step, self._training_loss, dict(self._train_metrics), rounds)

    def _finish(self, rounds: Sequence[Mapping[str, Any]]) -> None:
        """Takes the weights of the best round, writes the card and says how the run went."""
        kept = self._enter_best_round(rounds)
        example = example_record(self.run, self._given_tasks) if self.accelerator.is_main_process else None
        self._write("final.json", {"round": kept, "example": example})
        self.write_card()
        base = self.run.read("base.json") if self.run.has("base.json") else None
        left_out = self.run.read("run.json").get("left_out", {}).get("tasks", ())
        self.say(f"\n{run_text(base, rounds, kept, self.args.gift_options(), left_out, self.wording)}\n", self.results)
        if base is None:
            self.say(f"{unmeasured_line(self.args.output_dir)}\n", self.results)
        if self.accelerator.is_main_process:
            self._write_report()
        if self.says_what_follows:
            folder = self.args.output_dir
            self.say(
                f"trainer.save_model() writes this model into {folder}; `{shlex.join(['trl-gift', 'show', str(folder)])}` sums "
                "up the run and names the commands that show its samples."
            )

    def _write_report(self) -> None:
        try:
            self.say(f"The run as a page: {report_of(self.args.output_dir)}", self.results)
        except OSError as error:  # a full disk must not cost a trained model
            command = shlex.join(["trl-gift", "report", str(self.args.output_dir)])
            self.say(f"the report could not be written ({error}); `{command}` writes it.")

    def _enter_best_round(self, rounds: Sequence[Mapping[str, Any]]) -> int:
        """Puts the weights of the best measured round into the model, and returns the round whose weights it has then."""
        last = len(rounds)
        best = best_round(rounds) if self.args.keep_best_round else None
        if best is None or best == last or self._agreed(self.read_weights(self._best_file, best)):
            return best or last
        checkpoint = self._agreed(end_checkpoint(self.args.output_dir, self.run_key, best))
        if checkpoint is not None:
            self.load_weights(checkpoint)
            return best
        self.say(
            f"round {best} was the best, but its weights are not on disk any more; the model stays that of round {last}."
        )
        return last

    @property
    def _best_file(self) -> Path:
        """The weights of the best round so far, where no checkpoint is sure to keep them."""
        return self.run.root / "best_weights.pt"

    def _hold_if_best(self, round_index: int, pass_at_1: float | None) -> None:
        """Writes the weights of the best round so far, where its checkpoint may be deleted or is never written."""
        args = self.args
        untrained = self.run.has(f"round-{round_index}/untrained.json")  # such a round has no checkpoint of its own
        lasting = args.save_strategy != "no" and args.save_total_limit is None and not args.load_best_model_at_end
        if pass_at_1 is None or not args.keep_best_round or args.num_rounds == 1 or (lasting and not untrained):
            return
        before = [
            item["metrics"]["pass@1"]
            for item in self.run.measured_rounds()[: round_index - 1]
            if "pass@1" in item["metrics"]
        ]
        if all(pass_at_1 >= value for value in before) and self.accelerator.is_main_process:
            self.write_weights(self._best_file, round_index)
        self.accelerator.wait_for_everyone()

    def _evaluate_base(self) -> None:
        """Measures the untrained model, against which every round is compared."""
        if self.eval_sets and not self._agreed(self.run.has("base.json")):
            results = self._measure_base()
            self._write("base.json", base_record(results))
            self._report_evaluations(results, "eval")
        self.clock.take()  # this time belongs to no round

    def _measure_base(self) -> dict[str, Evaluation]:
        heading = "evaluating base"
        # Verdicts of a sandbox that was given, and completions of a server, depend on more than this run knows.
        known = self.rollouts.makes_sandbox and self.args.generation_engine != "server"
        if not (known and self.args.cache_base_evaluation):
            return self._attempt(self.eval_sets, heading, self._left_out)
        found = {}
        for name, tasks in self.eval_sets.items():
            result, measured = evaluate_once(
                self.rollouts, tasks, self.args.evaluation_settings(), f"{heading} {name}".strip()
            )
            found[name] = replace(result, left_out=self._left_out[name])
            if measured is not None:
                when = time.strftime("%Y-%m-%d %H:%M", time.localtime(measured))
                self.say(
                    f"{f'base on {name}' if name else 'base'}: measured on {when} with the same weights, tasks, prompts and "
                    "options; not measured again."
                )
        return found

    @timed("evaluation")
    def _attempt(
        self, sets: Mapping[str, Sequence[Task]], heading: str, left_out: Mapping[str, tuple[str, ...]]
    ) -> dict[str, Evaluation]:
        """Measures on each set, and returns the evaluations by the names of the sets."""
        headings = {name: f"{heading} {name}".strip() for name in sets}
        found = evaluate_sets(
            self.rollouts, {headings[name]: tasks for name, tasks in sets.items()}, self.args.evaluation_settings()
        )
        return {name: replace(found[headings[name]], left_out=left_out[name]) for name in sets}

    @timed("sampling")
    def _sample(self, round_index: int) -> RoundSamples:
        """Samples and executes a round, unless that is done, and reads the samples of all rounds that count."""
        args, folder = self.args, self.run.round(round_index)
        self._round, self._tokens_per_second = round_index, None
        if self.accelerator.is_main_process and not self.run.has(PROMPTS):
            write_prompts(self.run, self.tasks, self.prompts)
        if not is_complete(folder):
            self.release_memory_for_sampling()
            started = time.monotonic()
            settings = args.chain_settings(
                round_index, self.rollouts.weights_hash(), self._piloted_temperature(), self._positions, self._steps
            )
            tokens = self._draw(settings, folder)
            if args.distillation != "none":
                tokens += self._teach(settings, folder)
            # All processes together, until the slowest is done, without the samples of an earlier process.
            self._tokens_per_second = sum(self.rollouts.gather([tokens])) / (time.monotonic() - started)
            if self.accelerator.is_main_process:
                write_parquet(folder)
            self.accelerator.wait_for_everyone()
        folders = self._counting(round_index)
        samples = read_rounds(folders, args.num_logged_samples, stream_key(args.sampling_seed, "logged", round_index))
        if line := unspent_line(args.max_tokens_per_round, samples.tokens, args.num_steps):
            self.say(f"round {round_index}: {line}")
        return samples

    def _draw(self, chain: ChainSettings, folder: Path) -> int:
        """Samples a round; returns this process's tokens."""
        with self.drawing(scores=self.args.perplexity_model == "trained") as drawing:
            return drawing.sample(self.tasks, chain, folder, self.examples, self._starts(chain.round))

    @contextmanager
    def drawing(self, scores: bool = False) -> Iterator[Drawing]:
        """What chains are drawn with: the model in training, or `sampling_model` in its place, loaded for the block.

        Args:
            scores: Whether the model in training gives the perplexities of what another one draws.
        """
        if self._sampling is None:
            yield Drawing(self.rollouts, self._positions)
            return
        sandbox = self.rollouts.sandbox if self.rollouts.is_executing else None
        learner = Learner(self.prompts, scores, self._positions)
        with ExitStack() as stack:
            # The model in training either scores or makes room.
            scorer = stack.enter_context(self.rollouts.engine() if scores else parked(self.rollouts.model))
            rollouts = stack.enter_context(self._sampling.rollouts(self.args, self.run.root / "server", sandbox))
            yield Drawing(rollouts, self._sampling_positions, self._sampling.identity, learner, scorer)

    def _counting(self, round_index: int) -> list[Path]:
        """The folders of the rounds from whose samples a round learns."""
        first = 1 if self.args.accumulate_samples else round_index
        return [self.run.round(index) for index in range(first, round_index + 1)]

    def _starts(self, round_index: int) -> dict[str, CodeSample]:
        """By task, the program from which its chain of a round goes on.

        Without `continue_chains` these are repaired programs of tasks that no chain has solved: where a chain would start
        from the task's description in vain, it can start from them.
        """
        args = self.args
        if args.sampler != "gibbs" or not (args.continue_chains or args.distillation in ("repair", "self-repair")):
            return {}
        earlier = [self.run.round(index) for index in range(1, round_index)]
        return ends_of_chains(earlier, repairs_only=not args.continue_chains)

    def _teach(self, chain: ChainSettings, folder: Path) -> int:
        """Lets the teacher work on a sampled round; returns the tokens that it wrote for this process."""
        args = self.args
        if args.teacher_temperature is not None:
            chain = replace(chain, code_params=replace(chain.code_params, temperature=args.teacher_temperature))
        return teach(
            self.rollouts,
            self.tasks,
            chain,
            folder,
            self._teacher(chain.code_params),
            args.teaching_settings(),
        )

    def _teacher(self, params: SamplingParams) -> Teacher:
        return self.args.make_teacher(self.run.root / "teacher", params, self.accelerator.num_processes)

    def _lessons(self, round_index: int) -> list[Lesson]:
        """What is learned of what the teacher wrote, in all rounds that count."""
        args = self.args
        if args.distillation == "none":
            return []
        rounds = [read_samples(folder) for folder in self._counting(round_index)]
        key = stream_key(args.sampling_seed, round_index, "right programs")
        return lessons(args.distillation, rounds, self.tasks, args.right_share, key)

    def _piloted_temperature(self) -> float:
        """What the pilot has chosen for `temperature="auto"`, once for the run; any number if it is not asked for."""
        if self.args.temperature != "auto":
            return 1.0
        if not self._agreed(self.run.has("pilot.json")):
            results = run_pilot(self.rollouts, self.tasks, self.args.chain_settings(1, ""))
            chosen = best_temperature(results)
            self._write("pilot.json", {"temperature": chosen, "results": [one.to_record() for one in results]})
            self.say(pilot_line(results, chosen))
        return float(self.run.read("pilot.json")["temperature"])

    @timed("selection")
    def _select(self, round_index: int, samples: RoundSamples) -> list[SelectedSample]:
        pools = {} if self.args.distillation in ALONE else samples.eligible
        selected = select(pools, self.args.selection_settings(round_index))
        if self.accelerator.is_main_process:
            write_selection(self.run.round(round_index) / "selection.parquet", selected)
        self._check_targets(round_index, selected)
        return selected

    def _check_targets(self, round_index: int, selected: Sequence[SelectedSample]) -> None:
        """Runs what the targets of the round give, once for a round; those that fail are not learned."""
        name = f"round-{round_index}/targets.json"
        # Where this process shards the model, the process that samples has run them.
        if not self.args.verify or self._agreed(self.run.has(name)) or self.is_sharded:
            return
        failing = {}
        if self.rollouts.is_main:
            references = self.args.train_on_references
            taught = [SelectedSample(lesson.sample, 1.0, 1) for lesson in self._lessons(round_index)]
            targets = self.args.targets(self.prompts)
            failing = failing_targets(self.tasks, [*selected, *taught], targets, self.rollouts.sandbox, references)
        self._write(name, {"failing": [[*target, reason] for target, reason in failing.items()]})
        if failing:
            self.say(
                f"round {round_index}: {plural(len(failing), 'training target')} {agree(len(failing), 'gives', 'give')} no passing "
                f"program and {agree(len(failing), 'is', 'are')} not learned; "
                f"{self.run.root / name} says why."
            )

    def _pair(self, round_index: int, selected: Sequence[SelectedSample]) -> TrainingPairs:
        args, name = self.args, f"round-{round_index}/targets.json"
        failing = self.run.read(name)["failing"] if self.run.has(name) else []
        return training_pairs(
            self.tasks,
            selected,
            args.targets(self.prompts),
            args.max_length,
            args.train_on_references,
            completion_only=args.completion_only_loss is not False,
            unfit={(task_id, target) for task_id, target, _ in failing},
            lessons=self._lessons(round_index),
        )

    @timed("training")
    def _fine_tune(self, round_index: int, pairs: TrainingPairs, checkpoint: RoundCheckpoint | None) -> None:
        """Trains on the pairs; a round without pairs leaves the weights as they are."""
        if not pairs.pairs:
            self.say(f"round {round_index}: nothing to train on; the weights stay as they are.")
            self._write(f"round-{round_index}/untrained.json", {"pairs": 0})
            return
        resume_from = checkpoint if checkpoint and checkpoint.mark.round == round_index else None
        if resume_from is None and self.args.restart_from_base and not self.is_sharded:
            self.remember_base_weights()
            self.restore_base_weights()
        output = self.train_round(round_index, pairs, resume_from)
        self._training_loss, self._train_metrics = output.training_loss, output.metrics

    def _measure(
        self,
        round_index: int,
        samples: RoundSamples,
        selected: Sequence[SelectedSample],
        pairs: TrainingPairs,
        started: float,
    ) -> None:
        """Evaluates the round's model and writes the summary of the round; then the round is done."""
        name = f"round-{round_index}/metrics.json"
        if self._agreed(self.run.has(name)):
            return
        summary = summarise(round_index, samples, selected, pairs, len(self.tasks), self.args.max_tokens_per_round)
        self.say(summary.line(self.args.verify))
        results: dict[str, Evaluation] = {}
        if self.eval_sets:
            results = self._attempt(self.eval_sets, f"round {round_index}: evaluating", self._left_out)
            summary = summary.with_evaluations(results, self.run.read("base.json"))
            self._write(f"round-{round_index}/evaluation.json", attempts_record(results))
        summary = replace(summary, seconds={**self.clock.take(), "total": time.monotonic() - started})
        self.log(summary.logged(self._tokens_per_second))
        self._report_evaluations(results, "eval")
        self.tracking.publish(round_index, samples.chain, samples.shown, self.state.global_step)
        self._hold_if_best(round_index, summary.metrics.get("pass@1") if summary.metrics else None)
        self._write(name, summary.to_record())
        self.write_card()
        self.publisher.push_round(round_index)

    # Parts of the stages ----------------------------------------------------------------------------------------

    def _report_evaluations(self, results: Mapping[str, Evaluation], prefix: str) -> dict[str, float]:
        """Logs the figures of each set, as transformers does, and returns all of them."""
        found: dict[str, float] = {}
        for name, result in results.items():
            start = f"{prefix}_{name}" if name else prefix
            metrics = {f"{start}_{figure}": value for figure, value in result.metrics().items()}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            found |= metrics
        return found

    def _model_name(self) -> str:
        return str(self.accelerator.unwrap_model(self.model).config.name_or_path)

    def _agreed(self, seen: T) -> T:
        """Returns what this process saw in the run's folder, after every process has looked and before one writes.

        Without this barrier a slow process could see a new file, take another branch than the process that wrote the
        file, and leave that process waiting.
        """
        self.accelerator.wait_for_everyone()
        return seen

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.run.write(name, content)
        self.accelerator.wait_for_everyone()

    def say(self, line: str, file: TextIO | None = None) -> None:
        """Prints a line for people, once, beside the progress bars; on standard error if no file is given."""
        if self.accelerator.is_main_process:
            tqdm.write(self.wording.phrase(line), file=file or sys.stderr)


def _tokenizer(model: Any, given: Any, args: GiFTConfig) -> PreTrainedTokenizerBase:
    """The given tokenizer, or that of the given processor, or the model's own; TRL would take a whole processor."""
    if given is not None:
        return text_tokenizer(given)
    if isinstance(model, str):
        options = args.model_init_kwargs or {}
        trusts = bool(options.get("trust_remote_code", args.trust_remote_code))
        return load_tokenizer(model, options.get("revision"), trusts)
    return load_tokenizer(str(model.config.name_or_path), trust_remote_code=args.trust_remote_code)


def _model_type(model: Any, args: GiFTConfig) -> str:
    if not isinstance(model, str):
        return str(model.config.model_type)
    options = args.model_init_kwargs or {}
    trusts = bool(options.get("trust_remote_code", args.trust_remote_code))
    return str(load_config(model, options.get("revision"), trusts).model_type)


def _with_edits(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    args: GiFTConfig,
    tasks: Sequence[Task],
    quantization_config: BitsAndBytesConfig | None,
    peft_config: PeftConfig | None,
) -> tuple[Any, PeftConfig | None]:
    """The model and the adapter with the token of edits, which the tokenizer gets; the model is unchanged where it had it."""
    for language in sorted({task.language for task in tasks}):
        check_language(language)
    is_new = add_edit_token(tokenizer)
    if not is_new and peft_config is None:
        return model, None
    if isinstance(model, str):
        options = dict(args.model_init_kwargs or {})
        if quantization_config is not None:
            options["quantization_config"] = quantization_config
        model = load_to_train(
            model, options, args.trust_remote_code, bool(args.use_cpu), args.distributed_state.distributed_type != "NO"
        )
    if is_new:
        prompts = args.prompts(tokenizer, end_ids(model, tokenizer))
        assert isinstance(prompts, EditPrompts), "the tokenizer has the token of edits"
        add_edit_row(model, prompts)
    return model, training_edit_token(peft_config, model, tokenizer)


def _make_output_dir(args: GiFTConfig) -> None:
    """Makes the output folder, as transformers would; its error says nothing about the option."""
    folder = Path(str(args.output_dir))
    try:
        if args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("no permission")
    except OSError as error:
        raise ConfigError(
            f"output_dir={str(folder)!r} cannot be written to ({error.strerror or error}); give another folder."
        ) from error


def _refuse(arguments: Mapping[str, Any]) -> None:
    if "reward_funcs" in arguments:
        raise ConfigError(
            "reward_funcs is an argument of TRL's GRPOTrainer; here the tests of a task decide whether a program is kept; leave it "
            "out, and give each task its tests."
        )
    for name, reason in _REFUSED.items():
        value = arguments.get(name)
        if value is not None and value != (None, None):
            raise ConfigError(
                f"{name} is an argument of SFTTrainer that GiFTTrainer cannot take: {reason}; leave it out."
            )
