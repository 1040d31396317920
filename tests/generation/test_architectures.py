"""Tiny random models of many architectures: the engine that serves each draws what plain passes of the model draw."""

from __future__ import annotations

import pytest

from tests.support.architectures import (
    ARCHITECTURES,
    PAGE,
    differences,
    line_of,
    make_architecture,
    row_of,
    served_by,
    table_of,
    train_lora,
)
from trl_gift.generation import GenerateEngine
from trl_gift.generation.compact import CompactEngine
from trl_gift.sandbox import LocalSandbox

# One of each kind of layer, and of each way to combine them.
SOME = [
    "gpt2",
    "qwen2-window",
    "gemma3n_text",
    "mistral",
    "gpt_oss",
    "qwen3_5",
    "lfm2",
    "falcon_h1",
    "mamba2",
    "deepseek_v3",
]
TRAINED = ["qwen3_moe", "nemotron_h", "lfm2", "gemma3", "mistral3"]


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as opened:
        yield opened


@pytest.mark.parametrize("kind", SOME)
def test_samples_are_those_of_plain_passes(kind, tokenizer):
    """Prompts of unlike lengths that join late, longer and shorter than a window; greedy, and drawn."""
    model = make_architecture(kind, tokenizer)
    for temperature in (0.0, 1.0):
        others, apart = differences(CompactEngine(model, tokenizer, batch_size=4), model, tokenizer, temperature)
        assert others == 0
        assert apart < 1e-3


@pytest.mark.parametrize("kind", ["minimax", "zamba2", "gemma4_text"])
def test_generate_pads_no_prompt_where_padding_enters_a_state(kind, tokenizer):
    model = make_architecture(kind, tokenizer)
    others, apart = differences(GenerateEngine(model, tokenizer, batch_size=4), model, tokenizer, 1.0)
    assert others == 0
    assert apart < 1e-3


@pytest.mark.parametrize("kind", TRAINED)
def test_a_round_trains_an_adapter(kind, tokenizer, tmp_path, sandbox):
    trainer = train_lora(kind, make_architecture(kind, tokenizer), tokenizer, tmp_path / "out", sandbox)
    assert trainer.args.generation_engine == "compact"
    trained = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert not [name for name in trained if "vision" in name or "visual" in name]


def test_the_page_names_every_kind_and_the_engine_that_serves_it(tokenizer):
    """The samples and the adapters in the table are measured by the slow test."""
    lines = table_of(PAGE.read_text(encoding="utf-8"))
    for kind, line in zip(ARCHITECTURES, lines, strict=True):
        measured = [cell.strip() for cell in line.split("|")[5:7]]
        assert line == line_of(kind, *served_by(kind, tokenizer), *measured), (
            "run `python -m tests.support.architectures`"
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_page_is_what_is_measured(kind, tokenizer, sandbox):
    lines = dict(zip(ARCHITECTURES, table_of(PAGE.read_text(encoding="utf-8")), strict=True))
    assert row_of(kind, tokenizer, sandbox) == lines[kind], "run `python -m tests.support.architectures`"
