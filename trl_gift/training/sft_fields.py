"""Every option of `SFTConfig`, and what it does here: one table, from which checks, records and the documentation come.

A round is one `train()` of `SFTTrainer`, so most options keep their meaning within each round. Some cannot: a round's rows are
token ids that are made here, the evaluation executes programs and has no loss, and each round starts from weights, an
optimizer and a forward pass that no earlier round may have changed. An option that would be accepted and then do nothing is
refused when the config is made.

Options that only some of the supported releases have are listed, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import Enum, StrEnum
from typing import Any

from trl import SFTConfig

from trl_gift.errors import ConfigError


class Kind(StrEnum):
    """What an option of `SFTConfig` does in a run of rounds."""

    HONOURED = "honoured"
    PER_ROUND = "per round"
    REFUSED = "refused"
    NO_EFFECT = "no effect"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Values that an option cannot have here.

    Attributes:
        values: The values, in words, for the documentation.
        reason: Why.
        fix: What to do instead, as an order.
        applies: Whether the value of the option, in this config, is refused.
    """

    values: str
    reason: str
    fix: str
    applies: Callable[[Any, SFTConfig], bool]


@dataclass(frozen=True, slots=True)
class SFTField:
    """One option.

    Attributes:
        name: Its name.
        kind: What it does here. With `REFUSED`, only the default of `SFTConfig` is accepted.
        text: What differs from `SFTTrainer`, in sentences; empty if nothing does.
        refusals: The values that are refused.
        shapes_weights: Whether the weights that a round ends with depend on it. Such an option is recorded with the run; when
            a run is resumed, a changed value is announced.
    """

    name: str
    kind: Kind
    text: str = ""
    refusals: tuple[Refusal, ...] = ()
    shapes_weights: bool = False


def check_sft_fields(config: SFTConfig) -> None:
    """Checks each option against the table. To be called before `SFTConfig.__post_init__` changes values.

    Raises:
        ConfigError: for a value that is refused; one line with the value, the reason and the fix.
    """
    for item in fields(SFTConfig):
        entry = SFT_FIELDS.get(item.name)
        value = getattr(config, item.name)
        for refusal in entry.refusals if entry else ():
            if refusal.applies(value, config):
                raise ConfigError(f"{item.name}={_shown(value)}: {refusal.reason}; {refusal.fix}.")


def _shown(value: Any) -> str:
    return repr(value.value if isinstance(value, Enum) else value)


def _default(name: str) -> Any:
    item = next(item for item in fields(SFTConfig) if item.name == name)
    return item.default if item.default_factory is MISSING else item.default_factory()


def _hooks_weights(optimizer: str) -> bool:
    return optimizer.endswith("_layerwise") or optimizer in ("lomo", "adalomo")


def _as(kind: Kind, *names: str, text: str = "", shapes_weights: bool = False) -> list[SFTField]:
    return [SFTField(name, kind, text, shapes_weights=shapes_weights) for name in names]


def _same(*names: str, text: str = "", shapes_weights: bool = False) -> list[SFTField]:
    return _as(Kind.HONOURED, *names, text=text, shapes_weights=shapes_weights)


def _per_round(*names: str, text: str, shapes_weights: bool = False) -> list[SFTField]:
    return _as(Kind.PER_ROUND, *names, text=text, shapes_weights=shapes_weights)


def _refused(*names: str, reason: str, fix: str) -> list[SFTField]:
    def differs(name: str) -> Refusal:
        return Refusal("anything but the default", reason, fix, lambda value, config: bool(value != _default(name)))

    return [SFTField(name, Kind.REFUSED, refusals=(differs(name),)) for name in names]


def _but(
    name: str,
    refused: str,
    reason: str,
    fix: str,
    applies: Callable[[Any, SFTConfig], bool],
    kind: Kind = Kind.HONOURED,
    text: str = "",
    shapes_weights: bool = False,
) -> SFTField:
    return SFTField(name, kind, text, (Refusal(refused, reason, fix, applies),), shapes_weights)


_NOT_BY_LOSS = "the evaluation executes programs, and computes no loss and no predictions"
_RUN_STEPS = "Steps are counted through all rounds."

_TABLE: list[SFTField] = [
    # The run -----------------------------------------------------------------------------------------------------------
    *_same("output_dir", "use_cpu", "disable_tqdm", "log_level", "log_level_replica", "log_on_each_node"),
    *_same("seed", text="Samples depend on it too, unless samples_seed is set."),
    *_same("data_seed", shapes_weights=True),
    _but(
        "full_determinism", "True on a GPU", "torch then refuses the cumulative sum by which tokens are drawn on a GPU",
        "leave it out", lambda value, config: bool(value and not config.use_cpu),
    ),
    *_same("debug", "skip_memory_metrics", "torch_empty_cache_steps"),
    *_same("model_init_kwargs", "trust_remote_code", "chat_template_path", "eos_token", "pad_token", "use_cache"),
    # What a round trains on --------------------------------------------------------------------------------------------
    *_same(
        "max_length", text="A longer example is left out and counted, not cut: half a program would teach broken code.",
        shapes_weights=True,
    ),
    *_refused(
        "truncation_mode", reason="no example is cut, and one that is longer than max_length is left out", fix="leave it out",
    ),
    _but(
        "packing", "True with max_length=None", "examples are packed into rows of max_length tokens", "set max_length",
        lambda value, config: bool(value and config.max_length is None),
        Kind.PER_ROUND, "The examples of each round are packed.", shapes_weights=True,
    ),
    _but(
        "packing_strategy", "'wrapped'", "it cuts programs where a row is full, which would teach broken code",
        "use 'bfd'", lambda value, config: value == "wrapped",
        text="'bfd_split' does the same as 'bfd', because no example is longer than a row.", shapes_weights=True,
    ),
    _but(
        "padding_free", "True with max_length, without packing", "it works only with packing=True or with max_length=None, as in "
        "TRL", "set one of them",
        lambda value, config: bool(value and config.max_length is not None and not config.packing), shapes_weights=True,
    ),
    *_same("pad_to_multiple_of"),
    *_same(
        "completion_only_loss", text="By default the loss is on the program alone. False trains on the prompt too.",
        shapes_weights=True,
    ),
    *_refused(
        "assistant_only_loss", reason="it reads messages, and a round's rows are token ids, with the loss on the program",
        fix="leave it out",
    ),
    *_refused(
        "dataset_text_field", "dataset_kwargs", reason="tasks are not texts, and a round's rows are made here as token ids",
        fix="leave it out",
    ),
    *_same("dataset_num_proc", text="Processes that pack; nothing else is mapped."),
    *_per_round(
        "shuffle_dataset", text="The examples of each round are shuffled before they are packed.", shapes_weights=True
    ),
    *_same("train_sampling_strategy", "group_by_length", shapes_weights=True),
    *_refused("length_column_name", reason="a round's rows have no such column, and their lengths are counted",
              fix="leave it out"),
    *_as(Kind.NO_EFFECT, "remove_unused_columns", text="A round's rows have only columns that the trainer uses."),
    *_refused("label_names", reason="a round's rows have their labels in the column 'labels'", fix="leave it out"),
    *_same(
        "dataloader_drop_last", text="Where it would leave a round without any batch, one line says so before training.",
        shapes_weights=True,
    ),
    *_same(
        "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor",
        "dataloader_multiprocessing_context", "dataloader_in_order",
    ),
    # How a round trains ------------------------------------------------------------------------------------------------
    *_per_round("num_train_epochs", text="Passes over the examples of each round. 2 by default.", shapes_weights=True),
    *_per_round("max_steps", text="Steps of each round.", shapes_weights=True),
    *_per_round("learning_rate", text="The schedule starts again in every round. By default 2e-4 for an adapter, 2e-5 for "
                "all weights.", shapes_weights=True),
    *_per_round(
        "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio",
        text="The schedule starts again in every round.", shapes_weights=True,
    ),
    *_same("per_device_train_batch_size", "gradient_accumulation_steps", shapes_weights=True),
    *_same("auto_find_batch_size", text="A later round begins with the size that an earlier one has found."),
    SFTField(
        "optim", Kind.PER_ROUND, "Every round has a new optimizer.",
        (
            Refusal(
                "'..._layerwise', 'lomo' and 'adalomo'",
                "its hooks stay on the weights, so that a later round would take each step several times",
                "choose an optimizer without such hooks", lambda value, config: _hooks_weights(value),
            ),
            Refusal(
                "'schedule_free_...'", "it trains other weights than it evaluates, and rounds sample and measure the former",
                "choose another optimizer", lambda value, config: bool(value.startswith("schedule_free")),
            ),
        ),
        shapes_weights=True,
    ),
    *_same(
        "optim_args", "optim_target_modules", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
        "neftune_noise_alpha", "average_tokens_across_devices", "loss_type",
        "router_aux_loss_coef", shapes_weights=True,
    ),
    _but(
        "label_smoothing_factor", "above 0 with loss_type='chunked_nll', the default of TRL 1.10", "it needs the logits, which loss_type='chunked_nll' never "
        "makes",
        "set loss_type='nll'", lambda value, config: bool(value > 0 and config.loss_type in (None, "chunked_nll")), shapes_weights=True,
    ),
    *_same("bf16", "fp16", text="For training. Samples are drawn in the model's own precision."),
    *_same("tf32"),
    *_same(
        "gradient_checkpointing", "activation_checkpointing", text="By default on a GPU, and not on the CPU.",
    ),
    *_same("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"),
    _but(
        "activation_offloading", "True with use_cpu=True", "it moves activations from a GPU to the CPU, and this run uses no "
        "GPU", "leave it out", lambda value, config: bool(value and config.use_cpu),
    ),
    *_same(
        "torch_compile", "torch_compile_backend", "torch_compile_mode", text="For training. Samples are drawn without it."
    ),
    *_refused(
        "use_liger_kernel", "liger_kernel_config",
        reason="it replaces layers for good when the first round trains, so that rounds would sample with different "
        "arithmetic",
        fix="leave it out, or set model_init_kwargs={'use_kernels': True} for kernels from the Hub",
    ),
    # Several devices ---------------------------------------------------------------------------------------------------
    *_same(
        "accelerator_config", "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers",
        "ddp_static_graph", "ddp_backend", "ddp_timeout", "local_rank",
    ),
    *_same("fsdp", "fsdp_config", "deepspeed", text="One round per process (one_round_per_process)."),
    *_refused(
        "parallelism_config", reason="each process samples with whole weights of its own",
        fix="use data parallelism, FSDP or DeepSpeed instead",
    ),
    # Evaluation --------------------------------------------------------------------------------------------------------
    *_same(
        "eval_strategy", "eval_on_start",
        text="Each evaluation within training executes programs for all tasks of eval_dataset, which it needs. The model is "
        "measured at the end of each round in any case.",
    ),
    *_same("eval_steps", text=_RUN_STEPS),
    *_same("eval_delay", text="Steps are counted through all rounds, epochs within a round."),
    *_refused(
        "per_device_eval_batch_size", reason=_NOT_BY_LOSS, fix="set engine_batch_size, the completions generated at once"
    ),
    *_refused("eval_packing", "prediction_loss_only", "eval_accumulation_steps", "eval_do_concat_batches",
              "eval_use_gather_object", "include_for_metrics", "batch_eval_metrics", reason=_NOT_BY_LOSS, fix="leave it out"),
    *_refused(
        "bf16_full_eval", "fp16_full_eval", reason="programs are sampled in the model's own precision",
        fix="load the model in it, with model_init_kwargs={'dtype': ...}",
    ),
    _but(
        "load_best_model_at_end", "True with one_round_per_process=True",
        "the next process takes the weights of the round's last checkpoint, not of its best", "leave it out",
        lambda value, config: bool(value and vars(config).get("one_round_per_process")),
        Kind.PER_ROUND, "Each round ends with the weights of its best checkpoint. keep_best_round chooses among rounds.",
        shapes_weights=True,
    ),
    *_same(
        "metric_for_best_model", "greater_is_better",
        text="A metric of the evaluation, such as 'eval_pass@1'. There is no 'eval_loss'.", shapes_weights=True,
    ),
    # Checkpoints -------------------------------------------------------------------------------------------------------
    _but(
        "save_strategy", "'best'", "a run continues from the end of each round, which must be saved too",
        "use 'steps' or 'epoch', with load_best_model_at_end=True for the best weights",
        lambda value, config: value == "best", text="The last step of each round is saved too, unless it is 'no'.",
    ),
    *_same("save_steps", text=_RUN_STEPS),
    *_same("save_total_limit", "save_only_model", "save_on_each_node", "restore_callback_states_from_checkpoint"),
    *_refused(
        "enable_jit_checkpoint", reason="it holds back the signal that ends a process, and its checkpoint does not say which "
        "round it belongs to",
        fix="leave it out: every sample is on disk at once, and save_steps sets how much training a kill can cost",
    ),
    *_per_round("ignore_data_skip", text="For the round that a resumed run continues."),
    *_as(
        Kind.NO_EFFECT, "resume_from_checkpoint", "do_train", "do_eval", "do_predict",
        text="For scripts, as in transformers: the trainers do not read it. `trl-gift train` takes resume_from_checkpoint as "
        "--resume with a path.",
    ),
    # Reports and the Hub -----------------------------------------------------------------------------------------------
    *_same("logging_strategy", "logging_nan_inf_filter"),
    *_same("logging_steps", text=_RUN_STEPS),
    *_same("logging_first_step", text="The first step of the first round."),
    *_per_round("include_num_input_tokens_seen", text="The count begins again in every round; num_tokens counts through all."),
    *_same("report_to", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
    *_refused("logging_dir", reason="no release of transformers that has it reads it", fix="set the environment variable "
              "TENSORBOARD_LOGGING_DIR"),
    *_same("push_to_hub", "hub_model_id", "hub_token", "hub_private_repo", "hub_always_push", "hub_revision"),
    *_same("hub_strategy", text="A finished round is pushed too, unless it is 'end'."),
]  # fmt: skip

SFT_FIELDS: dict[str, SFTField] = {entry.name: entry for entry in _TABLE}
"""Every option of `SFTConfig` by its name, in the order of the documentation."""
