"""What a card may say: the facts of a run, read from its records, and those of the model, which the trainer knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trl_gift.run.folder import RunFolder
from trl_gift.tasks.decontamination import MEASURED


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run has recorded so far.

    Attributes:
        options: The resolved options.
        versions: Library versions.
        num_seeds: Number of seed tasks.
        num_eval_tasks: Number of tasks that were measured on.
        base: Metrics of the untrained model; empty if nothing was measured.
        rounds: `metrics.json` of each finished round, in order.
        overlapping: Seeds that were left out because they overlap with the tasks that were measured on; None if nobody
            looked.
    """

    options: Mapping[str, Any]
    versions: Mapping[str, str]
    num_seeds: int
    num_eval_tasks: int
    base: Mapping[str, float]
    rounds: tuple[Mapping[str, Any], ...]
    overlapping: int | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the trainer knows about the model that a card is about.

    Attributes:
        name: Title of the card.
        repo_id: The model's repository; None if it is not on the Hub.
        base_model: The Hub's name of the model that training began with; None for a local one.
        base_text: The same in words, for a local one.
        licence: The card's licence fields (`license`, `license_name`, `license_link`), as the base model has them.
        dataset: The Hub's name of the seeds' dataset, or None.
        eval_dataset: The Hub's name of the dataset that was measured on, or None.
        samples_repo: The repository of the samples dataset, or None.
        adapter: The adapter in words; None for a fully trained model.
        quantization: How the base was quantised in training; None if it was not.
        prompt: An example of a prompt, exactly as the model reads it.
        training: Settings of each round's training, by name.
        programming_language: Of the seeds; None if there are several.
    """

    name: str
    repo_id: str | None
    base_model: str | None
    base_text: str
    licence: Mapping[str, str]
    dataset: str | None
    eval_dataset: str | None
    samples_repo: str | None
    adapter: str | None
    quantization: str | None
    prompt: str
    training: Mapping[str, str]
    programming_language: str | None


def run_facts(run: RunFolder) -> RunFacts | None:
    """The facts of the run in a folder; None before it has started."""
    if not run.exists:
        return None
    recorded = run.read("run.json")
    rounds: list[Mapping[str, Any]] = []
    while run.has(f"round-{len(rounds) + 1}/metrics.json"):
        rounds.append(run.read(f"round-{len(rounds) + 1}/metrics.json"))
    return RunFacts(
        options=recorded["options"],
        versions=recorded["versions"],
        num_seeds=recorded["tasks"]["count"],
        num_eval_tasks=recorded["eval_tasks"]["count"],
        base=run.read("base.json")["metrics"] if run.has("base.json") else {},
        rounds=tuple(rounds),
        overlapping=_overlapping(run),
    )


def _overlapping(run: RunFolder) -> int | None:
    record = run.read("decontamination.json") if run.has("decontamination.json") else {}
    if MEASURED not in record.get("compared", {}):
        return None
    return len([item for item in record["removed"] if item["source"] == MEASURED])
