"""Loads a model as it was trained: whole, or an adapter unmerged on its base, quantised or not; or only what a server needs.

A server has the weights of its model. Of a whole model that a server serves, this process loads the tokenizer and the shapes.
An adapter is loaded with its base, because the engine exports it for the server.

Not covered: models that are spread over several devices.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from accelerate import PartialState, init_empty_weights
from accelerate.utils import extract_model_from_parallel
from huggingface_hub import try_to_load_from_cache
from peft import PeftModel, load_peft_weights
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig, GenerationConfig

from trl_gift.common.models import as_model
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.evaluation import EvaluationSettings
from trl_gift.generation import choose_engine, default_dtype, end_ids
from trl_gift.inference.sources import ModelSource, find_source
from trl_gift.prompts import PromptFormat, prompt_format
from trl_gift.run.weights import quantization_in_words
from trl_gift.sampling.rollouts import Rollouts, RolloutSettings
from trl_gift.training.adapters import Vocabulary, adapter_tokenizer
from trl_gift.training.checks import check_model, check_quantization, check_vocabulary, load_config
from trl_gift.training.modalities import auto_class, load_tokenizer, text_tokenizer
from trl_gift.training.quantization import keep_trainable_after_sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from trl_gift.sandbox import Sandbox

_HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What exactly is measured.

    Attributes:
        model: The whole model, or the base of the adapter: a folder, or a name on the Hub.
        adapter: The adapter; None for a whole model.
        run: The folder of the run that trained it, if the run was named; else None.
        round: The round that trained it, if that is known; else None.
        revision: The commit of `model` on the Hub, or the revision that was asked for; None for a folder.
        adapter_revision: The same of the adapter.
        quantization: Such as `"4-bit nf4, computed in bfloat16"`; None for unquantised weights.
        dtype: Of the weights that are not quantised, such as `"bfloat16"`; None if a server has the weights.
        engine: `"compact"`, `"generate"` or `"server"`.
        server: Address of the server, if it runs already; None for one that is started, and for the other engines.
        device: Type of the device, such as `"cuda"`; None if a server has the weights.
    """

    model: str
    adapter: str | None
    run: str | None
    round: int | None
    revision: str | None
    adapter_revision: str | None
    quantization: str | None
    dtype: str | None
    engine: str
    server: str | None
    device: str | None

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    def line(self) -> str:
        """What it is, in words."""
        parts = [f"adapter {self.adapter}{_at(self.adapter_revision)} on" if self.adapter else ""]
        parts.append(f"{self.model}{_at(self.revision)}")
        by = [f"round {self.round} of the run {self.run}" if self.round else f"saved by the run {self.run}"]
        weights = [self.quantization or "not quantised", self.dtype or "", f"on {self.device}"]
        how = [*(by if self.run else []), *(weights if self.device else ["the weights of the server"])]
        engine = f"engine {self.engine}" + (f" at {self.server}" if self.server else "")
        return ", ".join(part for part in [" ".join(parts).strip(), *how, engine] if part)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to write programs.

    Attributes:
        model: The model, in evaluation mode or not.
        tokenizer: Its tokenizer.
        facts: What it is.
        is_served: Whether a server has its weights, and `model` has none.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    facts: ModelFacts
    is_served: bool = False

    def rollouts(self, args: GiFTConfig | None, folder: Path, sandbox: Sandbox | None = None) -> Rollouts:
        """Its engine and a sandbox.

        Args:
            args: The options; the defaults of a run if not given.
            folder: Where a server that this starts writes its log.
            sandbox: Runs the programs; `Rollouts` opens one if not given.
        """
        return Rollouts(
            self.model,
            self.tokenizer,
            self.prompts(args),
            processes(args),
            args.rollout_settings() if args else RolloutSettings(),
            folder,
            sandbox,
            is_served=self.is_served,
        )

    def prompts(self, args: GiFTConfig | None) -> PromptFormat:
        """How it is asked."""
        make = args.prompts if args else prompt_format
        return make(self.tokenizer, end_ids=end_ids(self.model, self.tokenizer))


class _Processes(PartialState):
    """The processes and the device, as an `Accelerator` knows them.

    An `Accelerator` would fix the precision of all later ones in this process, a trainer's among them.
    """

    def unwrap_model(self, model: Any) -> Any:
        return extract_model_from_parallel(model)


def processes(args: GiFTConfig | None) -> Any:
    """The processes of this program, and the device that a model is loaded on."""
    return _Processes(cpu=args.use_cpu if args else False)


def check_args(args: object) -> GiFTConfig | None:
    """The options that a caller gave.

    Raises:
        ConfigError: for options of another class.
    """
    if args is not None and not isinstance(args, GiFTConfig):
        raise ConfigError(f"args is a {type(args).__name__}; give a GiFTConfig, which takes the same options.")
    return args


def settings_of(args: GiFTConfig | None) -> EvaluationSettings:
    """What these options measure; what a run measures by default if none are given."""
    return args.evaluation_settings() if args else EvaluationSettings()


def load(
    model: str | os.PathLike[str] | ModelSource | PreTrainedModel,
    args: GiFTConfig | None = None,
    processing_class: PreTrainedTokenizerBase | None = None,
    base: str | None = None,
    **model_init_kwargs: Any,
) -> LoadedModel:
    """Loads what `evaluate` and `generate` use.

    Args:
        model: As for `evaluate`, or what `find_source` found.
        args: The options; engine and device are taken from them.
        processing_class: The tokenizer; loaded with the model if not given.
        base: The base of an adapter; the one that the adapter names if not given.
        model_init_kwargs: Arguments of `from_pretrained`. For an adapter of a run, `dtype` and `quantization_config` are those
            of its training if not given; `quantization_config=None` loads the base unquantised.

    Raises:
        ConfigError: for what cannot be loaded.
    """
    engine = args.generation_engine if args else RolloutSettings().engine
    if not isinstance(model, ModelSource):
        model = as_model(model, processing_class)
    if not isinstance(model, str | ModelSource):
        if base is not None or model_init_kwargs:
            name = "base" if base is not None else next(iter(model_init_kwargs))
            raise ConfigError(
                f"{name} is an argument of from_pretrained, and the model is loaded already; leave it out, or give the "
                "model's name."
            )
        tokenizer = text_tokenizer(processing_class or load_tokenizer(model.config.name_or_path))
        check_vocabulary(model, tokenizer, ())
        source = ModelSource(model.config.name_or_path or type(model).__name__)
        url = args.vllm_server_base_url if args and engine == "server" else None
        # A server that runs already has weights of its own; only an adapter can be given to it.
        is_served = url is not None and not isinstance(model, PeftModel)
        return LoadedModel(model, tokenizer, _facts(source, None if is_served else model, engine, url), is_served)
    options = {**(args.model_init_kwargs or {} if args else {}), **model_init_kwargs}
    if args and args.trust_remote_code:
        options.setdefault("trust_remote_code", True)
    source = find_source(model, base, options.pop("revision", None)) if isinstance(model, str) else model
    options = _as_trained(source, options, engine)
    _check(source, options, engine, processing_class is None)
    tokenizer = text_tokenizer(processing_class or _tokenizer(source, options))
    if engine == "server" and source.adapter is None:
        url = args.vllm_server_base_url if args else None
        return LoadedModel(_without_weights(source, options), tokenizer, _facts(source, None, engine, url), True)
    loaded = _load(source, options, engine, processes(args).device)
    check_vocabulary(loaded, tokenizer, ())
    return LoadedModel(loaded, tokenizer, _facts(source, loaded, engine, args.vllm_server_base_url if args else None))


def describe(source: ModelSource, args: GiFTConfig) -> LoadedModel:
    """A model without its weights: tokenizer, prompts, positions and layers are those of the loaded one.

    Args:
        source: What `find_source` found; of an adapter, the layers of its base are described.
        args: The options.

    Raises:
        ConfigError: for what cannot be loaded.
    """
    options = {"trust_remote_code": True} if args.trust_remote_code else {}
    engine = args.generation_engine
    _check(source, options, engine, with_tokenizer=True)
    tokenizer, url = text_tokenizer(_tokenizer(source, options)), args.vllm_server_base_url
    return LoadedModel(_without_weights(source, options), tokenizer, _facts(source, None, engine, url), True)


def _as_trained(source: ModelSource, given: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """The options for an adapter's base: what the caller gives, and else what is recorded of the adapter's training."""
    options = dict(given)
    if source.adapter is not None and source.loaded.dtype is not None:
        options.setdefault("dtype", source.loaded.dtype)
    # A server has weights of its own. A checkpoint that is quantised itself says how; others are quantised by bitsandbytes.
    recorded = None if engine == "server" else source.loaded.quantization_config
    if "quantization_config" not in options and recorded is not None:
        trusts = bool(options.get("trust_remote_code"))
        if not load_config(source.model, source.revision, trusts).to_dict().get("quantization_config"):
            options["quantization_config"] = BitsAndBytesConfig.from_dict(dict(recorded))
    if options.get("quantization_config", ...) is None:
        del options["quantization_config"]
    return options


def _check(source: ModelSource, options: Mapping[str, Any], engine: str, with_tokenizer: bool) -> None:
    if options.get("quantization_config") is not None:
        check_quantization(options["quantization_config"])
    trusts = bool(options.get("trust_remote_code"))
    if engine == "server" and source.adapter is None:  # it has the weights
        load_config(source.model, source.revision, trusts)
        return
    with_tokenizer = with_tokenizer and not (source.adapter and _has_tokenizer(source.adapter))
    try:
        check_model(source.model, {**options, "revision": source.revision}, trusts, with_tokenizer)
    except ConfigError as error:
        if source.adapter is None:
            raise
        raise ConfigError(
            f"the base of the adapter {source.adapter!r} cannot be loaded: {str(error).partition('; ')[0].rstrip('.')}; give "
            "another copy of it with --base."
        ) from error


def _load(source: ModelSource, options: Mapping[str, Any], engine: str, device: torch.device) -> Any:
    # What a server is to load is only exported here, so it does not take the memory of the server's device.
    place = torch.device("cpu") if engine == "server" else device
    on_gpu = False if place.type == "cpu" else None
    given = {
        "dtype": default_dtype(trains_weights=False, on_gpu=on_gpu),
        "device_map": None if place.type == "cpu" else {"": place},
        **options,
    }
    config = load_config(source.model, source.revision, bool(options.get("trust_remote_code")))
    model = auto_class(config).from_pretrained(source.model, revision=source.revision, **given)
    keep_trainable_after_sampling(model)  # 4-bit layers then compute as they did in the run
    if source.adapter is None:
        return model
    Vocabulary(source.adapter, model, source.adapter_revision).fit()
    where = {"revision": source.adapter_revision} if source.adapter_revision else {}
    # Trainable only for its name: that of an export is a hash of the trainable weights.
    adapted = PeftModel.from_pretrained(
        model, source.adapter, is_trainable=engine == "server", torch_device=place.type, **where
    )
    _restore_dtypes(adapted, load_peft_weights(source.adapter, device="cpu", **where))
    return adapted


def _restore_dtypes(model: torch.nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Undoes peft's cast of 16-bit adapters to 32, which would compute otherwise than the training did."""
    kinds = {tensor.dtype for tensor in saved.values()}
    if len(kinds) != 1 or (kind := kinds.pop()) not in _HALF:
        return
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(kind)


def _without_weights(source: ModelSource, options: Mapping[str, Any]) -> Any:
    trusts = bool(options.get("trust_remote_code"))
    config = AutoConfig.from_pretrained(source.model, revision=source.revision, trust_remote_code=trusts)
    with init_empty_weights(include_buffers=True):
        model = auto_class(config).from_config(config, trust_remote_code=trusts)
    model.config.name_or_path = source.model
    try:
        model.generation_config = GenerationConfig.from_pretrained(source.model, revision=source.revision)
    except OSError:
        return model  # it has none of its own; `from_config` has made one from the config
    return model


def _tokenizer(source: ModelSource, options: Mapping[str, Any]) -> Any:
    trusts = bool(options.get("trust_remote_code"))
    if source.adapter is not None:
        return adapter_tokenizer(source.adapter, source.model, source.revision, trusts)
    return AutoTokenizer.from_pretrained(source.model, revision=source.revision, trust_remote_code=trusts)


def _has_tokenizer(adapter: str) -> bool:
    return (Path(adapter) / "tokenizer_config.json").exists()


def _facts(
    source: ModelSource, model: Any, engine: Literal["auto", "compact", "generate", "server"], server: str | None
) -> ModelFacts:
    return ModelFacts(
        model=source.model,
        adapter=source.adapter,
        run=str(source.run) if source.run else None,
        round=source.round,
        revision=_commit(source.model, "config.json", source.revision),
        adapter_revision=_commit(source.adapter, "adapter_config.json", source.adapter_revision),
        quantization=quantization_in_words(model.config.to_dict().get("quantization_config"))
        if model is not None
        else None,
        dtype=str(model.dtype).removeprefix("torch.") if model is not None else None,
        engine=choose_engine(engine, model).name if model is not None else engine,
        server=server,
        device=model.device.type if model is not None else None,
    )


def _commit(name: str | None, file: str, revision: str | None) -> str | None:
    """The commit that was loaded from the Hub, or the revision that was asked for; None for a folder."""
    if name is None or Path(name).exists() or name.count("/") > 1:
        return None
    found = try_to_load_from_cache(name, file, revision=revision)
    return Path(found).parent.name if isinstance(found, str) else revision


def _at(revision: str | None) -> str:
    return f"@{revision[:12]}" if revision else ""
