"""Programs as edits in a run: the token of edits, targets that resolve to the program, answers, adapters and merging."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, TaskType, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback

from tests.support import run_trainer
from tests.support.models import make_model
from tests.support.prompts import CHATML, OPENS
from tests.support.sandboxes import InstantSandbox
from tests.support.server_command import COMMAND, ENVIRONMENT
from tests.support.tiny_runs import SMALL, training_tasks, weights_of
from tests.support.whole_runs import assert_same_samples, finish_together, result_of
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.cli.main import main
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.lintseq import DIFF_TOKEN, resolve, sample_edit_sequences, to_text
from trl_gift.playground import model_path, playground_tasks
from trl_gift.prompts import EditPrompts, Extraction, NoProgram, prompt_format
from trl_gift.prompts.edits import MALFORMED_EDITS, growth_of, is_edit_text, writes_edits
from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task, tasks_from_rows
from trl_gift.training.edits import add_edit_row, add_edit_token, edit_targets, opening_token, training_edit_token
from trl_gift.training.pairs import IGNORED, training_pairs
from trl_gift.training.targets import failing_targets

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
def test_its_row_is_near_that_of_the_token_with_which_programs_begin(model_factory, edit_tokenizer, tied):
    model = model_factory(seed=1)
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    before = model.get_input_embeddings().weight.detach().clone()
    add_edit_row(model, prompt_format(edit_tokenizer))
    rows = model.get_input_embeddings().weight
    place = edit_tokenizer.convert_tokens_to_ids(DIFF_TOKEN)
    assert torch.equal(rows[:place], before[:place])
    begins = edit_tokenizer("    return", add_special_tokens=False)["input_ids"][0]
    torch.testing.assert_close(rows[place], before[:place].mean(dim=0) / 4 + before[begins] * 3 / 4)
    assert (model.get_output_embeddings().weight is rows) == tied


@pytest.mark.parametrize(("template", "before"), [(CHATML, ""), (OPENS, "\n</think>\n\n")])
def test_a_chat_model_s_programs_begin_with_a_fence_after_their_thought(chat_tokenizer_factory, template, before):
    tokenizer = chat_tokenizer_factory(template, "<|im_end|>")
    add_edit_token(tokenizer)
    found = prompt_format(tokenizer)
    assert found.whole.no_thought == before
    assert tokenizer.decode([opening_token(found)]).startswith("`")


def test_targets_resolve_to_exactly_the_program_and_each_program_has_draws_of_its_own(prompts):
    texts = edit_targets(prompts, TASK, CODE, 20, seed=3)
    assert {resolve(text) for text in texts} == {CODE}
    assert len(set(texts)) > 1
    assert texts == edit_targets(prompts, TASK, CODE, 20, seed=3)
    assert texts != edit_targets(prompts, TASK, CODE, 20, seed=4)
    renamed = [text.replace("b + a", "a + b") for text in edit_targets(prompts, TASK, OTHER, 20, seed=3)]
    assert list(texts) != renamed, "programs of one shape are not written in the same order"
    assert edit_targets(prompts, TASK, "def add(:", 1, seed=3) == ()


@pytest.mark.parametrize("wrong", ["a", "@@ nonsense"])
def test_a_text_that_writes_another_program_is_not_learned_but_counted(tmp_path, prompts, monkeypatch, wrong):
    monkeypatch.setattr(
        "trl_gift.training.edits.to_text", lambda sequence: to_text(sequence).replace("return total", wrong)
    )
    assert edit_targets(prompts, TASK, CODE, 3, seed=3) == ()
    options = config(tmp_path, target_format="edits", num_edit_sequences=3)
    pairs = training_pairs([TASK], [], options.targets(prompts), None, True)
    assert (pairs.num_references, pairs.num_unfit) == (0, 3)


def test_targets_that_write_the_verified_program_are_not_executed_again(tmp_path, prompts):
    class Executed(InstantSandbox):
        programs = ()

        def submit_all(self, jobs):
            self.programs = [code for code, _ in jobs]
            return super().submit_all(jobs)

    sandbox = Executed()
    options = config(tmp_path, target_format="edits", num_edit_sequences=3)
    assert failing_targets([TASK], [], options.targets(prompts), sandbox, True) == {}
    assert sandbox.programs == []
    documented = replace(TASK, reference=CODE.replace("    total =", '    """Adds."""\n    total =', 1))
    assert failing_targets([documented], [], options.targets(prompts), sandbox, True) == {}
    assert sandbox.programs == [CODE] * len(set(options.targets(prompts).of_reference(documented)))


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
        assert main(["merge", str(tmp_path / "out"), "--output", str(folder)]) == 0
        assert "print(resolve(" in (folder / "README.md").read_text()
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
    ({"target_format": "edits", "num_edit_sequences": 10_000}, "num_edit_sequences=10000 is too many: .*; use 100 or fewer"),
])  # fmt: skip
def test_options_that_do_not_go_together(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **options)


def test_adapters_that_cannot_train_a_token_are_refused(model_factory, edit_tokenizer):
    model = model_factory(seed=1)
    add_edit_row(model, prompt_format(edit_tokenizer))
    with pytest.raises(ConfigError, match="PrefixTuningConfig"):
        training_edit_token(
            PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2), model, edit_tokenizer
        )
    with pytest.raises(ConfigError, match="has an adapter already"):
        add_edit_row(
            get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")), prompt_format(edit_tokenizer)
        )


def test_a_base_that_knows_the_token_trains_it_beside_an_adapter(tmp_path, model_factory, edit_tokenizer, capsys):
    model = model_factory(seed=1)
    add_edit_row(model, prompt_format(edit_tokenizer))
    model.save_pretrained(tmp_path / "base")
    edit_tokenizer.save_pretrained(tmp_path / "base")
    trainer = GiFTTrainer(
        model=str(tmp_path / "base"),
        args=config(tmp_path / "out", target_format="edits", num_rounds=1),
        train_dataset=playground_tasks("train", 2, with_reference=True),
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )
    assert "is the folder of a run" not in capsys.readouterr().err, (
        "the base is not a run, whatever was loaded from it"
    )
    trainer.train()
    rows = {name: weight for name, weight in trainer.model.named_parameters() if "trainable_tokens" in name}
    assert rows
    assert all(weight.requires_grad and weight.shape[0] == 1 for weight in rows.values())
    place = edit_tokenizer.convert_tokens_to_ids(DIFF_TOKEN)
    before = model.get_input_embeddings().weight[place]
    assert any(not torch.equal(weight[0], before) for name, weight in rows.items() if "embed" in name)


# Runs --------------------------------------------------------------------------------------------------------------

LEARNING = SMALL | {
    "num_rounds": 1, "num_steps": 1, "num_generations": 1, "max_completion_length": 120, "num_train_epochs": 60,
    "learning_rate": 1e-2, "decontaminate": False, "target_format": "edits",
}  # fmt: skip
ROW = {
    "task_id": "inc",
    "description": "Read a number and write the number that follows it.",
    "tests": {"stdin": ["1", "41"], "stdout": ["2", "42"]},
    "reference": "n = int(input())\nm = n + 1\nprint(m)",
}


def assert_it_writes_edits(trainer):
    (summary,) = trainer.train().rounds
    assert summary["references"] == 1
    assert summary["metrics"]["pass@1"] == 1.0
    (attempt,) = trainer.run.read("round-1/evaluation.json")["attempts"]
    growth = growth_of(attempt["completion"])
    assert growth is not None
    assert attempt["code"] == growth.states[-1] == ROW["reference"]


def test_a_chat_model_learns_edits(tmp_path, chat_tokenizer_factory):
    tokenizer = chat_tokenizer_factory(CHATML, "<|im_end|>")
    assert_it_writes_edits(
        GiFTTrainer(
            model=make_model(tokenizer),
            args=GiFTConfig(str(tmp_path), prompt_format="chat", **LEARNING),
            train_dataset=tasks_from_rows([ROW]),
            eval_dataset=tasks_from_rows([ROW]),
            processing_class=tokenizer,
        )
    )


@pytest.mark.slow
def test_a_server_of_its_own_serves_a_model_that_writes_edits(tmp_path, model_folder, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    options = LEARNING | {"generation_engine": "server", "server_command": f"{COMMAND} --model {{model}}"}
    assert_it_writes_edits(
        GiFTTrainer(
            model=str(model_folder),
            args=GiFTConfig(str(tmp_path / "out"), prompt_format="base", **options),
            train_dataset=tasks_from_rows([ROW]),
            eval_dataset=tasks_from_rows([ROW]),
        )
    )


def small_run(model, folder, callbacks=(), **options):
    return GiFTTrainer(
        model=str(model),
        args=GiFTConfig(str(folder), **SMALL | {"save_strategy": "steps", "save_steps": 1} | options),
        train_dataset=training_tasks(),
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
        sandbox=InstantSandbox(),
        callbacks=list(callbacks),
    )


class Crash(TrainerCallback):
    """Stops the process's work, as Ctrl-C does, in the first step of the second round."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


def test_an_interrupted_run_ends_as_if_it_had_not_been_and_keeps_its_form(tmp_path, model_folder):
    options = {"num_steps": 1, "num_generations": 2, "target_format": "edits"}
    whole = small_run(model_folder, tmp_path / "whole", **options)
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        small_run(model_folder, tmp_path / "out", [Crash()], **options).train()
    with pytest.raises(ResumeError, match="target_format was 'edits' and is now 'code'"):
        small_run(model_folder, tmp_path / "out", **options | {"target_format": "code"}).train(True)
    resumed = small_run(model_folder, tmp_path / "out", **options)
    resumed.train(resume_from_checkpoint=True)
    assert weights_of(resumed.model) == weights_of(whole.model)


def test_a_server_is_not_given_what_it_cannot_serve(tmp_path, model_folder):
    with pytest.raises(ConfigError, match="target_format='edits' adds it"):
        small_run(model_folder, tmp_path, target_format="edits", generation_engine="server", server_command=COMMAND)


@pytest.mark.slow
def test_four_bits(tmp_path):
    pytest.importorskip("bitsandbytes")
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    trainer = GiFTTrainer(
        model=str(model_path()),
        args=config(tmp_path / "out", target_format="edits", num_rounds=1),
        train_dataset=playground_tasks("train", 2, with_reference=True),
        quantization_config=nf4,
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )
    trainer.train()
    trainer.save_model()
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    base = AutoModelForCausalLM.from_pretrained(model_path(), quantization_config=nf4)
    base.resize_token_embeddings(model.get_base_model().get_input_embeddings().weight.shape[0], mean_resizing=False)
    again = dict(PeftModel.from_pretrained(base, tmp_path / "out").named_parameters())
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert any("trainable_tokens" in name for name in trained)
    for name, weight in trained.items():
        # The trainer keeps an adapter of a base in four bits in bfloat16.
        assert torch.equal(again[name].float(), weight.float()), name


@pytest.mark.slow
def test_two_processes_learn_edits_as_one(tmp_path):
    options = {"num_rounds": 1, "num_steps": 1, "target_format": "edits", "num_edit_sequences": 2}
    alone = run_trainer.make_trainer(
        str(model_path()), str(tmp_path / "one"), **options, per_device_train_batch_size=8
    )
    alone.train()
    run_trainer.finish(alone)
    one = result_of(tmp_path / "one")
    both = finish_together(tmp_path / "two", *(f"{name}={value!r}" for name, value in options.items()))
    assert_same_samples(both[0], one[0])
    assert both[1]["round-1"]["pairs"] == one[1]["round-1"]["pairs"] > 16
    assert max(float((one[2][name] - both[2][name]).abs().max()) for name in one[2]) < 1e-3
