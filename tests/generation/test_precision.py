"""The type that weights are loaded in where the user names none."""

from __future__ import annotations

import pytest
import torch

from trl_gift.generation import default_dtype, model


@pytest.mark.parametrize(
    ("device", "has_it", "trains_weights", "expected"),
    [
        ("cuda", True, False, "bfloat16"),
        ("cuda", True, True, "float32"),
        ("cuda", False, False, "float32"),
        ("xpu", True, False, "bfloat16"),
        ("mps", True, False, "float32"),
        (None, True, False, "float32"),
    ],
)
def test_bfloat16_where_a_gpu_has_it_and_nothing_of_it_is_trained(
    device, has_it, trains_weights, expected, monkeypatch
):
    found = torch.device(device) if device else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: found)
    monkeypatch.setattr(model, "is_bf16_available", lambda: has_it)
    assert default_dtype(trains_weights) == expected
    assert default_dtype(trains_weights, on_gpu=False) == "float32"
