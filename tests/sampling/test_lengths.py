"""What does not fit into a model's positions is left out before anything is generated."""

from __future__ import annotations

import pytest
from transformers import GPT2Config, LlamaConfig, MambaConfig

from tests.support.engines import ScriptedEngine
from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, training_tasks
from tests.support.worlds import TablePrompts, make_task, sample
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError
from trl_gift.generation import SamplingParams
from trl_gift.prompts import BasePrompts
from trl_gift.sampling.lengths import fitting, left_out_line, positions_of
from trl_gift.tasks import Task


def test_positions_are_what_the_config_names():
    assert positions_of(LlamaConfig(max_position_embeddings=77)) == 77
    assert positions_of(GPT2Config(n_positions=78)) == 78
    assert positions_of(MambaConfig()) is None


def test_tasks_whose_prompt_leaves_no_room_are_left_out(tokenizer):
    prompts = BasePrompts(tokenizer)
    tasks = [Task(f"t{length}", "word " * length, None, "def f(x):") for length in (1, 20, 200)]
    lengths = [len(prompts.write(task, task.description).ids) for task in tasks]
    assert fitting(tasks, prompts, 50, lengths[1] + 50) == (tasks[:2], tasks[2:])
    assert fitting(tasks, prompts, 50, lengths[1] + 49) == (tasks[:1], tasks[1:])
    assert fitting(tasks, prompts, 50, None) == (tasks, [])
    with pytest.raises(
        ConfigError, match=f"max_completion_length=50 leaves no room .* has {lengths[0] + 49} positions"
    ):
        fitting(tasks, prompts, 50, lengths[0] + 49)
    with pytest.raises(ConfigError, match="give at most 49"):
        fitting(tasks, prompts, 50, lengths[0] + 49)
    with pytest.raises(ConfigError, match="take another model"):
        fitting(tasks, prompts, 50, 2)
    assert left_out_line([], 3, "tasks", 9) == ""
    assert left_out_line(tasks[1:], 3, "training tasks", 9).startswith(
        "2 of 3 training tasks are left out (t20, t200): "
    )


def test_a_trainer_leaves_them_out_and_says_so(tokenizer, capsys):
    long = Task("long", "word " * 1200, training_tasks()[0].tests)
    other = Task("other", "text " * 1200, training_tasks()[0].tests)
    model = make_model(tokenizer)
    assert positions_of(model.config) == 1024
    trainer = GiFTTrainer(
        model, GiFTConfig("unused", **SMALL), [*training_tasks(), long], [other, training_tasks()[0]], tokenizer,
        sandbox=InstantSandbox(lambda program, tests: True),
    )  # fmt: skip
    assert [task.task_id for task in trainer.tasks] == ["s1", "s2", "s3"]  # s0 is measured on
    assert [task.task_id for task in trainer.eval_tasks] == ["s0"]
    lines = capsys.readouterr().err
    assert "1 of 4 training tasks are left out (long): prompt and max_completion_length exceed the model's" in lines
    assert "1 of 2 evaluation tasks are left out (other)" in lines


@pytest.mark.parametrize(("given", "positions", "length"), [
    ({}, None, 512), ({}, 2048, 512), ({}, 1024, 512), ({}, 1000, 500), ({}, 512, 256),
    ({"max_completion_length": 500}, 512, 500),
])  # fmt: skip
def test_the_default_length_is_lowered_for_a_small_model_and_a_chosen_one_is_not(given, positions, length):
    config = GiFTConfig("out", use_cpu=True, bf16=False, **given)
    assert config.choose_completion_length(positions) == (length != config_length(given))
    assert config.max_completion_length == length


def config_length(given):
    return given.get("max_completion_length", 512)


class Lengthy(TablePrompts):
    """The prompt of description dN has N tokens."""

    def write(self, task, description, hint=None):
        prompt = super().write(task, description, hint)
        return type(prompt)((prompt.ids[0], *[0] * int(description[1:])), prompt.text)


@pytest.mark.parametrize(("positions", "used"), [(None, "d7"), (13, "d7"), (12, "d1"), (3, "d1")])
def test_a_description_that_leaves_no_room_is_not_written_from(positions, used):
    def write(request, position):
        return "d7" if request.key[0] == "describe" else "c3"

    engine = ScriptedEngine(write)
    samples = sample(
        [make_task(description="d1")], engine, prompts=Lengthy(), num_steps=2, positions=positions,
        code_params=SamplingParams(5), description_params=SamplingParams(2),
    )  # fmt: skip
    assert {one.description for one in samples if one.step == 1} == {used}
    described = [request for request in engine.requests if request.key[0] == "describe"]
    assert len(described) == (0 if positions == 3 else 3 if used == "d1" else 1)
