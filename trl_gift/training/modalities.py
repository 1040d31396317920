"""Multimodal checkpoints used for text: their class, their tokenizer, and the part of their weights that text reaches.

Gemma 3 and 4, Qwen3.5, Ministral 3 and others come as one checkpoint with a vision tower. TRL loads them whole, with a
processor. Prompts and programs are text, so that the processor's tokenizer serves, and the weights of the other modalities
are neither used nor trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from trl_gift.errors import ConfigError
from trl_gift.training.checks import load_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_MULTIMODAL = "ForConditionalGeneration"


def auto_class(config: PretrainedConfig) -> Any:
    """The class whose `from_pretrained` and `from_config` make the model that TRL makes of this config."""
    architecture = next(iter(config.architectures or ()), "")
    return AutoModelForImageTextToText if architecture.endswith(_MULTIMODAL) else AutoModelForCausalLM


def text_tokenizer(processing_class: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of what the user gave as `processing_class`: the tokenizer itself, or that of a processor.

    Raises:
        ConfigError: for anything else.
    """
    if isinstance(processing_class, ProcessorMixin):
        tokenizer = processing_class.tokenizer
        # Some checkpoints have the template of their chats in the processor alone.
        tokenizer.chat_template = tokenizer.chat_template or processing_class.chat_template
        return text_tokenizer(tokenizer)
    if not isinstance(processing_class, PreTrainedTokenizerBase):
        raise ConfigError(
            f"processing_class is a {type(processing_class).__name__}; give the model's tokenizer, or its processor."
        )
    return processing_class


def load_tokenizer(name: str, revision: str | None = None, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer that a model was saved with; no processor is made, so that nothing for images need be installed.

    Args:
        name: Where the model was loaded from: a folder, or a name on the Hub.
        revision: Of the repository on the Hub.
        trust_remote_code: Whether code of the repository may run.

    Raises:
        ConfigError: if there is none.
    """
    try:
        loaded = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"processing_class is missing, and {name!r}, where the model was loaded from, holds no tokenizer; give it as "
            "processing_class."
        ) from error
    return text_tokenizer(loaded)


def load_to_train(
    name: str, options: Mapping[str, Any], trust_remote_code: bool, on_cpu: bool, parallel: bool
) -> PreTrainedModel:
    """Loads a model as TRL would, for what has to be done to it before there is an adapter.

    Args:
        name: A folder, or a name on the Hub.
        options: The arguments of `from_pretrained`.
        trust_remote_code: Whether code of the repository may run, if the options do not say.
        on_cpu: Whether the training is on the CPU.
        parallel: Whether several processes train, each on a device of its own.
    """
    given = {"trust_remote_code": trust_remote_code, "device_map": None if on_cpu else "auto", **options}
    if parallel:
        given["device_map"] = None
    config = load_config(name, given.get("revision"), bool(given["trust_remote_code"]))
    model: PreTrainedModel = auto_class(config).from_pretrained(name, **given)
    return model


def freeze_other_modalities(model: PreTrainedModel) -> int:
    """Excludes weights from training that text does not reach; returns how many of those that were trained.

    Without a gradient they would only cost memory, and processes that share a model would wait for their gradients.

    Args:
        model: A model, with or without an adapter.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    if not type(inner).__name__.endswith(_MULTIMODAL):
        return 0
    used = {id(part) for part in inner.get_decoder().parameters()}
    used |= {id(part) for part in inner.get_output_embeddings().parameters()}
    others = [part for part in model.parameters() if part.requires_grad and id(part) not in used]
    for part in others:
        part.requires_grad_(False)
    return sum(part.numel() for part in others)
