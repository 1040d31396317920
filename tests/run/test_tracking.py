"""Trackers: two rounds, the second by another trainer that continues the run, are one run in each."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import sqlite3
import tempfile
import webbrowser
from dataclasses import replace
from pathlib import Path

import pytest
from trl import SFTConfig

# trackio reads it when it is first imported, by whichever test.
os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp(prefix="trackio-"))

from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.playground import model_path, playground_tasks
from trl_gift.run.samples import read_rounds
from trl_gift.run.tracking import RunIdentity, Tracking
from trl_gift.sampling.store import SampleStore, read_samples

PAGE = Path(__file__).parents[2] / "docs" / "tracking.md"
SEEDS, STEPS, CODES, SHOWN = 5, 3, 2, 4


def trainer_of(output, rounds, trackers, **options):
    config = GiFTConfig(
        str(output), num_rounds=rounds, num_steps=STEPS, num_generations=CODES, num_description_examples=0,
        num_train_epochs=1, max_completion_length=64, max_description_length=32, logging_steps=1, num_selected=2,
        per_device_train_batch_size=4, eval_num_generations=1, num_completions_to_print=SHOWN, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to=trackers, disable_tqdm=True, sandbox_workers=1, **options,
    )  # fmt: skip
    return GiFTTrainer(
        model=str(model_path()),
        args=config,
        train_dataset=playground_tasks("train", SEEDS, with_reference=True),
        eval_dataset=playground_tasks("validation", 2),
    )


def train(output, rounds, trackers, **options):
    trainer = trainer_of(output, rounds, trackers, **options)
    trainer.train(resume_from_checkpoint=True)
    return trainer


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """One round, and then, by another trainer, a second one; nothing may be sent or shown anywhere."""
    pytest.importorskip("tensorboard")
    trackio = pytest.importorskip("trackio")
    folder = tmp_path_factory.mktemp("tracked")
    for path in Path(trackio.utils.TRACKIO_DIR).glob("first-and-second.*"):
        path.unlink()

    def refused(*args, **kwargs):
        raise AssertionError(f"a tracker reaches out: {args}")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(webbrowser, "open", refused)
        trackers = ["tensorboard", "trackio"]
        train(folder / "out", 1, trackers, project="first-and-second")
        trainer = train(folder / "out", 2, trackers, project="first-and-second")
    assert [path.name for path in folder.iterdir()] == ["out"], "nothing is written beside the run's folder"
    trainer.trackio_folder = Path(trackio.utils.TRACKIO_DIR)
    return trainer


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


@pytest.fixture(scope="module")
def board(tracked):
    return events(Path(tracked.args.output_dir) / "runs" / "gift")


@pytest.fixture(scope="module")
def trackio_rows(tracked):
    rows = sqlite3.connect(tracked.trackio_folder / "first-and-second.db").execute(
        "SELECT run_id, run_name, step, metrics FROM metrics ORDER BY id"
    )
    return [(run, name, step, json.loads(metrics)) for run, name, step, metrics in rows]


def rounds_of(trainer):
    return [trainer.run.read(f"round-{index}/metrics.json") for index in (1, 2)]


def test_training_steps_go_on_over_rounds_and_processes(tracked, board):
    points = board.Scalars("train/loss")
    assert [point.step for point in points] == list(range(1, tracked.state.global_step + 1))
    of_round = {point.step: point.value for point in board.Scalars("train/round")}
    ends = [point.step for point in board.Scalars("train/train_loss")]
    assert len(ends) == 2, "one summary a round"
    assert ends[1] == tracked.state.global_step
    assert [point.step for point in board.Scalars("eval/pass@1")] == [0, *ends]
    assert of_round[0] == 0, "the base model's evaluation"
    assert [of_round[step] for step in (1, ends[0], ends[0] + 1, ends[1])] == [1, 1, 2, 2]


def test_figures_of_each_round(tracked, board):
    rounds = rounds_of(tracked)
    for name in ("solved_tasks", "distinct_programs", "mean_perplexity", "passed", "tokens"):
        logged = [point.value for point in board.Scalars(f"train/round/{name}")]
        assert logged == pytest.approx([content[name] for content in rounds])
    yields = [point.value for point in board.Scalars("train/round/yield")]
    assert yields == pytest.approx([content["passed"] / (SEEDS * STEPS * CODES) for content in rounds])
    for stage in ("sampling", "selection", "training", "evaluation"):
        logged = [point.value for point in board.Scalars(f"train/round/{stage}_seconds")]
        assert logged == pytest.approx([content["seconds"][stage] for content in rounds])
        assert all(content["seconds"][stage] < content["seconds"]["total"] for content in rounds)


def test_throughput_is_of_the_round_alone(tracked, board):
    rounds = rounds_of(tracked)
    for content, point in zip(rounds, board.Scalars("train/round/tokens_per_second"), strict=True):
        assert point.value * content["seconds"]["sampling"] >= content["tokens"]
    speeds = [point.value for point in board.Scalars("train/train_samples_per_second")]
    times = [point.value for point in board.Scalars("train/train_runtime")]
    for content, speed, seconds in zip(rounds, speeds, times, strict=True):
        assert speed * seconds == pytest.approx(content["pairs"], rel=0.01)
    ends = [0, *(point.step for point in board.Scalars("train/train_loss"))]
    for index, point in enumerate(board.Scalars("train/train_steps_per_second")):
        assert point.value * times[index] == pytest.approx(ends[index + 1] - ends[index], rel=0.01)


def test_the_chain_is_drawn_over_its_steps_for_each_round(tracked):
    for index, content in enumerate(rounds_of(tracked), start=1):
        board = events(Path(tracked.args.output_dir) / "runs" / "gift" / "chain" / f"round-{index}")
        for name in ("pass_rate", "mean_perplexity", "description_length", "tokens", "solved_tasks"):
            points = board.Scalars(f"chain/{name}")
            assert [point.step for point in points] == list(range(STEPS))
            assert [point.value for point in points] == pytest.approx([step[name] for step in content["chain"]])


def test_a_bounded_number_of_codes_is_shown(tracked, board, trackio_rows):
    shown = board.Tensors("samples/text_summary")
    assert [point.step for point in shown] == [point.step for point in board.Scalars("train/train_loss")]
    text = shown[0].tensor_proto.string_val[0].decode()
    assert len(re.findall("^---$", text, re.MULTILINE)) == SHOWN - 1
    assert "    def solve(" in text
    tables = [row[3]["samples"]["_value"] for row in trackio_rows if "samples" in row[3]]
    assert [len(table) for table in tables] == [SHOWN, SHOWN]
    assert set(tables[0][0]) == {
        "round", "task_id", "step", "index", "status", "perplexity", "description", "code", "message",
    }  # fmt: skip


def test_trackio_has_one_run(tracked, trackio_rows):
    assert len({(run, name) for run, name, _, _ in trackio_rows}) == 1
    assert trackio_rows[0][1] == f"out-{tracked.run.key}" == tracked.args.run_name
    losses = [metrics["train/global_step"] for _, _, _, metrics in trackio_rows if "train/loss" in metrics]
    assert losses == list(range(1, tracked.state.global_step + 1))
    for index in (1, 2):
        name = f"chain/pass_rate/round-{index}"
        assert [step for _, _, step, metrics in trackio_rows if name in metrics] == list(range(STEPS))


def test_what_trackio_holds_is_published_only_if_asked(tracked, tmp_path):
    from transformers.integrations import TrackioCallback

    assert tracked.args.trackio_static_space_id is False
    args = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, trackio_static_space_id="mine")
    Tracking([TrackioCallback()], args, active=True)
    assert args.trackio_static_space_id == "mine"


def test_every_logged_name_is_documented(tracked, board, trackio_rows):
    """The tables of docs/tracking.md hold exactly what is logged; N stands for a round, k for a k of pass@k."""
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {
        re.compile(re.escape(name).replace("@k", r"@\d+").replace(r"\-N", r"-\d+")): text for name, text in rows
    }
    chain = events(Path(tracked.args.output_dir) / "runs" / "gift" / "chain" / "round-1")
    logged = {*board.Tags()["scalars"], *chain.Tags()["scalars"]} | {name for row in trackio_rows for name in row[3]}
    for name in sorted(logged):
        assert any(pattern.fullmatch(name) for pattern in documented), f"{name} is not in docs/tracking.md"
    for pattern, text in documented.items():
        assert "(only " in text or any(map(pattern.fullmatch, logged)), f"{pattern.pattern} is never logged"


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed; it is no part of the dev extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    keys = []
    for rounds in (1, 2):
        keys.append(train(tmp_path / "out", rounds, ["wandb"]).run.key)
        assert wandb.run.id == keys[0]
        assert wandb.run.name == f"out-{keys[0]}"
        wandb.finish()
    tables = sorted(tmp_path.glob(f"wandb/offline-run-*-{keys[0]}/files/media/table/samples*.table.json"))
    assert [len(json.loads(path.read_text())["data"]) for path in tables] == [SHOWN, SHOWN]


def test_a_continued_board_drops_what_the_killed_process_logged_too_far(tmp_path):
    pytest.importorskip("tensorboard")
    from transformers.integrations import TensorBoardCallback

    def log(steps, identity):
        callback = TensorBoardCallback()
        Tracking([callback], SFTConfig(str(tmp_path), use_cpu=True, bf16=False), active=True).open(identity)
        if callback.tb_writer is None:
            callback._init_summary_writer(None)
        for step in steps:
            callback.tb_writer.add_scalar("loss", len(steps), step)
        callback.on_train_end(None, None, None)

    log([1, 2, 3, 4, 5], RunIdentity("run", "key"))
    log([4, 5, 6], RunIdentity("run", "key", step=3))
    points = events(tmp_path / "runs" / "gift").Scalars("loss")
    assert [(point.step, point.value) for point in points] == [(1, 5), (2, 5), (3, 5), (4, 3), (5, 3), (6, 3)]


def test_an_evaluation_alone_is_no_point_of_the_run(tracked):
    """Another process that measures into the same folder would draw its point at step 0, over the base model's."""
    output = Path(tracked.args.output_dir)
    before = sorted((output / "runs" / "gift").rglob("*"))
    trainer = trainer_of(output, 2, ["tensorboard"])
    metrics = trainer.evaluate()
    assert sorted((output / "runs" / "gift").rglob("*")) == before
    (point,) = events(output / "runs" / "evaluation").Scalars("eval/pass@1")
    assert point.value == pytest.approx(metrics["eval_pass@1"])
    assert trainer.args.run_name is None


def test_the_users_own_folder_is_kept(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from transformers.integrations import TensorBoardCallback

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "own"))
    callback = TensorBoardCallback()
    Tracking([callback], SFTConfig(str(tmp_path / "out"), use_cpu=True, bf16=False), active=True).open(
        RunIdentity("run", "key")
    )
    assert callback.logging_dir == str(tmp_path / "own")


def test_other_processes_log_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    from transformers.integrations import TensorBoardCallback

    steps = read_rounds([tmp_path]).chain
    tracking = Tracking([TensorBoardCallback()], SFTConfig(str(tmp_path), use_cpu=True, bf16=False), active=False)
    tracking.open(RunIdentity("run", "key", step=1))
    tracking.publish(1, steps, [], 0)
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_installed_is_the_ecosystems_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"DVCLiveCallback requires dvclive to be installed"):
        train(tmp_path, 1, ["dvclive"])
    assert not (tmp_path / "_gift").exists(), "nothing was sampled before"


# The figures of the chain ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    write, read, _ = joint_world(3, 4, 0.5)
    tasks = [make_task(name) for name in "abcd"]
    drawn = sample(tasks, TableEngine(write, read), num_steps=3)
    with SampleStore(tmp_path) as store:
        for number, one in enumerate(drawn):
            log = -float(number % 5) if number % 7 else None
            store.append(replace(one, logprob_sum=log, num_scored=2, status="passed" if number % 3 else "failed"))
    return tmp_path


def test_figures_of_the_chain(folder):
    view = read_rounds([folder], 0, 0)
    every = list(read_samples(folder))
    solved = set()
    for step, figures in enumerate(view.chain):
        codes = [one for one in every if one.step == step]
        starts = [one for one in codes if one.index == 0]
        solved |= {one.task_id for one in codes if one.passed}
        logs = [math.log(one.perplexity) for one in codes if one.perplexity]
        tokens = sum(len(one.token_ids) for one in codes) + sum(one.description_tokens for one in starts)
        assert figures.step == step
        assert figures.samples == len(codes)
        assert figures.pass_rate == sum(one.passed for one in codes) / len(codes)
        assert figures.mean_perplexity == pytest.approx(math.exp(sum(logs) / len(logs)))
        assert figures.description_length == sum(len(one.description) for one in starts) / 4
        assert figures.tokens == tokens / 4
        assert figures.solved_tasks == len(solved)
    logs = [math.log(one.perplexity) for one in every if one.perplexity]
    assert view.mean_perplexity == pytest.approx(math.exp(sum(logs) / len(logs)))


def test_no_perplexity_is_no_number(tmp_path):
    assert read_rounds([tmp_path], 3, 0).mean_perplexity is None


def test_shown_codes_are_drawn_evenly(folder):
    every = [one.sample_id for one in read_samples(folder)]
    counts = dict.fromkeys(every, 0)
    for key in range(400):
        shown = [one.sample_id for one in read_rounds([folder], 4, key).shown]
        assert shown == sorted(shown, key=every.index)
        assert len(set(shown)) == 4
        for one in shown:
            counts[one] += 1
    expected = 400 * 4 / len(every)
    assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in counts.values())
    assert read_rounds([folder], 4, 1).shown == read_rounds([folder], 4, 1).shown
    assert len(read_rounds([folder], 10_000, 0).shown) == len(every)
    assert read_rounds([folder], 0, 0).shown == ()
