"""Processes of `trl-gift train`: through `accelerate`, and one after the other for one round per process.

    trl-gift train --config run.yaml --accelerate_config multi_gpu.yaml --num_processes 8

With `one_round_per_process` each round has a process of its own, or, where the accelerate config shards the weights
(DeepSpeed, FSDP), two: sampling and measuring with whole weights, then training with sharded ones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trl_gift.cli.parser import read_options
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.run.folder import RunFolder
from trl_gift.run.next_step import NextStep, Stage, next_step
from trl_gift.training.rounds import last_checkpoint

_SHARDED = ("DEEPSPEED", "FSDP")
# What a config says about sharded training, which sampling leaves out.
_SHARDING_KEYS = ("deepspeed_config", "fsdp_config", "parallelism_config", "megatron_lm_config")
# Options of `accelerate launch` that differ from machine to machine; all others belong into its config file.
FLAGS = {
    "num_processes": int,
    "num_machines": int,
    "machine_rank": int,
    "main_process_ip": str,
    "main_process_port": int,
    "gpu_ids": str,
}


@dataclass(frozen=True, slots=True)
class Launch:
    """How processes are started.

    Attributes:
        config_file: A config of `accelerate`, or None for its defaults.
        settings: The content of that file.
        flags: Options of `accelerate launch` besides.
    """

    config_file: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def uses_accelerate(self) -> bool:
        """Whether the processes are started by `accelerate launch`."""
        return self.config_file is not None or bool(self.flags)

    @property
    def shards(self) -> bool:
        """Whether training spreads the weights over processes."""
        return self.settings.get("distributed_type") in _SHARDED

    def command(self, module: Sequence[str]) -> list[str]:
        """The command that runs `python -m MODULE...` in these processes."""
        if not self.uses_accelerate:
            return [sys.executable, "-m", *module]
        command = [sys.executable, "-m", "accelerate.commands.launch"]
        if self.config_file is not None:
            command += ["--config_file", str(self.config_file)]
        elif int(self.flags.get("num_processes", 1)) > 1:
            command += ["--multi_gpu"]  # without it, and without two GPUs, accelerate starts one process only
        for name, value in self.flags.items():
            command += [f"--{name}", value]
        return [*command, "--module", *module]

    def unsharded(self, folder: Path) -> Launch:
        """The same processes with whole weights in each; writes a config of its own into the folder."""
        processes = int(self.flags.get("num_processes") or self.settings.get("num_processes") or 1)
        settings = {name: value for name, value in self.settings.items() if name not in _SHARDING_KEYS}
        settings["distributed_type"] = "MULTI_GPU" if processes > 1 else "NO"
        path = folder / "unsharded.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return Launch(path, settings, self.flags)


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `launch_from` reads; a YAML file may hold them too."""
    parser.add_argument(
        "--accelerate_config", metavar="FILE", help="Start the processes that this config of `accelerate` asks for."
    )
    for name, kind in FLAGS.items():
        parser.add_argument(f"--{name}", type=kind, help="As for `accelerate launch`.")


def launch_from(options: argparse.Namespace) -> Launch:
    """How to launch, from the parsed options.

    Raises:
        ConfigError: for a config that cannot be read, or for processes that would start processes.
    """
    flags = {name: str(value) for name in FLAGS if (value := getattr(options, name)) is not None}
    path = Path(options.accelerate_config) if options.accelerate_config else None
    launch = Launch(path, read_options("--accelerate_config", path) if path else {}, flags)
    if launch.uses_accelerate and is_launched():
        raise ConfigError(
            "this process was started by a launcher already; drop its options here, or run `trl-gift train` itself."
        )
    return launch


def is_launched() -> bool:
    """Whether a launcher of several processes has started this one."""
    return "WORLD_SIZE" in os.environ


def run_processes(
    launch: Launch, config: GiFTConfig, resume: bool | str, argv: Sequence[str], quiet: bool = False
) -> int:
    """Runs the processes of a run until it is finished, or one of them fails.

    Args:
        launch: How they are started.
        config: The run's options.
        resume: Whether a run that is there may be continued, or from which of its checkpoints.
        argv: The command line that each process gets, without `--resume`.
        quiet: Whether what the processes print goes to standard error.

    Returns:
        The exit code.

    Raises:
        ConfigError: for sharded weights without one round per process.
        ResumeError: if there is a run and it may not be continued.
    """
    if launch.shards and not config.one_round_per_process:
        raise ConfigError(
            f"{launch.config_file}: distributed_type {launch.settings['distributed_type']} shards the weights that "
            "every round starts from; add --one_round_per_process true, or use a config with MULTI_GPU."
        )
    run = RunFolder(config.output_dir)
    if not resume:
        run.refuse_existing()
    with tempfile.TemporaryDirectory(prefix="trl-gift-launch-") as temporary:
        whole = launch.unsharded(Path(temporary)) if launch.shards else launch
        step, continued = _next_step(run, config), resume is True
        while True:
            # Sharded processes only train. What saves the model in the end runs even if the run is finished.
            stage = "sample" if launch.shards and step.stage is not Stage.TRAIN else "train"
            processes = whole if stage == "sample" else launch
            resuming = ["--resume"] if continued else []
            code = subprocess.run(
                processes.command(["trl_gift", "worker", stage, *argv, *resuming]),
                check=False,
                stdout=sys.stderr if quiet else None,
            ).returncode
            before, step, continued = step, _next_step(run, config), True
            if code or not config.one_round_per_process or step.stage is Stage.DONE:
                return code
            if step == before:
                raise ResumeError(
                    f"the process of round {step.round} ended without an error and left its stage {step.stage.value!r} "
                    f"undone in {config.output_dir}; look at its output."
                )


def _next_step(run: RunFolder, config: GiFTConfig) -> NextStep:
    checkpoint = last_checkpoint(str(config.output_dir), run.key) if run.exists else None
    return next_step(run, checkpoint, config.num_rounds)
