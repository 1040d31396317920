"""The card of a finished run on disk: true, and with a snippet that runs as it stands."""

from __future__ import annotations

import re

import pytest
import torch
from peft import LoraConfig
from transformers import GenerationMixin

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import DESCRIPTIONS, SMALL, measured_tasks, training_tasks
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.lintseq import sample_edit_sequences, to_text


def snippet(card):
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def base(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("lora", [False, True])
def test_the_snippet_of_a_finished_run_runs(lora, base, tmp_path, capsys, monkeypatch):
    seen = []

    class Looking(GiFTTrainer):
        def write_card(self):
            super().write_card()
            seen.append((tmp_path / "out/README.md").read_text())

    trainer = Looking(
        str(base), GiFTConfig(str(tmp_path / "out"), **SMALL | {"save_strategy": "steps"}), training_tasks(),
        measured_tasks(), sandbox=InstantSandbox(lambda program, tests: True),
        peft_config=LoraConfig(r=2, target_modules="all-linear") if lora else None,
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert "Training is under way: 1 round of 2 finished." in seen[0]
    assert "It went through 2 rounds." in seen[-1]
    assert all(f"| round {number} |" in seen[-1] for number in (1, 2))
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "out/checkpoint-") in snippet(seen[-1]), "nothing was saved by then"
    for folder in ("out", "saved"):
        card = (tmp_path / folder / "README.md").read_text()
        assert "It went through 2 rounds." in card
        assert "The prompt is that of a training task, special" in card
        code = snippet(card)
        assert f'"{tmp_path / "saved"}"' in code, "both name the model, and not a checkpoint"
        assert DESCRIPTIONS[0] in code
        assert ("PeftModel" in code) == lora
        assert f"max_new_tokens={SMALL['max_completion_length']}," in code
        capsys.readouterr()
        exec(compile(code, folder, "exec"), {})
        assert capsys.readouterr().out


def test_the_snippet_of_a_model_that_writes_edits_prints_the_program(base, tmp_path, capsys, monkeypatch):
    options = SMALL | {"num_rounds": 1, "num_steps": 1, "num_generations": 1, "target_format": "edits"}
    trainer = GiFTTrainer(
        str(base), GiFTConfig(str(tmp_path / "out"), **options), training_tasks(),
        sandbox=InstantSandbox(lambda program, tests: True), peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    code = snippet((tmp_path / "saved/README.md").read_text())
    model, tokenizer = trainer.accelerator.unwrap_model(trainer.model).eval(), trainer.processing_class
    program = "def add(a, b):\n    total = a + b\n    return total"
    written = tokenizer(to_text(sample_edit_sequences(program, 1)[0]), return_tensors="pt")["input_ids"]
    seen = {}

    def generate(model, input_ids, **options):
        seen["logits"] = model(input_ids=torch.cat([input_ids, written], dim=1)).logits
        seen["ids"] = torch.cat([input_ids, written], dim=1)
        return seen["ids"]

    monkeypatch.setattr(GenerationMixin, "generate", generate)
    capsys.readouterr()
    with torch.inference_mode():
        exec(compile(code, "snippet", "exec"), {})
        wanted = model(input_ids=seen["ids"]).logits
    assert capsys.readouterr().out == f"{program}\n"
    torch.testing.assert_close(seen["logits"], wanted)
    monkeypatch.setattr(
        GenerationMixin,
        "generate",
        lambda model, input_ids, **options: torch.cat(
            [input_ids, tokenizer("pass", return_tensors="pt")["input_ids"]], dim=1
        ),
    )
    exec(compile(code, "snippet", "exec"), {})
    assert capsys.readouterr().out.strip() == "pass", "a whole program stays as it is"
