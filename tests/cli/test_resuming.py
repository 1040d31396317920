"""The ways to ask for a resume at the command line."""

from __future__ import annotations

import pytest

from trl_gift.cli.arguments import parse

RUN = ["--model_name_or_path", "playground", "--dataset_name", "playground", "--use_cpu", "true", "--bf16", "false",
       "--report_to", "none"]  # fmt: skip


@pytest.mark.parametrize("command", ["train", "sample"])
@pytest.mark.parametrize(
    ("lines", "flags", "found"),
    [
        ("", [], False),
        ("", ["--resume"], True),
        ("", ["--resume_from_checkpoint", "true"], True),
        ("", ["--resume_from_checkpoint", "out/checkpoint-3"], "out/checkpoint-3"),
        ("resume: true", [], True),
        ("resume: false", [], False),
        ("resume: false", ["--resume"], True),
        ("resume_from_checkpoint: true", [], True),
        ("resume_from_checkpoint: false", [], False),
        ("resume_from_checkpoint: out/checkpoint-3", [], "out/checkpoint-3"),
        ("resume_from_checkpoint: out/checkpoint-3", ["--resume"], True),
    ],
)
def test_flags_and_the_yaml_file_ask_alike(tmp_path, command, lines, flags, found):
    path = tmp_path / "run.yaml"
    path.write_text(f"num_steps: 2\n{lines}\n")
    *_, resume = parse(command, ["--config", str(path), *RUN, *flags])
    assert resume == found
