"""`GiFTConfig`: the options of a run, by stage. All options of `SFTConfig` keep their meaning for each round's training.

Each option is described beneath its field and nowhere else. `help(GiFTConfig)`, the command line's help and the
documentation show that text (see `trl_gift.common.options`).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from trl import SFTConfig

from trl_gift.common.options import MAY_CHANGE, Bounds, Stage, check, described, options_of, settle
from trl_gift.common.words import json_reason
from trl_gift.distillation import LocalModel, Teacher, TeachingSettings, TheStudent
from trl_gift.distillation.limits import Prices
from trl_gift.distillation.questions import load_questions
from trl_gift.distillation.teachers import ENDPOINT
from trl_gift.errors import ConfigError
from trl_gift.evaluation import EvaluationSettings
from trl_gift.generation import SamplingParams, positions_of
from trl_gift.presets import preset_options
from trl_gift.prompts import Pinned, PromptFormat, prompt_format
from trl_gift.sampling.context import ChainSettings
from trl_gift.sampling.curation import CurationSettings
from trl_gift.sampling.lengths import DEFAULT_LENGTH, default_length
from trl_gift.sampling.rollouts import RolloutSettings
from trl_gift.sandbox import Limits
from trl_gift.tasks.decontamination import CleaningSettings
from trl_gift.training.selection import SelectionSettings
from trl_gift.training.sft_fields import SFT_FIELDS, check_sft_fields
from trl_gift.training.targets import Targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trl_gift.generation.server import ServerOptions


# What TRL's documentation and the LoRA papers suggest: adapters need about ten times the rate of full fine-tuning.
ADAPTER_LEARNING_RATE, FULL_LEARNING_RATE = 2e-4, 2e-5
# `docs/lintseq.md` has the measurement: of 100 sequences of a program of six lines 65 differ, of 1,000 no more than 192.
MOST_EDIT_SEQUENCES = 100
_OF_ENDPOINTS = {
    "teacher_max_tokens", "teacher_reference", "teacher_questions", "teacher_base_url", "teacher_key_variable", "teacher_fields",
    "teacher_concurrency", "teacher_requests_per_minute", "teacher_retries", "teacher_timeout", "teacher_prices",
    "teacher_max_cost", "teacher_cache",
}  # fmt: skip


@described
@dataclass
class GiFTConfig(SFTConfig):
    """Configuration of `GiFTTrainer`: the options of self-training, by stage, besides those of `SFTConfig`.

    Raises:
        ConfigError: on construction, for a value that cannot work.
    """

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs", "teacher_fields"]  # noqa: RUF012 - read from JSON, as SFTConfig does

    num_rounds: Annotated[int, Stage("Rounds"), Bounds(low=1), MAY_CHANGE] = 1
    """Number of self-training rounds. Each round samples, executes, selects, fine-tunes and evaluates."""

    restart_from_base: bool = True
    """Fine-tune each round from the weights that the trainer was given. If false, fine-tune from the previous round's
    weights."""

    accumulate_samples: bool = True
    """Select from the passing samples of all rounds so far. If false, select from those of the current round only."""

    keep_best_round: Annotated[bool, MAY_CHANGE] = True
    """End with the weights of the round that solved most evaluation tasks; of equal ones the latest. If false, or without
    eval_dataset, end with those of the last round."""

    one_round_per_process: Annotated[bool, MAY_CHANGE] = False
    """Run only the next round and exit. A new process, with fresh base weights, then runs the round after it; DeepSpeed
    and FSDP need this. `trl-gift train` starts the processes."""

    decontaminate: Annotated[bool, Stage("Tasks")] = True
    """Leave out training tasks that overlap with eval_dataset or decontaminate_against: their descriptions share words,
    or their references share a syntax tree. _gift/decontamination.json lists the tasks that were left out."""

    decontaminate_against: list[str] = field(default_factory=list)
    """Benchmarks, besides eval_dataset, that training tasks must not overlap with: files, or datasets on the Hub (their
    split 'test')."""

    decontamination_ngram: Annotated[int, Bounds(low=1)] = 8
    """Descriptions are compared by their n-grams of this many words."""

    decontamination_threshold: Annotated[float, Bounds(above=0, high=1)] = 0.6
    """Two descriptions overlap if they share at least this fraction of n-grams."""

    near_duplicate_threshold: Annotated[float | None, Bounds(above=0, high=1)] = None
    """Leave out a training task if its description has at least this Jaccard index of word 3-grams with an earlier
    task's description, or if its reference differs from an earlier one only in names. 0.9 is a good value. If not
    given, near-duplicates are kept."""

    curate: bool = False
    """Keep only training tasks that the untrained model solves sometimes: those whose measured pass rate lies between curate_above
    and curate_below. The rates are measured before the first round and recorded."""

    curate_above: Annotated[float, Bounds(low=0, high=1)] = 0.0
    """With curate, the pass rate of a kept task is above this."""

    curate_below: Annotated[float, Bounds(low=0, high=1)] = 1.0
    """With curate, the pass rate of a kept task is below this."""

    curate_generations: Annotated[int, Bounds(low=1)] = 8
    """Number of programs of each task that curate and step_allocation='uncertain' draw to measure its pass rate."""

    continue_chains: bool = False
    """Begin a task's chain of a later round with the last program that a chain of an earlier round continued from. If
    false, every round's chain begins with the task's own description. For sampler='gibbs'."""

    sampler: Annotated[Literal["gibbs", "conditional", "rewrite", "hinted"], Stage("Sampling")] = "gibbs"
    """How programs are sampled. 'gibbs': a chain that samples programs from a description, then a description from a
    program, and so on. 'conditional': all programs from the task's own description (plain rejection sampling).
    'rewrite': each step from a paraphrase of the task's description. 'hinted': like 'conditional', but tasks that the
    first half of the steps does not solve are tried again with a hint."""

    sampling_model: str | None = None
    """Another model that samples in place of the model in training, in all rounds: a name on the Hub, the folder of a model, of an
    adapter or of a run. With generation_engine='server' it is what the server serves. If not given, the model in training
    samples."""

    perplexity_model: Literal["sampling", "trained"] = "sampling"
    """Whose perplexities the selection counts: those of the model that samples, or those of the model in training ('trained'), with
    its own prompts. For sampling_model."""

    hint: Literal["reference", "failing_test", "repair"] = "reference"
    """What sampler='hinted' shows of an unsolved task: its reference solution, a test that failed, or the failed program that
    came furthest with its failure ('repair'). Hints are never trained on."""

    num_steps: Annotated[int, Bounds(low=1)] = 20
    """Number of steps of each task's chain in a round."""

    step_allocation: Literal["uniform", "uncertain"] = "uniform"
    """How the steps of a round are divided among the tasks. 'uniform': num_steps each. 'uncertain': num_steps on average, and
    more the nearer the untrained model's measured pass rate is to one half; no task has less than a quarter of num_steps."""

    max_tokens_per_round: Annotated[int | None, Bounds(low=1)] = None
    """Number of tokens at which a round stops sampling: those of its programs and descriptions, thoughts and rejected
    descriptions included. num_steps is then the most that a chain can have. If not given, every chain has all its steps."""

    num_generations: Annotated[int, Bounds(low=1)] = 3
    """Number of programs sampled in each step."""

    temperature: Annotated[float | str, Bounds(low=0)] = 1.0
    """Temperature for sampling programs. 0 is greedy. 'auto' tries temperatures from 0.2 to 1 on a few tasks before the first
    round and takes the one that gives the most distinct passing programs."""

    top_p: Annotated[float, Bounds(above=0, high=1)] = 1.0
    """Nucleus mass for sampling programs: the most likely tokens with this total probability are kept. 1 keeps all
    tokens."""

    top_k: Annotated[int, Bounds(low=0)] = 0
    """Number of most likely tokens kept for sampling programs. 0 keeps all tokens."""

    min_p: Annotated[float | None, Bounds(low=0, high=1)] = None
    """Keep only tokens that are at least this share as likely as the most likely token, for sampling programs. None keeps all
    tokens."""

    repetition_penalty: Annotated[float, Bounds(above=0)] = 1.0
    """Penalty on tokens that occur in the prompt or in the program so far, for sampling programs. 1 disables it."""

    max_completion_length: Annotated[int | None, Bounds(low=1)] = None
    """Maximum number of tokens of a sampled program, in sampling and in evaluation. If not given: 512, or half of the model's
    positions if that is less."""

    description_temperature: Annotated[float, Bounds(low=0)] = 1.0
    """Temperature for sampling descriptions. 0 is greedy."""

    description_top_p: Annotated[float, Bounds(above=0, high=1)] = 0.95
    """Nucleus mass for sampling descriptions. 1 keeps all tokens."""

    description_top_k: Annotated[int, Bounds(low=0)] = 0
    """Number of most likely tokens kept for sampling descriptions. 0 keeps all tokens."""

    max_description_length: Annotated[int, Bounds(low=1)] = 256
    """Maximum number of tokens of a sampled description."""

    max_description_tries: Annotated[int, Bounds(low=1)] = 3
    """How often a step draws a description that gives its program away, or holds no words, before it starts from the task's
    own description."""

    allow_copies: bool = False
    """Let programs pass that equal the task's reference after their chain has read it. If false, they have the status
    'copied', count apart, and are not selected."""

    num_description_examples: Annotated[int, Bounds(low=0)] = 1
    """Number of example programs with their summaries that a model is shown before it describes a program."""

    description_examples: str | None = None
    """JSON Lines file with example programs for the reader: each line holds 'code' and 'description'. If not given, a dozen
    examples of the package are used."""

    samples_seed: int | None = None
    """Random seed of everything that is sampled or selected. If not given, `seed` is used."""

    prompt_format: Annotated[Literal["auto", "base", "chat"], Stage("Prompts")] = "auto"
    """How the model is prompted: 'chat' with its chat template, 'base' with text to complete. 'auto' chooses 'chat' for
    a model whose own end token closes the turns of its chat template, and 'base' for all others."""

    system_prompt: str | None = None
    """System message of chat prompts. If the chat template has no system message, the text stands before the
    question."""

    chat_template_kwargs: dict[str, Any] | str | None = None
    """Further arguments of the chat template as a JSON object, such as '{"enable_thinking": false}'."""

    prompt_date: str | None = None
    """Date, such as '2026-01-31', that chat templates print where they would print today's. If not given, the day on which
    the run starts, so that a resumed run asks as it did."""

    open_answer: bool | None = None
    """Begin the answer of a chat model for it: with a code fence and the task's signature. The model writes the body and
    stops at the closing fence. If not given, answers to tasks with a signature are opened unless the model thinks
    first or writes edits."""

    prompt_tests: Annotated[int | None, Bounds(low=0)] = 1
    """Number of the task's visible examples, such as MBPP's assertions, that each prompt to write a program shows beside the
    description. None (null in a YAML file) shows all of them."""

    pin_imports: bool = False
    """Begin every program with the imports of the task's reference, as the authors of GiFT do. They tell in part how to
    solve the task, so that pass@1 is higher than that of others."""

    rename_entry_point: bool = False
    """Take an answer of a chat model that defines one function with the right number of parameters but another name, and
    give it the name under test. Without it, such an answer holds no program."""

    stop: list[str] | None = None
    """Texts that end a sampled program or description, besides those of the prompts. They are cut off."""

    distillation: Annotated[
        Literal["none", "repair", "self-repair", "stand", "inpd", "persd", "persd-refine", "persd-combined"],
        Stage("Distillation"),
    ] = "none"
    """What a teacher does after a round is sampled. 'none': there is no teacher. 'repair': it writes failed programs again, and those that pass join the
    pool of the selection. 'self-repair': the same, and the repairs themselves are learned, beside right programs that stay as
    they are. Five sets of Personalised Distillation are learned in place of the selection: 'stand' (the teacher's programs
    for all tasks), 'inpd' (for tasks that no sample solved), 'persd' (rectified programs of such tasks), 'persd-refine'
    (wrong programs with their failures, and what is right), 'persd-combined' (both)."""

    teacher: str = "self"
    """Who writes: the model in training ('self'), another transformers model or adapter by its name or path, or
    'openai:MODEL' for a model behind a chat endpoint."""

    teacher_budget: Annotated[int | None, Bounds(low=1)] = None
    """Number of tokens at which the teacher stops in a round; tasks that were solved least often come first. If not given,
    it works on all tasks."""

    repair_attempts: Annotated[int, Bounds(low=1)] = 1
    """Number of failed programs of a task that are repaired in a round, until one repair passes; those that came furthest in
    their tests come first. With 'stand' and 'inpd', the number of tries."""

    max_refine_steps: Annotated[int, Bounds(low=1)] = 1
    """How often a failed program is written again, each time with the failure of the last version."""

    right_share: Annotated[float, Bounds(low=0, high=0.95)] = 0.5
    """Share of right programs that stay as they are among the lessons of distillation='self-repair'."""

    teacher_temperature: Annotated[float | None, Bounds(low=0)] = None
    """Temperature of the teacher. If not given, that of sampling programs."""

    teacher_max_tokens: Annotated[int | None, Bounds(low=1)] = None
    """Maximum number of tokens of an answer of a chat endpoint, thoughts included. If not given, max_completion_length."""

    teacher_reference: bool = False
    """Show a chat endpoint the task's reference, as Personalised Distillation does. A program that equals the reference then
    has the status 'copied' and is not learned."""

    teacher_questions: str | None = None
    """Folder with templates of your own for the questions to a chat endpoint: 'solve.txt', 'repair.txt' or both."""

    teacher_base_url: str | None = None
    """Address of the chat endpoint, such as 'http://localhost:8000/v1'. If not given, OpenAI's own."""

    teacher_key_variable: Annotated[str, MAY_CHANGE] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key of the chat endpoint. The key itself is never written anywhere."""

    teacher_fields: dict[str, Any] | str | None = None
    """Further fields of each request to the chat endpoint as a JSON object, such as '{"reasoning_effort": "low"}'; null leaves
    a field out."""

    teacher_concurrency: Annotated[int, Bounds(low=1), MAY_CHANGE] = 4
    """Number of requests to the chat endpoint that are under way at once, in each process."""

    teacher_requests_per_minute: Annotated[float | None, Bounds(above=0), MAY_CHANGE] = None
    """Number of requests to the chat endpoint that begin within a minute. If not given, as many as it answers."""

    teacher_retries: Annotated[int, Bounds(low=0), MAY_CHANGE] = 5
    """How often a request that failed is sent again, after a growing pause or the one that the chat endpoint asks for."""

    teacher_timeout: Annotated[float, Bounds(above=0), MAY_CHANGE] = 600.0
    """Seconds to wait for an answer of the chat endpoint."""

    teacher_prices: Annotated[list[float] | None, MAY_CHANGE] = None
    """Prices of a million tokens of a question and of an answer, such as [0.15, 0.6]."""

    teacher_max_cost: Annotated[float | None, Bounds(above=0), MAY_CHANGE] = None
    """What all answers of the chat endpoint together may cost, in the currency of teacher_prices. Requests that could exceed
    it are not sent."""

    teacher_cache: Annotated[str | None, MAY_CHANGE] = None
    """Folder in which the answers of the chat endpoint are kept, so that none is paid for twice. Runs may share it. If not
    given, the run's own."""

    verify: Annotated[bool, Stage("Execution")] = True
    """Execute the sampled programs and select only from those that pass their tests. If false, no sampled program is
    executed during training, every program may be selected, and the run is marked as unverified."""

    execution_cpu_s: Annotated[float, Bounds(low=0.01)] = 5.0
    """CPU time limit of one program, in seconds."""

    execution_memory_mb: Annotated[int, Bounds(low=16)] = 1024
    """Memory limit of one program, in MiB."""

    sandbox_workers: Annotated[int | None, Bounds(low=1), MAY_CHANGE] = None
    """Number of programs executed at once on this machine. If not given: one per CPU, less one CPU for a model that
    runs on the CPU."""

    isolation: Literal["required", "none"] = "required"
    """'required' executes programs in isolation or not at all. 'none' executes them without any isolation: never use
    it."""

    pool: Annotated[Literal["continuing", "all"], Stage("Selection")] = "continuing"
    """Programs that may be selected: those from which a chain continued ('continuing'), or 'all' that passed."""

    num_selected: Annotated[int | None, Bounds(low=1)] = 8
    """Number of programs drawn for each task that has a passing one. None (null in a YAML file) selects the whole pool,
    each program once, and needs selection_with_replacement=False."""

    perplexity_weight: Annotated[float, Bounds(low=0)] = 2.0
    """Factor of the perplexity in the softmax from which programs are drawn. Larger values prefer rarer programs; 0
    draws uniformly."""

    perplexity_cap: Annotated[float, Bounds(low=0)] = 2.0
    """A perplexity counts at most this much above the lowest of its task, so that one rare program does not take all
    the probability."""

    perplexity_within_round: bool = False
    """Count a perplexity from the lowest of its task and round, not of its task alone. Each round's model scores its own
    programs, so perplexities of different rounds cannot be compared otherwise."""

    perplexity_condition: Literal["chain", "seed"] = "chain"
    """The description on which a program's perplexity is conditioned: the one that produced it ('chain'), or the task's
    own ('seed')."""

    deduplicate: bool = False
    """Select only among programs whose normalised syntax trees differ."""

    selection_with_replacement: bool = True
    """Allow one program to be drawn several times."""

    train_on_references: Annotated[bool, Stage("Training")] = True
    """Train on each task's reference solution once, besides the selected programs."""

    target_format: Literal["code", "edits"] = "code"
    """What a model learns to write: whole programs ('code'), or programs as edits each of whose states lints clean ('edits',
    LintSeq). Edits have a token of their own, which is added to the tokenizer and to the model. Python only."""

    num_edit_sequences: Annotated[int, Bounds(low=1)] = 1
    """With target_format='edits', the number of edit sequences that are learned for each draw of a program and for each
    reference, at most 100."""

    train_on_thinking: bool = False
    """Include the <think>...</think> before a sampled program in the training target and in the perplexity."""

    loss_weighting: Annotated[Literal["token", "example"], MAY_CHANGE] = "token"
    """What weighs the same in a training step: each token ('token', as in TRL), or each program ('example', as in the
    authors' code of GiFT), so that long programs do not count more. 'example' needs per_device_train_batch_size=1; use
    gradient_accumulation_steps."""

    learning_rate: Annotated[float | None, Bounds(low=0), MAY_CHANGE] = None
    """Initial learning rate of each round's training. If not given: 2e-4 for an adapter such as LoRA, 2e-5 for all
    weights."""

    num_train_epochs: Annotated[float, MAY_CHANGE] = 2.0
    """Number of passes over the pairs of a round."""

    gradient_checkpointing: Annotated[bool | None, MAY_CHANGE] = None
    """Compute activations again in the backward pass, which saves memory and costs about a third of the training time. If
    not given: on a GPU yes, on the CPU no."""

    eval_num_generations: Annotated[int, Stage("Evaluation"), Bounds(low=0)] = 0
    """Number of programs sampled for each evaluation task, for pass@k. One greedy program, for pass@1, is added."""

    eval_k: list[int] = field(default_factory=lambda: [1])
    """Values of k for pass@k of the sampled programs."""

    eval_temperature: Annotated[float, Bounds(low=0)] = 1.0
    """Temperature for sampling programs in the evaluation."""

    cache_base_evaluation: Annotated[bool, MAY_CHANGE] = True
    """Take the evaluation of the untrained model from an earlier run that measured the same weights, tasks, prompts and
    options, in $TRL_GIFT_CACHE (if not set, the folder trl_gift in Hugging Face's cache). Not done for a sandbox of your own
    or with generation_engine='server'."""

    log_completions: Annotated[bool, Stage("Tracking"), MAY_CHANGE] = True
    """Log a table with some samples of each round to TensorBoard, wandb and trackio."""

    num_completions_to_print: Annotated[int | None, Bounds(low=1), MAY_CHANGE] = 32
    """Number of samples of each round in the table of log_completions, drawn at random. None (null in a YAML file) logs
    all samples."""

    push_samples: Annotated[bool, Stage("Hub"), MAY_CHANGE] = False
    """Push the samples with their lineage as a dataset whenever the model is pushed."""

    samples_repo_id: Annotated[str | None, MAY_CHANGE] = None
    """Repository of the samples dataset. If not given, the model's repository with '-samples' appended."""

    samples_private: Annotated[bool | None, MAY_CHANGE] = None
    """Whether a new samples dataset is private. If not given, it is if the model's repository is."""

    generation_engine: Annotated[Literal["auto", "compact", "generate", "server"], Stage("Engine"), MAY_CHANGE] = (
        "auto"
    )
    """Engine that samples: 'compact' (our own decoding loop), 'generate' (plain transformers, for any model), 'server'
    (vLLM or another completion server), or 'auto': 'compact' if it serves the model, else 'generate'."""

    use_vllm: Annotated[bool, MAY_CHANGE] = False
    """Sample with vLLM, as in TRL: the same as generation_engine='server'."""

    vllm_mode: Annotated[Literal["server", "colocate"], MAY_CHANGE] = "server"
    """As in TRL, but 'server' is the only mode: a server that the run starts shares the GPUs with training, as
    'colocate' does in TRL."""

    vllm_server_base_url: Annotated[str | None, MAY_CHANGE] = None
    """Address of a completion server that runs already, such as 'http://localhost:8000'. If not given, the run starts a
    server of its own."""

    vllm_server_timeout: Annotated[float, Bounds(above=0), MAY_CHANGE] = 900.0
    """Seconds to wait until the run's own server is ready."""

    vllm_gpu_memory_utilization: Annotated[float, Bounds(above=0, high=1), MAY_CHANGE] = 0.85
    """Fraction of the GPU's memory that the run's own vLLM server uses. The model that is trained leaves the GPU while
    the server runs."""

    server_command: Annotated[str | None, MAY_CHANGE] = None
    """Command that starts the run's own server. {model}, {host}, {port}, {rank} and {gpu_memory_utilization} are filled
    in, and {vllm_options} stands for all options that vLLM needs. If not given, 'vllm serve {model} {vllm_options}'."""

    server_model: Annotated[str | None, MAY_CHANGE] = None
    """Name under which the server serves the base model. If not given, the first model that it lists."""

    server_port: Annotated[int | None, Bounds(low=1, high=65535), MAY_CHANGE] = None
    """Port of the run's own server. If not given, a free port."""

    server_request_timeout: Annotated[float, Bounds(above=0), MAY_CHANGE] = 600.0
    """Maximum seconds for one completion of a server."""

    server_patience: Annotated[float, Bounds(low=0), MAY_CHANGE] = 120.0
    """Seconds without any successful request after which a server counts as lost. A server that runs already must answer
    for the first time within 10 seconds."""

    engine_batch_size: Annotated[int | None, Bounds(low=1), MAY_CHANGE] = None
    """Maximum number of completions generated at once on a device. If not given, the engine chooses."""

    engine_token_budget: Annotated[int | None, Bounds(low=1), MAY_CHANGE] = None
    """Maximum number of tokens, of prompts and longest completions, generated at once on a device ('compact' only). If
    not given, it is computed from the free memory."""

    def __post_init__(self) -> None:
        if not self.use_cpu and not torch.accelerator.is_available():
            raise ConfigError("this machine has no GPU that torch can use; set use_cpu=True to run on the CPU.")
        if self.gradient_checkpointing is None:
            self.gradient_checkpointing = not self.use_cpu
        for name in self._VALID_DICT_FIELDS:
            _check_json(name, getattr(self, name))
        check_sft_fields(self)
        super().__post_init__()
        settle(self, GiFTConfig)
        check(self, GiFTConfig)
        self._check_training()
        self._check_selection_and_evaluation()
        self._check_sampling()
        self._check_distillation()
        self._check_sampling_model()
        self._check_prompt_date()
        self._choose_engine()
        self._check_output_dir()

    def _check_prompt_date(self) -> None:
        if self.prompt_date is None:
            return
        try:
            date.fromisoformat(self.prompt_date)
        except ValueError as error:
            raise ConfigError(
                f"prompt_date={self.prompt_date!r} is not a date ({error}); give one such as '2026-01-31'."
            ) from error

    def _check_output_dir(self) -> None:
        if os.path.isfile(self.output_dir):
            raise ConfigError(f"output_dir={self.output_dir!r} is a file; give a folder.")
        above = next(path for path in Path(self.output_dir).absolute().parents if os.path.exists(path))
        if not above.is_dir():
            raise ConfigError(
                f"output_dir={self.output_dir!r} cannot be a folder, because {above.name} is a file; give another folder."
            )

    def _check_training(self) -> None:
        self._check_best_metric()
        self._check_target_format()
        if self.loss_weighting == "example" and self.per_device_train_batch_size != 1:
            raise ConfigError(
                f"loss_weighting='example' with per_device_train_batch_size={self.per_device_train_batch_size}: the loss of "
                "a batch is a mean over its tokens; set per_device_train_batch_size=1 and gradient_accumulation_steps."
            )
        if self.loss_weighting == "example" and self.packing:
            raise ConfigError(
                "loss_weighting='example' with packing=True: the loss of a packed row is a mean over the tokens of several "
                "programs; leave one of them out."
            )
        if self.one_round_per_process and self.save_strategy == "no":
            raise ConfigError(
                "one_round_per_process=True needs checkpoints, in which a round leaves its weights to the next; set "
                "save_strategy='steps'."
            )
        for name in ("samples_repo_id", "samples_private"):
            if getattr(self, name) is not None and not self.push_samples:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} needs push_samples=True; set it, or leave this out."
                )

    def _check_target_format(self) -> None:
        if self.target_format == "code" and self.num_edit_sequences != 1:
            raise ConfigError(
                f"num_edit_sequences={self.num_edit_sequences} needs target_format='edits'; set it, or leave this out."
            )
        if self.num_edit_sequences > MOST_EDIT_SEQUENCES:
            raise ConfigError(
                f"num_edit_sequences={self.num_edit_sequences} is too many: each draw of a program is learned that often, and beyond "
                f"{MOST_EDIT_SEQUENCES} the sequences of a short program mostly repeat; use {MOST_EDIT_SEQUENCES} or fewer, such as 5."
            )
        if self.target_format == "edits" and self.train_on_thinking:
            raise ConfigError(
                "train_on_thinking=True with target_format='edits': a program that is written anew as edits has no thought; leave one "
                "of them out."
            )

    def _check_best_metric(self) -> None:
        """Transformers would miss the metric only once a round is sampled, at the first evaluation within its training."""
        metric = self.metric_for_best_model
        if metric is None:
            return
        fix = "set metric_for_best_model='eval_pass@1' and greater_is_better=True, or leave it out."
        if metric in ("loss", "eval_loss"):  # what transformers takes where none is named
            if self.load_best_model_at_end:
                raise ConfigError(
                    f"load_best_model_at_end=True compares checkpoints by eval_loss, which is not measured; {fix}"
                )
            if self.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"):
                schedule = self.lr_scheduler_type.value
                raise ConfigError(
                    f"lr_scheduler_type={schedule!r} compares evaluations by eval_loss, which is not measured; {fix}"
                )
        if not _MEASURED.fullmatch(metric):
            raise ConfigError(f"metric_for_best_model={metric!r} is not measured; {fix}")

    def _check_selection_and_evaluation(self) -> None:
        bad_k = [k for k in self.eval_k if not 1 <= k <= self.eval_num_generations]
        if bad_k and (self.eval_num_generations or self.eval_k != [1]):  # without sampled programs, [1] is the default
            raise ConfigError(
                f"eval_k={self.eval_k!r} needs eval_num_generations of at least {max(bad_k)}, not "
                f"{self.eval_num_generations}; raise it or leave out {bad_k if self.eval_num_generations else 'eval_k'}."
            )
        if self.num_selected is None and self.selection_with_replacement:
            raise ConfigError(
                "num_selected=None selects the whole pool, each program once, but selection_with_replacement=True may "
                "draw one program several times; set selection_with_replacement=False or give a number."
            )

    def _check_sampling(self) -> None:
        if isinstance(self.temperature, str):
            if self.temperature != "auto":
                raise ConfigError(f"temperature={self.temperature!r} is unknown; use a number or 'auto'.")
            if not self.verify:
                raise ConfigError(
                    "temperature='auto' counts programs that pass, but with verify=False nothing is run; give a number."
                )
        if self.curate and not self.verify:
            raise ConfigError(
                "curate=True counts programs that pass, but with verify=False nothing is run; leave it out."
            )
        if self.step_allocation == "uncertain":
            self._check_allocation()
        if self.curate_above >= self.curate_below:
            raise ConfigError(
                f"curate_above={self.curate_above!r} and curate_below={self.curate_below!r} leave no pass rate between them; "
                "lower the first or raise the second."
            )
        if self.sampler == "hinted" and self.num_steps < 2:
            raise ConfigError(
                f"num_steps={self.num_steps} leaves sampler='hinted' no step to try again in; use 2 or more."
            )
        if self.sampler == "hinted" and not self.verify:
            raise ConfigError(
                "sampler='hinted' tries failed tasks again, but with verify=False nothing is run that could fail; use "
                "verify=True or another sampler."
            )
        if self.continue_chains and self.sampler != "gibbs":
            raise ConfigError(
                f"continue_chains=True with sampler={self.sampler!r}, which has no chains to continue; set sampler='gibbs' or "
                "leave it out."
            )
        if any(not isinstance(text, str) or not text for text in self.stop or ()):
            raise ConfigError(f"stop={self.stop!r} holds an empty text, which ends everything; leave it out.")

    def _check_distillation(self) -> None:
        if not self.asks_endpoint:
            for item in fields(self):
                if item.name in _OF_ENDPOINTS and (value := getattr(self, item.name)) != item.default:
                    raise ConfigError(
                        f"{item.name}={value!r} is for a chat endpoint; set teacher='openai:MODEL', or leave it out."
                    )
        if self.distillation == "none":
            if self.teacher != "self":
                raise ConfigError(
                    f"teacher={self.teacher!r} has nothing to do; set distillation, such as distillation='repair'."
                )
            return
        if not self.verify:
            raise ConfigError(
                f"distillation={self.distillation!r} begins with programs that fail, but with verify=False nothing is run; leave it out."
            )
        prices = self.teacher_prices
        if prices is not None and (len(prices) != 2 or any(price < 0 for price in prices)):
            raise ConfigError(
                f"teacher_prices={prices!r}: give two prices, of a million tokens of a question and of an answer."
            )
        if self.teacher_max_cost is not None and prices is None:
            raise ConfigError(f"teacher_max_cost={self.teacher_max_cost!r} needs teacher_prices; give both.")

    def _check_sampling_model(self) -> None:
        if self.sampling_model is None:
            if self.perplexity_model != "sampling":
                raise ConfigError(
                    f"perplexity_model={self.perplexity_model!r} chooses between two models; set sampling_model, or leave it out."
                )
            return
        if "://" in self.sampling_model:
            raise ConfigError(
                f"sampling_model={self.sampling_model!r} is an address; name the model that the server there has, and give the address "
                "as vllm_server_base_url with generation_engine='server'."
            )
        of_the_trained = "is measured on the model in training, and sampling_model is another one"
        for name, value, reason, fix in (
            ("temperature", "auto", of_the_trained, "give a number"),
            ("step_allocation", "uncertain", of_the_trained, "leave it out"),
            (
                "train_on_thinking",
                True,
                "learns the thoughts of the model itself, and sampling_model is another one",
                "leave it out",
            ),
        ):
            if getattr(self, name) == value:
                raise ConfigError(f"{name}={value!r} {reason}; {fix}.")
        if self.perplexity_model == "sampling" and self.distillation in ("repair", "self-repair"):
            raise ConfigError(
                f"distillation={self.distillation!r} with sampling_model={self.sampling_model!r}: the perplexities of repairs are those "
                "of the model in training, and cannot be compared with another model's; set perplexity_model='trained'."
            )
        if self.perplexity_model == "trained" and self.generation_engine == "server" and not self.vllm_server_base_url:
            raise ConfigError(
                "perplexity_model='trained' with a server that the run starts: the model in training leaves the GPU while the server "
                "runs, and cannot score; give vllm_server_base_url, or another generation_engine."
            )

    def _check_allocation(self) -> None:
        if not self.verify:
            raise ConfigError(
                "step_allocation='uncertain' counts programs that pass, but with verify=False nothing is run; leave it out."
            )
        smallest = 2 if self.sampler == "hinted" else 1
        if self.num_steps <= smallest:
            raise ConfigError(
                f"step_allocation='uncertain' with num_steps={self.num_steps} has no step to give to another task; use "
                f"{smallest + 1} steps or more, or leave it out."
            )

    def _choose_engine(self) -> None:
        if self.vllm_mode == "colocate":
            raise ConfigError(
                "vllm_mode='colocate' runs vLLM inside the trainer's process, which is not supported; leave it out: "
                "without vllm_server_base_url the run starts a vLLM server on the GPUs that it trains on."
            )
        if self.use_vllm:
            if self.generation_engine not in ("auto", "server"):
                raise ConfigError(
                    f"use_vllm=True and generation_engine={self.generation_engine!r} exclude each other; leave one of them "
                    "out."
                )
            self.generation_engine = "server"
        if self.generation_engine == "server":
            self.server_options()  # raises an error for options that exclude each other
            return
        for name in ("vllm_server_base_url", "server_command", "server_model", "server_port"):
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} needs generation_engine='server', not "
                    f"{self.generation_engine!r}; set that (or use_vllm=True), or leave {name} out."
                )

    @classmethod
    def from_preset(cls, preset: str, output_dir: str | None = None, **options: Any) -> GiFTConfig:
        """Makes a config from a preset's options and further options, which win over the preset's.

        Args:
            preset: `"gift"`, `"rft"`, `"rft+rd"`, `"rest-em"`, `"star"` or `"ssd"`.
            output_dir: As for the class.
            options: Options of this class.

        Raises:
            ConfigError: for an unknown preset.
        """
        return cls(output_dir=output_dir, **{**preset_options(preset), **options})

    def cleaning_settings(self) -> CleaningSettings:
        """Which training tasks are left out."""
        return CleaningSettings(
            decontaminate=self.decontaminate,
            against=tuple(self.decontaminate_against),
            ngram=self.decontamination_ngram,
            threshold=self.decontamination_threshold,
            near_duplicates=self.near_duplicate_threshold,
        )

    @property
    def sampling_seed(self) -> int:
        """The random seed of everything that is sampled or selected."""
        return self.seed if self.samples_seed is None else self.samples_seed

    @property
    def num_logged_samples(self) -> int:
        """Number of samples of each round that trackers get; 0 for none."""
        if not self.log_completions:
            return 0
        return sys.maxsize if self.num_completions_to_print is None else self.num_completions_to_print

    @property
    def completion_length(self) -> int:
        """`max_completion_length`, or its default if it is not given."""
        return self.max_completion_length or DEFAULT_LENGTH

    def choose_completion_length(self, positions: int | None) -> bool:
        """Sets `max_completion_length`, if it is not given, so that the model has room for a prompt beside it.

        Args:
            positions: Number of tokens that the model can take; None if that is not known.

        Returns:
            Whether it is less than the default. A given value stays as it is.
        """
        if self.max_completion_length is not None:
            return False
        self.max_completion_length = default_length(positions)
        return self.max_completion_length < DEFAULT_LENGTH

    def choose_learning_rate(self, has_adapter: bool) -> None:
        """Sets `learning_rate`, if it is not given, by what is trained."""
        if self.learning_rate is None:
            self.learning_rate = ADAPTER_LEARNING_RATE if has_adapter else FULL_LEARNING_RATE

    def curation_settings(self) -> CurationSettings:
        """The options of curation."""
        return CurationSettings(self.curate_above, self.curate_below, self.curate_generations)

    def chain_settings(
        self,
        round_index: int,
        model_hash: str,
        temperature: float = 1.0,
        positions: int | None = None,
        steps: Mapping[str, int] | None = None,
    ) -> ChainSettings:
        """The options of the sampling stage, for one round.

        Args:
            round_index: The round, from 1.
            model_hash: Fingerprint of the trainable weights.
            temperature: What the pilot has chosen for `temperature="auto"`; not used otherwise.
            positions: Number of tokens that the model can take; None if that is not known.
            steps: By task, the steps of its chain, where they are not `num_steps`.
        """
        return ChainSettings(
            sampler=self.sampler,
            seed=self.sampling_seed,
            round=round_index,
            num_steps=self.num_steps,
            num_generations=self.num_generations,
            code_params=SamplingParams(
                self.completion_length,
                temperature if isinstance(self.temperature, str) else self.temperature,
                self.top_p,
                self.top_k,
                min_p=self.min_p or 0.0,
                repetition_penalty=self.repetition_penalty,
            ),
            description_params=SamplingParams(
                self.max_description_length,
                self.description_temperature,
                self.description_top_p,
                self.description_top_k,
            ),
            perplexity_condition=self.perplexity_condition,
            num_description_examples=self.num_description_examples,
            model_hash=model_hash,
            verify=self.verify,
            hint=self.hint,
            max_description_tries=self.max_description_tries,
            allow_copies=self.allow_copies,
            positions=positions,
            steps=dict(steps or {}),
            max_tokens=self.max_tokens_per_round,
        )

    def teaching_settings(self) -> TeachingSettings:
        """What a teacher is asked for."""
        return TeachingSettings(self.distillation, self.repair_attempts, self.max_refine_steps, self.teacher_budget)

    def make_teacher(self, folder: Path, params: SamplingParams, num_processes: int = 1) -> Teacher:
        """The teacher of a round.

        Args:
            folder: Where the answers of an endpoint are kept, unless `teacher_cache` says otherwise.
            params: How it samples.
            num_processes: Processes that share the limits of an endpoint.

        Raises:
            ConfigError: if `teacher_questions` holds no question.
        """
        if self.teacher == "self":
            return TheStudent()
        pinned = Pinned(self.pin_imports, self.prompt_tests)
        if not self.asks_endpoint:
            trusts = self.trust_remote_code
            return LocalModel(
                self.teacher,
                params,
                pinned,
                self.engine_batch_size,
                self.engine_token_budget,
                trust_remote_code=trusts,
            )
        from trl_gift.distillation.endpoint import ChatEndpoint, EndpointOptions

        fields = self.teacher_fields or {}
        assert isinstance(fields, dict), "transformers has read the JSON by now"
        options = EndpointOptions(
            model=self.teacher.removeprefix(ENDPOINT),
            folder=Path(self.teacher_cache) if self.teacher_cache else folder,
            base_url=self.teacher_base_url,
            key_variable=self.teacher_key_variable,
            temperature=params.temperature,
            max_tokens=self.teacher_max_tokens or params.max_new_tokens,
            timeout_s=self.teacher_timeout,
            retries=self.teacher_retries,
            concurrency=self.teacher_concurrency,
            requests_per_minute=self.teacher_requests_per_minute,
            prices=Prices(*self.teacher_prices) if self.teacher_prices else None,
            most_cost=self.teacher_max_cost,
            fields=fields,
        )
        questions = load_questions(self.teacher_questions, pinned, self.teacher_reference)
        return ChatEndpoint(options, questions, num_processes)

    def selection_settings(self, round_index: int) -> SelectionSettings:
        """The options of the selection stage, for one round."""
        return SelectionSettings(
            num_selected=self.num_selected,
            perplexity_weight=self.perplexity_weight,
            perplexity_cap=self.perplexity_cap,
            within_round=self.perplexity_within_round,
            pool=self.pool,
            deduplicate=self.deduplicate,
            with_replacement=self.selection_with_replacement,
            seed=self.sampling_seed,
            round=round_index,
        )

    def targets(self, prompts: PromptFormat) -> Targets:
        """What is learned for a program.

        Args:
            prompts: The prompts of the model.
        """
        edits = self.num_edit_sequences if self.target_format == "edits" else 0
        return Targets(prompts, edits, self.sampling_seed)

    def evaluation_settings(self) -> EvaluationSettings:
        """The options of the evaluation stage."""
        return EvaluationSettings(
            max_completion_length=self.completion_length,
            num_generations=self.eval_num_generations,
            k=tuple(self.eval_k),
            temperature=self.eval_temperature,
            seed=self.sampling_seed,
        )

    def prompts(self, tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int]) -> PromptFormat:
        """The prompts of a model.

        Args:
            tokenizer: Its tokenizer.
            end_ids: The tokens that end its completions.
        """
        kwargs = self.chat_template_kwargs or {}
        assert isinstance(kwargs, dict), "transformers has read the JSON by now"
        return prompt_format(
            tokenizer,
            self.prompt_format,
            end_ids=end_ids,
            system_prompt=self.system_prompt,
            template_kwargs=kwargs,
            stop=tuple(self.stop or ()),
            keep_thoughts=self.train_on_thinking,
            open_answer=self.open_answer,
            pinned=Pinned(self.pin_imports, self.prompt_tests),
            rename_entry_point=self.rename_entry_point,
            date=date.fromisoformat(self.prompt_date) if self.prompt_date else None,
        )

    def positions(self, model: PreTrainedModel) -> int | None:
        """The most tokens of a prompt and its completion together: of the model, or of the server that samples.

        Args:
            model: The model.

        Raises:
            ConfigError: As `ServerOptions.positions`.
        """
        if self.trained_engine == "server":
            return self.server_options().positions(model)
        return positions_of(model.config)

    @property
    def trained_engine(self) -> Literal["auto", "compact", "generate", "server"]:
        """The engine over the model in training; beside a server that has another model it is one of this process."""
        served = self.sampling_model is not None and self.generation_engine == "server"
        return "auto" if served else self.generation_engine

    @property
    def asks_endpoint(self) -> bool:
        """Whether the teacher is a model behind a chat endpoint."""
        return self.teacher.startswith(ENDPOINT)

    def server_options(self) -> ServerOptions:
        """The options of the server engine."""
        from trl_gift.generation.server import ServerOptions

        return ServerOptions(
            url=self.vllm_server_base_url,
            command=self.server_command,
            model=self.server_model,
            port=self.server_port,
            gpu_memory_utilization=self.vllm_gpu_memory_utilization,
            start_timeout_s=self.vllm_server_timeout,
            request_timeout_s=self.server_request_timeout,
            patience_s=self.server_patience,
        )

    def rollout_settings(self) -> RolloutSettings:
        """The engine's and the sandbox's part of the options."""
        return RolloutSettings(
            engine=self.generation_engine,
            batch_size=self.engine_batch_size,
            token_budget=self.engine_token_budget,
            server=self.server_options() if self.generation_engine == "server" else None,
            limits=self.limits(),
            isolation=self.isolation,
            sandbox_workers=self.sandbox_workers,
            quiet=bool(self.disable_tqdm),
        )

    def limits(self) -> Limits:
        """The limits of one program. The wall time limit only stops programs that use little CPU time."""
        return Limits(cpu_s=self.execution_cpu_s, wall_s=3 * self.execution_cpu_s, memory_mb=self.execution_memory_mb)

    def gift_options(self) -> dict[str, Any]:
        """The values of the options that this class adds to `SFTConfig`, for the run's record."""
        return {name: getattr(self, name) for name in options_of(GiFTConfig)}

    def seeds(self) -> dict[str, int]:
        """The seeds that samples depend on, resolved, by the names of their options."""
        return {"seed": self.seed, "samples_seed": self.sampling_seed}

    def training_options(self) -> dict[str, Any]:
        """The values of the options that a round's weights depend on, apart from the seed, for the run's record."""
        shaping = {name for name, entry in SFT_FIELDS.items() if entry.shapes_weights} | {"loss_weighting"}
        found = {item.name: getattr(self, item.name) for item in fields(self) if item.name in shaping}
        return {name: json.loads(json.dumps(value, default=str)) for name, value in found.items()}

    @staticmethod
    def may_change() -> frozenset[str]:
        """The names of the options that may change when a run is resumed."""
        return frozenset(name for name, option in options_of(GiFTConfig).items() if option.may_change)


# The names in `Evaluation.metrics()`; `eval_` may be left out, and the name of one of several datasets may follow it.
_MEASURED = re.compile(r"(eval_)?(.+_)?(pass@1|sampled_pass@\d+)(_low|_high)?")
_FILE_OR_JSON = ("accelerator_config", "fsdp_config", "deepspeed")


def _check_json(name: str, value: Any) -> None:
    """Names the option whose text is not a JSON object; transformers, which reads the text, does not name it."""
    if not isinstance(value, str) or (name in _FILE_OR_JSON and not value.startswith("{")):
        return
    try:
        content = json.loads(value)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{name}={value!r} is not JSON ({json_reason(error)}); write it as '{{\"name\": value}}'."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name}={value!r} is not a JSON object; write it as '{{\"name\": value}}'.")
