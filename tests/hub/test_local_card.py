"""The card of a finished run on disk: true, and with a snippet that runs as it stands."""

from __future__ import annotations

import re

import pytest
from peft import LoraConfig

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import DESCRIPTIONS, SMALL, measured_tasks, training_tasks
from trl_gift import GiFTConfig, GiFTTrainer


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
