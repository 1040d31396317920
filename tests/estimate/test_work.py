"""Amounts of work against a real run with fixed lengths, and the laws of the formulas."""

from __future__ import annotations

from statistics import fmean

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from trl_gift.config import GiFTConfig
from trl_gift.estimate import work
from trl_gift.estimate.calibration import Calibration
from trl_gift.estimate.device import this_device
from trl_gift.estimate.memory import memory_options
from trl_gift.estimate.run import RunParts, estimate_run
from trl_gift.estimate.schedule import KINDS
from trl_gift.estimate.text import estimate_text
from trl_gift.estimate.work import Lengths
from trl_gift.generation.compact import CompactEngine
from trl_gift.playground import model_path, playground_tasks
from trl_gift.prompts import load_examples, prompt_format
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainContext
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sampling.showing import show_test
from trl_gift.sandbox import LocalSandbox

CODE, DESCRIPTION, STEPS, WIDTH = 9, 7, 3, 2


@pytest.fixture(scope="module")
def tasks():
    return playground_tasks("train", 3, with_reference=True)


def config(tmp_path, **changes):
    values = {
        "output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "num_steps": STEPS, "num_generations": WIDTH,
        "max_completion_length": CODE, "max_description_length": DESCRIPTION, "report_to": "none",
        "num_description_examples": 1, "engine_batch_size": 8,
    }  # fmt: skip
    return GiFTConfig(**{**values, **changes})


@pytest.fixture(scope="module")
def endless(model_factory, tokenizer):
    """A model that never ends a completion and whose only tokens are letters, so that no stop text appears."""
    model = model_factory(seed=1)
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.full((len(tokenizer),), -1e4))
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "abcdefgh"]
    head.bias.data[letters] = 0.0
    return model


class CountingEngine(CompactEngine):
    """The engine of the run; adds up the prompts that it is given."""

    prompt_tokens = 0

    def submit(self, request):
        self.prompt_tokens += len(request.prompt_ids)
        super().submit(request)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_tokens_are_those_of_a_real_run_with_fixed_lengths(tmp_path, tasks, endless, tokenizer, sampler):
    options = config(tmp_path, sampler=sampler)
    prompts = prompt_format(tokenizer, "base")
    examples = load_examples()
    samples, engine = [], CountingEngine(endless, tokenizer, 8)
    tools = ChainContext(options.chain_settings(1, ""), prompts, examples, lambda task_id, step: [], samples.append)
    with LocalSandbox(num_workers=1, limits=options.limits()) as sandbox:
        Scheduler(engine, sandbox).run(SAMPLERS[sampler](task, tools) for task in tasks)
    lengths = work.prompt_lengths(prompts, tasks, (), options)
    predicted = work.sampling_work(options, len(tasks), lengths, Lengths(CODE, DESCRIPTION, "fixed"))
    described = {(sample.task_id, sample.step): sample.description_tokens for sample in samples}
    assert predicted.programs == len(samples)
    assert predicted.program_tokens == sum(len(sample.token_ids) for sample in samples)
    assert predicted.descriptions == sum(tokens > 0 for tokens in described.values())
    assert predicted.description_tokens == sum(described.values())
    assert predicted.completion_tokens == engine.tokens_generated
    # Nothing passes, so a chain reads its reference again and again, which is longer than a program of fixed length.
    assert predicted.prompt_tokens == pytest.approx(engine.prompt_tokens, rel=0.25 if sampler == "gibbs" else 0.05)


def test_the_arithmetic_of_a_published_run(tmp_path, tasks, tokenizer):
    """1,000 tasks, 20 steps, 3 programs and a description of about 270 tokens each: 21 million tokens."""
    options = config(tmp_path, num_steps=20, num_generations=3, max_completion_length=512, max_description_length=256)
    lengths = work.prompt_lengths(prompt_format(tokenizer, "base"), tasks, (), options)
    predicted = work.sampling_work(options, 1000, lengths, Lengths(265, 265, "assumed"))
    assert predicted.programs == 60_000
    assert predicted.executions == 60_000
    assert predicted.descriptions == 19_000
    assert predicted.completion_tokens == pytest.approx(21e6, rel=0.01)


def test_a_token_budget_caps_the_work(tmp_path, tasks, tokenizer):
    options = config(tmp_path, num_selected=8)
    lengths = work.prompt_lengths(prompt_format(tokenizer, "base"), tasks, (), options)
    whole = work.sampling_work(options, 10, lengths, Lengths(9, 7, ""))
    assert whole.completion_tokens == 10 * (STEPS * WIDTH * 9 + (STEPS - 1) * 7) == 680
    options.max_tokens_per_round = 680
    assert work.sampling_work(options, 10, lengths, Lengths(9, 7, "")) == whole
    options.max_tokens_per_round = 340
    half = work.sampling_work(options, 10, lengths, Lengths(9, 7, ""))
    assert (half.programs, half.descriptions, half.completion_tokens) == (30, 10, 340)
    assert (half.executions, half.prompt_tokens) == (30, whole.prompt_tokens / 2)
    options.selection_with_replacement = False
    assert work.training_work(options, 10, 0, lengths, Lengths(9, 7, ""), processes=1).pairs == 30
    estimate = estimate_run(RunParts(options, LlamaConfig(vocab_size=len(tokenizer)), tokenizer, tasks))
    assert "a round stops sampling at 340 tokens (max_tokens_per_round)." in estimate.notes


def test_repairs_of_a_teacher_are_counted(tmp_path, tasks, tokenizer):
    given = {"repair_attempts": 3, "max_refine_steps": 2, "num_rounds": 2, "sampler": "conditional"}
    options = config(tmp_path, distillation="repair", **given)
    prompts = prompt_format(tokenizer, "base")
    lengths = work.prompt_lengths(prompts, tasks, (), options)
    shown = [len(prompts.refine(task, task.description, "", show_test(task.tests, 0)).ids) for task in tasks]
    assert (lengths.repair, lengths.longest_repair) == (fmean(shown), max(shown))
    whole = work.repair_work(options, 10, lengths, Lengths(9, 7, ""))
    assert (whole.programs, whole.completion_tokens, whole.executions) == (60, 540, 60)
    assert whole.prompt_tokens == 60 * (lengths.repair + 9)
    options.teacher_budget = 270
    assert work.repair_work(options, 10, lengths, Lengths(9, 7, "")).programs == 30
    solved = config(tmp_path, distillation="stand", **given)
    solving = work.prompt_lengths(prompts, tasks, (), solved)
    assert work.repair_work(solved, 10, solving, Lengths(9, 7, "")).prompt_tokens == pytest.approx(30 * solving.write)
    assert work.repair_work(config(tmp_path), 10, lengths, Lengths(9, 7, "")) is None

    model = LlamaConfig(vocab_size=len(tokenizer))
    plain, repaired = (
        estimate_run(RunParts(one, model, tokenizer, tasks)) for one in (config(tmp_path, **given), options)
    )
    assert repaired.completion_tokens - plain.completion_tokens == 2 * repaired.repairs.completion_tokens > 0
    assert repaired.executions - plain.executions == 2 * repaired.repairs.programs
    short, long = (
        memory_options(one, found, 4, "none", this_device(use_cpu=True), 3).longest_prompt
        for one, found in ((solved, solving), (options, lengths))
    )
    assert (short, long) == (solving.longest_write, max(shown) + CODE)
    assert "tokens of repairs, at most" in estimate_text(repaired)
    measured = Calibration(3, 3, 0, 0, 8, dict.fromkeys(KINDS, (9,)), None, 90.0, None, None, None, 100.0, 1, 1.0)
    timed = estimate_run(RunParts(options, model, tokenizer, tasks), calibration=measured)
    assert timed.hours.repairs == pytest.approx(2 * timed.repairs.completion_tokens / 90 / 3600)
    assert timed.hours.total == pytest.approx(
        timed.hours.generation + timed.hours.repairs + timed.hours.training + timed.hours.evaluation
    )
    asked = config(tmp_path, distillation="repair", teacher="openai:m", **given)
    assert estimate_run(RunParts(asked, model, tokenizer, tasks), calibration=measured).hours.repairs == 0


def test_another_model_that_samples_has_memory_of_its_own(tmp_path, tasks, tokenizer):
    model = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=4)  # fmt: skip
    weights = 4 * AutoModelForCausalLM.from_config(model).num_parameters()
    other = 4 * AutoModelForCausalLM.from_pretrained(model_path()).num_parameters()
    alone, drawn, taught = (
        estimate_run(RunParts(config(tmp_path, **given), model, tokenizer, tasks))
        for given in (
            {}, {"sampling_model": str(model_path())}, {"distillation": "persd", "teacher": str(model_path())},
        )
    )  # fmt: skip
    assert drawn.sampling_memory.items["weights (sampling_model)"] == other
    assert drawn.sampling_memory.items["model in training"] == weights
    assert taught.sampling_memory.items["teacher"] == other
    assert drawn.training_memory == alone.training_memory
    assert any(note.startswith(f"{model_path()} samples; its prompts") for note in drawn.notes)


def test_steps_and_pairs(tmp_path, tasks, tokenizer):
    options = config(tmp_path, num_selected=8, num_train_epochs=2, per_device_train_batch_size=4,
                     gradient_accumulation_steps=2)  # fmt: skip
    lengths = work.prompt_lengths(prompt_format(tokenizer, "base"), tasks, (), options)
    done = work.training_work(options, 10, 5, lengths, Lengths(9, 9, ""), processes=1)
    assert (done.pairs, done.steps) == (85, 22)
    halved = work.training_work(options, 10, 5, lengths, Lengths(9, 9, ""), processes=2)
    assert (halved.steps, halved.tokens) == (12, done.tokens)
    options.train_on_references = False
    assert work.training_work(options, 10, 5, lengths, Lengths(9, 9, ""), processes=1).pairs == 80


@pytest.mark.parametrize(("changes", "count"), [
    ({"save_strategy": "no"}, 0),
    ({"save_strategy": "steps", "save_steps": 500}, 2),
    ({"save_strategy": "steps", "save_steps": 10}, 6),
    ({"save_strategy": "steps", "save_steps": 10, "save_total_limit": 2}, 3),
    ({"save_strategy": "epoch", "num_train_epochs": 3}, 6),
])  # fmt: skip
def test_checkpoints_at_the_fullest_moment(tmp_path, changes, count):
    assert work.checkpoint_count(config(tmp_path, num_rounds=2, **changes), steps_per_round=25) == count


def test_means_over_many_tasks_take_an_even_sample():
    tasks = playground_tasks("train", 50)
    some = work.spread(tasks, 10)
    assert [task.task_id for task in some] == [task.task_id for task in tasks[::5]]
    assert work.spread(tasks, 100) == tasks


def test_an_estimate_needs_no_weights_and_names_its_assumptions(tmp_path, tasks, endless, tokenizer):
    options = config(tmp_path, max_completion_length=200, max_description_length=200, eval_num_generations=2)
    estimate = estimate_run(RunParts(options, endless.config, tokenizer, tasks, tasks[:1]))
    assert estimate.hours is None
    assert "as long as the references" in estimate.lengths.source
    assert any("no calibration run" in note for note in estimate.notes)
    assert estimate.evaluations == 2
    assert estimate.evaluation.programs == 3
    assert estimate.fits
    assert estimate.changes == ()
    content = estimate.to_dict()
    assert content["total"]["executions"] == estimate.executions == 3 * STEPS * WIDTH + 2 * 3
    options.curate, options.curate_generations = True, 7
    curated = estimate_run(RunParts(options, endless.config, tokenizer, tasks))
    assert any(note.startswith(f"curate draws {len(tasks) * 7} more programs first;") for note in curated.notes)
    with pytest.raises(ValueError, match="no tasks"):
        estimate_run(RunParts(options, endless.config, tokenizer, []))
