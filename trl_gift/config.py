"""`GiFTConfig`: the options of a run, by stage; everything of `SFTConfig` keeps its meaning for each round's training.

Each option is described here and nowhere else: the command line's help and the docs come from these texts.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from trl import SFTConfig

from trl_gift.errors import ConfigError
from trl_gift.evaluation.attempts import EvaluationSettings
from trl_gift.generation.engine import SamplingParams
from trl_gift.presets import preset_options
from trl_gift.prompts import PromptFormat, prompt_format
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainSettings
from trl_gift.sampling.hints import HINTS
from trl_gift.sampling.rollouts import RolloutSettings
from trl_gift.sandbox import Limits
from trl_gift.tasks.decontamination import CleaningSettings
from trl_gift.training.selection import SelectionSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trl_gift.generation.serving import ServerOptions


def _option(default: Any, text: str, **metadata: Any) -> Any:
    """A field with its help text; percent signs are doubled because argparse formats help texts."""
    metadata["help"] = text.replace("%", "%%")
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class GiFTConfig(SFTConfig):
    """Configuration of `GiFTTrainer`: the options of `SFTConfig` and those of self-training, each with its help text.

    Raises:
        ConfigError: on construction, for a value that cannot work.
    """

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]  # noqa: RUF012 - read from JSON, as SFTConfig does

    # Rounds
    num_rounds: int = _option(1, "Self-training rounds: sample, execute, select, fine-tune, evaluate.")
    restart_from_base: bool = _option(
        True, "Fine-tune every round from the weights that the trainer was given, instead of the previous round's."
    )
    accumulate_samples: bool = _option(True, "Select from the passing codes of all rounds so far, not of one alone.")
    one_round_per_process: bool = _option(
        False,
        "Run only the next round and stop, so that a new process with fresh base weights runs the one after; needed "
        "with DeepSpeed and FSDP. `trl-gift train` starts the processes.",
    )

    # Tasks
    decontaminate: bool = _option(
        True,
        "Leave out seeds that overlap with eval_dataset or with decontaminate_against, by words of the description or "
        "by the syntax tree of the reference; what went is in _gift/decontamination.json.",
    )
    decontaminate_against: list[str] = _option(
        [], "Benchmarks that the seeds must not overlap with: files, or names on the Hub (split 'test')."
    )
    decontamination_ngram: int = _option(8, "Words in a row that descriptions are compared by.")
    decontamination_threshold: float = _option(
        0.6, "Least share of n-grams that two descriptions have in common to count as overlap."
    )
    near_duplicate_threshold: float | None = _option(
        None,
        "Leave out seeds whose description reaches this Jaccard index of word 3-grams with an earlier seed's, or whose "
        "reference is the same but for names; none if not given, 0.9 is a good value.",
    )

    # Sampling
    sampler: str = _option(
        "gibbs",
        "How codes are drawn: 'gibbs' (the chain description -> code -> description -> ...), 'conditional' (all from "
        "the seed description, plain rejection sampling), 'rewrite' (each step from a paraphrase) or 'hinted' (like "
        "'conditional', but tasks that the first half of the steps does not solve are tried again with a hint).",
    )
    hint: str = _option(
        "reference",
        "What sampler='hinted' gives away of an unsolved task: its 'reference' or a 'failing_test'; never trained on.",
    )
    num_steps: int = _option(20, "Steps of each task's chain in a round.")
    num_generations: int = _option(3, "Codes drawn in each step.")
    temperature: float = _option(1.0, "Temperature of sampled codes.")
    top_p: float = _option(1.0, "Nucleus mass for sampled codes; 1 disables.")
    top_k: int = _option(0, "Number of most likely tokens kept for sampled codes; 0 disables.")
    max_completion_length: int = _option(512, "Most tokens of a sampled code.")
    description_temperature: float = _option(1.0, "Temperature of sampled descriptions.")
    description_top_p: float = _option(0.95, "Nucleus mass for sampled descriptions; 1 disables.")
    max_description_length: int = _option(256, "Most tokens of a sampled description.")
    num_description_examples: int = _option(
        1, "Other seeds, with code and description, shown to a base model before the code that it shall describe."
    )
    samples_seed: int | None = _option(None, "Seed of everything that is sampled or selected; `seed` if not given.")

    # Prompts
    prompt_format: str = _option(
        "auto",
        "'chat' or 'base' prompts; 'auto' asks a model whose own end token closes its chat template's turns, and lets "
        "any other complete text.",
    )
    system_prompt: str | None = _option(
        None, "System message of chat prompts; stands before the question where a chat template has none."
    )
    chat_template_kwargs: dict[str, Any] | str | None = _option(
        None, "Further arguments of the chat template, such as '{\"enable_thinking\": false}'."
    )
    stop: list[str] | None = _option(
        None, "Texts that end whatever is sampled, besides those of the prompts; they are cut off."
    )

    # Execution
    verify: bool = _option(
        True,
        "Run the sampled codes and select only from those that pass their tests. If false, nothing that is sampled for "
        "training is run, and every code that was found may be selected: the run is marked as unverified.",
    )
    execution_cpu_s: float = _option(5.0, "CPU seconds that one program may take.")
    execution_memory_mb: int = _option(1024, "Memory that one program may take, in MiB.")
    sandbox_workers: int | None = _option(
        None,
        "Programs that run at once on this machine; if not given, its CPU count, less one for a model on the CPU.",
    )
    isolation: Literal["required", "none"] = _option(
        "required", "'required', or 'none' to run programs without any isolation (never do this)."
    )

    # Selection
    pool: str = _option(
        "continuing", "Codes that may be selected: those that a chain went on from ('continuing'), or 'all' passing."
    )
    num_selected: int | None = _option(
        8,
        "Codes drawn for each task with a passing code; null (in a YAML file) for the whole pool, each code once, which "
        "needs selection_with_replacement=False.",
    )
    perplexity_weight: float = _option(
        2.0, "Factor of the perplexity in the softmax of the draw: larger prefers rarer codes, 0 draws uniformly."
    )
    perplexity_cap: float = _option(
        2.0, "A perplexity counts at most this much above its pool's lowest, so that none swallows all the mass."
    )
    perplexity_condition: str = _option(
        "chain", "Perplexity given the description that produced the code ('chain') or the task's own ('seed')."
    )
    deduplicate: bool = _option(False, "Select only among codes whose normalised syntax trees differ.")
    selection_with_replacement: bool = _option(True, "Whether one code may be drawn several times.")

    # Training
    train_on_references: bool = _option(True, "Train on each seed's reference solution once, besides selected codes.")

    train_on_thinking: bool = _option(
        False,
        "Whether the <think>...</think> before a sampled code is part of what is trained on, and of its perplexity.",
    )

    # Evaluation
    eval_num_generations: int = _option(
        0, "Sampled codes for each evaluation task, for pass@k; the greedy code of pass@1 comes on top."
    )
    eval_k: list[int] = _option([1], "Values of k for pass@k of the sampled codes.")
    eval_temperature: float = _option(1.0, "Temperature of the sampled codes of the evaluation.")

    # Tracking
    num_logged_samples: int = _option(
        32, "Codes of each round, drawn at random, in the table that TensorBoard, wandb and trackio get; 0 for none."
    )

    # Hub
    push_samples: bool = _option(
        False, "Push the sampled codes with their lineage as a dataset too, whenever the model is pushed."
    )
    samples_repo_id: str | None = _option(
        None, "Repository of the samples dataset; that of the model with '-samples' behind it if not given."
    )
    samples_private: bool | None = _option(
        None, "Whether a new samples dataset is private; as the model's repository is if not given."
    )

    # Engine
    generation_engine: str = _option(
        "compact",
        "Engine that samples: 'compact' (own decoding loop over full-attention models), 'generate' (plain "
        "transformers, any model), 'continuous' (transformers' continuous batching) or 'server' (vLLM or another "
        "server of completions).",
    )
    generation_batch_size: int | None = _option(
        None, "Most completions that are generated at once on a device; the engine's own choice if not given."
    )
    generation_token_budget: int | None = _option(
        None,
        "Most tokens, prompts and longest completions, of all that is generated at once; by a GPU's free memory if not "
        "given.",
    )
    server_url: str | None = _option(
        None, "Completion server that runs already; the run starts one of its own if not given."
    )
    server_command: str | None = _option(
        None, "Command that starts the run's own server, with {model}, {host}, {port} and {rank}; vLLM's if not given."
    )
    server_model: str | None = _option(None, "Name that the server serves the base model by; its first if not given.")
    server_port: int | None = _option(None, "Port of the run's own server; a free one if not given.")
    server_start_timeout: float = _option(900.0, "Most seconds until the run's own server is ready.")
    server_request_timeout: float = _option(600.0, "Most seconds for one completion of a server.")
    server_patience: float = _option(120.0, "Seconds without any success until a server counts as gone.")

    def __post_init__(self) -> None:
        if not self.use_cpu and not torch.accelerator.is_available():
            raise ConfigError("this machine has no GPU that torch can use; set use_cpu=True to run on the CPU.")
        for name in self._VALID_DICT_FIELDS:
            _check_json(name, getattr(self, name))
        super().__post_init__()
        if isinstance(self.decontaminate_against, str):  # a YAML file names a single benchmark without brackets
            self.decontaminate_against = [self.decontaminate_against]
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"{name}={value!r} is unknown; use one of {', '.join(map(repr, allowed))}.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                bounds = f"at least {low}" if high == _ANY else f"between {low} and {high}"
                raise ConfigError(f"{name}={value!r} is out of range; use a number that is {bounds}.")
        if self.load_best_model_at_end and self.metric_for_best_model in ("loss", "eval_loss"):
            raise ConfigError(
                "load_best_model_at_end=True compares checkpoints by eval_loss, which is not measured; set "
                "metric_for_best_model='eval_pass@1' and greater_is_better=True, or leave it out."
            )
        if self.one_round_per_process and self.save_strategy == "no":
            raise ConfigError(
                "one_round_per_process=True needs checkpoints, in which a round leaves its weights to the next; set "
                "save_strategy='steps'."
            )
        bad_k = [k for k in self.eval_k if not 1 <= k <= self.eval_num_generations]
        if self.eval_num_generations and bad_k:
            raise ConfigError(
                f"eval_k={self.eval_k!r} needs eval_num_generations of at least {max(bad_k)}, not "
                f"{self.eval_num_generations}; raise it or leave out {bad_k}."
            )
        if self.num_selected is None and self.selection_with_replacement:
            raise ConfigError(
                "num_selected=None takes the whole pool, each code once, and selection_with_replacement=True may draw "
                "one code several times; set selection_with_replacement=False or give a number."
            )
        if self.sampler == "hinted" and self.num_steps < 2:
            raise ConfigError(
                f"num_steps={self.num_steps} leaves sampler='hinted' no step to try again in; use 2 or more."
            )
        if self.sampler == "hinted" and not self.verify:
            raise ConfigError(
                "sampler='hinted' tries again what failed, and with verify=False nothing is run that could fail; use "
                "verify=True or another sampler."
            )
        for name in ("samples_repo_id", "samples_private"):
            if getattr(self, name) is not None and not self.push_samples:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} needs push_samples=True; set it, or leave this out."
                )
        if any(not isinstance(text, str) or not text for text in self.stop or ()):
            raise ConfigError(f"stop={self.stop!r} holds an empty text, which ends everything; leave it out.")
        if self.generation_engine == "server":
            self.server_options()  # complains about options that exclude each other
        else:
            given = [name for name in _SERVER_OPTIONS if getattr(self, name) is not None]
            if given:
                raise ConfigError(
                    f"{given[0]}={getattr(self, given[0])!r} needs generation_engine='server', not "
                    f"{self.generation_engine!r}; set that, or leave {given[0]} out."
                )
        if Path(self.output_dir).is_file():
            raise ConfigError(f"output_dir={self.output_dir!r} is a file; give a folder.")

    @classmethod
    def from_preset(cls, preset: str, output_dir: str | None = None, **options: Any) -> GiFTConfig:
        """The options of a preset, with others over them.

        Args:
            preset: `"gift"`, `"rft"`, `"rft+rd"`, `"rest-em"`, `"star"` or `"ssd"`.
            output_dir: As for the class.
            options: Options of this class; they win over the preset's.

        Raises:
            ConfigError: for an unknown preset.
        """
        return cls(output_dir=output_dir, **{**preset_options(preset), **options})

    def cleaning_settings(self) -> CleaningSettings:
        """What is left out of the seeds."""
        return CleaningSettings(
            decontaminate=self.decontaminate,
            against=tuple(self.decontaminate_against),
            ngram=self.decontamination_ngram,
            threshold=self.decontamination_threshold,
            near_duplicates=self.near_duplicate_threshold,
        )

    @property
    def sampling_seed(self) -> int:
        """The seed of everything that is sampled or selected."""
        return self.seed if self.samples_seed is None else self.samples_seed

    def chain_settings(self, round_index: int, model_hash: str) -> ChainSettings:
        """The sampling stage's part of the options, for one round."""
        return ChainSettings(
            sampler=self.sampler,
            seed=self.sampling_seed,
            round=round_index,
            num_steps=self.num_steps,
            num_generations=self.num_generations,
            code_params=SamplingParams(self.max_completion_length, self.temperature, self.top_p, self.top_k),
            description_params=SamplingParams(
                self.max_description_length, self.description_temperature, self.description_top_p
            ),
            perplexity_condition=self.perplexity_condition,
            num_description_examples=self.num_description_examples,
            model_hash=model_hash,
            verify=self.verify,
            hint=self.hint,
        )

    def selection_settings(self, round_index: int) -> SelectionSettings:
        """The selection stage's part of the options, for one round."""
        return SelectionSettings(
            num_selected=self.num_selected,
            perplexity_weight=self.perplexity_weight,
            perplexity_cap=self.perplexity_cap,
            pool=self.pool,
            deduplicate=self.deduplicate,
            with_replacement=self.selection_with_replacement,
            seed=self.sampling_seed,
            round=round_index,
        )

    def evaluation_settings(self) -> EvaluationSettings:
        """The evaluation stage's part of the options."""
        return EvaluationSettings(
            max_completion_length=self.max_completion_length,
            num_generations=self.eval_num_generations,
            k=tuple(self.eval_k),
            temperature=self.eval_temperature,
            seed=self.sampling_seed,
        )

    def prompts(self, tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int]) -> PromptFormat:
        """How a model is asked.

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
        )

    def server_options(self) -> ServerOptions:
        """The server engine's part of the options."""
        from trl_gift.generation.serving import ServerOptions

        return ServerOptions(
            url=self.server_url,
            command=self.server_command,
            model=self.server_model,
            port=self.server_port,
            start_timeout_s=self.server_start_timeout,
            request_timeout_s=self.server_request_timeout,
            patience_s=self.server_patience,
        )

    def rollout_settings(self) -> RolloutSettings:
        """The engine's and the sandbox's part of the options."""
        return RolloutSettings(
            engine=self.generation_engine,
            batch_size=self.generation_batch_size,
            token_budget=self.generation_token_budget,
            server=self.server_options() if self.generation_engine == "server" else None,
            limits=self.limits(),
            isolation=self.isolation,
            sandbox_workers=self.sandbox_workers,
            quiet=bool(self.disable_tqdm),
        )

    def limits(self) -> Limits:
        """What one program may take; wall time is the backstop of the CPU time."""
        return Limits(cpu_s=self.execution_cpu_s, wall_s=3 * self.execution_cpu_s, memory_mb=self.execution_memory_mb)

    def gift_options(self) -> dict[str, Any]:
        """The options that this class adds to `SFTConfig`, for the run's record."""
        return {name: getattr(self, name) for name in option_stages()}


def _check_json(name: str, value: Any) -> None:
    """Names the option whose text is no JSON object; transformers, which reads it, would not."""
    if not isinstance(value, str) or (name in _FILE_OR_JSON and not value.startswith("{")):
        return
    try:
        content = json.loads(value)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}={value!r} is no JSON ({error}); write it as '{{\"name\": value}}'.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name}={value!r} is no JSON object; write it as '{{\"name\": value}}'.")


def option_stages() -> dict[str, str]:
    """The stage of each option that `GiFTConfig` adds to `SFTConfig`, in their order."""
    inherited = {item.name for item in fields(SFTConfig)}
    stages: dict[str, str] = {}
    stage = ""
    for item in fields(GiFTConfig):
        if item.name not in inherited:
            stage = _FIRST_OF_STAGE.get(item.name, stage)
            stages[item.name] = stage
    return stages


_FIRST_OF_STAGE = {
    "num_rounds": "Rounds",
    "decontaminate": "Tasks",
    "sampler": "Sampling",
    "prompt_format": "Prompts",
    "verify": "Execution",
    "pool": "Selection",
    "train_on_references": "Training",
    "eval_num_generations": "Evaluation",
    "num_logged_samples": "Tracking",
    "push_samples": "Hub",
    "generation_engine": "Engine",
}
_FILE_OR_JSON = ("accelerator_config", "fsdp_config", "deepspeed")
_SERVER_OPTIONS = ("server_url", "server_command", "server_model", "server_port")
_ANY = float("inf")
_CHOICES: dict[str, tuple[str, ...]] = {
    "sampler": tuple(SAMPLERS),
    "hint": HINTS,
    "pool": ("continuing", "all"),
    "perplexity_condition": ("chain", "seed"),
    "prompt_format": ("auto", "base", "chat"),
    "isolation": ("required", "none"),
    "generation_engine": ("compact", "generate", "continuous", "server"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "num_rounds": (1, _ANY),
    "decontamination_ngram": (1, _ANY),
    "decontamination_threshold": (1e-6, 1),
    "near_duplicate_threshold": (1e-6, 1),
    "num_steps": (1, _ANY),
    "num_generations": (1, _ANY),
    "temperature": (0, _ANY),
    "top_p": (1e-6, 1),
    "top_k": (0, _ANY),
    "max_completion_length": (1, _ANY),
    "description_temperature": (0, _ANY),
    "description_top_p": (1e-6, 1),
    "max_description_length": (1, _ANY),
    "num_description_examples": (0, _ANY),
    "execution_cpu_s": (0.01, _ANY),
    "execution_memory_mb": (16, _ANY),
    "sandbox_workers": (1, _ANY),
    "num_selected": (1, _ANY),
    "perplexity_weight": (0, _ANY),
    "perplexity_cap": (0, _ANY),
    "eval_num_generations": (0, _ANY),
    "eval_temperature": (0, _ANY),
    "num_logged_samples": (0, _ANY),
    "generation_batch_size": (1, _ANY),
    "generation_token_budget": (1, _ANY),
    "server_port": (1, 65535),
    "server_start_timeout": (1e-3, _ANY),
    "server_request_timeout": (1e-3, _ANY),
    "server_patience": (0, _ANY),
}
