"""`GiFTTrainer`: Gibbs Fine-Tuning as a trainer. The round loop is `train`; each stage is a module of its own.

Source: "GiFT: Gibbs Fine-Tuning for Code Generation" (arXiv 2502.11466). Every round samples codes with the current
model, executes them, selects by perplexity and fine-tunes, by default from the base weights again, on the codes of all
rounds so far.

An in-place reset to the base weights does not reach the sharded weights of DeepSpeed and FSDP. With them a round takes
two processes (`one_round_per_process`): one that samples with whole weights, and one that trains from the base weights
as they were loaded.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from accelerate.utils import gather_object
from datasets import Dataset
from transformers import set_seed

from trl_gift import evaluation
from trl_gift.common.clock import StageClock, timed
from trl_gift.common.randomness import stream_key
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.evaluation.attempts import Evaluation
from trl_gift.generating import GeneratingTrainer
from trl_gift.generation.compact import refuse_other_attention
from trl_gift.generation.generate import end_ids
from trl_gift.hub.publisher import dataset_origin
from trl_gift.run.drift import view_round
from trl_gift.run.figures import logged_figures, round_figures, round_line
from trl_gift.run.folder import RunFolder, describe_run, write_selection
from trl_gift.run.harvest import Harvest, harvest
from trl_gift.run.tracking import RunIdentity, Tracking
from trl_gift.sampling.progress import no_dataset_bars
from trl_gift.sampling.store import is_complete, write_parquet
from trl_gift.sandbox import Sandbox
from trl_gift.tasks import Task, tasks_from_rows
from trl_gift.tasks.decontamination import clean
from trl_gift.training.loading import check_model, check_quantization
from trl_gift.training.pairs import TrainingPairs, training_pairs
from trl_gift.training.quantization import keep_trainable_after_sampling
from trl_gift.training.rounds import RoundCheckpoint, check_sharded, last_checkpoint
from trl_gift.training.selection import SelectedCode, select

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

Tasks = Iterable[Task | Mapping[str, Any]]


# What SFTTrainer takes and a run of rounds cannot: a script that is carried over hears why.
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


class GiFTTrainer(GeneratingTrainer):
    """Self-training of a code model on its own verified code.

    Args:
        model: As for `SFTTrainer`: a model, or a name or path.
        args: The options; `GiFTConfig("gift-output")` if not given.
        train_dataset: The seed tasks: tasks from `load_tasks`, or a dataset in a known format. Those that overlap with
            `eval_dataset` are left out, see `decontaminate`.
        eval_dataset: Tasks to measure on; never sampled for training.
        processing_class: The tokenizer; loaded with the model if not given.
        callbacks: As for `SFTTrainer`.
        quantization_config: As for `SFTTrainer`; with `peft_config` for 4-bit LoRA.
        peft_config: As for `SFTTrainer`.
        sandbox: Runs the programs; by default a `LocalSandbox(in_process=False)` with the options' limits. A given one is
            not closed.
        others: `optimizer_cls_and_kwargs`, as for `SFTTrainer`.

    Raises:
        TaskError: for a row that is no valid task.
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

    _tag_names = ("trl", "gift")
    _name = "GiFT"

    args: GiFTConfig
    control: Any

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: GiFTConfig | None = None,
        train_dataset: Tasks | None = None,
        eval_dataset: Tasks | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: list[TrainerCallback] | None = None,
        quantization_config: BitsAndBytesConfig | None = None,
        peft_config: PeftConfig | None = None,
        sandbox: Sandbox | None = None,
        **others: Any,
    ) -> None:
        _refuse(others)
        if train_dataset is None:
            raise ConfigError("train_dataset is missing; give the seed tasks, such as load_tasks('mbpp').")
        args = args or GiFTConfig("gift-output")
        if not isinstance(args, GiFTConfig):
            raise ConfigError(f"args is a {type(args).__name__}; give a GiFTConfig, which takes the same options.")
        if isinstance(model, str):
            name = str(model)
            check_model(name, args.model_init_kwargs or {}, args.trust_remote_code, processing_class is None)
            check_quantization(quantization_config, peft_config)
        self.eval_tasks = tasks_from_rows(eval_dataset, "eval_dataset") if eval_dataset is not None else []
        seeds = tasks_from_rows(train_dataset, "train_dataset", require_tests=args.verify)
        self.cleaning = clean(seeds, self.eval_tasks, args.cleaning_settings())
        self.tasks = list(self.cleaning.kept)
        # SFTTrainer seeds only after it has built the adapter, and a run that goes on needs the very same one.
        set_seed(args.seed)
        # SFTTrainer wants data at construction; each round brings its own in this same pre-tokenised form.
        placeholder = Dataset.from_dict({"input_ids": [[0, 0]], "labels": [[-100, 0]]})
        with no_dataset_bars():
            super().__init__(
                model=model,
                args=args,
                train_dataset=placeholder,
                eval_dataset=placeholder if self.eval_tasks else None,
                processing_class=processing_class,
                callbacks=callbacks,
                quantization_config=quantization_config,
                peft_config=peft_config,
                **others,
            )
        if self.is_sharded:
            check_sharded(args, self.accelerator.state)
        if args.sampler == "hinted" and args.hint == "reference" and not any(task.reference for task in self.tasks):
            raise ConfigError(
                f"hint='reference' shows reference solutions, and none of the {len(self.tasks)} tasks has one; use "
                "hint='failing_test'."
            )
        keep_trainable_after_sampling(self.model)
        if args.generation_engine == "server":
            args.server_options().check(self.model)
        model_now = self.accelerator.unwrap_model(self.model)
        if args.generation_engine == "compact":
            refuse_other_attention(model_now)
        self.prompts = args.prompts(self.processing_class, end_ids(model_now, self.processing_class))
        self.run = RunFolder(args.output_dir)
        self.tracking = Tracking(self.callback_handler.callbacks, args, self.accelerator.is_main_process)
        self.clock = StageClock()
        self._tokens_per_second: float | None = None
        if line := self.cleaning.line():
            self.say(line)
        self.dataset_name, self.eval_dataset_name = dataset_origin(train_dataset), dataset_origin(eval_dataset)
        self._given_sandbox = sandbox
        self._sandbox: Sandbox | None = sandbox
        self._training_loss = 0.0
        self._train_metrics: dict[str, float] = {}

    def train(self, resume_from_checkpoint: str | bool | None = None) -> GiFTTrainOutput:
        """Runs all rounds: sample, execute, select, fine-tune, evaluate.

        Args:
            resume_from_checkpoint: True to continue the run in `output_dir` from wherever it stopped (or to begin, if
                it has not); the path of one of its checkpoints to continue from there.

        Returns:
            As from any trainer, with the metrics of each round besides.

        Raises:
            ResumeError: if `output_dir` holds a run and `resume_from_checkpoint` is not set, or the run there was
                another; under DeepSpeed or FSDP, if the next round is not sampled yet.
        """
        if self.is_sharded:
            self._train_sampled_round(self._begin(resume_from_checkpoint))
            return self._end()
        with self.executing(self.args.verify or bool(self.eval_tasks)):
            checkpoint = self._begin(resume_from_checkpoint)
            if self.args.restart_from_base:
                self.remember_base_weights()
            self._evaluate_base()
            for round_index in self._rounds_to_run(checkpoint):
                started = time.monotonic()
                samples = self._sample(round_index)
                selected = self._select(round_index, samples)
                pairs = self._pair(selected)
                self._fine_tune(round_index, pairs, checkpoint)
                self._conclude(round_index, samples, selected, pairs, started)
        return self._end()

    def sample(self, resume_from_checkpoint: str | bool | None = None) -> Path:
        """Samples, executes and selects the codes of the first round, and stops before training.

        With `one_round_per_process` it is the next round's turn, by the weights that the last one left, which are
        measured first if that is still owed.

        Args:
            resume_from_checkpoint: True to continue the sampling in `output_dir`. `train` goes on from what this
                leaves in the same way.

        Returns:
            The folder of the round; of the last one, if no more are to come.
        """
        with self.executing(self.args.verify):
            checkpoint = self._begin(resume_from_checkpoint)
            round_index = 1
            if self.args.one_round_per_process:
                self._evaluate_base()
                round_index = self._catch_up(checkpoint)
                self.tracking.close(self.args, self.state, self.control)
                self.finish_pushes()
            if round_index > self.args.num_rounds:
                return self.run.round(self.args.num_rounds)
            samples = self._sample(round_index)
            self._select(round_index, samples)
        without = len(self.tasks) - len(samples.eligible)
        kind = "passing code" if self.args.verify else "code; none was run (verify=False)"
        self.say(f"{without} of {len(self.tasks)} seeds have no {kind}.")
        return self.run.round(round_index)

    @property
    def is_finished(self) -> bool:
        """Whether all rounds are trained and measured."""
        return self._next_round() > self.args.num_rounds

    def evaluate(
        self,
        eval_dataset: Tasks | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """pass@1 of greedy codes and, with `eval_num_generations`, the unbiased pass@k of sampled ones.

        Args:
            eval_dataset: Tasks to measure on; those of the trainer if not given.
            ignore_keys: Not used; part of the method's signature in transformers.
            metric_key_prefix: Begins each key.

        Returns:
            `eval_pass@1`, the bounds of its 95 % interval `eval_pass@1_low` and `eval_pass@1_high`, and
            `eval_sampled_pass@k` likewise.
        """
        tasks = self.eval_tasks if eval_dataset is None else tasks_from_rows(eval_dataset, "eval_dataset")
        if not tasks:
            raise ConfigError("there is nothing to evaluate on; give eval_dataset.")
        result = self.attempt(tasks, "evaluating")
        with self._tracked_apart():
            return self._report_evaluation(result, metric_key_prefix)

    # Stages -----------------------------------------------------------------------------------------------------

    def _begin(self, resume_from_checkpoint: str | bool | None) -> RoundCheckpoint | None:
        description = describe_run(self.args.gift_options(), self._model_name(), self.tasks, self.eval_tasks)
        exists = self._agreed(self.run.exists)
        if isinstance(resume_from_checkpoint, str) and not exists:
            raise ResumeError(
                f"resume_from_checkpoint={resume_from_checkpoint!r}, and {self.args.output_dir} holds no run; give the "
                "output_dir that the checkpoint belongs to, or leave it out to begin a run."
            )
        checkpoint = None
        if resume_from_checkpoint and exists:
            self.run.check_continuable(description)
            checkpoint = last_checkpoint(self.args.output_dir)
            if isinstance(resume_from_checkpoint, str):
                checkpoint = last_checkpoint(self.args.output_dir, Path(resume_from_checkpoint).name)
                if checkpoint is None:
                    raise ResumeError(
                        f"{resume_from_checkpoint!r} is no complete checkpoint of the run in "
                        f"{self.args.output_dir}; use resume_from_checkpoint=True for the latest one."
                    )
        elif exists or self.accelerator.is_main_process:
            self.run.start(description)
        if self.accelerator.is_main_process and not self.run.has("decontamination.json"):
            self.run.write("decontamination.json", self.cleaning.record())
        self.accelerator.wait_for_everyone()
        self._track(checkpoint, continued=bool(resume_from_checkpoint and exists))
        return checkpoint

    def _track(self, checkpoint: RoundCheckpoint | None, continued: bool) -> None:
        """Gives the run the name that its trackers know it by, or will."""
        key = self.run.key
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

    def _next_round(self) -> int:
        """The first round that is not concluded."""
        done = (index for index in count(1) if not self.run.has(f"round-{index}/metrics.json"))
        return next(done)

    def _rounds_to_run(self, checkpoint: RoundCheckpoint | None) -> range:
        """All rounds from the checkpoint's on; with `one_round_per_process` the next one, if there is one."""
        last = self.args.num_rounds
        if not self.args.one_round_per_process:
            return range(checkpoint.mark.round if checkpoint else 1, last + 1)
        upcoming = self._next_round()
        if checkpoint and checkpoint.mark.round < upcoming:
            self.enter_after(checkpoint)
        return range(upcoming, min(upcoming, last) + 1)

    def _catch_up(self, checkpoint: RoundCheckpoint | None) -> int:
        """Takes on what the last trained round left, and measures it if that is owed; returns the round that comes."""
        upcoming = self._next_round()
        if checkpoint and checkpoint.mark.is_end:
            self.enter_after(checkpoint)
        if not is_complete(self.run.round(upcoming)):
            return upcoming
        started = time.monotonic()
        samples = self._sample(upcoming)
        selected = self._select(upcoming, samples)
        pairs = self._pair(selected)
        if pairs.pairs and not (checkpoint and checkpoint.mark.is_end and checkpoint.mark.round == upcoming):
            return upcoming
        self._conclude(upcoming, samples, selected, pairs, started)
        return upcoming + 1

    def _train_sampled_round(self, checkpoint: RoundCheckpoint | None) -> None:
        """The second half of a round, from the base weights; `sample` measures what it leaves."""
        upcoming = self._next_round()
        if upcoming > self.args.num_rounds:
            return
        if not is_complete(self.run.round(upcoming)):
            raise ResumeError(
                f"round {upcoming} is not sampled yet, and DeepSpeed and FSDP cannot sample; call trainer.sample("
                "resume_from_checkpoint=True) in processes without them first, or let `trl-gift train "
                "--accelerate_config FILE --one_round_per_process true` do both in turn."
            )
        if checkpoint and checkpoint.mark.is_end:
            if checkpoint.mark.round == upcoming:
                return
            self.enter_after(checkpoint, weights=False)
        self._fine_tune(upcoming, self._pair(self._select(upcoming, self._sample(upcoming))), checkpoint)

    def _end(self) -> GiFTTrainOutput:
        self.tracking.close(self.args, self.state, self.control)
        self.finish_pushes()
        rounds = [self.run.read(f"round-{index}/metrics.json") for index in range(1, self._next_round())]
        return GiFTTrainOutput(self.state.global_step, self._training_loss, dict(self._train_metrics), rounds)

    def _evaluate_base(self) -> None:
        """Measures the untrained model, against which every round is compared."""
        if self.eval_tasks and not self._agreed(self.run.has("base.json")):
            result = self.attempt(self.eval_tasks, "evaluating base")
            self._write("base.json", {"metrics": result.metrics(), "greedy": result.greedy})
            self._report_evaluation(result, "eval")
        self.clock.take()  # no round's time

    @timed("sampling")
    def _sample(self, round_index: int) -> Harvest:
        """Samples and executes the codes of a round; returns what the rounds that count have given."""
        folder = self.run.round(round_index)
        self._round, self._tokens_per_second = round_index, None
        if not is_complete(folder):
            self.release_memory_for_sampling()
            started = time.monotonic()
            tokens = self.sample_chains(round_index, folder)
            # Of all processes, until the slowest is done; without what an earlier process had sampled.
            self._tokens_per_second = sum(gather_object([tokens])) / (time.monotonic() - started)
            if self.accelerator.is_main_process:
                write_parquet(folder)
            self.accelerator.wait_for_everyone()
        first = 1 if self.args.accumulate_samples else round_index
        return harvest([self.run.round(index) for index in range(first, round_index + 1)])

    @timed("selection")
    def _select(self, round_index: int, samples: Harvest) -> list[SelectedCode]:
        selected = select(samples.eligible, self.args.selection_settings(round_index))
        if self.accelerator.is_main_process:
            write_selection(self.run.round(round_index) / "selection.parquet", selected)
        return selected

    def _pair(self, selected: Sequence[SelectedCode]) -> TrainingPairs:
        args = self.args
        return training_pairs(self.tasks, selected, self.prompts, args.max_length, args.train_on_references)

    @timed("training")
    def _fine_tune(self, round_index: int, pairs: TrainingPairs, checkpoint: RoundCheckpoint | None) -> None:
        """Trains on the pairs; a round without any leaves the weights as they are."""
        if not pairs.pairs:
            self.say(f"round {round_index}: nothing to train on; the weights stay as they are.")
            return
        resume_from = checkpoint if checkpoint and checkpoint.mark.round == round_index else None
        if resume_from is None and self.args.restart_from_base and not self.is_sharded:
            self.restore_base_weights()
        output = self.train_round(round_index, pairs, resume_from)
        self._training_loss, self._train_metrics = output.training_loss, output.metrics

    def _conclude(
        self,
        round_index: int,
        samples: Harvest,
        selected: Sequence[SelectedCode],
        pairs: TrainingPairs,
        started: float,
    ) -> None:
        """Measures the round, logs its figures and writes them down; then the round is done."""
        name = f"round-{round_index}/metrics.json"
        if self._agreed(self.run.has(name)):
            return
        key = stream_key(self.args.sampling_seed, "logged", round_index)
        view = view_round(self.run.round(round_index), self.args.num_logged_samples, key)
        figures = round_figures(round_index, samples, selected, pairs, len(self.tasks))
        self.say(round_line(figures, self.args.verify))
        content: dict[str, Any] = {**figures, "mean_perplexity": view.mean_perplexity, "chain": view.to_records()}
        content["verdicts"] = samples.verdicts.to_dict()
        result = None
        if self.eval_tasks:
            result = self.attempt(self.eval_tasks, f"round {round_index}: evaluating")
            content["metrics"] = result.metrics()
            content["greedy"] = result.greedy
            before = self.run.read("base.json")["greedy"]
            difference, interval = evaluation.paired_difference(result.greedy, before)
            content["gain"] = {"pass@1": difference, "low": interval[0], "high": interval[1]}
            if self.accelerator.is_main_process:
                attempts = [attempt.to_record() for attempt in result.attempts]
                self.run.write(f"round-{round_index}/evaluation.json", {"attempts": attempts})
        content["seconds"] = {**self.clock.take(), "total": time.monotonic() - started}
        self.log(logged_figures(content, self._tokens_per_second))
        if result:
            self._report_evaluation(result, "eval")
        self.tracking.publish(round_index, view.steps, view.shown, self.state.global_step)
        self._write(name, content)
        self.push_round(round_index)

    # Parts of the stages ----------------------------------------------------------------------------------------

    def _report_evaluation(self, result: Evaluation, prefix: str) -> dict[str, float]:
        metrics = {f"{prefix}_{name}": value for name, value in result.metrics().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _model_name(self) -> str:
        return str(self.accelerator.unwrap_model(self.model).config.name_or_path)

    def _agreed(self, seen: bool) -> bool:
        """What this process has seen of the run's folder, once every process has looked and before one writes to it.

        A slow process would otherwise see the new file, take another way than the one that wrote it, and leave it
        waiting.
        """
        self.accelerator.wait_for_everyone()
        return seen

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.run.write(name, content)
        self.accelerator.wait_for_everyone()


def _refuse(arguments: Mapping[str, Any]) -> None:
    for name, reason in _REFUSED.items():
        value = arguments.get(name)
        if value is not None and value != (None, None):
            raise ConfigError(
                f"{name} is an argument of SFTTrainer that GiFTTrainer cannot take: {reason}; leave it out."
            )
