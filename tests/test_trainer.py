"""The trainer on the embedded model: whole runs and killed runs. CPU, float32, so equality is exact."""

from __future__ import annotations

import contextlib
import json
import signal
from random import Random

import pytest
import torch

from tests.support import warm
from tests.support.whole_runs import assert_equal, assert_same_samples, finish, launch
from trl_gift.playground import model_path


def test_a_run_leaves_what_it_promises(whole_runs):
    (samples, metrics, _), output = whole_runs(lora=False)
    assert len(samples) == 2 * 8 * 2 * 2
    assert any(record["status"] == "passed" for record in samples.values())
    for record in samples.values():
        if record["status"] == "passed" and record["finish_reason"] == "eos":
            assert 1.0 <= record["perplexity"] < 100.0
    gift = output / "_gift"
    for name in ("samples.parquet", "selection.parquet", "metrics.json", "evaluation.json"):
        assert (gift / "round-1" / name).exists(), name
    run = json.loads((gift / "run.json").read_text())
    assert run["schema"] == 3
    assert run["options"]["num_rounds"] == 2
    assert set(run["versions"]) >= {"torch", "transformers", "trl", "peft"}
    assert metrics["round-1"]["references"] == 8
    assert metrics["round-2"]["selected"] >= metrics["round-1"]["selected"] > 0
    checkpoints = sorted(int(path.name.removeprefix("checkpoint-")) for path in output.glob("checkpoint-*"))
    state = json.loads((output / f"checkpoint-{checkpoints[-1]}" / "trainer_state.json").read_text())
    assert state["global_step"] == checkpoints[-1] == state["max_steps"]
    rounds = [json.loads((output / f"checkpoint-{n}" / "gift_state.json").read_text()) for n in checkpoints]
    assert {mark["round"] for mark in rounds} == {1, 2}
    assert sum(mark["is_end"] for mark in rounds) == 2
    logged = [entry for entry in state["log_history"] if "round/samples" in entry]
    assert [entry["round"] for entry in logged] == [1], "round 2 concludes after its last checkpoint"
    assert any("eval_pass@1" in entry for entry in state["log_history"])


@pytest.mark.parametrize(
    ("lora", "kill"),
    [
        (False, "sample:11"),
        (True, "step:3"),
        (False, "save:2"),
    ],
)
def test_killed_and_resumed_is_as_never_killed(tmp_path, whole_runs, lora, kill):
    kind = ["--lora"] if lora else []
    output = tmp_path / "out"
    killed = launch(output, *kind, "--kill", kill)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert_equal(finish(output, *kind, "--resume"), whole_runs(lora)[0])


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(
    "kill", ["sample:1", "sample:32", "sample:33", "sample:40", "select:2", "sample:64", "step:1", "step:4", "step:6", "save:1", "save:3",
             "save:4", "select:1", "evaluate:2", "evaluate:38", "evaluate:40"],
)  # fmt: skip
def test_killed_anywhere(tmp_path, whole_runs, lora, kill):
    test_killed_and_resumed_is_as_never_killed(tmp_path, whole_runs, lora, kill)


def test_killed_twice(tmp_path, whole_runs):
    output = tmp_path / "out"
    assert launch(output, "--kill", "sample:20").returncode == -signal.SIGKILL
    assert launch(output, "--resume", "--kill", "step:2").returncode == -signal.SIGKILL
    assert_equal(finish(output, "--resume"), whole_runs(lora=False)[0])


def changes_in(folder, number):
    """A condition that becomes true when the files of a folder have been seen to change `number` times."""
    seen = set()

    def due():
        sizes = []
        for path in sorted(folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # temporary files go
                sizes.append((str(path), path.stat().st_size))
        seen.add(tuple(sizes))
        return len(seen) > number

    return due


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path, whole_runs):
    """One run, killed twenty times at random moments of its progress: nothing lost, nothing twice, the same weights."""
    output, random = tmp_path / "out", Random(0)
    arguments = [str(model_path()), str(output), "--resume"]
    ends = []
    for _ in range(20):
        due = changes_in(output, random.randint(1, 10))
        ends.append(warm.run("tests.support.run_trainer", arguments, kill_when=due).returncode)
    assert ends.count(-signal.SIGKILL) >= 5
    assert_equal(finish(output, "--resume"), whole_runs(lora=False)[0])
    for folder in (output / "_gift").glob("round-*"):
        lines = [json.loads(line)["sample_id"] for line in (folder / "samples-0.jsonl").read_text().splitlines()]
        assert len(lines) == len(set(lines)) == 32


@pytest.mark.slow
@pytest.mark.parametrize("options", [["engine_batch_size=1"], ["engine_batch_size=64", "sandbox_workers=4"],
                                     ["engine_token_budget=300"], ["generation_engine='generate'"]])  # fmt: skip
def test_no_budget_and_no_worker_changes_a_sample(tmp_path, whole_runs, options):
    samples, _, _ = finish(tmp_path / "out", *options, "num_rounds=1")
    expected = {key: record for key, record in whole_runs(lora=False)[0][0].items() if record["round"] == 1}
    assert_same_samples(samples, expected)


def test_engines_and_workers_do_not_change_the_samples(tmp_path, whole_runs):
    options = ["generation_engine='generate'", "engine_batch_size=7", "sandbox_workers=2", "num_rounds=1"]
    samples, _, _ = finish(tmp_path / "out", *options)
    expected = {key: record for key, record in whole_runs(lora=False)[0][0].items() if record["round"] == 1}
    assert_same_samples(samples, expected)


def test_a_second_run_into_the_same_folder_is_refused(whole_runs):
    _, output = whole_runs(lora=False)
    process = launch(output)
    assert process.returncode != 0
    assert "already holds a run" in process.stderr
    process = launch(output, "--resume", "num_steps=3")
    assert process.returncode != 0
    assert "num_steps was 2 and is now 3" in process.stderr


def test_sampling_uses_the_weights_own_precision_in_every_round(tmp_path):
    """Autocast belongs to training alone: the model samples and measures as its saved weights do."""
    from transformers import AutoModelForCausalLM

    from trl_gift import GiFTConfig, GiFTTrainer
    from trl_gift.playground import playground_tasks

    config = GiFTConfig(
        str(tmp_path), num_rounds=2, num_steps=1, num_generations=1, num_description_examples=0, num_train_epochs=1,
        max_completion_length=64, use_cpu=True, bf16=True, report_to="none", disable_tqdm=True, sandbox_workers=1,
        gradient_checkpointing=False, save_strategy="no",
    )  # fmt: skip
    tasks = playground_tasks("train", 4, with_reference=True)
    trainer = GiFTTrainer(model=str(model_path()), args=config, train_dataset=tasks)
    seen = set()

    def look(module, arguments):
        seen.add((trainer._round, module.training, torch.is_autocast_enabled("cpu")))

    trainer.model.get_input_embeddings().register_forward_pre_hook(look)
    trainer.train()
    sampled = {(1, False, False), (2, False, False)} & seen
    assert sampled, "sampling uses the weights' own precision"
    assert not {state for state in seen if not state[1] and state[2]}
    assert {(1, True, True), (2, True, True)} <= seen, "training uses autocast, in every round"
    assert not {state for state in seen if state[1] and not state[2]}
    trainer.save_model(str(tmp_path / "model"))
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    prompt, code = [3, 4, 5], list(range(6, 40))
    with trainer.rollouts.engine() as engine:
        (measured,) = engine.score([(prompt, code)])
    with torch.inference_mode():
        logits = saved(input_ids=torch.tensor([prompt + code])).logits[0, 2:-1].log_softmax(-1)
    torch.testing.assert_close(torch.tensor(measured), logits.gather(-1, torch.tensor(code)[:, None])[:, 0])


def test_a_new_adapter_depends_on_the_seed_alone(tmp_path):
    """Whatever the process drew before: a run that goes on starts its rounds from the same adapter."""
    from peft import LoraConfig

    from trl_gift import GiFTConfig, GiFTTrainer
    from trl_gift.playground import playground_tasks

    hashes = set()
    for drawn in (1, 2):
        torch.rand(drawn)
        trainer = GiFTTrainer(
            model=str(model_path()),
            args=GiFTConfig(
                str(tmp_path), max_completion_length=64, use_cpu=True, report_to="none", disable_tqdm=True
            ),
            train_dataset=playground_tasks("train", 1),
            peft_config=LoraConfig(r=4, target_modules="all-linear"),
        )
        hashes.add(trainer.rollouts.weights_hash())
    assert len(hashes) == 1
