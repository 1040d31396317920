"""`export_run`: the programs that a run has recorded, as a data set for another trainer of TRL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import datasets

from trl_gift.errors import ConfigError
from trl_gift.export import rows
from trl_gift.export.programs import ProgramsOfRun, distinct_programs
from trl_gift.hub import ExportFacts, write_export_card
from trl_gift.run.folder import RunFolder, drawn_by
from trl_gift.run.methods import whose_programs
from trl_gift.run.prompts import TrainingPrompt, read_prompts
from trl_gift.sampling.progress import no_dataset_bars
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.store import read_samples

KINDS: Mapping[str, str] = {
    "dpo": "DPOTrainer",
    "kto": "KTOTrainer",
    "sft": "SFTTrainer",
    "reward": "RewardTrainer",
    "attempts": "",
}
"""The kinds of data sets, and the trainer of TRL that takes each; none for `attempts`."""

FORMATS = ("auto", rows.TEXT, rows.CONVERSATIONAL)
_DATA = "data/train.parquet"
_ROWS_OF_TASK = {
    "dpo": rows.pair_rows, "reward": rows.pair_rows, "kto": rows.labelled_rows, "sft": rows.completion_rows,
}  # fmt: skip
_LACKS = {
    "dpo": "no task has both a passing and a failing program",
    "reward": "no task has both a passing and a failing program",
    "kto": "it has no program that was executed",
    "sft": "no program passed",
    "attempts": "it has no sample that was executed",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """A data set that was made from a run.

    Attributes:
        dataset: Its rows.
        facts: What its card says.
    """

    dataset: datasets.Dataset
    facts: ExportFacts

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes the rows as Parquet, with a card; `datasets.load_dataset` reads the folder.

        Args:
            folder: Made whole or not at all; must not exist, or be empty.

        Raises:
            ConfigError: if it holds files.
        """
        target = Path(folder)
        check_folder(target)
        partial = target.with_name(f"{target.name}.tmp")
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        (partial / "data").mkdir(parents=True)
        with no_dataset_bars():
            self.dataset.to_parquet(str(partial / _DATA))
        write_export_card(partial, self.facts, target.name)
        os.replace(partial, target)  # also where it is an empty folder
        return target


def check_folder(folder: Path) -> None:
    """Checks that a data set can be written to a folder.

    Raises:
        ConfigError: if it holds files, or is one.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"output={str(folder)!r} exists; give another folder, or delete it.")


def export_run(
    run: str | os.PathLike[str],
    to: str,
    *,
    format: str = "auto",
    pairs_per_task: int | None = 8,
    uses_per_program: int = 1,
    messages: bool = True,
) -> Exported:
    """Makes a data set for another trainer of TRL from the programs that a run has recorded.

    Args:
        run: The `output_dir` of a run, finished or not.
        to: `"dpo"` or `"reward"` for pairs of a passing and a failing program of one task that differ in little, `"kto"` for
            programs with a boolean label, `"sft"` for passing programs, or `"attempts"` for every sample with its verdict
            and its error.
        format: `"text"`, `"conversational"`, or `"auto"`, which follows the prompts of the run.
        pairs_per_task: The most pairs of a task; for `"kto"`, the most programs with the same label, and for `"sft"`, the
            most programs. None for all. `"attempts"` has all.
        uses_per_program: In how many pairs a program may be.
        messages: Whether rows hold what executions reported. These texts may quote paths of the machine.

    Returns:
        The rows and what their card says; the same run gives the same rows.

    Raises:
        ConfigError: for a folder without a run, a run that has nothing of this kind, and options out of range.

    Examples:
        ```python
        exported = export_run("out", "dpo")
        trainer = DPOTrainer("Qwen/Qwen2.5-Coder-1.5B", train_dataset=exported.dataset)
        ```
    """
    if to not in KINDS:
        raise ConfigError(f"to={to!r} is unknown; use one of {', '.join(KINDS)}.")
    if format not in FORMATS:
        raise ConfigError(f"format={format!r} is unknown; use one of {', '.join(FORMATS)}.")
    for name, value in (("pairs_per_task", pairs_per_task), ("uses_per_program", uses_per_program)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value!r} is out of range; use a number that is at least 1.")
    folder = RunFolder(Path(run))
    if not folder.exists:
        raise ConfigError(f"{str(run)!r} holds no run (no _gift/run.json); give the output_dir of a run.")
    recorded = folder.read("run.json")
    options = recorded["options"]
    if to != "sft" and not options.get("verify", True):
        raise ConfigError(f"to={to!r} needs verdicts, and this run did not verify its programs; use to='sft'.")
    prompts = _prompts_of(folder)
    settings = rows.RowSettings(
        to,
        _conversational(format, prompts),
        pairs_per_task,
        uses_per_program,
        messages,
        options.get("chat_template_kwargs") or {},
    )
    found = distinct_programs(one for one in _samples(folder) if one.task_id in prompts)
    columns = settings.columns()
    made = [
        {name: row[name] if name in row else dict(settings.template_kwargs) for name in columns}
        for row in _rows(folder, found, prompts, settings)
    ]
    if not made:
        raise ConfigError(f"{str(run)!r} gives no row for to={to!r}: {_LACKS[to]}; use another kind, or sample more.")
    dataset = datasets.Dataset.from_list(made, features=datasets.Features.from_dict(rows.types(settings)))
    facts = ExportFacts(
        kind=to,
        trainer=KINDS[to],
        format=rows.CONVERSATIONAL if settings.conversational else rows.TEXT,
        rows=len(made),
        tasks=len({row["task_id"] for row in made}),
        tasks_of_run=len(prompts),
        passed=sum(len(programs.passed) for programs in found.by_task.values()),
        failed=sum(len(programs.failed) for programs in found.by_task.values()),
        left_out=dict(sorted(found.left_out.items())),
        model=str(recorded["model"]),
        verified=bool(options.get("verify", True)),
        pairs_per_task=pairs_per_task,
        uses_per_program=uses_per_program,
        columns=columns,
        whose=whose_programs(options, drawn_by(recorded)),
    )
    return Exported(dataset, facts)


def _prompts_of(folder: RunFolder) -> dict[str, TrainingPrompt]:
    prompts = read_prompts(folder)
    if not prompts:
        raise ConfigError(
            f"{folder.root.parent} holds no prompts: no round has been sampled, or a version that recorded none has sampled it; "
            "continue the run, with a larger num_rounds if it is finished."
        )
    return prompts


def _conversational(format: str, prompts: Mapping[str, TrainingPrompt]) -> bool:
    is_chat = all(prompt.conversation is not None for prompt in prompts.values())
    if format == rows.CONVERSATIONAL and not is_chat:
        raise ConfigError(
            "format='conversational' needs a run of a chat model, and this run asks its model as a base model; use "
            "format='text'."
        )
    return is_chat and format != rows.TEXT


def _samples(folder: RunFolder) -> Iterator[CodeSample]:
    return chain.from_iterable(read_samples(path) for path in folder.sampled_rounds())


def _rows(
    folder: RunFolder, found: ProgramsOfRun, prompts: Mapping[str, TrainingPrompt], settings: rows.RowSettings
) -> Iterator[dict[str, Any]]:
    if settings.kind == "attempts":
        yield from rows.attempt_rows(_samples(folder), prompts, settings)
        return
    for task_id, programs in found.by_task.items():
        yield from _ROWS_OF_TASK[settings.kind](programs, prompts[task_id], settings)
