"""Every option of `GiFTConfig` arrives where it acts: followed from the config to its stage by a value of its own.

`ROWS` has a row for each option, with a value that is not the default. An option is looked for in what a whole run
left behind or gave to its engine and its sandbox, or in what the config gives to the stage. A new option without a row
fails here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from trl import SFTConfig

from tests.support.prompts import CHATML, FENCED, TASK
from tests.support.tiny_runs import DESCRIPTIONS, SMALL, TinyRun, training_tasks
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.common.randomness import stream_key
from trl_gift.distillation.limits import Prices
from trl_gift.generation import SamplingParams
from trl_gift.prompts import BasePrompts, ChatPrompts
from trl_gift.sandbox import LocalSandbox
from trl_gift.training.selection import SelectionSettings, select

CPU = {"use_cpu": True, "bf16": False, "report_to": "none"}
NOT_OURS = {"output_dir"} | {item.name for item in fields(SFTConfig)}
EXAMPLES = str(Path(__file__).parent / "support" / "description_examples.jsonl")
QUESTIONS = str(Path(__file__).parent / "support" / "questions")
OPTIONS = {item.name: item for item in fields(GiFTConfig) if item.name not in NOT_OURS}


@dataclass(frozen=True)
class Row:
    """Where an option is followed to.

    Attributes:
        value: A value that is not the default.
        found: What has arrived, as a function of the run named by `run` or, without a run, of a config.
        expected: What must arrive; the value itself if not given.
        run: The name of a run of `RUNS`.
        given: Further options that a config needs.
    """

    value: Any
    found: Callable[[Any], Any]
    expected: Any = MISSING
    run: str = ""
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Elsewhere:
    """An option that tests of a room follow; their file names it."""

    file: str


def in_teacher(value, found, expected=MISSING):
    given = {"distillation": "persd", "teacher": "openai:m", "teacher_base_url": "http://localhost:1/v1",
             "teacher_prices": [1.0, 2.0]}  # fmt: skip
    return Row(value, found, expected, given=given)


def made(config):
    """The teacher that a config makes."""
    return config.make_teacher(Path("answers-of-the-run"), SamplingParams(8))


def in_run(name, value, found, expected=MISSING):
    return Row(value, found, expected, run=name)


def in_config(value, found, expected=MISSING, **given):
    return Row(value, found, expected, given=given)


def in_server(value, name):
    """What the engine over a server is made of; the engine itself is tested with servers, in `tests/generation`."""
    return in_config(value, lambda config: getattr(config.server_options(), name), generation_engine="server")


def in_cleaning(value, name, expected=MISSING):
    return in_run("changed", value, lambda run: run.read("decontamination.json")["settings"][name], expected)


def in_params(kind, value, name):
    return in_run("changed", value, lambda run: run.params(kind, name), {value})


def the(values):
    (value,) = set(values)
    return value


def all_samples(run):
    return [one for group in run.samples(1).values() for one in group]


def first_steps(run, number):
    return [one for group in run.samples(number).values() for one in group if one.step == 0]


def seed_of(run):
    keys = {key for request in run.asked("write") for key in request.stream_keys}
    wanted = {stream_key(1234, 1, f"s{task}", step, index, "code") for task in range(4) for step in range(3)
              for index in range(4)}  # fmt: skip
    return 1234 if wanted <= keys else None


def thoughts_kept(config, tokenizer):
    found = config.prompts(tokenizer, {tokenizer.eos_token_id}).extract(TASK, f"<think>\nHm.\n</think>\n\n{FENCED}")
    return "Hm." in found.target


def renamed(config, tokenizer):
    """Whether a function of another name counts, as the prompts of these options read an answer."""
    answer = FENCED.replace("solve", "other")
    return config.prompts(tokenizer, {tokenizer.eos_token_id}).extract(TASK, answer).code is not None


def opened(config, tokenizer):
    """Whether answers are opened; thoughts, which would forbid it, are left out."""
    silent = copy.copy(config)
    silent.train_on_thinking = False
    return silent.prompts(tokenizer, {tokenizer.eos_token_id}).open_answer


def scored_given_the_tasks_own_description(run):
    """Whether no perplexity was asked for under another description than the task's own."""
    prompts = BasePrompts(run.tokenizer)
    own = {prompts.write(task, task.description).ids for task in training_tasks()}
    assert run.scored
    return {tuple(prompt) for prompt, _ in run.scored} <= own


# The selection that `CHANGED` has to come to; written out here, so that the config's own way is what is tested.
SELECTION = SelectionSettings(
    num_selected=3, perplexity_weight=0.5, perplexity_cap=0.4, pool="all", deduplicate=True, with_replacement=False,
    seed=1234,
)  # fmt: skip


def selected(run, settings):
    drawn = select(run.samples(settings.round), settings)
    return [(one.sample.sample_id, round(one.weight, 9), one.count) for one in drawn]


def in_selection(value, name):
    """The run's selection is that of the settings, and would be another with the default."""

    def found(run):
        depends = False
        for number in (1, 2):
            settings = replace(SELECTION, round=number)
            rows = [(row["sample_id"], round(row["weight"], 9), row["count"]) for row in run.selection(number)]
            if rows != selected(run, settings):
                return None
            default = replace(settings, **{name: getattr(SelectionSettings(), name)})
            depends = depends or rows != selected(run, default)
        assert depends, "in this run the selection is the same with the default"
        return getattr(SELECTION, name)

    return in_run("changed", value, found)


def examples_of(request, run):
    return run.text(request).count("### Code\n") - 1


def examples_of_all(run):
    """The functions that readers are shown, besides that of their task."""
    return {re.findall(r"def (more\(x\))", run.text(request))[0] for request in run.asked("describe")}


ROWS: dict[str, Row | Elsewhere] = {
    # Rounds
    "num_rounds": in_run("changed", 2, lambda run: len(run.rounds)),
    "restart_from_base": in_run("changed", False, lambda run: run.watch.begun[1] == run.base),
    "accumulate_samples": in_run("changed", False, lambda run: {row["round"] for row in run.selection(2)} != {2}),
    "keep_best_round": in_run("changed", False, lambda run: run.trainer.args.keep_best_round),
    "one_round_per_process": in_run("unverified", True, lambda run: len(run.rounds) == 1),
    # Tasks
    "decontaminate": in_cleaning(False, "decontaminate"),
    "decontaminate_against": in_cleaning(["org/bench"], "against"),
    "decontamination_ngram": in_cleaning(5, "ngram"),
    "decontamination_threshold": in_cleaning(0.7, "threshold"),
    "near_duplicate_threshold": in_cleaning(0.95, "near_duplicates"),
    "curate": Elsewhere("tests/sampling/test_curation.py"),
    "curate_above": Elsewhere("tests/sampling/test_curation.py"),
    "curate_below": Elsewhere("tests/sampling/test_curation.py"),
    "curate_generations": Elsewhere("tests/sampling/test_curation.py"),
    # Sampling
    "continue_chains": in_run(
        "changed", True, lambda run: any((one.parent or "").startswith("1/") for one in first_steps(run, 2))
    ),
    "sampler": in_run("hinted", "hinted", lambda run: the(one.sampler for one in all_samples(run))),
    "sampling_model": Elsewhere("tests/sampling/test_sampling_model.py"),
    "perplexity_model": Elsewhere("tests/sampling/test_sampling_model.py"),
    "hint": in_run("hinted", "failing_test", lambda run: the(one.hint for one in all_samples(run) if one.step)),
    "num_steps": in_run("changed", 3, lambda run: len({one.step for one in all_samples(run)})),
    "max_tokens_per_round": Elsewhere("tests/sampling/test_budget.py"),
    "target_format": Elsewhere("tests/training/test_edits.py"),
    "num_edit_sequences": Elsewhere("tests/training/test_edits.py"),
    "step_allocation": Elsewhere("tests/sampling/test_allocation.py"),
    "num_generations": in_run("changed", 4, lambda run: len({one.index for one in all_samples(run)})),
    "temperature": in_params("write", 0.7, "temperature"),
    "top_p": in_params("write", 0.9, "top_p"),
    "top_k": in_params("write", 3, "top_k"),
    "min_p": in_params("write", 0.05, "min_p"),
    "repetition_penalty": in_params("write", 1.1, "repetition_penalty"),
    "max_completion_length": in_params("write", 2, "max_new_tokens"),
    "description_temperature": in_params("describe", 0.8, "temperature"),
    "description_top_p": in_params("describe", 0.85, "top_p"),
    "description_top_k": in_params("describe", 9, "top_k"),
    "max_description_tries": in_config(2, lambda config: config.chain_settings(1, "").max_description_tries),
    "allow_copies": in_config(True, lambda config: config.chain_settings(1, "").allow_copies),
    "max_description_length": in_params("describe", 5, "max_new_tokens"),
    "num_description_examples": in_run(
        "changed", 2, lambda run: the(examples_of(request, run) for request in run.asked("describe"))
    ),
    "description_examples": in_run(
        "changed", EXAMPLES, lambda run: EXAMPLES if "more(x)" in the(examples_of_all(run)) else None
    ),
    "samples_seed": in_run("changed", 1234, seed_of),
    # Prompts
    "prompt_format": in_run("hinted", "base", lambda run: type(run.trainer.prompts), BasePrompts),
    "system_prompt": in_run(
        "unverified", "Be brief.",
        lambda run: the(run.text(request).count("system\nBe brief.<|im_end|>") for request in run.requests), 1,
    ),
    "chat_template_kwargs": in_run(
        "unverified", {"mood": "cheerful"},
        lambda run: the(run.text(request).startswith("In a cheerful mood") for request in run.requests), True,
    ),
    "prompt_date": Elsewhere("tests/training/test_prompts_of_a_run.py"),
    "rename_entry_point": in_run("unverified", True, lambda run: renamed(run.trainer.args, run.tokenizer)),
    "open_answer": in_run("unverified", False, lambda run: opened(run.trainer.args, run.tokenizer)),
    "prompt_tests": in_run("changed", 2, lambda run: run.trainer.prompts.pinned.tests),
    "pin_imports": in_run("changed", True, lambda run: run.trainer.prompts.pinned.imports),
    "stop": in_run(
        "changed", ["\nSTOP"],
        lambda run: the("\nSTOP" in request.params.stop for request in run.requests), True,
    ),
    # Distillation
    "distillation": Elsewhere("tests/distillation/test_runs.py"),
    "teacher": Elsewhere("tests/distillation/test_runs.py"),
    "teacher_budget": Elsewhere("tests/distillation/test_runs.py"),
    "repair_attempts": Elsewhere("tests/distillation/test_runs.py"),
    "max_refine_steps": Elsewhere("tests/distillation/test_runs.py"),
    "teacher_temperature": Elsewhere("tests/distillation/test_runs.py"),
    "teacher_max_tokens": Elsewhere("tests/distillation/test_runs.py"),
    "teacher_base_url": Elsewhere("tests/distillation/test_runs.py"),
    "teacher_key_variable": Elsewhere("tests/distillation/test_runs.py"),
    "teacher_fields": Elsewhere("tests/distillation/test_runs.py"),
    "teacher_concurrency": Elsewhere("tests/distillation/test_runs.py"),
    "right_share": in_teacher(0.2, lambda config: config.right_share),
    "teacher_reference": in_teacher(True, lambda config: made(config).questions.shows_reference),
    "teacher_questions": in_teacher(QUESTIONS, lambda config: made(config).questions.templates["solve.txt"], "{{ description }}\n"),
    "teacher_requests_per_minute": in_teacher(7.0, lambda config: made(config).options.requests_per_minute),
    "teacher_retries": in_teacher(2, lambda config: made(config).options.retries),
    "teacher_timeout": in_teacher(3.0, lambda config: made(config).options.timeout_s),
    "teacher_prices": in_teacher([3.0, 4.0], lambda config: made(config).options.prices, Prices(3.0, 4.0)),
    "teacher_max_cost": in_teacher(5.0, lambda config: made(config).options.most_cost),
    "teacher_cache": in_teacher("answers", lambda config: str(made(config).options.folder)),
    # Execution
    "verify": in_run(
        "unverified", False, lambda run: bool(run.sandbox.submitted) or run.trainer.args.chain_settings(1, "").verify
    ),
    "execution_cpu_s": in_run("sandbox", 2.5, lambda given: given["limits"].cpu_s),
    "execution_memory_mb": in_run("sandbox", 333, lambda given: given["limits"].memory_mb),
    "sandbox_workers": in_run("sandbox", 7, lambda given: given["num_workers"]),
    "isolation": in_run("sandbox", "none", lambda given: given["isolation"]),
    # Selection
    "pool": in_selection("all", "pool"),
    "num_selected": in_selection(3, "num_selected"),
    "perplexity_weight": in_selection(0.5, "perplexity_weight"),
    "perplexity_cap": in_selection(0.4, "perplexity_cap"),
    "perplexity_within_round": in_config(True, lambda config: config.selection_settings(1).within_round),
    "perplexity_condition": in_run("changed", "seed", scored_given_the_tasks_own_description, True),
    "deduplicate": in_selection(True, "deduplicate"),
    "selection_with_replacement": in_selection(False, "with_replacement"),
    # Training
    "train_on_references": in_run("changed", False, lambda run: run.rounds[0]["references"] > 0),
    "loss_weighting": in_run("unverified", "example", lambda run: not run.trainer.model_accepts_loss_kwargs, True),
    "train_on_thinking": in_run(
        "unverified", True, lambda run: thoughts_kept(run.trainer.args, run.tokenizer)
    ),
    # Evaluation
    "eval_num_generations": in_run(
        "changed", 3, lambda run: max(len(request.stream_keys) for request in run.asked("evaluate"))
    ),
    "eval_k": in_run(
        "changed", [2, 3],
        lambda run: [k for k in range(5) if f"sampled_pass@{k}" in run.rounds[0]["metrics"]],
    ),
    "eval_temperature": in_params("evaluate", 0.6, "temperature"),
    "cache_base_evaluation": Elsewhere("tests/evaluation/test_cache.py"),
    # Tracking and Hub
    "log_completions": in_config(False, lambda config: config.num_logged_samples, 0),
    "num_completions_to_print": in_config(7, lambda config: config.num_logged_samples, 7),
    "push_samples": Elsewhere("tests/hub/test_push.py"),
    "samples_repo_id": Elsewhere("tests/hub/test_push.py"),
    "samples_private": Elsewhere("tests/hub/test_push.py"),
    # Engine
    "generation_engine": in_run(
        "unverified", "generate", lambda run: the(name for name, _ in run.engines), "GenerateEngine"
    ),
    "engine_batch_size": in_run("changed", 5, lambda run: the(given["batch_size"] for _, given in run.engines)),
    "engine_token_budget": in_run(
        "changed", 4000, lambda run: the(given["token_budget"] for _, given in run.engines)
    ),
    "use_vllm": in_config(True, lambda config: config.generation_engine, "server"),
    "vllm_gpu_memory_utilization": in_server(0.5, "gpu_memory_utilization"),
    "vllm_mode": Elsewhere("tests/test_options.py"),
    "vllm_server_base_url": in_server("http://localhost:1", "url"),
    "server_command": in_server("serve {model}", "command"),
    "server_model": in_server("named", "model"),
    "server_port": in_server(4321, "port"),
    "vllm_server_timeout": in_server(12.0, "start_timeout_s"),
    "server_request_timeout": in_server(13.0, "request_timeout_s"),
    "server_patience": in_server(14.0, "patience_s"),
}  # fmt: skip
MOODY = "{% if mood is defined %}In a {{ mood }} mood\n{% endif %}" + CHATML


def given_in(name):
    return {option: row.value for option, row in ROWS.items() if isinstance(row, Row) and row.run == name}


@pytest.fixture(scope="module")
def runs(tokenizer, chat_tokenizer_factory, tmp_path_factory):
    """Runs by name, made when first asked for; each has all values that are looked for in it."""
    made = {}

    def make(name):
        folder, options = tmp_path_factory.mktemp(name), given_in(name)
        if name == "changed":
            return TinyRun(folder, tokenizer, measured=True, **options)
        if name == "hinted":
            # Its end token is that of a chat model, which it is asked not to be; nothing passes.
            chat = chat_tokenizer_factory(CHATML, "<|im_end|>")
            return TinyRun(folder, chat, judge=lambda program, tests: False, num_rounds=1, **options)
        if name == "unverified":
            chat = chat_tokenizer_factory(MOODY, "<|im_end|>")
            return TinyRun(folder, chat, **options | {"save_strategy": "steps", "per_device_train_batch_size": 1})
        return sandbox_of(folder, tokenizer, options)

    def get(name):
        if name not in made:
            made[name] = make(name)
        return made[name]

    return get


class Seen(Exception):
    pass


def sandbox_of(folder, tokenizer, options):
    """The arguments of the sandbox that a run makes."""
    from tests.support.models import make_model

    given = {}

    def note(itself, *arguments, **named):
        assert not arguments
        given.update(named)
        raise Seen

    args = GiFTConfig(str(folder), **SMALL | options)
    trainer = GiFTTrainer(make_model(tokenizer), args, training_tasks(), processing_class=tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalSandbox, "__init__", note)
        with pytest.raises(Seen):
            trainer.train()
    return given


def test_every_option_has_a_row():
    assert set(OPTIONS) - set(ROWS) == set(), "say where the new option arrives"
    assert set(ROWS) - set(OPTIONS) == set(), "these are not options any more"


def default_of(option):
    made = OPTIONS[option].default_factory
    return OPTIONS[option].default if made is MISSING else made()


@pytest.mark.parametrize("option", ROWS)
def test_an_option_arrives_at_its_stage(option, runs):
    row = ROWS[option]
    if isinstance(row, Elsewhere):
        assert f"{option}=" in (Path(__file__).parent.parent / row.file).read_text(encoding="utf-8")
        return
    assert row.value != default_of(option), (
        "with the default value the test would not notice that the option is ignored"
    )
    seen = runs(row.run) if row.run else GiFTConfig("out", **CPU, **{**row.given, option: row.value})
    assert row.found(seen) == (row.value if row.expected is MISSING else row.expected)


def test_the_run_that_is_looked_at_is_the_one_of_its_options(runs):
    """Guards of this file: what the runs are compared by can be told apart in them."""
    run = runs("changed")
    assert all(run.samples(number) for number in (1, 2))
    assert any(one.passed for one in all_samples(run))
    assert any(not one.passed for one in all_samples(run))
    assert any(one.description not in DESCRIPTIONS for one in all_samples(run) if one.step)
    assert isinstance(runs("unverified").trainer.prompts, ChatPrompts)
    assert run.trainer.args.sampling_seed == 1234


def test_the_wall_time_of_a_program_follows_its_cpu_time(runs):
    assert runs("sandbox")["limits"].wall_s == 3 * 2.5


def test_the_seed_of_the_run_is_that_of_its_samples_if_not_given():
    config = GiFTConfig("out", seed=5, **CPU)
    assert {
        config.chain_settings(1, "").seed,
        config.selection_settings(1).seed,
        config.evaluation_settings().seed,
    } == {5}
    config = GiFTConfig("out", seed=5, samples_seed=0, **CPU)
    assert {
        config.chain_settings(1, "").seed,
        config.selection_settings(1).seed,
        config.evaluation_settings().seed,
    } == {0}


def test_the_settings_of_a_round_are_of_this_round():
    config = GiFTConfig("out", **CPU)
    assert [config.chain_settings(number, "hash").round for number in (1, 2)] == [1, 2]
    assert [config.selection_settings(number).round for number in (1, 2)] == [1, 2]
    assert config.chain_settings(1, "hash").model_hash == "hash"
