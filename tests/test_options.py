"""Options: each is declared once, and its checks, help, docstring and page say the same."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import pytest
from trl import GRPOConfig, SFTConfig, TrlParser

from trl_gift import GiFTConfig
from trl_gift.cli.arguments import TaskArguments
from trl_gift.common.options import MAY_CHANGE, Bounds, Stage, check, described, options_of, settle
from trl_gift.errors import ConfigError
from trl_gift.sampling import SAMPLERS
from trl_gift.sampling.hints import HINTS

CPU = {"use_cpu": True, "bf16": False, "report_to": "none"}
OPTIONS = options_of(GiFTConfig)


@described
@dataclass
class Example:
    """An example.

    It has two paragraphs.
    """

    first: int = 1

    share: Annotated[float | None, Stage("Shares"), Bounds(above=0, high=1), MAY_CHANGE] = 0.5
    """A share of 100 %,
    in parts."""

    kind: Literal["plain", "fancy"] = "plain"
    """The kind."""

    port: Annotated[int, Stage("Ports"), Bounds(low=1, high=65535)] = 80
    """The port."""

    free: float = 0.0
    """Any number."""

    switch: bool = False
    """A switch."""

    text: str | None = None
    """A text."""

    numbers: list[int] | None = None
    """Numbers."""


def config(**options):
    return GiFTConfig("out", **CPU, **options)


def test_a_field_declares_everything_about_its_option():
    first, share, kind, port, *_ = options_of(Example).values()
    assert [option.stage for option in (first, share, kind, port)] == ["", "Shares", "Shares", "Ports"]
    assert first.text == ""
    assert share.text == "A share of 100 %, in parts. Must be above 0 and at most 1."
    assert (share.type, share.default, share.may_change) == (float | None, 0.5, True)
    assert (kind.choices, kind.bounds, kind.may_change) == (("plain", "fancy"), None, False)
    assert [option.type_name for option in (first, share, kind)] == ["int", "float or None", "'plain' or 'fancy'"]
    assert port.text == "The port. Must be at least 1 and at most 65535."
    # Argparse formats help texts.
    assert {item.name: item.metadata for item in fields(Example)}["share"]["help"].startswith("A share of 100 %%,")
    assert Example.__doc__.startswith(
        "An example.\n\nIt has two paragraphs.\n\nOptions:\n    first (int, defaults to 1):"
    )
    assert (
        "\nShares:\n    share (float or None, defaults to 0.5):\n        A share of 100 %, in parts."
        in Example.__doc__
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 0}, r"share=0 is out of range; use a number that is above 0 and at most 1\."),
        ({"share": math.nan}, "share=nan is out of range"),
        ({"share": "0.5"}, r"share='0\.5' is not a number or None; use a number or None that is above 0"),
        ({"share": True}, "share=True is not a number or None"),
        ({"share": math.inf}, "share=inf is out of range"),
        ({"first": 1.5}, r"first=1\.5 is not a whole number; use a whole number\."),
        ({"first": True}, "first=True is not a whole number"),
        ({"first": None}, "first=None is not a whole number"),
        ({"first": "1"}, "first='1' is not a whole number"),
        ({"port": None}, "port=None is not a whole number; use a whole number that is at least 1 and at most 65535"),
        ({"kind": None}, "kind=None is unknown"),
        ({"free": math.inf}, r"free=inf is not finite; use a finite number\."),
        ({"free": math.nan}, "free=nan is not finite"),
        ({"switch": 1}, r"switch=1 is not True or False; use True or False\."),
        ({"switch": None}, "switch=None is not True or False"),
        ({"switch": "true"}, "switch='true' is not True or False"),
        ({"text": 3}, "text=3 is not a text or None"),
        (
            {"numbers": [1, 2.5]},
            r"numbers=\[1, 2\.5\] is not a list of whole numbers or None; use a list of whole numbers",
        ),
        ({"numbers": [True]}, r"numbers=\[True\] is not a list of whole numbers"),
        ({"numbers": None}, None),
        ({"numbers": {}}, "numbers={} is not a list of whole numbers"),
        ({"port": 65536}, "port=65536 is out of range; use a number that is at least 1 and at most 65535"),
        ({"kind": "odd"}, r"kind='odd' is unknown; use one of 'plain', 'fancy'\."),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_with_the_fix(values, message):
    with pytest.raises(ConfigError, match=message) if message else contextlib.nullcontext():
        check(Example(**values), Example)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"numbers": 4}, [4]),
        ({"numbers": (1, 4)}, [1, 4]),
        ({"numbers": [1.0, 4]}, [1, 4]),
        ({"numbers": None}, None),
        ({"first": 2.0}, 2),
        ({"first": 2.5}, 2.5),
        ({"first": True}, True),
        ({"share": 1.0}, 1.0),
    ],
)
def test_a_value_gets_the_form_of_its_type(given, found):
    example = Example(**given)
    settle(example, Example)
    (name,) = given
    assert repr(getattr(example, name)) == repr(found)


def test_a_single_value_is_a_list_of_one_in_every_option_that_takes_a_list():
    lists = {name for name, option in OPTIONS.items() if "list[" in str(option.type)}
    assert lists == {"decontaminate_against", "stop", "eval_k", "teacher_prices"}
    made = config(stop="END", eval_k=4, eval_num_generations=4, decontaminate_against="mbpp")
    assert (made.stop, made.eval_k, made.decontaminate_against) == (["END"], [4], ["mbpp"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 2.5}, "num_steps=2.5 is not a whole number; use a whole number that is at least 1"),
        ({"num_rounds": True}, "num_rounds=True is not a whole number"),
        ({"num_generations": None}, "num_generations=None is not a whole number"),
        ({"verify": "no"}, "verify='no' is not True or False"),
        ({"temperature": float("inf")}, "temperature=inf is not finite"),
        ({"eval_k": "4"}, r"eval_k=\['4'\] is not a list of whole numbers"),
        ({"eval_k": 0.5}, r"eval_k=\[0.5\] is not a list of whole numbers"),
        ({"stop": 3}, r"stop=\[3\] is not a list of texts or None"),
        ({"system_prompt": 3}, "system_prompt=3 is not a text or None"),
        ({"samples_seed": 1.5}, "samples_seed=1.5 is not a whole number or None"),
    ],
)
def test_values_of_another_type_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        config(**options)


def test_values_at_the_bounds_and_absent_values_are_allowed():
    for values in ({"share": 1}, {"share": 1e-9}, {"share": None}, {"port": 1}, {"port": 65535}, {"kind": "fancy"}):
        check(Example(**values), Example)


def test_trl_s_parser_reads_the_declarations(capsys):
    parser = TrlParser([Example])
    (found,) = parser.parse_args_and_config(["--share", "0.25", "--kind", "fancy"])
    assert found == Example(share=0.25, kind="fancy")
    with pytest.raises(SystemExit):
        parser.parse_args_and_config(["--help"])
    assert "A share of 100 %, in parts. Must be above 0" in " ".join(capsys.readouterr().out.split())
    assert options_of(Example)["share"].type == float | None  # the parser rewrites the types of fields


def test_every_option_of_a_run_has_a_stage_and_a_text():
    inherited = {item.name for item in fields(SFTConfig)}
    new = [name for name in OPTIONS if name not in inherited]
    assert new == [item.name for item in fields(GiFTConfig) if item.name not in inherited]
    # Options of SFTConfig that get another default here.
    assert set(OPTIONS) - set(new) == {"learning_rate", "num_train_epochs", "gradient_checkpointing"}
    for name, option in {**OPTIONS, **options_of(TaskArguments)}.items():
        assert option.stage, name
        assert option.text.endswith("."), name
        assert f"    {name} (" in (GiFTConfig.__doc__ + TaskArguments.__doc__), name
    stages = [option.stage for option in OPTIONS.values()]
    assert [stage for place, stage in enumerate(stages) if stage not in stages[:place]] == [
        "Rounds", "Tasks", "Sampling", "Prompts", "Distillation", "Execution", "Selection", "Training", "Evaluation", "Tracking", "Hub",
        "Engine",
    ]  # fmt: skip


def test_defaults_are_allowed_and_subclasses_are_checked():
    @dataclass
    class Mine(GiFTConfig):
        more: int = 1

    with pytest.raises(ConfigError, match="num_steps=0 is out of range"):
        Mine("out", num_steps=0, **CPU)
    assert "more" not in Mine("out", **CPU).gift_options()


@pytest.mark.parametrize(
    ("option", "value"), [("sampler", "metropolis"), ("pool", "best"), ("generation_engine", "turbo"), ("hint", "x")]
)
def test_an_unknown_choice_is_an_error_with_the_choices(option, value):
    choices = ", ".join(map(repr, OPTIONS[option].choices))
    with pytest.raises(ConfigError, match=f"{option}='{value}' is unknown; use one of {choices}"):
        config(**{option: value})


def test_choices_are_those_of_the_rooms():
    assert OPTIONS["sampler"].choices == tuple(SAMPLERS)
    assert OPTIONS["hint"].choices == HINTS


def test_only_options_that_no_sample_depends_on_may_change():
    kept = {name for name, option in OPTIONS.items() if not option.may_change}
    assert {"sampler", "num_steps", "temperature", "samples_seed", "verify", "pool", "execution_cpu_s"} <= kept
    assert GiFTConfig.may_change() == {
        "num_rounds", "one_round_per_process", "sandbox_workers", "log_completions", "num_completions_to_print",
        "push_samples", "samples_repo_id", "samples_private", "generation_engine", "use_vllm", "vllm_mode",
        "vllm_server_base_url", "vllm_server_timeout", "vllm_gpu_memory_utilization", "server_command", "server_model",
        "server_port", "server_request_timeout", "server_patience", "engine_batch_size", "engine_token_budget",
        "cache_base_evaluation", "keep_best_round", "learning_rate", "loss_weighting", "num_train_epochs", "gradient_checkpointing",
        "teacher_key_variable", "teacher_concurrency", "teacher_requests_per_minute", "teacher_retries", "teacher_timeout",
        "teacher_prices", "teacher_max_cost", "teacher_cache",
    }  # fmt: skip


# TRL's names -----------------------------------------------------------------------------------------------------------


def test_options_with_a_name_of_trl_s_take_its_values():
    theirs = {item.name for item in fields(GRPOConfig)}
    shared = {
        "use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": "http://localhost:8000",
        "vllm_server_timeout": 240.0, "vllm_gpu_memory_utilization": 0.3, "log_completions": True,
        "num_completions_to_print": 8,
    }  # fmt: skip
    assert shared.keys() <= theirs
    made = config(**shared)
    assert {name: getattr(made, name) for name in shared} == shared
    inherited = {item.name for item in fields(SFTConfig)}
    # These are the only other names that we share with GRPOConfig, and they mean the same there.
    assert (theirs & OPTIONS.keys()) - shared.keys() - inherited <= {
        "num_generations", "temperature", "top_p", "min_p", "repetition_penalty", "top_k", "max_completion_length",
        "chat_template_kwargs",
    }  # fmt: skip


def test_use_vllm_means_the_server_engine():
    assert config().generation_engine == "auto"
    assert config(use_vllm=True).generation_engine == "server"
    assert config(use_vllm=True, generation_engine="server").generation_engine == "server"
    given = config(use_vllm=True, vllm_server_base_url="http://localhost:8000", vllm_gpu_memory_utilization=0.5)
    assert given.server_options().url == "http://localhost:8000"
    assert given.server_options().gpu_memory_utilization == 0.5
    for engine in ("generate", "compact"):
        with pytest.raises(ConfigError, match=f"use_vllm=True and generation_engine='{engine}' exclude each other"):
            config(use_vllm=True, generation_engine=engine)
    with pytest.raises(ConfigError, match=r"vllm_mode='colocate' .* is not supported; leave it out: "):
        config(use_vllm=True, vllm_mode="colocate")


def test_completions_are_logged_as_many_as_asked_for():
    assert config().num_logged_samples == 32
    assert config(num_completions_to_print=5).num_logged_samples == 5
    assert config(num_completions_to_print=None).num_logged_samples > 10**9
    assert config(log_completions=False).num_logged_samples == 0
