"""The folder of a run where a model to train is named."""

from __future__ import annotations

import pytest

from trl_gift.errors import ConfigError
from trl_gift.run.folder import RunFolder
from trl_gift.run.trained import model_to_train


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")


def begun(folder):
    RunFolder(folder).start({"model": "org/base", "options": {}})
    return str(folder)


def test_a_model_and_a_name_stay(tmp_path):
    assert model_to_train("org/base") == "org/base"
    name = begun(tmp_path)
    put(tmp_path, "config.json", "model.safetensors")
    assert model_to_train(name) == name


def test_the_saved_model_of_a_run_is_taken(tmp_path):
    name = begun(tmp_path)
    put(tmp_path / "model", "config.json", "model.safetensors")
    assert model_to_train(name) == str(tmp_path / "model")


def test_a_run_without_a_model_and_one_with_an_adapter_are_refused(tmp_path):
    name = begun(tmp_path)
    with pytest.raises(
        ConfigError, match=r"has no trained model yet; finish that run, or give its base model, 'org/base'\."
    ):
        model_to_train(name)
    put(tmp_path, "adapter_config.json")
    with pytest.raises(ConfigError, match=rf"trained an adapter.*`trl-gift merge {name} --output {name}-merged`"):
        model_to_train(f"{name}/")
