"""What a run pushes, to the file, against a Hub on this machine; nothing private in any byte of it."""

from __future__ import annotations

import json
import socket
import sys

import pytest
import yaml

from tests.hub.fake_hub import BASE, PERSON, TOKEN
from trl_gift.playground import model_path

CARD = "README.md"
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}
ADAPTER = {"adapter_config.json", "adapter_model.safetensors"} | TOKENIZER
FULL = {"config.json", "generation_config.json", "model.safetensors"} | TOKENIZER
STATE = {"gift_state.json", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json"}


def inside(folder, names):
    return {f"{folder}/{name}" for name in names}


def case(lora=True, model=BASE, measure=False, **keywords):
    own = {name: keywords.pop(name) for name in ("load", "push", "dataset") if name in keywords}
    options = {"num_rounds": 1, "push_to_hub": True, "hub_private_repo": True} | keywords
    return {"model": model, "lora": lora, "measure": measure, "options": options, **own}


def assert_nothing_private(hub):
    secrets = [PERSON, TOKEN, str(model_path()), "the user's own", "/tmp/"]
    host = socket.gethostname()
    secrets += [host] if len(host) > 3 else []
    for repos in (hub.models, hub.datasets):
        for name, repo in repos.items():
            if name == BASE:
                continue
            assert repo.private, name
            for commit in repo.commits:
                for path, data in commit.files.items():
                    found = [secret for secret in secrets if secret.encode() in data or secret in path]
                    assert not found, (name, path, found)
                    assert "None" not in (data.decode() if path == CARD else ""), (name, path)


@pytest.fixture(scope="module")
def pushed(push_cases):
    return push_cases(
        [
            case(num_rounds=2, push_samples=True, measure=True, load=True, dataset="some-org/seeds",
                 hub_model_id="adapter"),
            case(lora=False, model=str(model_path()), hub_strategy="checkpoint", load=True, hub_model_id="full"),
            case(model=str(model_path()), hub_strategy="end", hub_model_id="some-org/end"),
            case(hub_token="wrong", hub_model_id="some-org/refused"),
            case(push=False, hub_model_id="broken"),
        ],
        broken=["fake-user/broken"],
    )  # fmt: skip


def test_an_adapter_is_pushed_with_every_round(pushed):
    hub, _ = pushed
    repo = hub.models["fake-user/adapter"]
    assert [(commit.message, set(commit.files)) for commit in repo.commits] == [
        ("Training in progress, round 1, step 2", {CARD} | ADAPTER),
        # What is the same as before is not sent again; no save within round 2 replaces the model of round 1.
        ("Round 1 of 2", {CARD, "adapter_model.safetensors"}),
        ("Round 2 of 2", {CARD, "adapter_model.safetensors"}),
        ("End of training", {CARD}),
    ]
    assert set(repo.files) == {CARD} | ADAPTER


def test_the_samples_are_pushed_with_every_round(pushed):
    hub, _ = pushed
    assert [(commit.message, set(commit.files)) for commit in hub.datasets["fake-user/adapter-samples"].commits] == [
        ("Round 1 of 2", {CARD, "samples/round-1.parquet", "selection/round-1.parquet"}),
        ("Round 2 of 2", {CARD, "samples/round-2.parquet", "selection/round-2.parquet"}),
        ("End of training", {CARD}),
    ]


def test_a_full_model_is_pushed_with_its_last_checkpoint(pushed):
    hub, _ = pushed
    repo = hub.models["fake-user/full"]
    # The state of the random generators may or may not change from one step to the next.
    repo.commits[1].files.pop("last-checkpoint/rng_state.pth", None)
    assert [(commit.message, set(commit.files)) for commit in repo.commits] == [
        ("Training in progress, round 1, step 2", {CARD} | FULL | inside("last-checkpoint", FULL | STATE)),
        ("Training in progress, round 1, step 3",
         inside("last-checkpoint", {"model.safetensors", "gift_state.json", "optimizer.pt", "scheduler.pt",
                                    "trainer_state.json"})),
        ("Round 1 of 1", {CARD, "model.safetensors"}),
        ("End of training", {CARD}),
    ]  # fmt: skip
    assert b'"round": 1' in repo.files["last-checkpoint/gift_state.json"]


def test_at_the_end_alone(pushed):
    hub, _ = pushed
    repo = hub.models["some-org/end"]
    assert [(commit.message, set(commit.files)) for commit in repo.commits] == [("End of training", {CARD} | ADAPTER)]
    assert b'"base_model_name_or_path": null' in repo.files["adapter_config.json"]


def test_a_hub_that_refuses_does_not_end_the_training(pushed):
    hub, seen = pushed
    assert seen[-1]["repo"] == "fake-user/broken"
    assert not hub.models["fake-user/broken"].commits
    assert "a push to the Hub failed" in hub.stderr


def test_a_wrong_token_is_an_error_before_any_work(pushed):
    _, seen = pushed
    assert "cannot create the repository 'some-org/refused' on the Hub: " in seen[3]["error"]
    assert "hub_token" in seen[3]["error"]


def test_nothing_private_leaves(pushed):
    hub, script = pushed
    assert_nothing_private(hub)
    assert PERSON not in json.dumps([seen.get("samples") for seen in script]), "in compressed columns"
    assert not hub.failures, "the fake Hub got a request that it does not know"


def test_nothing_is_left_of_what_was_laid_out(pushed):
    _, script = pushed
    assert not [seen["left"] for seen in script if seen.get("left")]


def test_what_was_pushed_is_what_was_trained(pushed):
    _, (adapter, full, *_) = pushed
    assert adapter["difference"] == full["difference"] == 0.0
    assert adapter["printed"].strip(), "the card's example must run and print something"
    assert full["printed"].strip()


def test_the_samples_load_with_their_lineage(pushed):
    _, (seen, *_) = pushed
    assert seen["origin"] == "fake-user/adapter-samples"
    rows = {row["sample_id"]: row for row in seen["samples"]}
    assert len(rows) == len(seen["samples"]) == 2 * 4 * 2 * 2
    assert {row["round"] for row in rows.values()} == {1, 2}
    for row in rows.values():
        assert row["parent"] in (None, "reference") or rows[row["parent"]]["status"] == "passed"
        if row["status"] == "passed":
            assert row["tests"] == row["tests_passed"] > 0
            assert row["trusted"] is True
            assert row["isolation"] != "none"
    drawn = [row for row in seen["selection"] if row["count"]]
    assert {row["selected_in"] for row in drawn} == {1, 2}
    assert all(rows[row["sample_id"]]["task_id"] == row["task_id"] for row in drawn)


def test_the_cards_of_the_pushed_adapter(pushed):
    hub, _ = pushed
    card = hub.models["fake-user/adapter"].files[CARD].decode()
    assert yaml.safe_load(card.split("---\n")[1]) == {
        "base_model": BASE,
        "datasets": ["some-org/seeds", "fake-user/adapter-samples"],
        "library_name": "peft",
        "license": "apache-2.0",  # the base model's
        "model_name": "adapter",
        "pipeline_tag": "text-generation",
        "tags": ["code", "generated_from_trainer", "gift", "given", "lora", "self-training", "trl", "trl-gift"],
    }
    assert "| round 2 |" in card
    samples = hub.datasets["fake-user/adapter-samples"].files[CARD].decode()
    data = yaml.safe_load(samples.split("---\n")[1])
    assert "license" not in data
    assert data["source_datasets"] == ["some-org/seeds"]
    assert "(https://huggingface.co/fake-user/adapter)" in samples
    first = hub.models["fake-user/adapter"].commits[0].files[CARD].decode()
    assert "no round of 2 has been finished" in first


@pytest.fixture(scope="module")
def pushed_otherwise(push_cases):
    return push_cases(
        [
            case(num_rounds=2, hub_strategy="all_checkpoints", hub_model_id="all"),
            case(hub_revision="try", hub_model_id="branched"),
            case(push_samples=True, samples_repo_id="some-org/codes", samples_private=False, hub_model_id="named"),
            case(push_samples=True, hub_private_repo=None, hub_strategy="end", hub_model_id="some-org/kept"),
        ],
        existing={"some-org/kept": True},
    )


@pytest.mark.slow
def test_all_checkpoints(pushed_otherwise):
    hub, _ = pushed_otherwise
    everything = ADAPTER | STATE
    assert [(commit.message, set(commit.files)) for commit in hub.models["fake-user/all"].commits] == [
        ("Training in progress, round 1, step 2", {CARD} | ADAPTER | inside("checkpoint-2", everything)),
        ("Training in progress, round 1, step 3", inside("checkpoint-3", everything)),
        ("Round 1 of 2", {CARD, "adapter_model.safetensors"}),
        ("Training in progress, round 2, step 4", inside("checkpoint-4", everything)),
        ("Training in progress, round 2, step 6", inside("checkpoint-6", everything)),
        ("Round 2 of 2", {CARD, "adapter_model.safetensors"}),
        ("End of training", {CARD}),
    ]


@pytest.mark.slow
def test_a_branch_is_made_and_main_left_alone(pushed_otherwise):
    hub, _ = pushed_otherwise
    repo = hub.models["fake-user/branched"]
    assert set(repo.branches["try"]) == {CARD} | ADAPTER
    assert not repo.files


@pytest.mark.slow
def test_names_and_visibility_are_the_users(pushed_otherwise):
    hub, (_, _, seen, _) = pushed_otherwise
    assert seen["samples_repo"] == "some-org/codes"
    assert hub.models["fake-user/named"].private is True
    assert hub.datasets["some-org/codes"].private is False
    assert hub.datasets["some-org/kept-samples"].private is True, "as the model that was there before"


@pytest.mark.slow
def test_two_processes_push_once(push_cases):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    launcher += ("--no_python", sys.executable)
    hub, _ = push_cases(
        [case(lora=False, num_rounds=1, push_samples=True, hub_model_id="two")], launcher, ACCELERATE_USE_CPU="true"
    )
    assert_nothing_private(hub)
    repo = hub.models["fake-user/two"]
    assert set(repo.files) == {CARD} | FULL
    assert repo.messages[-1] == "End of training"
    assert len(repo.messages) == len(set(repo.messages))
