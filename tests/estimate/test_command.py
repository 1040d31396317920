"""`trl-gift estimate` as a person runs it."""

from __future__ import annotations

import json

import pytest
import torch

from trl_gift.cli import estimate as command
from trl_gift.errors import ConfigError, UserError

OPTIONS = {
    "model_name_or_path": "playground", "dataset_name": "playground", "limit": 6, "eval_dataset_name": "playground",
    "eval_limit": 4, "num_steps": 2, "num_generations": 2, "max_completion_length": 48, "max_description_length": 32,
    "max_length": 256, "per_device_train_batch_size": 4, "use_cpu": True, "bf16": False,
    "gradient_checkpointing": False, "report_to": "none", "sandbox_workers": 1,
}  # fmt: skip


@pytest.fixture
def run_yaml(tmp_path):
    path = tmp_path / "run.yaml"
    lines = [f"{name}: {json.dumps(value)}" for name, value in OPTIONS.items()]
    path.write_text("\n".join([*lines, f"output_dir: {tmp_path / 'out'}"]))
    return path


def test_json_with_calibration(tmp_path, run_yaml, capsys):
    assert command.run(["--config", str(run_yaml), "--json", "--calibration-tasks", "2"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.strip().splitlines()
    content = json.loads(line)
    assert "calibration: sampling for 2 tasks, at most 90 s" in captured.err
    assert "calibration: training" in captured.err
    assert content["fits"] is True
    assert content["sampling"]["programs"] == 6 * 2 * 2
    assert content["calibration"]["programs"] == 2 * 2 * 2
    assert 1 <= content["lengths"]["program"] <= 48
    assert content["calibration"]["tokens_per_s"] > 0
    assert content["calibration"]["training_tokens_per_s"] > 0
    hours = content["hours"]
    assert content["total"]["hours"] == pytest.approx(
        max(hours["generation"], hours["execution"]) + hours["training"] + hours["evaluation"]
    )
    assert content["device"]["kind"] == "cpu"
    assert not (tmp_path / "out").exists(), "an estimate leaves no files"


def test_a_pilot_says_whether_it_will_help(tmp_path, run_yaml, capsys):
    arguments = ["--config", str(run_yaml), "--no-calibration", "--pilot", "2"]
    assert command.run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    forecast = json.loads(captured.out)["forecast"]
    assert "pilot: temperatures, 2 tasks" in captured.err
    assert (forecast["tasks"], forecast["round_programs"], forecast["references"]) == (2, 4, 0)
    assert forecast["verdict"] in ("worth it", "rather a teacher", "not worth it")
    assert not (tmp_path / "out").exists()
    assert command.run(arguments) == 0
    text = capsys.readouterr().out
    assert "will it help? a pilot of 2 tasks" in text
    assert text.rstrip().endswith(forecast["sentence"])
    with pytest.raises(ConfigError, match="--pilot 1: must be at least 2"):
        command.run([*arguments[:-1], "1"])
    with pytest.raises(ConfigError, match="does not fit"):
        command.run([*arguments, "--per_device_train_batch_size", "1000000"])
    captured = capsys.readouterr()
    assert "pilot: left out, because the run does not fit" in captured.err
    assert "will it help" not in captured.out
    if not torch.accelerator.is_available():
        with pytest.raises(ConfigError, match="--pilot 2 runs the model, and this machine has no GPU"):
            command.run([*arguments, "--memory-gb", "24"])


def test_text_of_a_card_that_is_too_small(run_yaml, capsys):
    arguments = ["--config", str(run_yaml), "--no-calibration", "--memory-gb", "0.8", "--per_device_train_batch_size",
                 "256", "--num_description_examples", "0"]  # fmt: skip
    with pytest.raises(UserError, match=r"does not fit: .* use .*per_device_train_batch_size"):
        command.run(arguments)
    text = capsys.readouterr().out
    assert "a card of 0.8 GiB" in text
    assert "DOES NOT FIT" in text
    assert "(fits)" in text
    assert "time: not known without a calibration run" in text
    assert "lengths assumed" in text


@pytest.mark.parametrize(("arguments", "message"), [
    (["--memory-gb", "0"], "--memory-gb 0: must be above zero"),
    (["--calibration-tasks", "0"], "--calibration-tasks 0: must be at least 1"),
    (["--calibration-seconds", "0.5"], "--calibration-seconds 0.5: must be at least 1"),
    (["--no-calibration", "--model_name_or_path", "no/such-model"], "is no folder here, is not in the cache, and HF_HUB_OFFLINE"),
])  # fmt: skip
def test_mistakes_are_one_sentence(run_yaml, arguments, message):
    with pytest.raises(UserError, match=message):
        command.run(["--config", str(run_yaml), *arguments])


def test_an_unknown_flag_is_refused(run_yaml, capsys):
    with pytest.raises(UserError, match="memory_gigabytes"):
        command.run(["--config", str(run_yaml), "--no-calibration", "--memory_gigabytes", "3"])


def test_help_lists_its_own_options_and_points_to_those_of_train(capsys):
    assert command.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: trl-gift estimate")
    assert "--memory-gb" in text
    assert "`trl-gift train --help`" in text
    assert text.count("example:") == 1, "one help, not two"
    with pytest.raises(SystemExit) as stop:
        command.run(["--help-all"])
    assert stop.value.code == 0
    assert "--num_steps" in capsys.readouterr().out


def test_a_missing_model_is_named(run_yaml):
    with pytest.raises(ConfigError, match="model_name_or_path"):
        command.run(["--no-calibration", "--dataset_name", "playground", "--use_cpu", "true", "--bf16", "false"])


class SlowTime:
    """Time that passes by one second each time it is read: before each forward pass, for example."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def test_sampling_stops_when_the_time_is_up(run_yaml, capsys, monkeypatch):
    monkeypatch.setattr("trl_gift.estimate.calibration.time", SlowTime())
    arguments = ["--config", str(run_yaml), "--json", "--calibration-tasks", "2", "--calibration-seconds", "20"]
    assert command.run(arguments) == 0
    content = json.loads(capsys.readouterr().out)
    measured = content["calibration"]
    assert measured["unfinished"] > 0
    assert measured["tokens_per_s"] > 0
    assert measured["training_tokens_per_s"] > 0
    assert (
        f"the lengths of {measured['unfinished']} more, not finished in time, are extrapolated"
        in content["lengths"]["source"]
    )
    assert 1 <= content["lengths"]["program"] <= OPTIONS["max_completion_length"]


def test_no_time_for_a_single_token(run_yaml, monkeypatch):
    monkeypatch.setattr("trl_gift.estimate.calibration._SAMPLING_SHARE", -1.0)
    with pytest.raises(ConfigError, match="not enough to sample a token; raise --calibration-seconds"):
        command.run(["--config", str(run_yaml), "--calibration-tasks", "1"])
