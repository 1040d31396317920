"""What models a run takes: the engine that serves each, tokenizers and vocabularies, precisions, what is refused."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch

from tests.support.architectures import make_architecture
from tests.support.generation import run
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.generation import GenerateEngine, GenerationRequest, SamplingParams
from trl_gift.generation.compact import CompactEngine, refusal
from trl_gift.playground import playground_tasks
from trl_gift.sandbox import LocalSandbox
from trl_gift.trainer import GiFTTrainer
from trl_gift.training.checks import check_model, load_dtype
from trl_gift.training.pairs import IGNORED

PROMPTS = [
    "def solve(xs):\n",
    "x",
    "### Code\nreturn total\n### Description\n",
    "Drop the negative numbers, double the",
]


def requests_for(tokenizer, params, copies=1):
    return [
        GenerationRequest(i, tuple(tokenizer(text)["input_ids"]), params, tuple(range(10 * i, 10 * i + copies)))
        for i, text in enumerate(PROMPTS)
    ]


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as opened:
        yield opened


@pytest.fixture
def make_trainer(tmp_path, tokenizer, sandbox):
    def make(model, tokenizer=tokenizer, peft=True, **options):
        from peft import LoraConfig

        config = GiFTConfig(
            str(tmp_path / "out"), num_steps=1, num_generations=1, max_completion_length=8, max_description_length=8,
            max_steps=1, per_device_train_batch_size=2, use_cpu=True, bf16=False, gradient_checkpointing=False,
            report_to="none", disable_tqdm=True, save_strategy="no", **options,
        )  # fmt: skip
        lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if peft else None
        tasks = playground_tasks("train", 2, with_reference=True)
        return GiFTTrainer(model, config, tasks, processing_class=tokenizer, peft_config=lora, sandbox=sandbox)

    return make


def test_auto_takes_the_engine_that_serves_the_model_and_says_why(tokenizer, make_trainer, capfd):
    args = make_trainer(make_architecture("lfm2", tokenizer)).args
    assert args.generation_engine == "compact"
    assert "generation_engine" not in capfd.readouterr().err
    trainer = make_trainer(make_architecture("minimax", tokenizer), router_aux_loss_coef=0.0)
    assert trainer.args.generation_engine == "generate"
    reason = "compact cannot decode this model (it needs a cache of its own class)"
    assert f"generation_engine='auto' takes 'generate': {reason}." in capfd.readouterr().err.splitlines()
    trainer.train()
    assert json.loads((trainer.run.root / "run.json").read_text())["options"]["generation_engine"] == "generate"


def test_an_engine_that_is_named_and_cannot_decode_the_model_is_refused_at_construction(tokenizer, make_trainer):
    line = r"cannot decode this model \(bloom\): its forward pass takes no position_ids; use generation_engine='generate'\."
    with pytest.raises(ConfigError, match=line):
        make_trainer(make_architecture("bloom", tokenizer), generation_engine="compact")


def test_attention_that_takes_no_mask_is_left_to_generate(model_factory):
    model = model_factory()
    model.config._attn_implementation = "flash_attention_2"
    assert refusal(model) == "attn_implementation='flash_attention_2' takes no mask ('sdpa' does)"


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_without_a_padding_token_the_end_token_is_still_trained_on(kind, model_factory, tokenizer, make_trainer):
    """The end token pads, and yet only the padding is masked."""
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    model = model_factory(kind=kind)
    model.config.pad_token_id = model.generation_config.pad_token_id = None
    trainer = make_trainer(model, bare, peft=False)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == bare.eos_token_id
    seen = []
    forward = trainer.compute_loss

    def compute_loss(model, inputs, *arguments, **keywords):
        seen.append({name: value.clone() for name, value in inputs.items() if name in ("input_ids", "labels")})
        return forward(model, inputs, *arguments, **keywords)

    trainer.compute_loss = compute_loss
    trainer.train()
    assert bare.pad_token == bare.eos_token
    (batch,) = seen
    end = tokenizer.eos_token_id
    lengths = set()
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        learned = [label for label in labels if label != IGNORED]
        assert learned.count(end) == 1
        assert learned[-1] == end
        last = max(place for place, label in enumerate(labels) if label != IGNORED)
        assert set(ids[last + 1 :]) <= {end}
        lengths.add(last)
    assert len(lengths) == 2, "one of the two must have been padded"


def test_without_a_padding_token_completions_are_the_same(model, tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    requests = requests_for(tokenizer, SamplingParams(24), copies=3)
    expected = run(GenerateEngine(model, tokenizer), requests)
    for engine in (GenerateEngine(model, bare), CompactEngine(model, bare)):
        results = run(engine, requests)
        assert {k: [c.text for c in v] for k, v in results.items()} == {
            k: [c.text for c in v] for k, v in expected.items()
        }
    assert {c.finish_reason for v in expected.values() for c in v} == {"eos", "length"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "auto", None])
def test_precisions_are_those_of_trl(dtype, model_folder, make_trainer):
    """What the estimate takes for the weights' type is what TRL loads."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if dtype == "auto":
        AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16).save_pretrained(model_folder)
    options = {} if dtype is None else {"dtype": dtype}
    trainer = make_trainer(str(model_folder), model_init_kwargs={**options, "attn_implementation": "sdpa"})
    base = trainer.model.get_base_model()
    assert base.get_input_embeddings().weight.dtype == load_dtype(AutoConfig.from_pretrained(model_folder), dtype)
    if dtype in ("bfloat16", "float16"):
        result = trainer.train()
        assert math.isfinite(result.training_loss)


def test_a_named_model_is_loaded_in_half_precision_where_only_an_adapter_is_trained(
    model_folder, make_trainer, monkeypatch
):
    """The rule as if the CPU were a GPU; what it says of devices is tested with it."""
    rule = lambda trains_weights, on_gpu: "float32" if trains_weights else "bfloat16"  # noqa: E731
    monkeypatch.setattr("trl_gift.trainer.default_dtype", rule)
    adapted = make_trainer(str(model_folder)).model.get_base_model()
    assert adapted.get_input_embeddings().weight.dtype == torch.bfloat16
    whole = make_trainer(str(model_folder), peft=False).model
    assert whole.get_input_embeddings().weight.dtype == torch.float32
    named = make_trainer(str(model_folder), model_init_kwargs={"dtype": "float32"}).model.get_base_model()
    assert named.get_input_embeddings().weight.dtype == torch.float32


def test_a_chat_model_s_options_reach_its_prompts(chat_tokenizer_factory, model_factory, make_trainer):
    """`eos_token`, as in TRL, makes a chat model of a base model that has a template."""
    from trl_gift.prompts import BasePrompts, ChatPrompts

    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{{ opening | default('') }}{% endif %}"
    )
    tokenizer = chat_tokenizer_factory(template, "<|endoftext|>")
    model = model_factory()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    assert isinstance(make_trainer(copy.deepcopy(model), copy.deepcopy(tokenizer)).prompts, BasePrompts)
    trainer = make_trainer(
        model, tokenizer, eos_token="<|im_end|>", system_prompt="Be brief.", stop=["STOP"], train_on_thinking=True,
        chat_template_kwargs='{"opening": "<think>"}', max_length=2048,
    )  # fmt: skip
    prompts = trainer.prompts
    assert isinstance(prompts, ChatPrompts)
    assert (prompts.stop, prompts.open_answer, prompts.keep_thoughts) == (("STOP",), False, True)
    text = tokenizer.decode(prompts.write(trainer.tasks[0], "Sum.").ids)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith("<|im_start|>assistant\n<think>")
    assert trainer.train().global_step == 1


def test_what_cannot_be_loaded_is_said_first(model_folder):
    check_model(str(model_folder), {"dtype": "bfloat16"})
    with pytest.raises(ConfigError, match="dtype='half' is unknown; use 'float32'"):
        check_model(str(model_folder), {"dtype": "half"})
    (model_folder / "tokenizer.json").unlink()
    for path in model_folder.glob("tokenizer*"):
        path.unlink()
    check_model(str(model_folder), {}, with_tokenizer=False)
    with pytest.raises(ConfigError, match="holds no tokenizer"):
        check_model(str(model_folder), {})


def test_code_that_a_model_brings_runs_only_when_asked(tmp_path):
    """The model's own module would leave a mark."""
    folder = tmp_path / "own"
    folder.mkdir()
    mark = tmp_path / "ran"
    (folder / "model.safetensors").touch()
    (folder / "tokenizer.json").touch()
    (folder / "config.json").write_text(
        '{"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": {"AutoConfig": "own.OwnConfig"}}'
    )
    (folder / "own.py").write_text(
        "from transformers import PreTrainedConfig\n"
        f"open({str(mark)!r}, 'w').close()\n"
        "class OwnConfig(PreTrainedConfig):\n    model_type = 'own'\n"
    )
    with pytest.raises(ConfigError, match=r"runs code of its own.*set trust_remote_code=True"):
        check_model(str(folder), {})
    assert not mark.exists()
    check_model(str(folder), {}, trust_remote_code=True)
    assert mark.exists()


def test_the_learning_rate_follows_what_is_trained(make_trainer, model_factory, capfd):
    """LoRA needs about ten times the rate of full fine-tuning; a given rate is never changed."""
    from peft import LoraConfig, get_peft_model

    assert make_trainer(model_factory(), peft=False).args.learning_rate == 2e-5
    assert make_trainer(model_factory()).args.learning_rate == 2e-4
    wrapped = get_peft_model(model_factory(), LoraConfig(r=2, target_modules="all-linear"))
    assert make_trainer(wrapped, peft=False).args.learning_rate == 2e-4
    given = make_trainer(model_factory(), learning_rate=3e-5)
    assert given.args.learning_rate == 3e-5
    given.train()
    said = capfd.readouterr().err
    assert "training LoRA, r = 4" in said
    assert "learning rate 3e-05, 1 step, 2 pairs per step." in said


def test_checkpointing_is_for_gpus_unless_asked_for(tmp_path):
    given = {"use_cpu": True, "bf16": False}
    assert GiFTConfig(str(tmp_path), **given).gradient_checkpointing is False
    assert GiFTConfig(str(tmp_path), gradient_checkpointing=True, **given).gradient_checkpointing is True


def test_use_peft_trains_all_linear_layers_without_dropout():
    from trl_gift.cli.arguments import parse

    start = [
        "--model_name_or_path",
        "x",
        "--dataset_name",
        "playground",
        "--output_dir",
        "out",
        "--use_cpu",
        "--use_peft",
    ]
    model = parse("train", [*start, "--bf16", "false"])[2]
    assert (model.lora_target_modules, model.lora_dropout) == ("all-linear", 0.0)
    model = parse("train", [*start, "--bf16", "false", "--lora_target_modules", "q_proj", "--lora_dropout", "0.1"])[2]
    assert (model.lora_target_modules, model.lora_dropout) == ("q_proj", 0.1)


def test_tokens_of_texts_beyond_the_embedding_are_refused(model_factory, tokenizer, make_trainer):
    longer = copy.deepcopy(tokenizer)
    longer.add_tokens(["<a>"])
    line = (
        rf"the tokenizer has {len(longer)} tokens and the model {len(tokenizer)} embeddings, so '<a>' has none; call "
    )
    with pytest.raises(ConfigError, match=line):
        make_trainer(model_factory(), longer)
    model = model_factory()
    model.resize_token_embeddings(len(longer), mean_resizing=False)
    assert make_trainer(model, longer).train().global_step == 1


def test_marks_beyond_the_embedding_harm_only_where_they_are_used(model_factory, tokenizer, make_trainer):
    longer = copy.deepcopy(tokenizer)
    longer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    assert make_trainer(model_factory(), longer).train().global_step == 1
    longer.chat_template = "<image>{{ messages[0].content }}{{ eos_token }}"
    with pytest.raises(ConfigError, match="so '<image>' has none"):
        make_trainer(model_factory(), longer, prompt_format="chat")


def test_a_loss_of_the_routing_that_trl_cannot_compute_is_refused(tokenizer, make_trainer):
    with pytest.raises(ConfigError, match="names no num_experts; set router_aux_loss_coef=0"):
        make_trainer(make_architecture("granitemoehybrid", tokenizer))
