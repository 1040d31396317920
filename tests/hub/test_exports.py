"""An exported data set goes to the Hub with its card, and without what executions reported."""

from __future__ import annotations

import json

import pyarrow.parquet
import pytest
from huggingface_hub import constants

from tests.hub.fake_hub import TOKEN, FakeHub
from tests.support.recorded_runs import RecordedRun
from trl_gift.cli.main import main
from trl_gift.prompts import BasePrompts
from trl_gift.run.folder import RunFolder
from trl_gift.run.prompts import write_prompts
from trl_gift.tasks import Task


@pytest.fixture
def hub(tmp_path, monkeypatch, tokenizer):
    """A new Hub, and a run in the folder of this process."""
    monkeypatch.chdir(tmp_path)
    recorded = RecordedRun(
        rounds=1,
        program=lambda *place: f"def add(a, b):\n    return a + b + {place[0] * 100 + place[1] * 10 + place[2]}\n",
    )
    folder = recorded.write(tmp_path / "out")
    tasks = [Task(recorded.task_id(number), "Add.", None, "def add(a, b):") for number in range(recorded.tasks)]
    write_prompts(RunFolder(folder), tasks, BasePrompts(tokenizer))
    with FakeHub(TOKEN) as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


PUSH = ["export", "out", "--to", "dpo", "--push_to_hub", "pairs", "--json"]


@pytest.mark.parametrize("messages", [None, "true"])
def test_a_data_set_is_pushed_with_its_card(hub, tmp_path, capsys, messages):
    assert main([*PUSH, "--private", *(["--messages", messages] if messages else [])]) == 0
    assert json.loads(capsys.readouterr().out)["repository"] == "fake-user/pairs"
    pushed = hub.datasets["fake-user/pairs"]
    assert pushed.private is True
    local = tmp_path / "out/export-dpo/data/train.parquet"
    assert pushed.files["data/train.parquet"] == local.read_bytes()
    assert ("message" in pyarrow.parquet.read_schema(local).names) is (messages == "true")
    card = pushed.files["README.md"].decode()
    assert 'load_dataset("fake-user/pairs", split="train")' in card
    assert "that began with [tiny/model](https://huggingface.co/tiny/model)" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(
    ("broken", "message"), [("account", "cannot create the dataset 'pairs'"), ("repository", "cannot push to the dataset")]
)  # fmt: skip
def test_a_refused_push_keeps_the_folder(hub, tmp_path, capsys, monkeypatch, broken, message):
    if broken == "account":
        monkeypatch.setenv("HF_TOKEN", "wrong")
    hub.broken.add("fake-user/pairs")
    assert main(PUSH) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trl-gift: ")]
    assert message in line
    assert "out/export-dpo is written" in line
    assert (tmp_path / "out/export-dpo/README.md").exists()
