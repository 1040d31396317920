"""4-bit and 8-bit models that sample and then train, on a CPU."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainerCallback

from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError
from trl_gift.playground import model_path, playground_tasks
from trl_gift.training.quantization import keep_trainable_after_sampling, ready_for_loss_scaling

pytest.importorskip("bitsandbytes")

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}


def gradient(sample_first):
    """The adapter's gradient on one batch, with or without a forward pass in evaluation mode before."""
    base = AutoModelForCausalLM.from_pretrained(model_path(), quantization_config=BitsAndBytesConfig(**NF4))
    keep_trainable_after_sampling(base)
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))
    ids = torch.arange(3, 35).reshape(2, 16)
    if sample_first:
        model.eval()
        with torch.inference_mode():
            model(input_ids=ids)
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])


def test_gradients_after_sampling_are_those_before():
    before, after = gradient(sample_first=False), gradient(sample_first=True)
    assert before.norm() > 0
    torch.testing.assert_close(after, before)


def make_trainer(folder, quantization_config, callbacks=None, **options):
    settings = {
        "num_steps": 2, "num_generations": 2, "num_description_examples": 0, "max_completion_length": 64,
        "max_description_length": 48, "learning_rate": 1e-3, "num_train_epochs": 1, "use_cpu": True,
        "report_to": "none", "disable_tqdm": True, "sandbox_workers": 1, "logging_steps": 1, "save_steps": 1,
        "per_device_train_batch_size": 4, **options,
    }  # fmt: skip
    return GiFTTrainer(
        model=str(model_path()),
        args=GiFTConfig(str(folder), **settings),
        train_dataset=playground_tasks("train", 6, with_reference=True),
        quantization_config=quantization_config,
        peft_config=LoraConfig(r=4, target_modules="all-linear"),
        callbacks=callbacks,
    )


class Crash(RuntimeError):
    pass


class CrashAfter(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Crash


def adapter(folder):
    return load_file(folder / "adapter_model.safetensors")


def test_four_bit_rounds_and_their_resume_after_a_crash(tmp_path):
    """The adapter ends within 1e-3 (here: equal) after a crash in the middle of a round; the base never changes."""
    trainer = make_trainer(tmp_path / "whole", BitsAndBytesConfig(**NF4))
    packed = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if not p.requires_grad}
    dtypes = {name: p.dtype for name, p in trainer.model.named_parameters() if p.requires_grad}
    result = trainer.train()
    assert result.rounds[0]["passed"] > 0
    assert result.global_step > 4
    assert torch.tensor(result.training_loss).isfinite()
    for name, parameter in trainer.model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, packed[name]), name
    trainer.save_model()
    whole = adapter(tmp_path / "whole")
    assert max(float(w.abs().max()) for name, w in whole.items() if "lora_B" in name) > 1e-3, "nothing was learned"

    with pytest.raises(Crash):
        make_trainer(tmp_path / "crashed", BitsAndBytesConfig(**NF4), [CrashAfter(3)]).train()
    resumed = make_trainer(tmp_path / "crashed", BitsAndBytesConfig(**NF4))
    again = resumed.train(resume_from_checkpoint=True)
    assert again.global_step == result.global_step
    assert {name: p.dtype for name, p in resumed.model.named_parameters() if p.requires_grad} == dtypes
    resumed.save_model()
    for name, weights in adapter(tmp_path / "crashed").items():
        torch.testing.assert_close(weights, whole[name], atol=1e-3, rtol=0)


def test_eight_bit_weights_and_a_paged_eight_bit_optimizer(tmp_path):
    trainer = make_trainer(tmp_path, BitsAndBytesConfig(load_in_8bit=True), optim="paged_adamw_8bit")
    result = trainer.train()
    assert result.rounds[0]["passed"] > 0
    assert torch.tensor(result.training_loss).isfinite()
    assert type(trainer.optimizer.optimizer).__module__.startswith("bitsandbytes")
    trainer.save_model()
    assert max(float(w.abs().max()) for name, w in adapter(tmp_path).items() if "lora_B" in name) > 1e-4


def test_quantised_weights_alone_cannot_be_trained(tmp_path):
    with pytest.raises(ConfigError, match="cannot be trained itself; train an adapter"):
        GiFTTrainer(
            model=str(model_path()),
            args=GiFTConfig(str(tmp_path), use_cpu=True, report_to="none"),
            train_dataset=playground_tasks("train", 2),
            quantization_config=BitsAndBytesConfig(**NF4),
        )


def test_the_command_line_takes_trls_flags():
    from trl import get_peft_config, get_quantization_config

    from trl_gift.cli.arguments import parse

    flags = "--model_name_or_path playground --dataset_name playground --output_dir out --use_cpu true --bf16 false"
    asked = "--load_in_4bit --use_bnb_nested_quant --use_peft --lora_r 8 --use_rslora --use_dora"
    _, config, model, _ = parse("train", [*flags.split(), *asked.split(), "--optim", "paged_adamw_8bit"])
    quantization, lora = get_quantization_config(model), get_peft_config(model)
    assert (quantization.load_in_4bit, quantization.bnb_4bit_use_double_quant) == (True, True)
    assert (lora.r, lora.use_rslora, lora.use_dora) == (8, True, True)
    assert config.optim == "paged_adamw_8bit"


def test_adapters_are_ready_for_the_loss_scaling_of_float16():
    """Cards without bfloat16 train in float16; the base stays as it is."""
    base = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.bfloat16)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"), autocast_adapter_dtype=False)
    ready_for_loss_scaling(model)
    trained = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    frozen = {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})
