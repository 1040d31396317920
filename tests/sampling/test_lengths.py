"""What does not fit into a model's positions is left out before anything is generated."""

from __future__ import annotations

import copy
import json

import pytest
from peft import LoraConfig
from transformers import GPT2Config, LlamaConfig, MambaConfig

from tests.support.architectures import make_config
from tests.support.engines import ScriptedEngine
from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, training_tasks
from tests.support.worlds import TablePrompts, make_task, sample
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError
from trl_gift.generation import SamplingParams, positions_of
from trl_gift.inference import evaluate
from trl_gift.inference.evaluating import fitted
from trl_gift.inference.loading import load
from trl_gift.inference.saved import check_comparable, compare_sets, read_earlier, read_evaluation, save_evaluation
from trl_gift.prompts import BasePrompts
from trl_gift.sampling.lengths import fitting, left_out_line
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
    assert left_out_line(["t20", "t200"], 3, "training tasks", 9).startswith(
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
    assert "1 of 4 training tasks is left out (long): prompt and max_completion_length exceed the model's" in lines
    assert "1 of 2 evaluation tasks is left out (other)" in lines


@pytest.mark.parametrize(("given", "positions", "length"), [
    (None, None, 512), (None, 2048, 512), (None, 1024, 512), (None, 1000, 500), (None, 512, 256),
    (500, 512, 500), (512, 512, 512), (512, 1000, 512),
])  # fmt: skip
def test_the_default_length_is_lowered_for_a_small_model_and_a_chosen_one_is_not(given, positions, length):
    config = GiFTConfig("out", use_cpu=True, bf16=False, max_completion_length=given)
    assert config.to_dict()["max_completion_length"] == given
    assert config.completion_length == (given or 512)
    assert config.choose_completion_length(positions) == (given is None and length < 512)
    assert config.max_completion_length == config.completion_length == length


def test_a_chosen_length_that_equals_the_default_is_refused_where_the_default_is_lowered(tokenizer):
    sandbox = InstantSandbox(lambda program, tests: True)
    options = {name: value for name, value in SMALL.items() if name != "max_completion_length"}
    trainer = GiFTTrainer(make_model(tokenizer, "gpt2"), GiFTConfig("unused", **options), training_tasks(), None, tokenizer,
                          sandbox=sandbox)  # fmt: skip
    assert trainer.args.max_completion_length == 256
    with pytest.raises(ConfigError, match="max_completion_length=512 leaves no room for a prompt: the model has 512"):
        GiFTTrainer(make_model(tokenizer, "gpt2"), GiFTConfig("unused", max_completion_length=512, **options), training_tasks(),
                    None, tokenizer, sandbox=sandbox)  # fmt: skip
    for given, match in ((None, None), (512, "max_completion_length=512 leaves no room")):
        config = GiFTConfig("unused", max_completion_length=given, **options)
        loaded = load(make_model(tokenizer, "gpt2"), config, tokenizer)
        if match is None:
            assert fitted(loaded, {"some": training_tasks()}, config).settings.max_completion_length == 256
        else:
            with pytest.raises(ConfigError, match=match):
                fitted(loaded, {"some": training_tasks()}, config)


def test_a_trainer_leaves_the_options_of_its_caller_as_they_are(model_folder, tokenizer):
    """One object of options serves several trainers: what is chosen for the one does not stay for the next."""
    options = {name: value for name, value in SMALL.items() if name not in ("max_completion_length", "learning_rate")}
    config = GiFTConfig("unused", **options)
    before = copy.deepcopy(config.to_dict())
    sandbox = InstantSandbox(lambda program, tests: True)
    trainer = GiFTTrainer(str(model_folder), config, training_tasks(), None, sandbox=sandbox)
    adapted = GiFTTrainer(str(model_folder), config, training_tasks(), None, sandbox=sandbox, peft_config=LoraConfig())
    trainer.evaluate(training_tasks())
    assert config.to_dict() == before
    assert (trainer.args.learning_rate, adapted.args.learning_rate) == (2e-5, 2e-4)
    assert trainer.args.max_completion_length == 512
    assert trainer.args.model_init_kwargs["dtype"] is not None


def test_an_evaluation_names_the_tasks_that_it_left_out(tokenizer, tmp_path):
    model = make_model(tokenizer)
    long = Task("long", "word " * 1200, training_tasks()[0].tests)
    config = GiFTConfig("unused", **SMALL)
    sandbox = InstantSandbox(lambda program, tests: True)
    result = evaluate(model, {"some": [*training_tasks(), long], "more": training_tasks()}, config, tokenizer, sandbox)
    assert result["some"].left_out == ("long",)
    assert result["more"].left_out == ()
    assert result["some"].metrics()["left_out"] == 1.0
    assert result["some"].metrics()["num_tasks"] == len(training_tasks())
    assert "left_out" not in result["more"].metrics()
    loaded = load(model, config, tokenizer)
    fit = fitted(loaded, {"some": [*training_tasks(), long], "more": training_tasks()}, config)
    save_evaluation(tmp_path, result, fit.sets, loaded.facts, fit.settings, {})
    assert read_evaluation(tmp_path)["some"] == result["some"]
    content = json.loads((tmp_path / "evaluation.json").read_text())["sets"]
    assert [content[name]["left_out"] for name in ("some", "more")] == [["long"], []]
    earlier = read_earlier(tmp_path)
    check_comparable(fit.sets, loaded.prompts(config).convention, earlier, str(tmp_path))
    assert compare_sets(result, fit.sets, earlier)["some"].tasks == len(training_tasks())


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


def test_two_sets_of_positions_leave_those_of_short_texts(tokenizer):
    """Beyond them the rows of a batch would change the positions of one another."""
    config = make_config("phi3", tokenizer)
    assert config.max_position_embeddings == 1024
    assert positions_of(config) == 256
