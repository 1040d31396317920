"""The formulas of memory against what torch, transformers and PEFT really allocate on a CPU."""

from __future__ import annotations

import time

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from tests.support.architectures import ARCHITECTURES, make_config
from trl_gift import GiFTConfig
from trl_gift.estimate import memory
from trl_gift.estimate.advice import Candidate, changes_that_fit
from trl_gift.estimate.device import GIB, this_device
from trl_gift.estimate.memory import UNCERTAINTY, MemoryOptions, memory_options, sampling_memory, training_memory
from trl_gift.estimate.model import Trained, model_shape, quantization_kind, trained_part
from trl_gift.estimate.work import PromptLengths
from trl_gift.training.checks import load_dtype

KINDS = ["llama", "qwen2", "gpt2"]
LORA = {"r": 4, "target_modules": "all-linear"}
SEVEN_B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "vocab_size": 32016,
}  # fmt: skip


def options(**changes):
    values = {
        "weight_bytes": 2, "quantization": "none", "autocast": True, "engine": "compact", "rows": 64,
        "token_budget": None, "num_generations": 3, "longest_prompt": 400, "longest_row": 912, "truncated": True,
        "max_length": 1024, "train_batch": 8, "accumulation": 1, "checkpointing": True, "optim": "adamw_torch_fused",
        "tiled_loss": True, "processes": 1, "on_cpu": False,
    }  # fmt: skip
    return MemoryOptions(**{**values, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_exactly(model_factory, kind):
    model = model_factory(kind=kind)
    shape, full = model_shape(model.config), trained_part(model.config, None)
    assert shape.parameters == full.parameters == sum(parameter.numel() for parameter in model.parameters())
    adapted = get_peft_model(model, LoraConfig(**LORA))
    lora = trained_part(model.config, LoraConfig(**LORA))
    assert lora.parameters == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert lora.adapted_inputs == sum(
        module.in_features for module in adapted.modules() if type(module).__module__.startswith("peft.tuners.lora")
        and "in_features" in vars(module)
    )  # fmt: skip
    assert shape.gated == (kind != "gpt2")


@pytest.mark.parametrize("kind", KINDS)
def test_keys_and_values_of_a_token(model_factory, kind):
    model = model_factory(kind=kind)
    cache = transformers.DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.tensor([[5] * 7, [6] * 7]), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    chosen = options(engine="generate", weight_bytes=4, rows=2, longest_row=7)
    items = sampling_memory(model_shape(model.config), Trained(0, is_adapter=True), chosen).items
    assert items["keys and values"] == held


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize(("optim", "make"), [
    ("adamw_torch", torch.optim.AdamW),
    ("adagrad", torch.optim.Adagrad),
    ("sgd", torch.optim.SGD),
])  # fmt: skip
def test_what_training_keeps_is_counted_exactly(model_factory, adapter, optim, make):
    """Weights, gradients and optimizer states of a real step; the optimizers' step counters are left out."""
    model = model_factory().train()
    shape, peft_config = model_shape(model.config), LoraConfig(**LORA) if adapter else None
    trained = trained_part(model.config, peft_config)
    model = get_peft_model(model, peft_config) if adapter else model
    optimizer = make([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-3)
    ids = torch.tensor([[3, 4, 5, 6]])
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    items = training_memory(shape, trained, options(weight_bytes=4, optim=optim, accumulation=2)).items
    assert items["weights"] + items.get("adapter", 0) == sum(parameter.nbytes for parameter in model.parameters())
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert items["gradients"] == sum(gradient.nbytes for gradient in gradients)
    kept = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    assert items[f"optimizer ({optim})"] == sum(tensor.nbytes for tensor in kept if tensor.dim() > 0)


def test_states_of_optimizers():
    trained = Trained(1000, is_adapter=False)
    for optim, size in [("adamw_8bit", 2000), ("lion_32bit", 4000), ("ademamix", 12000), ("galore_adamw", 8000)]:
        assert memory.optimizer_bytes(trained, options(optim=optim, weight_bytes=4)) == (size, False)
    assert memory.optimizer_bytes(trained, options(optim="paged_adamw_8bit")) == (2000, True)
    assert memory.host_bytes(trained, options(optim="paged_adamw_8bit")) == 2 * 1000 + 2000


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("dtype", "weight_bytes"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("lora", [None, 0.0, 0.05])
def test_activations_of_a_llama(dtype, weight_bytes, autocast, lora):
    """Bytes that autograd keeps for the backward pass, without weights."""
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=256, intermediate_size=688, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=4,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).train()
    peft_config = None if lora is None else LoraConfig(r=8, target_modules="all-linear", lora_dropout=lora)
    if peft_config is not None:
        model = get_peft_model(model, peft_config).get_base_model()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    mask = torch.ones(2, 96, dtype=torch.long)
    mask[0, 80:] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        # Held: the next tensor would get the address of a tensor that is freed.
        output = model.model(input_ids=torch.full((2, 96), 7), attention_mask=mask, use_cache=False)
    assert output.last_hidden_state.requires_grad
    chosen = options(weight_bytes=weight_bytes, autocast=autocast, checkpointing=False, train_batch=2, max_length=96,
                     accumulation=2, on_cpu=True)  # fmt: skip
    items = training_memory(model_shape(config), trained_part(config, peft_config), chosen).items
    assert items["activations"] == pytest.approx(sum(kept.values()), rel=UNCERTAINTY)


@pytest.fixture(scope="module")
def seven_b():
    return transformers.LlamaConfig(**SEVEN_B)


def test_a_7b_model_is_estimated_within_seconds_and_without_weights(seven_b):
    started = time.process_time()
    shape = model_shape(seven_b)
    trained = trained_part(seven_b, LoraConfig(r=16, target_modules="all-linear"))
    sampling = sampling_memory(shape, trained, options(quantization="4bit", engine="generate"))
    training_memory(shape, trained, options(quantization="4bit"))
    assert time.process_time() - started < 10
    assert shape.parameters == 6_738_546_688
    assert trained.parameters == 39_976_960
    # CodeLlama-7B in nf4: 3.4 GiB of linear weights and 0.5 GiB of embeddings in bfloat16.
    assert sampling.items["weights"] / GIB == pytest.approx(3.88, abs=0.02)
    assert sampling.items["keys and values"] == 64 * 912 * 2**19


def test_kinds_of_quantization():
    assert quantization_kind({}) == "none"
    assert quantization_kind(transformers.BitsAndBytesConfig(load_in_8bit=True).to_dict()) == "8bit"
    four_bit = {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}
    assert quantization_kind(transformers.BitsAndBytesConfig(**four_bit).to_dict()) == "4bit-nested"


@pytest.mark.parametrize(("stage", "change", "grows"), [
    (sampling_memory, {"rows": 16}, False),
    (sampling_memory, {"quantization": "4bit"}, False),
    (sampling_memory, {"weight_bytes": 4}, True),
    (sampling_memory, {"token_budget": 4000}, False),
    (training_memory, {"checkpointing": False}, True),
    (training_memory, {"train_batch": 2}, False),
    (training_memory, {"quantization": "4bit"}, False),
    (training_memory, {"max_length": 512}, False),
    (training_memory, {"optim": "adamw_8bit"}, False),
    (training_memory, {"weight_bytes": 4}, True),
    (training_memory, {"processes": 2}, True),
    (training_memory, {"tiled_loss": False}, True),
])  # fmt: skip
def test_every_option_moves_its_stage_in_the_right_direction(seven_b, stage, change, grows):
    # With an adapter, so that gradients and optimizer states do not hide everything else.
    shape, trained = model_shape(seven_b), trained_part(seven_b, LoraConfig(r=16, target_modules="all-linear"))
    before, after = stage(shape, trained, options()).peak, stage(shape, trained, options(**change)).peak
    assert after > before if grows else after < before


def test_compact_limits_its_keys_and_values(seven_b):
    shape, trained = model_shape(seven_b), trained_part(seven_b, LoraConfig(r=16, target_modules="all-linear"))
    many = options(quantization="4bit", rows=256, usable=22.4 * GIB)
    token = 2 * 32 * 4096 * 2
    weights = sum(sampling_memory(shape, trained, many).items[name] for name in ("weights", "adapter"))
    budget = memory.token_budget(shape, trained, many)
    assert budget == pytest.approx((22.4 * GIB - weights) / 2 / token, abs=1)
    held = sampling_memory(shape, trained, many).items["keys and values"]
    assert held == (1.5 * budget + budget // 8) * token
    # The limit that the user gives wins, no memory leaves room for one completion, and others have no limit.
    assert memory.token_budget(shape, trained, options(usable=22.4 * GIB, token_budget=4000)) == 4000
    assert memory.token_budget(shape, trained, options(usable=0)) == 912
    assert memory.token_budget(shape, trained, options(usable=22.4 * GIB, engine="generate")) is None
    assert memory.token_budget(
        shape, trained, options(quantization="4bit", usable=22.4 * GIB, on_cpu=True)
    ) == pytest.approx(budget, rel=0.01)
    # Few completions need less than the limit.
    few = [options(quantization="4bit", rows=4, usable=usable) for usable in (None, 22.4 * GIB)]
    assert len({sampling_memory(shape, trained, one).peak for one in few}) == 1


def advise(config, usable_gib, peft_config=None, **changes):
    return changes_that_fit(
        model_shape(config),
        Candidate(options(**changes), trained_part(config, peft_config)),
        usable_gib * GIB,
        num_generations=3,
        lora=lambda: trained_part(config, LoraConfig(r=16, target_modules="all-linear")),
    )


def test_advice_for_a_7b_model_on_24_gib(seven_b):
    changes = advise(seven_b, 22)
    assert changes[-1].fits
    written = [change.options.split("=")[0] for change in changes]
    assert "use_peft" in written, "full fine-tuning of 7B parameters never fits"
    assert "engine_batch_size" in written
    assert all(not change.fits for change in changes[:-1])
    assert max(changes[-1].sampling, changes[-1].training) <= 22 * GIB
    # What was asked for is kept where it fits.
    assert advise(seven_b, 1000) == []


def test_advice_changes_no_more_than_needed(seven_b):
    lora = LoraConfig(r=16, target_modules="all-linear")
    few = advise(seven_b, 22, lora, rows=8, checkpointing=False, train_batch=2)
    assert [change.options for change in few] == ["gradient_checkpointing=true"]
    batch = advise(seven_b, 25, lora, rows=8, train_batch=32)
    assert [change.options.split("=")[0] for change in batch] == ["per_device_train_batch_size"]
    size, accumulation = batch[0].options.split()
    assert int(size.split("=")[1]) * int(accumulation.split("=")[1]) == 32


def test_advice_says_when_nothing_helps(seven_b):
    changes = advise(seven_b, 1)
    assert changes
    assert not changes[-1].fits


def test_trained_numbers_of_an_adapter():
    lora = Trained(10, is_adapter=True)
    assert memory.trained_bytes(lora, options(weight_bytes=2)) == 4
    assert memory.trained_bytes(lora, options(weight_bytes=4, quantization="4bit")) == 2
    assert memory.trained_bytes(Trained(10, is_adapter=False), options(weight_bytes=2)) == 2


def test_dtypes():
    config = transformers.LlamaConfig(dtype="bfloat16")
    assert load_dtype(config, None) == torch.float32
    assert load_dtype(config, "auto") == torch.bfloat16
    assert load_dtype(config, "float16") == torch.float16
    with pytest.raises(ValueError, match="dtype='int8' is unknown"):
        load_dtype(config, "int8")


@pytest.mark.parametrize(("given", "tasks", "measured", "rows"), [
    ({}, 2, 0, 6), ({}, 2, 9, 9), ({"eval_num_generations": 3}, 2, 9, 36), ({}, 1000, 0, 256),
    ({"engine_batch_size": 4}, 1000, 0, 4), ({"engine_batch_size": 40}, 2, 0, 6),
])  # fmt: skip
def test_a_small_run_has_no_more_completions_at_once_than_it_asks_for(given, tasks, measured, rows):
    config = GiFTConfig("out", use_cpu=True, bf16=False, num_generations=3, **given)
    lengths = PromptLengths(10, 5, 20, 5, None, 0, 12, 10, 12, 10, 12)
    assert memory_options(config, lengths, 4, "none", this_device(True), tasks, measured).rows == rows


@pytest.mark.parametrize("kind", ["mamba", "falcon_h1", "gemma3n_text", "bloom", "mistral3", "qwen3_5"])
def test_other_architectures_can_be_estimated(kind, tokenizer):
    """Models without attention, with sizes for each layer or other names of them, multimodal ones."""
    config = make_config(kind, tokenizer)
    is_text = ARCHITECTURES[kind].text is None
    config.architectures = ["ForCausalLM" if is_text else "ForConditionalGeneration"]
    shape = model_shape(config)
    assert shape.parameters > 0
    assert isinstance(shape.intermediate, int)
    assert (shape.keys == 0) == (kind == "mamba")
    # Mamba keeps states in all layers, Qwen3.5 in one of two, and two layers of Gemma 3n use the keys of another one.
    assert shape.attending == {"mamba": 0, "qwen3_5": 1, "gemma3n_text": 2}.get(kind, shape.layers)
    assert trained_part(config, LoraConfig(r=2, target_modules="all-linear")).parameters > 0
