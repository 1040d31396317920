"""What memory depends on in a model: its shape, its number of parameters and which of them are trained.

Everything is read from the model's *config*. The modules are built on the meta device, where a tensor has a shape but no
content, so a model of any size is counted in seconds without its weights. PEFT attaches an adapter to those modules, so
PEFT's own rules decide which layers the adapter changes.

Not covered: a mixture of experts is counted as if every expert worked on every token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from peft import LoraConfig, get_peft_model

from trl_gift.errors import ConfigError
from trl_gift.generation.compact import attending_layers
from trl_gift.training.adapters import without_fused
from trl_gift.training.modalities import auto_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftConfig
    from transformers import PretrainedConfig

Quantization = Literal["none", "4bit", "4bit-nested", "8bit"]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers of a model that memory depends on.

    Attributes:
        layers: Decoder layers.
        attending: Those of them that keep keys and values; linear attention and Mamba keep states of a fixed size instead.
        hidden: Width of the residual stream.
        intermediate: Width inside the MLP.
        gated: Whether the MLP has two projections of that width (a gate) instead of one.
        attention: Width of the queries, heads times head size.
        keys: Width of the keys, and of the values, heads times head size.
        vocabulary: Rows of the output layer.
        parameters: All parameters, tied ones once.
        linear_parameters: Weights of linear layers other than the output layer; these are what quantization replaces.
    """

    layers: int
    attending: int
    hidden: int
    intermediate: int
    gated: bool
    attention: int
    keys: int
    vocabulary: int
    parameters: int
    linear_parameters: int


@dataclass(frozen=True, slots=True)
class Trained:
    """The part of a model that is trained.

    Attributes:
        parameters: Number of trained parameters.
        is_adapter: Whether the model's own weights are frozen.
        adapted_inputs: Sum of the input widths of all adapted layers; 0 without an adapter.
        dropout: Whether the adapter drops out parts of its input.
        adapted_weights: Number of the weights of all layers that LoRA adapts; 0 without it.
    """

    parameters: int
    is_adapter: bool
    adapted_inputs: int = 0
    dropout: bool = False
    adapted_weights: int = 0


def quantization_kind(options: Mapping[str, Any]) -> Quantization:
    """The kind of quantization that the options of a `BitsAndBytesConfig` name."""
    if options.get("load_in_8bit"):
        return "8bit"
    if options.get("load_in_4bit"):
        return "4bit-nested" if options.get("bnb_4bit_use_double_quant") else "4bit"
    return "none"


def model_shape(config: PretrainedConfig) -> ModelShape:
    """Reads a model's shape.

    Raises:
        ConfigError: for a config that is not a causal language model's.
    """
    model = _on_meta_device(config)
    # The config itself maps attributes that have another name in some configs (n_layer, n_head, n_embd). Attributes that
    # some configs lack are read from the dictionary.
    config = config.get_text_config()
    options = config.to_dict()
    hidden = config.hidden_size
    # Models of states alone, such as Mamba, have no heads.
    heads = config.num_attention_heads if "num_attention_heads" in {*options, *config.attribute_map} else 0
    head_size = options.get("head_dim") or hidden // max(heads, 1)
    intermediate = options.get("intermediate_size") or options.get("n_inner") or 4 * hidden
    if isinstance(intermediate, list):  # one for each layer, as in Gemma 3n
        intermediate = max(intermediate)
    head = model.get_output_embeddings()
    linear = [module for module in model.modules() if _is_linear(module) and module is not head]
    return ModelShape(
        layers=config.num_hidden_layers,
        attending=attending_layers(config),
        hidden=hidden,
        intermediate=intermediate,
        gated=sum(_widths(module)[1] == intermediate for module in linear) >= 2 * config.num_hidden_layers,
        attention=heads * head_size,
        keys=(options.get("num_key_value_heads") or heads) * head_size,
        vocabulary=head.weight.shape[0],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear_parameters=sum(module.weight.numel() for module in linear),
    )


def trained_part(config: PretrainedConfig, peft_config: PeftConfig | None) -> Trained:
    """Counts what is trained: the parameters that PEFT leaves trainable; all of them without an adapter.

    Raises:
        ConfigError: for an adapter that does not fit the model.
    """
    model = _on_meta_device(config)
    peft_config = without_fused(peft_config, config.model_type)
    if peft_config is None:
        return Trained(sum(parameter.numel() for parameter in model.parameters()), is_adapter=False)
    inputs = {name: _widths(module)[0] for name, module in model.named_modules() if _is_linear(module)}
    try:
        with torch.device("meta"):
            adapted = get_peft_model(model, peft_config)
    except ValueError as error:
        raise ConfigError(f"the adapter does not fit the model: {error}") from error
    prefix, suffix = "base_model.model.", ".base_layer"
    layers = [name for name, _ in adapted.named_modules() if name.endswith(suffix)]
    return Trained(
        sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad),
        is_adapter=True,
        adapted_inputs=sum(inputs.get(name.removesuffix(suffix).removeprefix(prefix), 0) for name in layers),
        dropout=bool(peft_config.to_dict().get("lora_dropout")),
        adapted_weights=sum(
            parameter.numel()
            for name in layers
            if isinstance(peft_config, LoraConfig)
            for parameter in adapted.get_submodule(name).parameters(recurse=False)
        ),
    )


def _on_meta_device(config: PretrainedConfig) -> Any:
    try:
        with torch.device("meta"):
            return auto_class(config).from_config(config)
    except ValueError as error:
        raise ConfigError(f"the model cannot be estimated: {error}") from error


def _is_linear(module: torch.nn.Module) -> bool:
    # GPT-2's Conv1D is a linear layer with a transposed weight; quantization replaces it as well.
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def _widths(module: Any) -> tuple[int, int]:
    """Widths of a linear layer's input and output."""
    outputs, inputs = module.weight.shape if isinstance(module, torch.nn.Linear) else reversed(module.weight.shape)
    return int(inputs), int(outputs)
