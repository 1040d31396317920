"""Edit sequences go to the Hub as a dataset with a card."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import constants

from tests.hub.fake_hub import TOKEN, FakeHub
from trl_gift.cli.main import main


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A new Hub, and a small dataset in the folder of this process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"code": "x = 1\\ny = x\\n"}\n{"code": "no Python here"}\n')
    with FakeHub(TOKEN) as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


PUSH = ["lintseq", "rows.jsonl", "out.jsonl", "--push_to_hub", "edits", "--num_sequences", "2", "--json"]


def test_a_dataset_with_its_card_is_pushed(hub, tmp_path, capsys):
    assert main([*PUSH, "--private"]) == 0
    assert json.loads(capsys.readouterr().out)["repository"] == "fake-user/edits"
    pushed = hub.datasets["fake-user/edits"]
    assert pushed.private is True
    assert pushed.files["data/train.jsonl"] == (tmp_path / "out.jsonl").read_bytes()
    card = pushed.files["README.md"].decode()
    assert "2 sequences of 1 program." in card
    assert "2 rows were read; 1 of them held no program that compiles." in card
    assert 'load_dataset("fake-user/edits", split="train")' in card
    assert "path: data/train.jsonl" in card
    assert "rows.jsonl" not in card


@pytest.mark.parametrize(
    ("broken", "message"), [("account", "cannot create the dataset 'edits'"), ("repository", "cannot push to the dataset")]
)  # fmt: skip
def test_a_refused_push_keeps_the_file(hub, tmp_path, capsys, monkeypatch, broken, message):
    if broken == "account":
        monkeypatch.setenv("HF_TOKEN", "wrong")
    hub.broken.add("fake-user/edits")
    assert main(PUSH) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trl-gift: ")]
    assert message in line
    assert "out.jsonl is written" in line
    assert (tmp_path / "out.jsonl").exists()
