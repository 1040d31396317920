"""Processes: several that train as one, one round in each, and the command that starts them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

from tests.support import run_trainer
from tests.support.whole_runs import (
    ENVIRONMENT,
    REPOSITORY,
    assert_equal,
    assert_same_samples,
    finish,
    finish_together,
    launch,
    losses_of,
    result_of,
)
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.cli import launch as launching
from trl_gift.cli.arguments import parse_with_launch
from trl_gift.cli.main import main
from trl_gift.common.files import write_json
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.playground import model_path, playground_tasks
from trl_gift.run.folder import RunFolder
from trl_gift.run.next_step import Stage
from trl_gift.training.rounds import RoundTrainer, check_sharded, last_checkpoint

CONFIGS = REPOSITORY / "examples/accelerate_configs"
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
# accelerate looks for a free port by itself if it is told 0; torchrun, if it is told to stand alone.
LAUNCHERS = {
    "accelerate": ((*ACCELERATE, "--mawhole_runs_port", "0"), ENVIRONMENT),
    "torchrun": (TORCHRUN, ENVIRONMENT | {"ACCELERATE_USE_CPU": "true"}),
}


def two(launcher):
    command, environment = LAUNCHERS[launcher]
    return {"launcher": command, "environment": environment}


def make_trainer(folder, lora=False, **options):
    return run_trainer.make_trainer(str(model_path()), str(folder), lora, **options)


def finished(trainer):
    run_trainer.finish(trainer)
    return result_of(Path(trainer.args.output_dir))


# Several processes train as one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("launcher", ["none", pytest.param("accelerate", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(tmp_path, launcher):
    """The same samples, selection and losses, also where the data do not fill the last batch: 24 pairs, 10 a step.

    A token budget ends the round, so that both processes have to agree on who draws a next step.
    """
    budget = {"num_rounds": 1, "num_steps": 10, "max_tokens_per_round": 900}
    alone = make_trainer(tmp_path / "one", **budget, per_device_train_batch_size=10)
    alone.train()
    one = finished(alone)
    options = (*(f"{name}={value}" for name, value in budget.items()), "per_device_train_batch_size=5")
    if launcher == "none":
        both = finish_together(tmp_path / "two", *options)
    else:
        both = finish(tmp_path / "two", *options, **two(launcher))
    assert_trained_alike(tmp_path, one, both)
    assert 900 <= one[1]["round-1"]["tokens"] < 1000
    assert one[1]["round-1"]["pairs"] % 10 == 4, "this test wants a last batch that the second process only fills up"


def assert_trained_alike(folder, one, both):
    """One process's run in `folder/one` and two processes' in `folder/two`."""
    assert_same_samples(both[0], one[0])
    names = ("tasks", "solved_tasks", "samples", "passed", "distinct_programs", "selected", "pairs", "tokens")
    assert [both[1]["round-1"][name] for name in names] == [one[1]["round-1"][name] for name in names]
    losses = losses_of(folder / "one")
    assert len(losses) >= 3
    assert losses_of(folder / "two") == pytest.approx(losses, rel=1e-5)
    # Adam divides by small numbers, so that the last bits of a gradient move a weight further than themselves.
    assert max(float((one[2][name] - both[2][name]).abs().max()) for name in one[2]) < 1e-3
    files = sorted(path.name for path in (folder / "two/_gift/round-1").glob("samples-*.jsonl"))
    assert files == ["samples-0.jsonl", "samples-1.jsonl"]


def read_mark(checkpoint):
    """The round of a checkpoint, and whether it is from the round's end."""
    mark = json.loads((checkpoint / "gift_state.json").read_text())
    return mark["round"], mark["is_end"]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True])
def test_two_processes_killed_and_resumed(tmp_path, lora):
    """Bit-identical, under torchrun: while sampling, after a round's last step, and amidst the second round's steps."""
    kind = ["--lora"] if lora else []
    whole = finish(tmp_path / "whole", *kind, **two("torchrun"))
    assert list(losses_of(tmp_path / "whole"))[:5] == [1, 2, 3, 4, 5]
    assert read_mark(tmp_path / "whole/checkpoint-3") == (1, True)
    for kill in ("sample:11", "step:3", "step:5"):
        output = tmp_path / kill.replace(":", "-")
        process = launch(output, *kind, "--kill", kill, **two("torchrun"))
        assert process.returncode != 0
        assert "SIGKILL" in process.stderr, process.stderr[-3000:]
        assert_equal(finish(output, *kind, "--resume", **two("torchrun")), whole)


@pytest.mark.slow
def test_quickstart_in_two_processes(tmp_path):
    """The quickstart's first round, with its own numbers of tasks and steps.

    Equal: every one of the 3,000 samples (prompt, text, verdict) and the round's counts. To 1e-5: each step's loss. To
    1e-4: the log-probabilities and perplexities of samples. To 1e-3: the weights.

    One completion at a time: what is decoded together moves the last bits of a logit, and among a hundred thousand draws
    one may lie so near to a boundary that it falls on the other side.
    """

    def quickstart(name, launcher):
        arguments = ["quickstart", "--rounds", "1", "--quiet", "--json", "--output-dir", str(tmp_path / name)]
        process = subprocess.run(
            [*launcher, "-m", "trl_gift", *arguments, "--heldout", "40", "--batch-size", "1"],
            capture_output=True, text=True, env=ENVIRONMENT, timeout=1800, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-3000:]
        (summary,) = [line for line in process.stdout.splitlines() if line.startswith("{")]
        (tmp_path / name / "model").rename(tmp_path / name / "final")
        return result_of(tmp_path / name), json.loads(summary)

    one, summary = quickstart("one", (sys.executable,))
    both, summary_of_both = quickstart("two", LAUNCHERS["accelerate"][0])
    assert_trained_alike(tmp_path, one, both)
    assert summary["rounds"][0]["samples"] == summary_of_both["rounds"][0]["samples"] == 3000


# One round in each process ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_round_per_process(tmp_path, whole_runs, lora):
    for number in (1, 2):
        trainer = make_trainer(tmp_path, lora, one_round_per_process=True)
        assert len(trainer.train(resume_from_checkpoint=True).rounds) == number
        assert trainer.is_finished == (number == 2)
    assert_equal(finished(trainer), whole_runs(lora)[0])
    again = make_trainer(tmp_path, lora, one_round_per_process=True)
    steps = trainer.state.global_step
    assert again.train(resume_from_checkpoint=True).global_step == steps, "nothing is left to do"
    assert_equal(finished(again), whole_runs(lora)[0])


@pytest.mark.parametrize("lora", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_round_in_two_processes_as_with_sharded_weights(tmp_path, whole_runs, monkeypatch, lora):
    """What DeepSpeed and FSDP need, without them: sampling apart from training, and no reset of weights in place."""

    def stage(name):
        monkeypatch.setattr(RoundTrainer, "is_sharded", name == "train")
        monkeypatch.setattr("trl_gift.trainer.check_sharded", lambda *_: None)
        trainer = make_trainer(tmp_path, lora, one_round_per_process=True)
        getattr(trainer, name)(resume_from_checkpoint=True)
        return trainer

    with pytest.raises(ResumeError, match="round 1 is not sampled yet"):
        stage("train")
    for _ in range(2):
        stage("sample")
        trainer = stage("train")
        assert trainer._base_weights is None
        assert not trainer.is_finished
        stage("train")  # which has nothing to do: the round is not measured yet
    trainer = stage("sample")
    assert trainer.is_finished
    assert_equal(finished(trainer), whole_runs(lora)[0])


def test_a_round_without_pairs_is_passed_over(tmp_path, monkeypatch, model_factory, tokenizer):
    """A random model solves nothing: there is nothing to train on, and yet the run comes to its end."""
    for stage in ("sample", "train", "sample", "train", "sample"):
        monkeypatch.setattr(RoundTrainer, "is_sharded", stage == "train")
        monkeypatch.setattr("trl_gift.trainer.check_sharded", lambda *_: None)
        trainer = GiFTTrainer(
            model=model_factory(),
            args=GiFTConfig(
                str(tmp_path), num_rounds=2, num_steps=1, num_generations=1, max_completion_length=4,
                num_description_examples=0, train_on_references=False, one_round_per_process=True, use_cpu=True,
                bf16=False, report_to="none", disable_tqdm=True, sandbox_workers=1,
            ),
            train_dataset=playground_tasks("train", 2),
            processing_class=tokenizer,
        )  # fmt: skip
        getattr(trainer, stage)(resume_from_checkpoint=True)
    assert trainer.is_finished
    assert not list(tmp_path.glob("checkpoint-*"))


def test_sharding_that_cannot_work_is_refused():
    def check(deepspeed=None, fsdp=None, one_round_per_process=True, restart_from_base=True):
        args = SimpleNamespace(one_round_per_process=one_round_per_process, restart_from_base=restart_from_base)
        check_sharded(args, SimpleNamespace(deepspeed_plugin=deepspeed, fsdp_plugin=fsdp))

    zero3 = SimpleNamespace(zero_stage=3, zero3_save_16bit_model=True)
    check(deepspeed=zero3)
    check(fsdp=SimpleNamespace(state_dict_type="StateDictType.FULL_STATE_DICT"))
    with pytest.raises(ConfigError, match="set one_round_per_process=True"):
        check(deepspeed=zero3, one_round_per_process=False)
    with pytest.raises(ConfigError, match="restart_from_base=False cannot work"):
        check(deepspeed=zero3, restart_from_base=False)
    with pytest.raises(ConfigError, match="zero3_save_16bit_model: true"):
        check(deepspeed=SimpleNamespace(zero_stage=3, zero3_save_16bit_model=False))
    with pytest.raises(ConfigError, match="fsdp_state_dict_type: FULL_STATE_DICT"):
        check(fsdp=SimpleNamespace(state_dict_type="StateDictType.SHARDED_STATE_DICT"))
    with pytest.raises(ConfigError, match="needs checkpoints"):
        GiFTConfig("out", one_round_per_process=True, save_strategy="no", use_cpu=True, bf16=False)


# The command that starts processes ------------------------------------------------------------------------------------


TRAIN = [
    "--model_name_or_path",
    "playground",
    "--dataset_name",
    "playground",
    "--use_cpu",
    "true",
    "--bf16",
    "false",
    "--num_rounds",
    "2",
]


def pretend(stage, sharded):
    """Leaves in `out` what a process of the stage leaves: sampling alone where the weights are sharded, else all."""
    run = RunFolder("out")
    if not run.exists:
        run.write("run.json", {"key": "key"})
    step = launching.next_step(run, last_checkpoint("out", "key"), 2)
    if step.stage is Stage.DONE:
        return
    sampled, trained = run.round(step.round) / "samples.parquet", Path(f"out/checkpoint-{step.round}")
    if stage == "train":
        trained.mkdir(parents=True, exist_ok=True)
        write_json(trained / "gift_state.json", {"run": "key", "round": step.round, "offset": 0, "is_end": True})
    if stage == "sample" and step.stage is Stage.MEASURE:
        run.write(f"round-{step.round}/metrics.json", {})
        return pretend(stage, sharded)
    sampled.parent.mkdir(parents=True, exist_ok=True)
    sampled.touch()
    if not sharded:
        run.write(f"round-{step.round}/metrics.json", {})


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Runs `trl-gift train` without its processes; returns their commands, each with the config that it got."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def run(*arguments, fail_at=None):
        started = []

        def start(command, check, stdout=None):
            config = None
            if "--config_file" in command:
                config = yaml.safe_load(Path(command[command.index("--config_file") + 1]).read_text())
            started.append((command, config))
            if len(started) == fail_at:
                return SimpleNamespace(returncode=3)
            pretend(command[command.index("worker") + 1], sharded="--one_round_per_process" in arguments and config)
            return SimpleNamespace(returncode=0)

        monkeypatch.setattr(launching.subprocess, "run", start)
        return main(["train", *TRAIN, *arguments]), started

    return run


def stages(started):
    return [command[command.index("worker") + 1] for command, _ in started]


def test_accelerate_is_handed_its_config_and_flags(commands):
    config = str(CONFIGS / "multi_gpu.yaml")
    code, started = commands("--output_dir", "out", "--accelerate_config", config, "--num_processes", "4")
    assert (code, stages(started)) == (0, ["train"])
    ((command, settings),) = started
    assert settings["distributed_type"] == "MULTI_GPU"
    before, after = command[: command.index("--module")], command[command.index("--module") :]
    assert before[1:] == ["-m", "accelerate.commands.launch", "--config_file", config, "--num_processes", "4"]
    assert after[:4] == ["--module", "trl_gift", "worker", "train"]
    assert "--resume" not in after
    launch_command_parser().parse_args(command[3:])  # accelerate knows each of these
    _, ((command, _),) = commands("--output_dir", "out", "--num_processes", "2", "--resume")
    assert "--multi_gpu" in command
    assert "--resume" in command


@pytest.mark.parametrize("name", ["deepspeed_zero2", "deepspeed_zero3", "fsdp"])
def test_sharded_training_takes_turns_with_sampling(commands, name, capsys):
    arguments = ["--output_dir", "out", "--accelerate_config", str(CONFIGS / f"{name}.yaml")]
    code, started = commands(*arguments, "--one_round_per_process", "true")
    assert (code, stages(started)) == (0, ["sample", "train", "sample", "train", "sample"])
    for number, ((command, config), stage) in enumerate(zip(started, stages(started), strict=True)):
        assert config["distributed_type"] == ("MULTI_GPU" if stage == "sample" else name.split("_")[0].upper())
        assert ("deepspeed_config" in config or "fsdp_config" in config) == (stage == "train")
        assert ("--resume" in command) == (number > 0)
    shutil.rmtree("out")
    _, started = commands(*arguments, "--one_round_per_process", "true", "--num_processes", "1")
    assert started[0][1]["distributed_type"] == "NO"
    capsys.readouterr()
    code, started = commands(*arguments)
    assert (code, started) == (2, [])
    assert "add --one_round_per_process true" in capsys.readouterr().err


def test_one_round_per_process_without_accelerate(commands, tmp_path):
    code, started = commands("--output_dir", "out", "--one_round_per_process", "true")
    assert (code, stages(started)) == (0, ["train", "train"])
    assert all(command[:3] == [sys.executable, "-m", "trl_gift"] for command, _ in started)
    shutil.rmtree("out")
    code, started = commands("--output_dir", "out", "--one_round_per_process", "true", fail_at=1)
    assert (code, len(started)) == (3, 1), "a process that fails ends the run with its exit code"
    for number in (1, 2):
        RunFolder("out").write(f"round-{number}/metrics.json", {})
    _, started = commands("--output_dir", "out", "--one_round_per_process", "true", "--resume")
    assert stages(started) == ["train"], "it saves the model, and the run is finished"


def test_a_process_that_does_nothing_ends_the_run(commands, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[__name__], "pretend", lambda *_, **__: None)
    code, started = commands("--output_dir", "out", "--one_round_per_process", "true")
    assert (code, stages(started)) == (2, ["train"])
    assert "round 1 ended without an error and left its stage 'sample' undone in out" in capsys.readouterr().err


def test_launch_mistakes(commands, tmp_path, monkeypatch, capsys):
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    for name, message in [("absent", "no such file"), ("list", "must hold"), ("broken", "not YAML")]:
        assert commands("--accelerate_config", f"{name}.yaml")[0] == 2
        assert message in capsys.readouterr().err
    RunFolder("out").write("run.json", {})
    assert commands("--output_dir", "out", "--num_processes", "2")[0] == 2
    assert "already holds a run" in capsys.readouterr().err
    monkeypatch.setattr(launching, "is_launched", lambda: True)
    assert commands("--num_processes", "2")[0] == 2
    assert "started by a launcher already" in capsys.readouterr().err


def test_launch_options_may_stand_in_the_yaml_file(tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    (tmp_path / "run.yaml").write_text(f"accelerate_config: {CONFIGS / 'fsdp.yaml'}\nnum_processes: 2\n")
    *_, options = parse_with_launch("train", ["--config", str(tmp_path / "run.yaml"), *TRAIN])
    found = launching.launch_from(options)
    assert found.shards
    assert found.flags == {"num_processes": "2"}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_configs(path):
    """accelerate reads each, without a key that it does not know; and each says how to use it."""
    config = load_config_from_file(str(path))  # raises for an unknown key
    expected = {"single_gpu": "NO", "multi_gpu": "MULTI_GPU", "fsdp": "FSDP"}.get(path.stem, "DEEPSPEED")
    assert config.distributed_type == expected
    assert config.num_processes >= 1
    known = set(vars(launch_command_parser().parse_args(["script.py"])))
    for name in config.fsdp_config:
        assert name in known, name
    for name in config.deepspeed_config:
        assert name in known, name
    first = path.read_text().splitlines()[0]
    assert first.startswith("# trl-gift train --config run.yaml ")
    assert ("one_round_per_process" in first) == (expected in ("FSDP", "DEEPSPEED"))


def test_the_configs_are_those_that_were_promised():
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert names == {"single_gpu", "multi_gpu", "deepspeed_zero2", "deepspeed_zero3", "fsdp"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["one process each", "two processes each"])
def test_the_command_runs_the_rounds_of_one_process(tmp_path, how):
    """`trl-gift train` in one process, and as two rounds in processes of their own."""
    options = {
        "model_name_or_path": "playground", "dataset_name": "playground", "limit": 6, "num_rounds": 2, "num_steps": 1,
        "num_generations": 2, "num_selected": 2, "max_completion_length": 64, "max_description_length": 48,
        "num_description_examples": 0, "learning_rate": 1e-3, "num_train_epochs": 1, "save_steps": 2,
        "logging_steps": 1, "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "disable_tqdm": True, "sandbox_workers": 1,
    }  # fmt: skip
    flags = [item for name, value in options.items() for item in (f"--{name}", str(value))]

    def train(name, *arguments):
        process = subprocess.run(
            [sys.executable, "-m", "trl_gift", "train", "--output_dir", str(tmp_path / name), *flags, *arguments],
            capture_output=True, text=True, env=ENVIRONMENT, timeout=1800, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-3000:]
        (tmp_path / name / "final").mkdir()
        (tmp_path / name / "model.safetensors").rename(tmp_path / name / "final/model.safetensors")
        return result_of(tmp_path / name)

    if how == "one process each":
        one = train("one", "--per_device_train_batch_size", "4")
        assert_equal(train("each", "--per_device_train_batch_size", "4", "--one_round_per_process", "true"), one)
        return
    arguments = ["--num_processes", "2", "--mawhole_runs_port", "0", "--per_device_train_batch_size", "2"]
    both = train("two", *arguments)
    assert_equal(train("each", *arguments, "--one_round_per_process", "true"), both)


@pytest.mark.slow
def test_one_round_per_process_killed_and_resumed(tmp_path, whole_runs):
    """Killed at each stage of the first round, one process after the other, and at a step of the second; exact."""
    (expected, _), output = whole_runs(lora=False), tmp_path / "out"
    each = ["--resume", "one_round_per_process=True"]
    # The third process has nothing left to sample: it counts the completions for the four tasks that the round is measured on.
    for kill in ("sample:9", "step:4", "evaluate:3"):
        process = launch(output, *each, "--kill", kill)
        assert process.returncode == -signal.SIGKILL, (kill, process.stderr[-3000:])
    assert not (output / "_gift/round-1/metrics.json").exists()
    finish(output, *each)
    assert (output / "_gift/round-1/metrics.json").exists()
    assert launch(output, *each, "--kill", "step:3").returncode == -signal.SIGKILL
    assert_equal(finish(output, *each), expected)
