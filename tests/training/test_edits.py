"""Programs as edits in a run: the token of edits, targets that resolve to the program, answers, adapters and merging."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, TaskType, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError
from trl_gift.lintseq import DIFF_TOKEN, resolve, sample_edit_sequences, to_text
from trl_gift.playground import playground_tasks
from trl_gift.prompts import EditPrompts, Extraction, NoProgram, prompt_format
from trl_gift.prompts.edits import MALFORMED_EDITS, is_edit_text, writes_edits
from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task
from trl_gift.training.edits import add_edit_row, add_edit_token, edit_targets, training_edit_token
from trl_gift.training.merging import merge_adapter
from trl_gift.training.pairs import IGNORED, training_pairs

CODE = "def add(a, b):\n    total = a + b\n    if total < 0:\n        return 0\n    return total"
OTHER = "def add(a, b):\n    total = b + a\n    if total < 0:\n        return 0\n    return total"
TASK = Task("t", "Add, but not below zero.", AssertTests("assert add(1, 2) == 3", entry_point="add"), "def add(a, b):",
            reference=CODE)  # fmt: skip


@pytest.fixture
def edit_tokenizer(tokenizer):
    clone = copy.deepcopy(tokenizer)
    assert add_edit_token(clone)
    return clone


@pytest.fixture
def prompts(edit_tokenizer):
    found = prompt_format(edit_tokenizer)
    assert isinstance(found, EditPrompts), "a model that writes edits is recognised by its tokenizer"
    return found


def config(folder, **options):
    options = {
        "num_steps": 1,
        "num_generations": 1,
        "num_description_examples": 0,
        "max_completion_length": 8,
    } | options
    return GiFTConfig(
        str(folder), max_description_length=4, learning_rate=1e-2, num_train_epochs=1, use_cpu=True, bf16=False,
        report_to="none", disable_tqdm=True, sandbox_workers=1, gradient_checkpointing=False, save_strategy="no",
        max_length=None, train_on_references=True, **options,
    )  # fmt: skip


def test_the_token_is_one_token_and_comes_back(edit_tokenizer, tokenizer):
    assert not writes_edits(tokenizer)
    assert writes_edits(edit_tokenizer)
    assert not add_edit_token(edit_tokenizer), "it is there already"
    text = to_text(sample_edit_sequences(CODE, 1)[0])
    ids = edit_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids.count(edit_tokenizer.convert_tokens_to_ids(DIFF_TOKEN)) == text.count(DIFF_TOKEN)
    assert edit_tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("tied", [False, True])
def test_its_row_is_the_mean_of_all_others(model_factory, edit_tokenizer, tied):
    model = model_factory(seed=1)
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    before = model.get_input_embeddings().weight.detach().clone()
    add_edit_row(model, edit_tokenizer)
    rows = model.get_input_embeddings().weight
    place = edit_tokenizer.convert_tokens_to_ids(DIFF_TOKEN)
    assert torch.equal(rows[:place], before[:place])
    torch.testing.assert_close(rows[place], before[:place].mean(dim=0))
    assert (model.get_output_embeddings().weight is rows) == tied


def test_targets_resolve_to_exactly_the_program_and_each_program_has_draws_of_its_own(prompts):
    texts = edit_targets(prompts, TASK, CODE, 20, seed=3)
    assert {resolve(text) for text in texts} == {CODE}
    assert len(set(texts)) > 1
    assert texts == edit_targets(prompts, TASK, CODE, 20, seed=3)
    assert texts != edit_targets(prompts, TASK, CODE, 20, seed=4)
    renamed = [text.replace("b + a", "a + b") for text in edit_targets(prompts, TASK, OTHER, 20, seed=3)]
    assert list(texts) != renamed, "programs of one shape are not written in the same order"
    assert edit_targets(prompts, TASK, "def add(:", 1, seed=3) == ()


def test_pairs_hold_as_many_edit_sequences_as_asked_for(tmp_path, prompts):
    options = config(tmp_path, target_format="edits", num_edit_sequences=3)
    pairs = training_pairs([TASK], [], options.targets(prompts), None, True)
    assert len(pairs.pairs) == pairs.num_references == 3
    for pair in pairs.pairs:
        learned = [token for token in pair.labels if token != IGNORED]
        assert resolve(prompts.whole.tokenizer.decode(learned, skip_special_tokens=True)) == CODE


def test_an_answer_is_edits_if_it_begins_with_their_token(prompts):
    text = to_text(sample_edit_sequences(CODE, 1)[0])
    found = prompts.extract(TASK, text)
    assert isinstance(found, Extraction)
    assert found.code == CODE
    assert (found.target, found.verbatim) == (text.removeprefix("\n"), text == text.removeprefix("\n"))
    whole = prompts.whole.target(TASK, CODE)
    assert not is_edit_text(whole)
    assert prompts.extract(TASK, whole) == prompts.whole.extract(TASK, whole), (
        "before training it writes whole programs"
    )
    broken = prompts.extract(TASK, text.replace("+1", "+9", 1) + "\n@@ nonsense")
    assert isinstance(broken, NoProgram)
    assert broken.kind == MALFORMED_EDITS


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("lora", [False, True])
def test_a_run_learns_edits_and_what_it_saves_is_recognised(tmp_path, model_folder, lora, tied):
    if tied:
        base = AutoModelForCausalLM.from_pretrained(model_folder)
        base.config.tie_word_embeddings = True
        base.tie_weights()
        base.save_pretrained(model_folder)
    trainer = GiFTTrainer(
        model=str(model_folder),
        args=config(tmp_path / "out", target_format="edits", num_rounds=2),
        train_dataset=playground_tasks("train", 4, with_reference=True),
        peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None,
    )
    trainer.train()
    trainer.save_model()
    place = trainer.processing_class.convert_tokens_to_ids(DIFF_TOKEN)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert writes_edits(tokenizer)
    assert isinstance(prompt_format(tokenizer), EditPrompts)
    ids = torch.tensor([[5, 6, place, 8]])
    with torch.inference_mode():
        wanted = trainer.accelerator.unwrap_model(trainer.model).eval()(input_ids=ids).logits
    folder = tmp_path / "out"
    if lora:
        with safe_open(folder / "adapter_model.safetensors", "pt") as adapter:
            rows = [adapter.get_slice(name).get_shape()[0] for name in adapter.keys() if "lora" not in name]  # noqa: SIM118
        assert rows == [1] * (1 if tied else 2), "the token of edits alone, and not the whole embedding"
        folder = tmp_path / "merged"
        merge_adapter(str(tmp_path / "out"), folder)
    with torch.inference_mode():
        found = AutoModelForCausalLM.from_pretrained(folder)(input_ids=ids).logits
    width = min(found.shape[-1], wanted.shape[-1])
    assert width > place
    torch.testing.assert_close(found[..., :width], wanted[..., :width], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("options", "message"), [
    ({"num_edit_sequences": 2}, "num_edit_sequences=2 needs target_format='edits'"),
    ({"target_format": "edits", "train_on_thinking": True}, "train_on_thinking=True with target_format='edits'"),
    ({"target_format": "diff"}, "target_format"),
    ({"target_format": "edits", "num_edit_sequences": 0}, "num_edit_sequences"),
])  # fmt: skip
def test_options_that_do_not_go_together(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **options)


def test_adapters_that_cannot_train_a_token_are_refused(model_factory, edit_tokenizer):
    model = model_factory(seed=1)
    add_edit_row(model, edit_tokenizer)
    with pytest.raises(ConfigError, match="PrefixTuningConfig"):
        training_edit_token(
            PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2), model, edit_tokenizer
        )
    with pytest.raises(ConfigError, match="has an adapter already"):
        add_edit_row(get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")), edit_tokenizer)


def test_a_base_that_knows_the_token_trains_it_beside_an_adapter(tmp_path, model_factory, edit_tokenizer):
    model = model_factory(seed=1)
    add_edit_row(model, edit_tokenizer)
    model.save_pretrained(tmp_path / "base")
    edit_tokenizer.save_pretrained(tmp_path / "base")
    trainer = GiFTTrainer(
        model=str(tmp_path / "base"),
        args=config(tmp_path / "out", target_format="edits", num_rounds=1),
        train_dataset=playground_tasks("train", 2, with_reference=True),
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )
    trainer.train()
    rows = {name: weight for name, weight in trainer.model.named_parameters() if "trainable_tokens" in name}
    assert rows
    assert all(weight.requires_grad and weight.shape[0] == 1 for weight in rows.values())
    place = edit_tokenizer.convert_tokens_to_ids(DIFF_TOKEN)
    before = model.get_input_embeddings().weight[place]
    assert any(not torch.equal(weight[0], before) for name, weight in rows.items() if "embed" in name)
