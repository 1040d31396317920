"""The shipped model: small, offline, standard, and as good as its card says."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice

import pytest

from tools.playground.card import model_card
from tools.playground.practice import practice_pairs
from trl_gift.playground import model_path


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path(), local_files_only=True)


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_path(), local_files_only=True)


@pytest.fixture(scope="module")
def record():
    return json.loads((model_path() / "pretraining.json").read_text())


def test_it_is_small_and_complete():
    files = {file.name: file.stat().st_size for file in model_path().iterdir()}
    assert {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "pretraining.json",
        "tokenizer.json",
        "tokenizer_config.json",
    } == set(files)
    assert sum(files.values()) <= 8_000_000


def test_it_is_a_standard_model_that_loads_offline(model, tokenizer):
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.bos_token is None
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.pad_token == "<|pad|>"
    for config in (model.config, model.generation_config):
        assert config.eos_token_id == tokenizer.eos_token_id
        assert config.pad_token_id == tokenizer.pad_token_id


def test_any_text_survives_the_tokenizer(tokenizer):
    texts = [
        "",
        " ",
        "naïve café 你好 🙂\t\r\n",
        "def f(a, b=3):\n\treturn a**b  # 'x'\n",
        'x = """y"""\n\n\n### Code\nz',
    ]
    texts += [text for pair in islice(practice_pairs(21), 300) for text in (pair.prompt, pair.completion)]
    for text in texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_prompt_and_completion_tokenise_alike_together_and_apart(tokenizer):
    for pair in islice(practice_pairs(22), 500):
        apart = tokenizer(pair.prompt)["input_ids"] + tokenizer(pair.completion)["input_ids"]
        assert tokenizer(pair.prompt + pair.completion)["input_ids"] == apart


def test_texts_are_short(tokenizer):
    completions = {"write": [], "read": []}
    for pair in islice(practice_pairs(23), 2000):
        completions[pair.direction].append(len(tokenizer(pair.completion)["input_ids"]))
    assert max(completions["write"]) <= 45
    assert sorted(completions["read"])[int(0.95 * len(completions["read"]))] <= 40


def test_it_writes_and_reads_a_plain_task(model, tokenizer):
    def complete(prompt):
        ids = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        made = model.generate(**ids, max_new_tokens=64, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert made[-1] == tokenizer.eos_token_id
        return tokenizer.decode(made, skip_special_tokens=True)

    plain = "keep the even numbers, add 3, return the sum"
    body = complete(f'def solve(xs):\n    """{plain}"""\n')
    assert body.startswith("    ")
    assert complete(f"### Code\ndef solve(xs):\n{body}\n### Description\n") == plain


def test_the_card_says_what_the_record_says(record):
    assert (model_path() / "README.md").read_text() == model_card(record)


def test_the_recorded_quality_is_what_the_quickstart_needs(record):
    quality = record["quality"]
    assert 0.20 <= quality["heldout_greedy_pass@1"] <= 0.60
    assert quality["seeds_sampled_pass_rate"] >= 0.25
    assert min(quality["round_trip"].values()) >= 0.90


def test_naming_the_tasks_and_the_model_imports_no_torch():
    code = (
        "import sys; from trl_gift.playground import model_path, playground_tasks; "
        "playground_tasks('test', 1); assert model_path().name == 'model'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_the_quality_can_be_measured_again(model, tokenizer, record):
    from tools.playground.quality import measure

    measured, recorded = measure(model, tokenizer, num_tasks=200, samples=2), record["quality"]
    assert 0.20 <= measured["heldout_greedy_pass@1"] <= 0.60
    assert measured["seeds_sampled_pass_rate"] >= 0.25
    assert min(measured["round_trip"].values()) >= 0.90
    assert measured["heldout_greedy_pass@1"] == pytest.approx(recorded["heldout_greedy_pass@1"], abs=0.1)
    assert measured["seeds_plain_wording_greedy"] >= 0.9
