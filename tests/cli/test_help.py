"""The help of every command: the usual options first, all on demand, and at once."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys

import pytest

from tools.help_texts import SLOW, live_help
from trl_gift.cli.main import COMMANDS, HELP_TEXTS, main
from trl_gift.config import GiFTConfig


@pytest.mark.parametrize("command", SLOW)
def test_the_texts_are_what_the_commands_would_print(command):
    kept = (HELP_TEXTS / f"{command}.txt").read_text(encoding="utf-8")
    assert kept == live_help(command), "run `python -m tools.help_texts`"
    assert len(kept.splitlines()) < 200


def test_no_help_imports_torch():
    """Importing torch and TRL takes seconds."""
    code = (
        "import sys; from trl_gift.cli.main import main\n"
        "for command in sys.argv[1:]:\n"
        "    try: main([command, '--help'])\n"
        "    except SystemExit: pass\n"
        "    assert 'torch' not in sys.modules, command\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMANDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help-all", "--help_all"])
def test_every_command_has_the_help_of_all_options(command, flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, flag])
    assert stopped.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_help_of_a_measurement_lists_only_what_it_reads(capsys):
    for flag in ("--help", "--help-all"):
        with contextlib.suppress(SystemExit):
            main(["evaluate", flag])
        text = capsys.readouterr().out
        listed = {word for word in text.split() if word.startswith("--")}
        for name in (
            "num_rounds",
            "num_steps",
            "learning_rate",
            "train_on_references",
            "push_samples",
            "limit",
            "filter",
            "use_peft",
        ):
            assert f"--{name}" not in listed
        for name in (
            "eval_num_generations",
            "eval_limit",
            "max_completion_length",
            "prompt_format",
            "load_in_4bit",
            "use_cpu",
        ):
            assert f"--{name}" in listed
    assert {"--stop", "--isolation", "--eval_temperature"} <= listed


def test_all_options_are_there_on_demand(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help-all"])
    text = capsys.readouterr().out
    assert all(f"--{item.name}" in text for item in dataclasses.fields(GiFTConfig) if item.init)
    main(["train", "--help"])
    usual = capsys.readouterr().out
    assert len(usual) < len(text) / 4
    assert "--help-all" in usual
    for name in ("num_steps", "temperature", "learning_rate", "use_peft", "dataset_name"):
        assert f"--{name} " in usual
