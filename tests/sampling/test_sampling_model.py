"""Chains drawn by another model than the one that is trained (`sampling_model=`, `perplexity_model=`).

The playground's model samples, and a perturbed copy of it learns: what is recorded is what the first model would draw for itself.
"""

from __future__ import annotations

import gc
import json
import math
import shutil
import weakref
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.completion_server import serve
from tests.support.models import make_model
from tests.support.prompts import CHATML, CODE, TASK
from tests.support.run_trainer import OPTIONS, make_trainer
from tests.support.sandboxes import InstantSandbox
from tests.support.tokenizer_kinds import small_tokenizer
from tests.support.whole_runs import finish_together
from trl_gift import GiFTConfig
from trl_gift.cli.show import overview
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.estimate import piloting
from trl_gift.inference import sampling_model
from trl_gift.playground import model_path, playground_tasks
from trl_gift.prompts import BasePrompts, prompt_format
from trl_gift.run.folder import RunFolder
from trl_gift.sampling.context import hash_ids
from trl_gift.sampling.learner import as_learned
from trl_gift.sampling.store import SampleStore, read_samples

SAMPLER = str(model_path())
SHORT = {"num_rounds": 1, "num_generations": 1, "save_strategy": "no"}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A copy of the playground's model with other weights, which writes other programs."""
    folder = tmp_path_factory.mktemp("model") / "other"
    model = AutoModelForCausalLM.from_pretrained(SAMPLER)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * weight.std() * torch.randn_like(weight)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(SAMPLER).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """What the playground's model draws for itself."""
    return drawn(SAMPLER, tmp_path_factory.mktemp("own") / "out")


@dataclass
class Drawn:
    """A sampled round of another model.

    Attributes:
        trainer: The trainer.
        samples: What is recorded.
        models: Weak references to the models that were loaded to sample.
    """

    trainer: object
    samples: list
    models: list


@pytest.fixture(scope="module")
def by(other, tmp_path_factory):
    """A round that the playground's model draws for the other one, by whose perplexities it is scored."""
    found = {}
    load = sampling_model.load
    for name in ("sampling", "trained"):
        models = []

        def loading(*given, models=models):
            loaded = load(*given)
            models.append(weakref.ref(loaded.model))
            return loaded

        output = tmp_path_factory.mktemp(name) / "out"
        given = SHORT | {"sampling_model": SAMPLER, "perplexity_model": name}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling_model, "load", loading)
            trainer = make_trainer(str(other), str(output), **given)
            trainer.sample()
        found[name] = Drawn(trainer, list(read_samples(output / "_gift/round-1")), models)
    return found


def drawn(model, output, resume=False, **options):
    make_trainer(str(model), str(output), **SHORT | options).sample(resume_from_checkpoint=resume)
    return list(read_samples(output / "_gift/round-1"))


def record(sample):
    """A sample without its time, what ran, who drew it and the last bits of its perplexity."""
    values = sample.to_record()
    outcome, total = values["outcome"], values["logprob_sum"]
    for name in ("created", "outcome", "model_hash", "perplexity"):
        del values[name]
    return values | {"outcome": outcome and outcome["status"], "logprob_sum": total and round(total, 3)}


def records(samples):
    return [record(sample) for sample in samples]


def test_the_samples_are_those_that_the_sampling_model_draws_for_itself(by, own):
    found = by["sampling"].samples
    assert records(found) == records(own)
    recorded = by["sampling"].trainer.run.read("run.json")["sampling_model"]
    assert recorded["name"] == "model"
    assert {sample.model_hash for sample in found} == {f"model@{recorded['fingerprint']}"}
    assert any(sample.passed and sample.step for sample in found), "a chain has read a program back"


@pytest.mark.parametrize("perplexity_model", ["sampling", "trained"])
def test_perplexities_are_those_of_a_plain_forward_pass_of_either_model(by, other, perplexity_model):
    found = by[perplexity_model]
    model = AutoModelForCausalLM.from_pretrained(SAMPLER if perplexity_model == "sampling" else other).eval()
    tasks = {task.task_id: task for task in found.trainer.tasks}
    passed = [sample for sample in found.samples if sample.passed]
    assert passed
    for sample in passed[:4]:
        prompts = found.trainer.prompts  # of one tokenizer and format with those of the sampling model
        prompt = prompts.write(tasks[sample.task_id], sample.description)
        before, after = prompts.encode(prompt, sample.target)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*before, *after]])).logits[0, len(before) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(after))
        assert sample.perplexity == pytest.approx(math.exp(loss), rel=1e-4)


def test_its_memory_is_free_before_training(by):
    gc.collect()
    assert [reference() for found in by.values() for reference in found.models] == [None, None]


def test_each_model_is_asked_in_its_own_words(tmp_path, own):
    """The model in training has another tokenizer and a chat template; targets and perplexities are in its words."""
    tokenizer = small_tokenizer()
    make_model(tokenizer).save_pretrained(tmp_path / "chat")
    tokenizer.save_pretrained(tmp_path / "chat")
    output = tmp_path / "out"
    given = {"sampling_model": SAMPLER, "perplexity_model": "trained", "prompt_format": "auto"}
    trainer = make_trainer(str(tmp_path / "chat"), str(output), **SHORT | given)
    assert len(tokenizer) != len(AutoTokenizer.from_pretrained(SAMPLER))
    trainer.sample()
    found = list(read_samples(output / "_gift/round-1"))
    tasks = {task.task_id: task for task in trainer.tasks}
    assert [(one.completion, one.prompt_hash, one.code) for one in found] == [
        (one.completion, one.prompt_hash, one.code) for one in own
    ]
    for sample in found:
        if sample.passed:
            task = tasks[sample.task_id]
            assert sample.target == trainer.prompts.target(task, sample.code)
            assert sample.num_scored == len(trainer.prompts.encode(trainer.prompts.write(task, ""), sample.target)[1])
            assert sample.prompt_hash != hash_ids(trainer.prompts.write(task, sample.description).ids)


def test_an_adapter_samples(tmp_path, other, own):
    """The folder of an adapter that leaves the base as it is: its samples are those of the base."""
    base = AutoModelForCausalLM.from_pretrained(SAMPLER)
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    found = drawn(other, tmp_path / "out", sampling_model=str(tmp_path / "adapter"), num_steps=1)
    assert {sample.model_hash.partition("@")[0] for sample in found} == {"adapter"}
    assert records(found) == first_steps(own)


def first_steps(samples):
    return [one for one in records(samples) if one["step"] == 0]


def test_the_engine_generate(tmp_path, other, own):
    given = {"sampling_model": SAMPLER, "generation_engine": "generate", "num_steps": 1}
    assert records(drawn(other, tmp_path / "out", **given)) == first_steps(own)


def test_a_server(tmp_path, other, own):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(SAMPLER), AutoTokenizer.from_pretrained(SAMPLER)
    with serve(model, tokenizer) as (url, backend):
        served = {"generation_engine": "server", "vllm_server_base_url": url, "perplexity_model": "trained"}
        found = drawn(other, tmp_path / "server", num_steps=1, sampling_model=SAMPLER, **served)
        assert not backend.adapters
        assert backend.requests
    # A server takes a part of a key as its seed, so some programs are others; each is asked for in the same words.
    assert [one["prompt_hash"] for one in records(found)] == [one["prompt_hash"] for one in first_steps(own)]
    equal = [one["completion"] == two["completion"] for one, two in zip(records(found), first_steps(own), strict=True)]
    assert sum(equal) > len(equal) / 2
    assert all(sample.perplexity is not None for sample in found if sample.passed)


def test_a_pilot_asks_the_model_that_the_run_would_ask(tmp_path, by, monkeypatch):
    monkeypatch.setattr("trl_gift.sampling.rollouts.LocalSandbox", lambda **given: nullcontext(InstantSandbox()))
    monkeypatch.setattr("trl_gift.sampling.pilot.TEMPERATURES", (1.0,))
    for name in ("DRAWN", "HINTED", "CHAIN_STEPS"):
        monkeypatch.setattr(piloting, name, 1)
    trainers = make_trainer(SAMPLER, str(tmp_path / "alone"), **SHORT), by["sampling"].trainer
    alone, found = (piloting.draw_pilot(trainer, 2, lambda line: None) for trainer in trainers)
    assert alone.drawn_by is None
    assert found.drawn_by.startswith("model@")
    assert {one.model_hash for one in found.chains} == {found.drawn_by}
    assert (found.plain, found.temperatures) == (alone.plain, alone.temperatures)
    assert records(found.chains) == records(alone.chains)


def test_a_killed_run_draws_what_is_missing(tmp_path, other, by, monkeypatch):
    """Killed, for the store, after five samples; what one process has drawn is drawn again nowhere."""
    append, written = SampleStore.append, []

    def killed(store, sample):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(sample)
        append(store, sample)

    given = {"sampling_model": SAMPLER, "perplexity_model": "trained"}
    monkeypatch.setattr(SampleStore, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        drawn(other, tmp_path / "out", **given)
    monkeypatch.undo()
    assert len(list(read_samples(tmp_path / "out/_gift/round-1"))) == 5
    assert records(drawn(other, tmp_path / "out", True, **given)) == records(by["trained"].samples)


def test_two_processes_draw_what_one_does(tmp_path, other):
    given = SHORT | {"sampling_model": str(other), "num_steps": 1}
    two = finish_together(tmp_path / "two", *(f"{name}={value!r}" for name, value in given.items()))[0]
    for sample in drawn(SAMPLER, tmp_path / "one", **given):
        there = two[sample.sample_id]
        assert (sample.code, sample.status, sample.model_hash) == tuple(
            there[name] for name in ("code", "status", "model_hash")
        )


def test_a_resumed_run_notices_another_sampling_model(tmp_path, other):
    shutil.copytree(SAMPLER, tmp_path / "sampler")
    drawn(other, tmp_path / "out", sampling_model=str(tmp_path / "sampler"), num_steps=1)
    shutil.copy(other / "model.safetensors", tmp_path / "sampler")
    with pytest.raises(ResumeError, match="the fingerprint of the sampling model was '"):
        drawn(other, tmp_path / "out", True, sampling_model=str(tmp_path / "sampler"), num_steps=1)


def test_its_weights_are_read_once_by_a_process_until_they_change(tmp_path, other, monkeypatch):
    shutil.copytree(SAMPLER, tmp_path / "sampler")
    args = GiFTConfig("out", **OPTIONS | {"sampling_model": str(tmp_path / "sampler")})
    first = sampling_model.SamplingModel.find(args).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(sampling_model.hashlib, "blake2b", None)  # any reading would fail
        assert sampling_model.SamplingModel.find(args).fingerprint == first
    shutil.copy(other / "model.safetensors", tmp_path / "sampler")
    assert sampling_model.SamplingModel.find(args).fingerprint != first


def test_it_is_the_same_in_every_round_and_what_is_measured_is_the_trained_one(tmp_path, other):
    output = tmp_path / "out"
    given = {**SHORT, "num_rounds": 2, "num_steps": 1, "sampling_model": SAMPLER}
    trainer = make_trainer(str(other), str(output), **given)
    trainer.train()
    one, two = (list(read_samples(output / f"_gift/round-{number}")) for number in (1, 2))
    assert {sample.model_hash for sample in one} == {sample.model_hash for sample in two}
    assert [sample.completion for sample in one] != [sample.completion for sample in two], "each round draws anew"
    measured = make_trainer(str(other), str(tmp_path / "alone"), **SHORT).evaluate()
    base = json.loads((output / "_gift/base.json").read_text())["metrics"]
    assert base["pass@1"] == measured["eval_pass@1"]
    drawer = one[0].model_hash
    card = (output / "README.md").read_text()
    assert f"another model ({drawer}) wrote" in card
    assert f"`{drawer}`" in card
    assert f"<td>{drawer}</td>" in (output / "_gift/report.html").read_text()
    assert f"sampler gibbs, drawn by {drawer}" in overview(RunFolder(output))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"perplexity_model": "trained"}, "chooses between two models; set sampling_model"),
        ({"sampling_model": "http://127.0.0.1:8000"}, "is an address; name the model that the server there has"),
        ({"sampling_model": SAMPLER, "temperature": "auto"}, "sampling_model is another one; give a number"),
        ({"sampling_model": SAMPLER, "step_allocation": "uncertain"}, "is another one; leave it out"),
        ({"sampling_model": SAMPLER, "train_on_thinking": True}, "learns the thoughts of the model itself"),
        ({"sampling_model": SAMPLER, "distillation": "repair"}, "set perplexity_model='trained'"),
        (
            {"sampling_model": SAMPLER, "perplexity_model": "trained", "generation_engine": "server"},
            "cannot score; give vllm_server_base_url",
        ),
    ],
)
def test_options_that_cannot_work(given, message):
    with pytest.raises(ConfigError, match=message):
        GiFTConfig("out", **OPTIONS | given)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="sampling_model='/no/such/model': it does not exist"):
        make_trainer(SAMPLER, str(tmp_path), **SHORT, sampling_model="/no/such/model")


def test_a_chat_model_learns_the_program_of_a_base_model_as_its_own_answer(chat_tokenizer_factory):
    tokenizer = chat_tokenizer_factory(CHATML, "<|im_end|>")
    learner = prompt_format(tokenizer, "chat", end_ids={tokenizer.eos_token_id}, open_answer=False)
    found = BasePrompts(tokenizer).extract(TASK, "    return sum(xs)")
    assert (found.code, found.target) == (CODE, "    return sum(xs)")
    assert as_learned(TASK, found, learner).target == learner.target(TASK, CODE) != found.target
    assert as_learned(TASK, found, learner).code == CODE


def test_tasks_that_do_not_fit_the_sampling_model_are_left_out(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(SAMPLER)
    model = AutoModelForCausalLM.from_pretrained(SAMPLER)
    prompts = BasePrompts(tokenizer)
    lengths = [len(prompts.write(task, task.description).ids) for task in playground_tasks("train", 8)]
    model.config.max_position_embeddings = OPTIONS["max_completion_length"] + sorted(lengths)[4]
    model.save_pretrained(tmp_path / "short")
    tokenizer.save_pretrained(tmp_path / "short")
    trainer = make_trainer(SAMPLER, str(tmp_path / "out"), **SHORT, sampling_model=str(tmp_path / "short"))
    fit = sum(length <= sorted(lengths)[4] for length in lengths)
    assert len(trainer.tasks) == fit < 8
