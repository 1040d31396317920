"""A base model is measured once for many runs, and again as soon as anything differs that the figures depend on."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.evaluation import Attempt, Evaluation, EvaluationSettings
from trl_gift.evaluation.cache import cached_evaluation, evaluate_once, evaluation_key, keep_evaluation
from trl_gift.playground import model_path, playground_tasks
from trl_gift.prompts import BasePrompts, Pinned
from trl_gift.sampling.rollouts import Rollouts, RolloutSettings
from trl_gift.sandbox import Limits

LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


class Process(PartialState):
    is_main_process = True

    def unwrap_model(self, model):
        return model


@pytest.fixture(scope="module")
def tasks():
    return playground_tasks("validation", 4)


@pytest.fixture(scope="module")
def parts():
    return AutoModelForCausalLM.from_pretrained(model_path()), AutoTokenizer.from_pretrained(model_path())


def rollouts_of(model, tokenizer, prompts=None, **settings):
    settings = RolloutSettings(**{"quiet": True, "sandbox_workers": 1} | settings)
    return Rollouts(model, tokenizer, prompts or BasePrompts(tokenizer), Process(cpu=True), settings, Path("unused"))


def lora(model, **options):
    return get_peft_model(AutoModelForCausalLM.from_pretrained(model_path()), replace(LORA, **options))


def ia3(model):
    config = IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    )
    return get_peft_model(AutoModelForCausalLM.from_pretrained(model_path()), config)


def scaled(adapted, part):
    """An adapter with one changed tensor, of those whose name holds `part`."""
    tensor = next(value for name, value in adapted.named_parameters() if part in name)
    with torch.no_grad():
        tensor.mul_(1.5)
    return adapted


@pytest.mark.parametrize("make", [
    lora, lambda model: lora(model, use_dora=True), lambda model: lora(model, target_modules=["embed_tokens"]), ia3,
    lambda model: lora(model, modules_to_save=["lm_head"]),
])  # fmt: skip
def test_a_fresh_adapter_changes_nothing(parts, make):
    model, ids = parts[0], torch.arange(3, 19).reshape(2, 8)
    with torch.inference_mode():
        assert torch.equal(make(model).eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def reconfigured(rope_theta=None, end=None):
    """The same weights with another meaning."""
    config = AutoConfig.from_pretrained(model_path())
    if rope_theta is not None:
        config.rope_parameters = {"rope_type": "default", "rope_theta": rope_theta}
    model = AutoModelForCausalLM.from_pretrained(model_path(), config=config)
    if end is not None:
        model.generation_config.eos_token_id = end
    return model


def trained_lora(model, **options):
    torch.manual_seed(1)
    adapted = lora(model, **options)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
            break
    return adapted


def changed(model):
    other = AutoModelForCausalLM.from_pretrained(model_path())
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    return other


def test_the_key_is_of_all_that_the_figures_depend_on(parts, tasks):
    model, tokenizer = parts
    settings = EvaluationSettings(max_completion_length=40)
    rollouts = rollouts_of(model, tokenizer)
    key = evaluation_key(rollouts, tasks, settings)

    same = {
        "visible tests without refinements": (rollouts, tasks, replace(settings, visible_tests=3, positions=99)),
        "tasks in another order": (rollouts, tasks[::-1], settings),
        "another seed, all greedy": (rollouts, tasks, replace(settings, seed=9, temperature=0.3)),
        "a fresh adapter": (rollouts_of(lora(model), tokenizer), tasks, settings),
        "a fresh DoRA": (rollouts_of(lora(model, use_dora=True), tokenizer), tasks, settings),
        "a fresh adapter of the embedding": (
            rollouts_of(lora(model, target_modules=["embed_tokens"]), tokenizer),
            tasks,
            settings,
        ),
        "modules that are saved whole": (
            rollouts_of(lora(model, modules_to_save=["lm_head"]), tokenizer),
            tasks,
            settings,
        ),
        "a fresh (IA)³": (rollouts_of(ia3(model), tokenizer), tasks, settings),
        "other references": (
            rollouts,
            [replace(task, reference="def solve(xs):\n    return 0\n") for task in tasks],
            settings,
        ),
        "other sizes of batches": (rollouts_of(model, tokenizer, batch_size=3, token_budget=4000), tasks, settings),
        "another k": (rollouts, tasks, replace(settings, k=(2,))),
    }
    assert {name: evaluation_key(*given) == key for name, given in same.items()} == dict.fromkeys(same, True)

    sampled = replace(settings, num_generations=2)
    different = {
        "weights": (rollouts_of(changed(model), tokenizer), tasks, settings),
        "precision": (rollouts_of(AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.bfloat16), tokenizer),
                      tasks, settings),
        "a trained adapter": (rollouts_of(trained_lora(model), tokenizer), tasks, settings),
        "a trained DoRA": (rollouts_of(scaled(lora(model, use_dora=True), "magnitude"), tokenizer), tasks, settings),
        "a trained (IA)³": (rollouts_of(scaled(ia3(model), "ia3_l"), tokenizer), tasks, settings),
        "a trained module": (rollouts_of(scaled(lora(model, modules_to_save=["lm_head"]), "modules_to_save"), tokenizer),
                             tasks, settings),
        "imports of references": (
            rollouts_of(model, tokenizer, BasePrompts(tokenizer, pinned=Pinned(imports=True))),
            [replace(task, reference=f"import math\n{task.signature}\n    return 0\n") for task in tasks], settings,
        ),
        "tasks": (rollouts, tasks[:3], settings),
        "tests": (rollouts, [replace(tasks[0], tests=tasks[1].tests), *tasks[1:]], settings),
        "prompts": (rollouts_of(model, tokenizer, BasePrompts(tokenizer, pinned=Pinned(tests=0))), tasks, settings),
        "stop texts": (rollouts_of(model, tokenizer, BasePrompts(tokenizer, ("END",))), tasks, settings),
        "length": (rollouts, tasks, replace(settings, max_completion_length=41)),
        "sampled programs": (rollouts, tasks, sampled),
        "their seed": (rollouts, tasks, replace(sampled, seed=1)),
        "their temperature": (rollouts, tasks, replace(sampled, temperature=0.5)),
        "limits": (rollouts_of(model, tokenizer, limits=Limits(cpu_s=1)), tasks, settings),
        "engine": (rollouts_of(model, tokenizer, engine="generate"), tasks, settings),
        "positions": (rollouts_of(reconfigured(rope_theta=100.0), tokenizer), tasks, settings),
        "end tokens": (rollouts_of(reconfigured(end=[0, 5]), tokenizer), tasks, settings),
        "strength of an adapter": (rollouts_of(trained_lora(model, lora_alpha=64), tokenizer), tasks, settings),
    }  # fmt: skip
    keys = {name: evaluation_key(*given) for name, given in different.items()}
    assert len({key, *keys.values()}) == 1 + len(different), keys


def test_the_second_time_nothing_is_generated(parts, tasks, monkeypatch):
    model, tokenizer = parts
    settings = EvaluationSettings(max_completion_length=40, num_generations=2, k=(1, 2))
    first, measured = evaluate_once(rollouts_of(model, tokenizer), tasks, settings, "base")
    assert measured is None
    assert len(first.attempts) == 12

    def generate(*given):
        raise AssertionError("measured again")

    monkeypatch.setattr("trl_gift.evaluation.cache.evaluate_rollouts", generate)
    again, measured = evaluate_once(rollouts_of(model, tokenizer), tasks, replace(settings, k=(2,)), "base")
    assert again == replace(first, k=(2,))
    assert measured is not None


EVALUATION = Evaluation((Attempt("t", -1, "x", "x = 1", "passed"),), (1,), "asked so")


def test_what_could_not_be_run_is_not_kept():
    keep_evaluation("a", replace(EVALUATION, attempts=(Attempt("t", -1, "x", "x = 1", "infrastructure"),)))
    assert cached_evaluation("a") is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 1}', '{"schema": 2, "attempts": 3}'])
def test_a_file_that_cannot_be_read_is_as_none(content):
    keep_evaluation("a", EVALUATION)
    assert cached_evaluation("a").evaluation == EVALUATION
    path = Path(os.environ["TRL_GIFT_CACHE"]) / "evaluations" / "a.json"
    assert [found.name for found in path.parent.iterdir()] == ["a.json"]
    path.write_text(content)
    assert cached_evaluation("a") is None
    keep_evaluation("a", EVALUATION)
    assert cached_evaluation("a").evaluation == EVALUATION


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRL_GIFT_CACHE", str(tmp_path / "file"))
    keep_evaluation("a", EVALUATION)
    assert cached_evaluation("a") is None


@pytest.mark.parametrize("cached", [True, False])
def test_runs_share_the_measurement_of_their_base(cached, tasks, tmp_path, capsys):
    def base(name):
        args = GiFTConfig(
            str(tmp_path / name), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, num_steps=1,
            num_generations=1, max_completion_length=40, save_strategy="no", max_steps=1, sandbox_workers=1,
            cache_base_evaluation=cached,
        )  # fmt: skip
        trainer = GiFTTrainer(str(model_path()), args, playground_tasks("train", 1), tasks, peft_config=LORA)
        with trainer.rollouts.executing():
            trainer._begin(None)
            trainer._evaluate_base()
        return json.loads((tmp_path / name / "_gift" / "base.json").read_text())

    assert base("one") == base("two")
    said = capsys.readouterr().err
    assert said.count("not measured again") == cached
