"""What each round starts from, and whose samples it selects from."""

from __future__ import annotations

import pytest
import torch

from tests.support.tiny_runs import DESCRIPTIONS, TinyRun
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError
from trl_gift.playground import playground_tasks
from trl_gift.prompts import load_examples
from trl_gift.training.pairs import IGNORED, TrainingPair, TrainingPairs


@pytest.fixture(scope="module")
def runs(tokenizer, tmp_path_factory):
    """Two rounds by the defaults, and two with what a round starts from and selects from changed."""
    make = tmp_path_factory.mktemp
    return {
        "defaults": TinyRun(make("defaults"), tokenizer, measured=True),
        "changed": TinyRun(make("changed"), tokenizer, restart_from_base=False, accumulate_samples=False),
    }


def test_every_round_starts_from_the_base_weights(runs):
    watch = runs["defaults"].watch
    assert watch.begun == [runs["defaults"].base] * 2
    assert len({*watch.begun, *watch.ended}) == 3


def test_or_from_those_of_the_round_before(runs):
    watch = runs["changed"].watch
    assert watch.begun == [runs["changed"].base, watch.ended[0]]
    assert len({*watch.begun, *watch.ended}) == 3


@pytest.mark.parametrize("name", ["defaults", "changed"])
def test_every_round_has_an_optimizer_of_its_own_and_its_own_seed(runs, name):
    watch = runs[name].watch
    assert watch.optimizers[0] is not watch.optimizers[1]
    assert watch.had_moments == [False, False]
    seed = runs[name].trainer.args.seed
    assert watch.seeds == [seed + 1, seed + 2]


def orders(folder, tokenizer, drawn):
    """The order of the examples of three rounds, for a process that drew other numbers before each."""
    from tests.support.models import make_model
    from tests.support.tiny_runs import SMALL, training_tasks
    from trl_gift import GiFTConfig, GiFTTrainer

    options = SMALL | {"per_device_train_batch_size": 1}
    trainer = GiFTTrainer(
        make_model(tokenizer), GiFTConfig(str(folder), **options), training_tasks(), processing_class=tokenizer
    )
    examples = [TrainingPair([number, 9], [-100, 9]) for number in range(10, 22)]
    pairs = TrainingPairs(examples, 0, len(examples), 0, 0)
    seen = []
    trainer.model.get_input_embeddings().register_forward_pre_hook(
        lambda module, given: seen.append(int(given[0][0, 0]))
    )
    for number in (1, 2, 3):
        torch.rand(drawn)
        trainer.train_round(number, pairs, None)
    return [seen[start : start + 12] for start in (0, 12, 24)]


def test_the_order_of_a_round_depends_on_the_seed_and_the_round_alone(tokenizer, tmp_path):
    one, other = (orders(tmp_path / str(drawn), tokenizer, drawn) for drawn in (1, 5))
    assert one == other
    assert all(sorted(order) == list(range(10, 22)) for order in one)
    assert one[0] != one[1] != one[2] != one[0]


def test_the_pool_is_of_all_rounds_so_far(runs):
    run = runs["defaults"]
    for number, rounds in ((1, (1,)), (2, (1, 2))):
        pool = {
            one.sample_id for group in run.samples(*rounds).values() for one in group if one.passed and one.continues
        }
        assert {row["sample_id"] for row in run.selection(number)} == pool
        assert {row["round"] for row in run.selection(number)} == set(rounds)
        assert run.rounds[number - 1]["selected"] == 8 * len({row["task_id"] for row in run.selection(number)})


def test_or_of_one_round_alone(runs):
    run = runs["changed"]
    for number in (1, 2):
        pool = {
            one.sample_id for group in run.samples(number).values() for one in group if one.passed and one.continues
        }
        assert {row["sample_id"] for row in run.selection(number)} == pool
        assert {row["round"] for row in run.selection(number)} == {number}


def test_the_gain_is_what_a_round_has_over_the_base(runs):
    """All programs that are measured fail before any training and pass after it."""
    run = runs["defaults"]
    assert run.read("base.json")["metrics"]["pass@1"] == 0.0
    for content in run.rounds:
        assert content["metrics"]["pass@1"] == 1.0
        assert content["gain"] == {"pass@1": 1.0, "low": 1.0, "high": 1.0}


def test_readers_see_an_example_that_is_not_the_task_itself(runs):
    run = runs["defaults"]
    asked = run.asked("describe")
    assert len(asked) == 2 * 4
    shown = set()
    for request in asked:
        text = run.text(request)
        assert text.count("### Code\n") == text.count("### Description\n") == 2
        (example,) = [one for one in load_examples() if one.description in text]
        assert f"### Code\n{example.code}\n### Description\n{example.description}\n" in text
        assert not any(description in text for description in DESCRIPTIONS)
        shown.add(example)
    assert len(shown) > 1


def test_no_two_completions_of_a_run_share_a_stream(runs):
    """Of training, and of both evaluations; evaluations are comparable because they draw from the same streams."""
    run = runs["defaults"]
    keys = [key for request in run.requests if request.key[0] != "evaluate" for key in request.stream_keys]
    assert len(keys) == len(set(keys)) == 2 * 4 * (2 * 3 + 1)
    measured = [key for request in run.asked("evaluate") for key in request.stream_keys]
    assert len(measured) == 3 * len(set(measured)) == 3 * 3
    assert not set(measured) & set(keys)


@pytest.mark.parametrize("weighting", ["token", "example"])
def test_every_token_or_every_program_weighs_the_same(tmp_path, tokenizer, model_factory, weighting):
    """The loss of a step of two programs of different lengths, before any weight has changed."""
    model = model_factory()
    args = GiFTConfig(
        str(tmp_path), loss_weighting=weighting, per_device_train_batch_size=1, gradient_accumulation_steps=2, max_steps=1,
        learning_rate=0.0, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = GiFTTrainer(model, args, playground_tasks("train", 2), processing_class=tokenizer)
    pairs = [
        TrainingPair([1, 2, 3, 4], [IGNORED, IGNORED, 3, 4]),
        TrainingPair(list(range(1, 20)), [IGNORED, *range(2, 20)]),
    ]
    losses = []
    for pair in pairs:
        with torch.no_grad():
            logits = model(torch.tensor([pair.input_ids])).logits[0, :-1].log_softmax(-1)
        losses.append([-float(logits[i - 1, label]) for i, label in enumerate(pair.labels) if label != IGNORED])
    by_example = sum(sum(one) / len(one) for one in losses) / 2
    by_token = sum(map(sum, losses)) / sum(map(len, losses))
    assert by_example != pytest.approx(by_token, rel=1e-3)
    found = trainer.train_round(1, TrainingPairs(pairs, 0, 2, 0, 0), None).training_loss
    assert found == pytest.approx(by_token if weighting == "token" else by_example, rel=1e-4)


def test_a_batch_of_several_programs_cannot_weigh_them_alike(tmp_path):
    with pytest.raises(ConfigError, match="loss_weighting='example' with per_device_train_batch_size=8"):
        GiFTConfig(str(tmp_path), loss_weighting="example", use_cpu=True, bf16=False)
