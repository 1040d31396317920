"""A LoRA adapter in the weights for the time of sampling: the same model, and then the same weights, bit for bit."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from trl_gift.generation import merged, merged_adapter

IDS = torch.tensor([[5, 9, 11, 4]])


def adapted(model, **options):
    """A model with a LoRA adapter that changes it."""
    torch.manual_seed(0)
    options = {"target_modules": "all-linear", "init_lora_weights": False} | options
    return get_peft_model(model, LoraConfig(r=4, **options)).eval()


def snapshot(model):
    return {name: (weight.data_ptr(), weight.detach().clone()) for name, weight in model.named_parameters()}


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def is_merged(model):
    return any(layer.merged for layer in model.modules() if isinstance(layer, LoraLayer))


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True}], ids=str)
def test_the_model_is_the_same_and_its_weights_come_back(model_factory, options):
    model = adapted(model_factory(seed=1), **options)
    before, wanted = snapshot(model), logits(model)
    with merged_adapter(model):
        assert is_merged(model)
        assert torch.allclose(logits(model), wanted, atol=1e-5)
    assert not is_merged(model)
    assert torch.equal(logits(model), wanted)
    for name, (place, weight) in snapshot(model).items():
        assert place == before[name][0], "an optimizer or another process may hold the storage"
        assert torch.equal(weight, before[name][1])


def test_weights_come_back_after_an_error(model_factory):
    model = adapted(model_factory(seed=1))
    wanted = logits(model)
    with pytest.raises(KeyboardInterrupt), merged_adapter(model):
        raise KeyboardInterrupt
    assert not is_merged(model)
    assert torch.equal(logits(model), wanted)


def tied(factory):
    model = factory(seed=1)
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    return adapted(model, target_modules=["embed_tokens", "q_proj"])


@pytest.mark.parametrize("make", [
    pytest.param(lambda factory: factory(seed=1), id="no adapter"),
    pytest.param(lambda factory: adapted(factory(seed=1).to(torch.bfloat16)), id="rounds in bfloat16"),
    pytest.param(lambda factory: adapted(factory(seed=1), lora_bias=True), id="a bias for layers without one"),
    pytest.param(tied, id="the output layer shares the adapted weight"),
])  # fmt: skip
def test_nothing_is_merged_where_it_would_change_the_model(model_factory, make):
    model = make(model_factory)
    wanted = logits(model)
    with merged_adapter(model):
        assert not is_merged(model)
        assert torch.equal(logits(model), wanted)


def test_nothing_is_merged_where_memory_is_short(model_factory, monkeypatch):
    model = adapted(model_factory(seed=1))
    size = sum(4 * layer.get_base_layer().weight.numel() for layer in model.modules() if isinstance(layer, LoraLayer))
    for free, expected in ((4 * size, True), (4 * size - 1, False), (None, False)):
        monkeypatch.setattr(merged, "free_bytes", lambda model, free=free: free)
        with merged_adapter(model):
            assert is_merged(model) is expected
