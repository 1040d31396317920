"""The formulas of memory against what torch, transformers and PEFT really allocate, on a CPU."""

from __future__ import annotations

import time

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from trl_gift.estimate import memory
from trl_gift.estimate.advice import Candidate, changes_that_fit
from trl_gift.estimate.device import GIB
from trl_gift.estimate.model import MetaModel, Trainable
from trl_gift.estimate.plan import Setting, sampling_plan, training_plan
from trl_gift.generation.slot_cache import SlotCache
from trl_gift.training.loading import load_dtype

KINDS = ["llama", "qwen2", "gpt2"]
LORA = {"r": 4, "target_modules": "all-linear"}
SEVEN_B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "vocab_size": 32016,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_exactly(model_factory, kind):
    model = model_factory(kind=kind)
    meta = MetaModel(model.config)
    assert meta.shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    full = meta.trainable(None)
    assert full.parameters == meta.shape.parameters
    adapted = get_peft_model(model, LoraConfig(**LORA))
    lora = meta.trainable(LoraConfig(**LORA))
    assert sorted(lora.sizes) == sorted(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert lora.adapted_inputs == sum(
        module.in_features for module in adapted.modules() if type(module).__module__.startswith("peft.tuners.lora")
        and "in_features" in vars(module)
    )  # fmt: skip
    assert meta.shape.gated == (kind != "gpt2")


@pytest.mark.parametrize("kind", KINDS)
def test_cache_formula_equals_the_buffers_of_the_engine(model_factory, kind):
    model = model_factory(kind=kind)
    shape = MetaModel(model.config).shape
    prefill = transformers.DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.tensor([[5] * 7, [6] * 7]), past_key_values=prefill, use_cache=True)
    cache = SlotCache()
    cache.admit(prefill, [7, 7], torch.tensor([0, 0, 0, 1]), most=4)
    before, columns = memory.slot_cache_columns(first_prompt=7, longest_row=7 + 200)
    widths = [cache._width]
    for _ in range(200):
        cache.begin_step()
        cache.end_step()
        if cache._width != widths[-1]:
            widths.append(cache._width)
    assert widths[-2:] == [before, columns]
    allocated = sum(buffer.nbytes for buffer in (*cache._keys, *cache._values, cache._mask))
    assert memory.slot_cache_bytes(shape, rows=4, columns=columns, dtype_bytes=4) == allocated
    one_token = sum(layer.keys[0, :, 0].nbytes + layer.values[0, :, 0].nbytes for layer in prefill.layers)
    assert memory.kv_bytes_per_token(shape, 4) == one_token


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize(("optim", "make"), [
    ("adamw_torch", torch.optim.AdamW),
    ("adagrad", torch.optim.Adagrad),
    ("sgd", torch.optim.SGD),
])  # fmt: skip
def test_what_training_keeps_is_counted_exactly(model_factory, adapter, optim, make):
    """Weights, gradients and optimizer states of a real step; the optimizers' step counters are left out."""
    model = model_factory().train()
    meta = MetaModel(model.config)
    peft_config = LoraConfig(**LORA) if adapter else None
    trainable = meta.trainable(peft_config)
    model = get_peft_model(model, peft_config) if adapter else model
    optimizer = make([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-3)
    ids = torch.tensor([[3, 4, 5, 6]])
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    number = memory.adapter_number_bytes(trainable, 4, "none")
    weights = memory.weight_bytes(meta.shape, 4, "none") + (trainable.parameters * number if adapter else 0)
    assert weights == sum(parameter.nbytes for parameter in model.parameters())
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert memory.gradient_bytes(trainable, number) == sum(gradient.nbytes for gradient in gradients)
    kept = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    states = memory.optimizer_states(optim)
    assert states is not None
    predicted = memory.optimizer_bytes(states, trainable.sizes, number)
    assert predicted == sum(tensor.nbytes for tensor in kept if tensor.dim() > 0)


def test_eight_bit_states_and_quantised_weights():
    sizes = (4096, 100)
    eight_bit = memory.optimizer_states("adamw_8bit")
    assert eight_bit is not None
    # Two bytes and two scales for each block of 256; small tensors in float32.
    assert memory.optimizer_bytes(eight_bit, sizes, 4) == 2 * 4096 + 2 * 16 * 4 + 2 * 4 * 100
    assert memory.bytes_per_quantized_weight("4bit") == 0.5625
    assert memory.bytes_per_quantized_weight("8bit") == 1.0
    assert memory.optimizer_states("paged_adamw_8bit").paged
    assert memory.optimizer_states("galore_adamw") is None


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("dtype", "dtype_bytes"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("lora", [None, 0.0, 0.05])
def test_activations_of_a_llama_layer(dtype, dtype_bytes, autocast, lora):
    """Bytes that autograd keeps for the backward pass, weights left out, within 10 %."""
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=256, intermediate_size=688, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=4,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).train()
    meta = MetaModel(config)
    peft_config = None if lora is None else LoraConfig(r=8, target_modules="all-linear", lora_dropout=lora)
    trainable = meta.trainable(peft_config)
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
        # Held: what is freed would give its address to the next tensor.
        output = model.model(input_ids=torch.full((2, 96), 7), attention_mask=mask, use_cache=False)
    assert output.last_hidden_state.requires_grad
    tokens, compute = mask.numel(), 2 if autocast else dtype_bytes
    layer = memory.layer_activation_bytes(meta.shape, tokens, compute, dtype_bytes, lora is None)
    number = memory.adapter_number_bytes(trainable, dtype_bytes, "none")
    layer += memory.adapter_activation_bytes(
        meta.shape, trainable, tokens, number, compute, dtype_bytes, autocast=autocast, on_cpu=True
    )
    copies = memory.autocast_weight_bytes(meta.shape, trainable, dtype_bytes, compute, False, "none")
    assert meta.shape.layers * layer + copies == pytest.approx(sum(kept.values()), rel=0.1)


def setting(**changes):
    values = {
        "dtype_bytes": 2, "quantization": "none", "compute_bytes": 2, "autocast": True, "rows": 64, "engine": "compact", "token_budget": None,
        "admitted": 22,
        "first_prompt": 400, "longest_prompt": 400, "longest_row": 912, "longest_code": 512, "truncated": True, "scored_rows": 3,
        "max_length": 1024, "train_batch": 8, "accumulation": 1, "checkpointing": True, "optim": "adamw_torch_fused",
        "fused_head": True, "processes": 1, "on_cpu": False,
    }  # fmt: skip
    return Setting(**{**values, **changes})


@pytest.fixture(scope="module")
def seven_b():
    return MetaModel(transformers.LlamaConfig(**SEVEN_B))


def test_a_7b_model_is_estimated_within_seconds_and_without_weights():
    started = time.process_time()
    meta = MetaModel(transformers.LlamaConfig(**SEVEN_B))
    trainable = meta.trainable(LoraConfig(r=16, target_modules="all-linear"))
    sampling_plan(meta.shape, trainable, setting(quantization="4bit"))
    training_plan(meta.shape, trainable, setting(quantization="4bit"))
    assert time.process_time() - started < 10
    assert meta.shape.parameters == 6_738_546_688
    assert trainable.parameters == 39_976_960
    # CodeLlama-7B in nf4: 3.4 GiB of linear weights and 0.5 GiB of embeddings in bfloat16.
    assert memory.weight_bytes(meta.shape, 2, "4bit") / GIB == pytest.approx(3.88, abs=0.02)
    assert memory.kv_bytes_per_token(meta.shape, 2) == 2**19


@pytest.mark.parametrize("change", [
    {"rows": 16, "admitted": 6}, {"checkpointing": False}, {"train_batch": 2}, {"quantization": "4bit"},
    {"max_length": 512}, {"optim": "adamw_8bit"}, {"fused_head": False}, {"dtype_bytes": 4}, {"processes": 2},
    {"engine": "generate", "admitted": 64}, {"truncated": False},
])  # fmt: skip
def test_every_option_moves_its_phase_in_the_right_direction(seven_b, change):
    # With an adapter, so that gradients and optimizer states do not hide everything else.
    trainable = seven_b.trainable(LoraConfig(r=16, target_modules="all-linear"))
    plans = [(sampling_plan, ("rows", "quantization", "dtype_bytes")), (training_plan, ("train_batch", "quantization",
             "max_length", "optim", "checkpointing", "fused_head", "dtype_bytes", "processes"))]  # fmt: skip
    grows = {"checkpointing", "fused_head", "dtype_bytes", "processes"}
    for plan, options in plans:
        before, after = plan(seven_b.shape, trainable, setting()).peak, plan(
            seven_b.shape, trainable, setting(**change)
        ).peak  # fmt: skip
        (first, *_) = change
        if first in options:
            assert (after > before) == (first in grows), (plan.__name__, before, after)


def advise(meta, usable_gib, peft_config=None, **changes):
    return changes_that_fit(
        meta.shape,
        Candidate(setting(**changes), meta.trainable(peft_config)),
        usable_gib * GIB,
        num_generations=3,
        lora=lambda: meta.trainable(LoraConfig(r=16, target_modules="all-linear")),
    )


def test_advice_for_a_7b_model_on_24_gib(seven_b):
    changes = advise(seven_b, 22)
    assert changes[-1].fits
    options = [change.options.split("=")[0] for change in changes]
    assert "use_peft" in options, "full fine-tuning of 7B parameters never fits"
    assert "engine_batch_size" in options
    assert all(not change.fits for change in changes[:-1])
    assert max(changes[-1].sampling, changes[-1].training) <= 22 * GIB
    # What was asked for is kept where it fits.
    assert advise(seven_b, 1000) == []


def test_advice_changes_no_more_than_needed(seven_b):
    lora = LoraConfig(r=16, target_modules="all-linear")
    few = advise(seven_b, 22, lora, rows=8, admitted=3, checkpointing=False, train_batch=2)
    assert [change.options for change in few] == ["gradient_checkpointing=true"]
    batch = advise(seven_b, 25, lora, rows=8, admitted=3, train_batch=32)
    assert [change.options.split("=")[0] for change in batch] == ["per_device_train_batch_size"]
    size, accumulation = batch[0].options.split()
    assert int(size.split("=")[1]) * int(accumulation.split("=")[1]) == 32


def test_advice_says_when_nothing_helps(seven_b):
    changes = advise(seven_b, 1)
    assert changes
    assert not changes[-1].fits


def test_trained_numbers_of_an_adapter():
    lora = Trainable((10,), is_adapter=True)
    assert memory.adapter_number_bytes(lora, 2, "none") == 4
    assert memory.adapter_number_bytes(lora, 4, "4bit") == 2
    assert memory.adapter_number_bytes(Trainable((10,), is_adapter=False), 2, "none") == 2


def test_dtypes():
    config = transformers.LlamaConfig(dtype="bfloat16")
    assert load_dtype(config, None) == torch.float32
    assert load_dtype(config, "auto") == torch.bfloat16
    assert load_dtype(config, "float16") == torch.float16
    with pytest.raises(ValueError, match="dtype='int8' is unknown"):
        load_dtype(config, "int8")
