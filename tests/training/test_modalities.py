"""Multimodal checkpoints used for text: by name, with a processor, measured, asked and merged; nothing is downloaded."""

from __future__ import annotations

import json
import math

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForImageTextToText, ProcessorMixin

import trl_gift
from tests.support.architectures import make_architecture
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.cli.main import main
from trl_gift.errors import ConfigError
from trl_gift.inference import generate
from trl_gift.playground import playground_tasks
from trl_gift.training.modalities import text_tokenizer

MULTIMODAL = ["gemma3", "gemma4", "qwen3_5", "mistral3"]
CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
SMALL = {"num_steps": 1, "num_generations": 1, "max_completion_length": 8, "max_description_length": 8, "max_steps": 1,
         "per_device_train_batch_size": 2, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
         "sandbox_workers": 1, **CPU}  # fmt: skip


class TextProcessor(ProcessorMixin):
    """A processor as multimodal checkpoints have it, without the part for images."""

    def __init__(self, tokenizer=None, chat_template=None):
        super().__init__(tokenizer, chat_template=chat_template)


@pytest.fixture
def checkpoint(tmp_path, tokenizer):
    """Saves a multimodal checkpoint; its processor needs libraries that are not installed, as most do."""

    def make(kind):
        folder = tmp_path / kind
        make_architecture(kind, tokenizer).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "processor_config.json").write_text(json.dumps({"processor_class": "Gemma3Processor"}))
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "Gemma3ImageProcessor"}))
        return folder

    return make


@pytest.mark.parametrize("kind", MULTIMODAL)
def test_a_checkpoint_by_name_is_trained_measured_asked_and_merged(tmp_path, checkpoint, kind):
    folder, out = checkpoint(kind), str(tmp_path / "out")
    tasks = playground_tasks("train", 2, with_reference=True)
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = GiFTTrainer(str(folder), GiFTConfig(out, **SMALL), tasks, peft_config=lora)
    assert type(trainer.model.get_base_model()) is type(AutoModelForImageTextToText.from_pretrained(folder))
    assert trainer.args.generation_engine == "compact"
    output = trainer.train()
    assert math.isfinite(output.training_loss)
    trainer.save_model()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.inference_mode():
        trained = trainer.model.eval()(input_ids=ids).logits
    args = GiFTConfig(str(tmp_path / "unused"), **{**SMALL, "max_steps": -1})
    measured = trl_gift.evaluate(out, tasks, args)
    assert measured.metrics()["pass@1"] == 0.0
    assert generate(out, "Sum the numbers.", args=args)
    assert main(["merge", out, "--output", str(tmp_path / "merged")]) == 0
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval()
    with torch.inference_mode():
        torch.testing.assert_close(merged(input_ids=ids).logits, trained, atol=1e-4, rtol=1e-4)
    assert trl_gift.evaluate(str(tmp_path / "merged"), tasks, args).metrics()["pass@1"] == 0.0


def test_full_fine_tuning_leaves_the_vision_tower_alone(tmp_path, checkpoint):
    tasks = playground_tasks("train", 2, with_reference=True)
    trainer = GiFTTrainer(str(checkpoint("gemma3")), GiFTConfig(str(tmp_path / "out"), **SMALL), tasks)
    trained = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert trained
    assert all("language_model" in name or "lm_head" in name for name in trained)
    assert math.isfinite(trainer.train().training_loss)


def test_a_processor_gives_its_tokenizer(tmp_path, tokenizer):
    import copy

    processor = TextProcessor(copy.deepcopy(tokenizer), chat_template="{{ messages[0].content }}")
    args = GiFTConfig(str(tmp_path / "out"), prompt_format="base", **SMALL)
    tasks = playground_tasks("train", 2, with_reference=True)
    trainer = GiFTTrainer(make_architecture("gemma3", tokenizer), args, tasks, processing_class=processor)
    assert trainer.processing_class is processor.tokenizer
    assert trainer.processing_class.chat_template == "{{ messages[0].content }}"
    with pytest.raises(ConfigError, match="processing_class is a str; give the model's tokenizer, or its processor"):
        text_tokenizer("gemma")


def test_the_command_line_trains_a_multimodal_checkpoint(tmp_path, checkpoint, capsys):
    arguments = [
        "train", "--model_name_or_path", str(checkpoint("qwen3_5")), "--dataset_name", "playground", "--output_dir",
        str(tmp_path / "out"), "--use_peft", "--lora_r", "2", "--limit", "2", *(
            f"--{name}={json.dumps(value) if not isinstance(value, str) else value}" for name, value in SMALL.items()),
    ]  # fmt: skip
    assert main(arguments) == 0
