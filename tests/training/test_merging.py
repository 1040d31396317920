"""Adapters of all LoRA kinds: trained in a round, merged into the unquantised base and nowhere else."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.cli.main import main
from trl_gift.errors import ConfigError
from trl_gift.inference.loading import load
from trl_gift.playground import playground_tasks
from trl_gift.run.folder import RunFolder
from trl_gift.training.adapters import Vocabulary
from trl_gift.training.merging import merge_adapter

KINDS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])


def logits(model):
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_of_each_kind_and_its_merge(tmp_path, model_folder, kind):
    config = GiFTConfig(
        str(tmp_path / "out"), num_steps=1, num_generations=1, num_description_examples=0, max_completion_length=8,
        max_description_length=4, learning_rate=1e-2, num_train_epochs=2, use_cpu=True, bf16=False, report_to="none",
        disable_tqdm=True, sandbox_workers=1, gradient_checkpointing=False, save_strategy="no", max_length=None,
    )  # fmt: skip
    trainer = GiFTTrainer(
        model=str(model_folder),
        args=config,
        train_dataset=playground_tasks("train", 4, with_reference=True),
        peft_config=LoraConfig(r=4, target_modules="all-linear", **KINDS[kind]),
    )
    trainer.train()
    trainer.save_model()
    saved = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert {name: saved[name] for name in KINDS[kind]} == KINDS[kind]
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    before = logits(base)
    unmerged = logits(PeftModel.from_pretrained(base, tmp_path / "out"))
    assert (unmerged - before).abs().max() > 1e-2, "the adapter does nothing"
    merged = merge_adapter(str(tmp_path / "out"), tmp_path / "merged")
    assert (merged.dtype, merged.base) == ("float32", str(model_folder))
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(alone), unmerged, atol=1e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token == "<|endoftext|>"


@pytest.fixture
def adapter_folder(tmp_path, model_folder):
    """An adapter that changes something, without a tokenizer beside it."""
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_command(tmp_path, adapter_folder, model_folder, capsys):
    arguments = ["merge", str(adapter_folder), "--output", str(tmp_path / "merged"), "--base", str(model_folder)]
    assert main([*arguments, "--dtype", "bfloat16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["output"], found["dtype"]) == (str(tmp_path / "merged"), "bfloat16")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").eos_token == "<|endoftext|>"
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.tmp"))
    card = (tmp_path / "merged/README.md").read_text()
    assert "with the adapter `adapter` added to its weights" in card
    assert "parameters in bfloat16" in card
    assert card.count("```python") == 1, "the adapter has no card of its own but that of peft"


def test_the_whole_model_of_a_run_needs_no_merge(tmp_path, model_folder, capsys):
    RunFolder(tmp_path / "out").start({})
    arguments = ["merge", str(tmp_path / "out"), "--output", str(tmp_path / "merged")]
    assert main(arguments) == 2
    assert "the folder of a run that has no trained model yet; continue the run first." in capsys.readouterr().err
    model_folder.rename(tmp_path / "out/model")
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"trl-gift: '{tmp_path}/out/model' holds a whole model, which needs no merge; use it as it is, or give an adapter."
    )


@pytest.mark.parametrize(("settings", "name"), [({"load_in_4bit": True}, "4-bit"), ({"load_in_8bit": True}, "8-bit"),
                                                ({"quant_method": "gptq"}, "gptq")])  # fmt: skip
def test_a_quantised_base_is_refused(tmp_path, adapter_folder, model_folder, settings, name):
    path = model_folder / "config.json"
    quantised = {"quant_method": "bitsandbytes", **settings}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": quantised}))
    with pytest.raises(ConfigError, match=f"{name}.*unquantised model with --base"):
        merge_adapter(str(adapter_folder), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_is_no_adapter_or_has_no_base(tmp_path, model_folder):
    with pytest.raises(ConfigError, match="holds a whole model, which needs no merge; use it as it is"):
        merge_adapter(str(model_folder), tmp_path / "merged")
    with pytest.raises(ConfigError, match="dtype='float64' is unknown"):
        merge_adapter(str(model_folder), tmp_path / "merged", dtype="float64")
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    get_peft_model(base, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path / "lora")
    with pytest.raises(ConfigError, match="/absent/base' cannot be read"):
        merge_adapter(str(tmp_path / "lora"), tmp_path / "merged", base="/absent/base")
    prompt = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder), prompt).save_pretrained(tmp_path / "prompt")
    with pytest.raises(ConfigError, match="PROMPT_TUNING adapter, which has no weights to merge"):
        merge_adapter(str(tmp_path / "prompt"), tmp_path / "merged")


TIED = {
    "lm_head": {"target_modules": ["lm_head"]},
    "embed_tokens": {"target_modules": ["embed_tokens"]},
    "both": {"target_modules": ["lm_head", "embed_tokens", "q_proj"]},
    "a whole lm_head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "a whole embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "neither": {"target_modules": "all-linear"},
}


def disturb(model):
    """Trains nothing, and changes whatever would be trained."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)


@pytest.mark.parametrize("kind", TIED)
def test_an_adapter_of_one_of_two_tied_layers_changes_the_other_not(tmp_path, model_factory, tokenizer, kind):
    """Merged into the weights that both share, it did."""
    base = model_factory(kind="gemma")
    assert base.lm_head.weight is base.model.embed_tokens.weight
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    adapted = get_peft_model(model, LoraConfig(r=4, **TIED[kind]))
    disturb(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    wanted = logits(adapted)
    assert (wanted - logits(base)).abs().max() > 1e-2
    merge_adapter(str(tmp_path / "adapter"), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), wanted, atol=1e-4, rtol=1e-4)
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == (kind == "neither")


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_an_adapter_of_a_resized_vocabulary(tmp_path, model_factory, model_folder, kind):
    model_factory(kind=kind).save_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = len(tokenizer) + 3
    tokenizer.add_tokens(["<a>", "<b>", "<c>"])
    model.resize_token_embeddings(rows, mean_resizing=False)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    disturb(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    wanted = logits(adapted)
    loaded = load(str(tmp_path / "adapter"), GiFTConfig(str(tmp_path), use_cpu=True, bf16=False))
    torch.testing.assert_close(logits(loaded.model), wanted)
    assert len(loaded.tokenizer) == rows
    merge_adapter(str(tmp_path / "adapter"), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.config.vocab_size == rows
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == (kind == "gemma")
    torch.testing.assert_close(logits(merged), wanted, atol=1e-4, rtol=1e-4)


def test_a_merged_model_that_computes_something_else_is_not_written(tmp_path, model_factory, tokenizer, monkeypatch):
    """What is merged into shared weights, as peft would do it, is found out."""
    model_factory(kind="gemma").save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), LoraConfig(r=4, **TIED["lm_head"])
    )
    disturb(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    monkeypatch.setattr(Vocabulary, "untie", lambda self: None)
    line = r"would change the model: its logits differ by \d+\.\d% .* rounding to float32 explains 0\.1%; nothing was written"
    with pytest.raises(ConfigError, match=line):
        merge_adapter(str(tmp_path / "adapter"), tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]
