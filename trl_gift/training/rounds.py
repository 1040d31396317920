"""Several `train()` calls as one run: what `SFTTrainer` needs to fine-tune round after round.

Each round is one ordinary `train()` with its own data, a fresh optimizer and a fresh learning-rate schedule, so that
everything that users know about a trainer holds within a round. Across rounds the global step and the log history
continue, checkpoint numbers rise, and a checkpoint says which round it belongs to.

The one private method that this overrides is `Trainer._init_training_state` (transformers >= 5.3): there is no public
way to let `global_step` start elsewhere than at zero. A contract test guards its signature.

Several processes train as one with their batch size together: accelerate fills up the last batch of an epoch with
examples from its beginning, and these count for nothing here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import ProgressCallback, TrainerCallback, TrainerState, set_seed
from trl import SFTTrainer, pack_dataset

from trl_gift.common.files import whole_file, write_json
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.sampling.progress import no_dataset_bars
from trl_gift.training.checks import check_fills_a_batch
from trl_gift.training.pairs import TrainingPairs
from trl_gift.training.quantization import ready_for_loss_scaling

if TYPE_CHECKING:
    from trl_gift.config import GiFTConfig

_MARK = "gift_state.json"
# What accelerate sets on a model to run it in mixed precision: the wrapped method and the one that it wraps.
_FORWARD = ("forward", "_original_forward")
_IGNORED_LABEL = -100
_ADAPTER = "adapter_model.safetensors"
_ADAPTER_CONFIG = "adapter_config.json"
# What a saved adapter has in common with the one that it is loaded into; other fields only matter to training.
_OF_ADAPTER = ("peft_type", "r", "lora_alpha", "target_modules", "use_rslora", "use_dora")
_WHOLE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True, slots=True)
class RoundMark:
    """Which run and which of its rounds a checkpoint belongs to.

    Attributes:
        run: The key of the run.
        round: The round, from 1.
        offset: The global step at which the round's training began.
        is_end: Whether the checkpoint was taken after the round's last step.
    """

    run: str
    round: int
    offset: int
    is_end: bool


@dataclass(frozen=True, slots=True)
class RoundCheckpoint:
    """A checkpoint of a run with its mark."""

    path: Path
    mark: RoundMark

    @property
    def step(self) -> int:
        """The global step after which it was taken."""
        return int(self.path.name.removeprefix("checkpoint-"))

    def is_end_of(self, round_index: int) -> bool:
        """Whether it was taken after the last step of this round."""
        return self.mark.round == round_index and self.mark.is_end


class RoundTrainer(SFTTrainer):
    """`SFTTrainer` that can be trained several times in a row as one run.

    Attributes:
        run_key: The key of the run, which its checkpoints carry.
    """

    model: Any
    run_key: str = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._round = 0
        self._round_offset = 0
        self._first_step = 0
        self._base_weights: dict[str, torch.Tensor] | None = None
        self._has_trained = False
        self._own_forward = {"forward": vars(self.model)["forward"]} if "forward" in vars(self.model) else {}
        if self.args.fp16:
            ready_for_loss_scaling(self.model)
        self._trained_dtypes = {name: parameter.dtype for name, parameter in self._trainable_parameters()}
        self.add_callback(_MarkCheckpoints(self))

    def train_round(self, round_index: int, pairs: TrainingPairs, resume_from: RoundCheckpoint | None) -> Any:
        """Fine-tunes on the pairs of one round.

        Args:
            round_index: The round, from 1.
            pairs: Its training pairs, not empty.
            resume_from: A checkpoint of this round; one from its end trains nothing and restores the weights.

        Returns:
            The `TrainOutput` of transformers.

        Raises:
            ResumeError: for sharded weights that this process has already trained and that no checkpoint replaces.
            ConfigError: if `dataloader_drop_last` leaves no batch.
        """
        if self.is_sharded and self._has_trained and resume_from is None:
            raise ResumeError(
                f"this process has trained already, and the base weights that round {round_index} starts from cannot be "
                "restored under DeepSpeed or FSDP; start a new process, and there use resume_from_checkpoint=True."
            )
        examples = self._examples(pairs)
        check_fills_a_batch(self.args, len(examples), self.accelerator.num_processes, f"round {round_index} has")
        self.remember_base_weights()
        self._has_trained = True
        self._round = round_index
        self._round_offset = resume_from.mark.offset if resume_from else self.state.global_step
        self.train_dataset = examples
        self._forget_optimizer()
        # The sampler reads the global seed; without this a resumed round would see another order.
        set_seed(self.args.seed + round_index)
        return SFTTrainer.train(self, resume_from_checkpoint=str(resume_from.path) if resume_from else None)

    def _examples(self, pairs: TrainingPairs) -> Dataset:
        """A dataset with the pre-tokenised columns that SFTTrainer documents, shuffled and packed as it does with its own."""
        args = self.args
        examples = Dataset.from_dict(pairs.columns())
        if args.shuffle_dataset:
            examples = examples.shuffle(seed=args.seed)
        if args.packing:
            with no_dataset_bars():
                examples = pack_dataset(
                    examples, args.max_length, args.packing_strategy, {"num_proc": args.dataset_num_proc}
                )
        return examples

    @property
    def is_sharded(self) -> bool:
        """Whether training spreads the weights over processes (DeepSpeed, FSDP)."""
        return bool(self.is_deepspeed_enabled or self.is_fsdp_enabled)

    def enter_after(self, checkpoint: RoundCheckpoint, weights: bool = True) -> None:
        """Continues where another process has ended a round: with its step count and history, and with its weights.

        Args:
            checkpoint: One from the end of a round.
            weights: Whether to take the weights too.

        Raises:
            ResumeError: for a checkpoint without whole weights.
        """
        state = TrainerState.load_from_json(str(checkpoint.path / "trainer_state.json"))
        self.state.global_step, self.state.epoch = state.global_step, state.epoch
        self.state.log_history = state.log_history
        self._round, self._round_offset = checkpoint.mark.round, checkpoint.mark.offset
        if weights:
            self.remember_base_weights()
            self.load_weights(checkpoint)

    def check_adapter(self, checkpoint: RoundCheckpoint) -> None:
        """Checks that a checkpoint is of the kind of model in training: the same adapter, or whole weights.

        Raises:
            ResumeError: if it is not; loading it would fail deep in a library, or scale the adapter by another factor.
        """
        model = self.accelerator.unwrap_model(self.model)
        named = model.active_adapters[0] if isinstance(model, PeftModel) else ""
        files = [checkpoint.path / _ADAPTER_CONFIG, checkpoint.path / named / _ADAPTER_CONFIG]
        found = next((file for file in files if file.is_file()), None)
        refused = f"cannot continue the run in {checkpoint.path.parent}: "
        if found is None:
            if named and any((checkpoint.path / name).exists() for name in _WHOLE_WEIGHTS):
                raise ResumeError(
                    f"{refused}it trains whole weights and peft_config asks for an adapter now; leave that out, or give another "
                    "output_dir."
                )
            return
        if not named:
            raise ResumeError(
                f"{refused}it trains an adapter and now there is none; give its peft_config, or another output_dir."
            )
        saved, now = json.loads(found.read_text(encoding="utf-8")), model.peft_config[named].to_dict()
        for key in _OF_ADAPTER:
            before, after = (
                sorted(value) if isinstance(value := config.get(key), list | set) else value for config in (saved, now)
            )
            if before != after:
                raise ResumeError(
                    f"{refused}{key} of its adapter was {before} and is now {after}; put it back, or give another output_dir."
                )

    def load_weights(self, checkpoint: RoundCheckpoint) -> None:
        """Takes the trained weights of a checkpoint, and nothing else of it.

        With `load_best_model_at_end`, the checkpoint at the end of a round names the one whose weights the round ended with.

        Raises:
            ResumeError: for a checkpoint without whole weights.
        """
        if self.args.load_best_model_at_end and checkpoint.mark.is_end:
            state = TrainerState.load_from_json(str(checkpoint.path / "trainer_state.json"))
            checkpoint = replace(checkpoint, path=Path(state.best_model_checkpoint or checkpoint.path))
        model = self.accelerator.unwrap_model(self.model)
        named = model.active_adapters[0] if isinstance(model, PeftModel) else ""
        # An adapter that is not named "default" has a folder of its own.
        adapters = [folder for folder in (checkpoint.path, checkpoint.path / named) if (folder / _ADAPTER).exists()]
        if named and adapters:
            from peft import load_peft_weights, set_peft_model_state_dict  # slow to import

            # Not `load_adapter`, which turns adapters of 16 bits into 32.
            set_peft_model_state_dict(model, load_peft_weights(str(adapters[0]), device="cpu"), adapter_name=named)
        elif any((checkpoint.path / name).exists() for name in _WHOLE_WEIGHTS):
            # By way of the class, which knows how the names in a file differ from those in memory.
            saved = type(self.model).from_pretrained(checkpoint.path, dtype="auto")
            self.model.load_state_dict(saved.state_dict())
        else:
            raise ResumeError(
                f"{checkpoint.path} has no whole weights to sample with; let the sharded training save them: "
                "fsdp_state_dict_type: FULL_STATE_DICT (FSDP) or zero3_save_16bit_model: true (DeepSpeed ZeRO-3)."
            )

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        """The batches of one step, as in transformers; examples that only fill up the last one are not learned."""
        return super().get_batch_samples(map(self._without_fill, epoch_iterator), num_batches, device)

    def _without_fill(self, batch: Any) -> Any:
        loader = self.accelerator.gradient_state
        count = self.accelerator.num_processes
        if count > 1 and loader.end_of_dataloader and loader.remainder > 0 and not self.padding_free:
            size = len(batch["labels"])
            real = loader.remainder - size * self.accelerator.process_index
            batch["labels"][max(real, 0) :] = _IGNORED_LABEL
        return batch

    def begin_again(self) -> None:
        """Resets weights, step count and history to those that the trainer was made with.

        A trainer that continues a run, after an interrupt in a notebook for example, then does what a new one would do.
        Weights that are sharded stay as they are; `train_round` refuses to start from them.
        """
        if self._base_weights is not None:
            self.restore_base_weights()
        self._round = self._round_offset = self._first_step = 0
        self.state.global_step, self.state.epoch, self.state.log_history = 0, None, []
        self.state.best_metric = self.state.best_global_step = self.state.best_model_checkpoint = None

    def remember_base_weights(self) -> None:
        """Copies the trainable weights to the CPU before they first change; `restore_base_weights` puts them back.

        Not with sharded weights, of which this process has only a part.
        """
        if self._base_weights is None and not self.is_sharded:
            self._base_weights = self.copy_weights()

    def restore_base_weights(self) -> None:
        """Puts the remembered weights back."""
        assert self._base_weights is not None, "remember_base_weights comes first"
        self.put_weights(self._base_weights)

    def write_weights(self, path: Path, round_index: int) -> None:
        """Writes the trainable weights of a round into a file, whole or not at all; to be called on the main process."""
        with whole_file(path) as temporary:
            torch.save({"round": round_index, "weights": self.copy_weights()}, temporary)

    def read_weights(self, path: Path, round_index: int) -> bool:
        """Takes the weights that `write_weights` has written for this round; returns whether there are any."""
        if not path.is_file():
            return False
        content = torch.load(path, weights_only=True, map_location="cpu")
        if content["round"] != round_index:
            return False
        self.put_weights(content["weights"])
        return True

    def copy_weights(self) -> dict[str, torch.Tensor]:
        """The trainable weights as they are now, copied to the CPU."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self._trainable_parameters()}

    @torch.no_grad()
    def put_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Writes weights in place, so that wrappers around the model notice nothing."""
        for name, parameter in self._trainable_parameters():
            parameter.copy_(weights[name])

    def release_memory_for_sampling(self) -> None:
        """Drops the optimizer and what still refers to it; its moments are never used by another round."""
        self._forget_optimizer()
        self.callback_handler.optimizer = None
        self.callback_handler.lr_scheduler = None
        self.callback_handler.train_dataloader = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @contextmanager
    def own_precision(self) -> Iterator[None]:
        """The model with its own forward pass, for sampling and measuring.

        Training leaves autocast around `forward` for good (accelerate wraps a model once). Without this context, samples
        before and after the first round would come from different arithmetic. `Accelerator.unwrap_model` removes
        too much: also the forward pass that SFTTrainer has set for its loss.
        """
        attributes = self.model.__dict__
        trained = {name: attributes.pop(name) for name in _FORWARD if name in attributes}
        attributes.update(self._own_forward)
        try:
            yield
        finally:
            attributes.pop("forward", None)
            attributes.update(trained)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs with the round, since `epoch` begins anew in each; 0 is the base model.

        For the speeds in the summary of a `train()`, transformers takes the steps of all rounds so far into account;
        those of this one are set in their place. A `train()` that only restored a round that had ended has nothing to sum up.
        """
        logs["round"] = self._round
        if "train_samples_per_second" in logs:
            if self.state.global_step == self._first_step:
                return
            seconds = logs["train_runtime"]
            logs["train_samples_per_second"] = round(self._trained_samples() / seconds, 3)
            logs["train_steps_per_second"] = round((self.state.global_step - self._first_step) / seconds, 3)
        super().log(logs, start_time)

    def _trained_samples(self) -> float:
        """Samples that this `train()` went through."""
        args, steps = self.args, self.state.global_step - self._first_step
        if args.max_steps > 0:
            return float(steps * args.train_batch_size * args.gradient_accumulation_steps * args.world_size)
        whole = self.state.max_steps - self._round_offset
        return float(len(self.train_dataset) * args.num_train_epochs * steps / whole)

    def _forget_optimizer(self) -> None:
        # Adam's moments would survive into the next `train()` otherwise.
        self.optimizer = None
        self.lr_scheduler = None

    def _trainable_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        model = self.accelerator.unwrap_model(self.model)
        return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        history = self.state.log_history
        super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is not None:
            self._restore_dtypes()
        else:
            self.state.global_step = self._round_offset
            self.state.log_history = history
        self.state.max_steps = self._round_offset + max_steps
        self._first_step = self.state.global_step
        local_step = self.state.global_step - self._round_offset
        epochs_trained = local_step // num_update_steps_per_epoch
        if self.args.ignore_data_skip:
            return epochs_trained, 0
        steps_in_epoch = local_step % num_update_steps_per_epoch * self.args.gradient_accumulation_steps
        return epochs_trained, steps_in_epoch

    def _restore_dtypes(self) -> None:
        """Undoes peft's cast of loaded 16-bit adapters to 32; must come before the optimizer takes the parameters."""
        for name, parameter in self._trainable_parameters():
            parameter.data = parameter.data.to(self._trained_dtypes[name])

    def _mark(self) -> RoundMark:
        return RoundMark(self.run_key, self._round, self._round_offset, self.state.global_step >= self.state.max_steps)


def check_sharded(args: GiFTConfig, state: Any) -> None:
    """Checks that a run under DeepSpeed or FSDP can work.

    Args:
        args: The run's options.
        state: The accelerator's state, with the settings of the sharding.

    Raises:
        ConfigError: for a run that cannot.
    """
    if not args.one_round_per_process:
        raise ConfigError(
            "DeepSpeed and FSDP shard the weights that every round starts from, so rounds cannot follow each other in "
            "one process; set one_round_per_process=True and use `trl-gift train --accelerate_config FILE`, or "
            "launch with plain data parallelism (DDP)."
        )
    if not args.restart_from_base:
        raise ConfigError(
            "restart_from_base=False cannot work with DeepSpeed or FSDP: each training process starts from the base "
            "weights; leave it True, or launch with plain data parallelism (DDP)."
        )
    deepspeed, fsdp = state.deepspeed_plugin, vars(state).get("fsdp_plugin")  # the latter is only there under FSDP
    if deepspeed is not None and deepspeed.zero_stage == 3 and not deepspeed.zero3_save_16bit_model:
        raise ConfigError(
            "DeepSpeed ZeRO-3 without zero3_save_16bit_model saves no whole weights to sample with; set "
            "zero3_save_16bit_model: true in the accelerate config."
        )
    if fsdp is not None and "FULL_STATE_DICT" not in str(fsdp.state_dict_type):
        raise ConfigError(
            f"FSDP with fsdp_state_dict_type {fsdp.state_dict_type} saves no whole weights to sample with; set "
            "fsdp_state_dict_type: FULL_STATE_DICT in the accelerate config."
        )


def read_checkpoint(path: Path, run: str | None = None) -> RoundCheckpoint | None:
    """A checkpoint; None if it is not complete, because it was being written when a process died, or is of another run.

    Args:
        path: Its folder.
        run: The key of the run; None for a checkpoint of any run.
    """
    if not path.name.removeprefix("checkpoint-").isdigit() or not (path / _MARK).is_file():
        return None
    mark = json.loads((path / _MARK).read_text(encoding="utf-8"))
    found = RoundCheckpoint(path, RoundMark(mark.get("run", ""), mark["round"], mark["offset"], mark["is_end"]))
    return found if run is None or found.mark.run == run else None


def end_checkpoint(output_dir: str | Path, run: str, round_index: int) -> RoundCheckpoint | None:
    """The checkpoint of a run from the end of a round; None if it is not on disk (any more)."""
    found = [read_checkpoint(path, run) for path in Path(output_dir).glob("checkpoint-*")]
    return next((item for item in found if item and item.is_end_of(round_index)), None)


def last_checkpoint(output_dir: str | Path, run: str | None = None) -> RoundCheckpoint | None:
    """The latest complete checkpoint of a run.

    Args:
        output_dir: The run's folder.
        run: The key of the run; None for checkpoints of any run.
    """
    found = [read_checkpoint(path, run) for path in Path(output_dir).glob("checkpoint-*")]
    return max((item for item in found if item), key=lambda item: item.step, default=None)


class _MarkCheckpoints(TrainerCallback):
    """Names the round on the training bar, saves at the end of every round, marks each checkpoint once all of it is on disk."""

    def __init__(self, trainer: RoundTrainer) -> None:
        self._trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for callback in self._trainer.callback_handler.callbacks:
            if isinstance(callback, ProgressCallback) and callback.training_bar is not None:
                callback.training_bar.set_description(f"round {self._trainer._round}: training")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if state.global_step >= state.max_steps and args.save_strategy != "no":
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            os.makedirs(folder, exist_ok=True)
            write_json(folder / _MARK, asdict(self._trainer._mark()))
