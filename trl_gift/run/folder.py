"""The run's folder: where artefacts lie, when a run may start, and when it may be continued.

    output_dir/_gift/run.json                     schema, key, options, seeds, versions, fingerprints of the data
    output_dir/_gift/decontamination.json         the tasks that were left out, and what they overlap with
    output_dir/_gift/prompts.jsonl                how the programs of each task are asked for in training
    output_dir/_gift/base.json                    the evaluation of the untrained model
    output_dir/_gift/pilot.json                   what the pilot of temperature="auto" found
    output_dir/_gift/curation.json                the measured pass rates of curate and step_allocation
    output_dir/_gift/allocation.json              the steps of each task, with step_allocation="uncertain"
    output_dir/_gift/round-N/samples-RANK.jsonl   every sample, append-only
    output_dir/_gift/round-N/samples.parquet      the same, once the round's sampling is complete
    output_dir/_gift/round-N/selection.parquet    the pools with weights and counts
    output_dir/_gift/round-N/untrained.json       only where the round had no training pairs
    output_dir/_gift/round-N/metrics.json         the round's summary; its existence says that the round is done
    output_dir/_gift/final.json                   the round whose weights the run has ended with, and one of its tasks as an example
    output_dir/_gift/best_weights.pt              the best round's trained weights, where checkpoints may not keep them
    output_dir/_gift/report.html                  the run as a page

The name starts with an underscore because the Hub upload of a trainer leaves such folders out.
"""

from __future__ import annotations

import json
import platform
import secrets
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from trl_gift import __version__
from trl_gift.common.files import write_json
from trl_gift.errors import ResumeError
from trl_gift.tasks import Task, fingerprint

SCHEMA_VERSION = 3
SAVED_MARK = "gift_model.json"
"""File beside a saved model: the run and the round that its weights are of."""

_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy")


class RunFolder:
    """The artefacts of one run."""

    def __init__(self, output_dir: str | Path) -> None:
        self.root = Path(output_dir) / "_gift"

    @property
    def exists(self) -> bool:
        """Whether a run has started here."""
        return (self.root / "run.json").exists()

    def start(self, description: Mapping[str, Any]) -> None:
        """Begins a run.

        Raises:
            ResumeError: if one has begun here before; it would be overwritten.
        """
        self.refuse_existing()
        self.root.mkdir(parents=True, exist_ok=True)
        write_json(self.root / "run.json", {"schema": SCHEMA_VERSION, "key": secrets.token_hex(4), **description})

    def refuse_existing(self) -> None:
        """Raises a `ResumeError` if a run has begun here before."""
        if self.exists:
            raise ResumeError(
                f"{self.root.parent} already holds a run; continue it with resume_from_checkpoint=True, or give "
                "another output_dir."
            )

    def option(self, name: str) -> Any:
        """The value of an option in the run that has started here; None if none has."""
        return self.read("run.json").get("options", {}).get(name) if self.exists else None

    @property
    def key(self) -> str:
        """A name that no other run has, for the trackers and the checkpoints."""
        return str(self.read("run.json").get("key", ""))

    def check_continuable(self, description: Mapping[str, Any], may_change: Collection[str] = ()) -> None:
        """Compares a run with what is to continue it.

        Args:
            description: The run that continues this one, by `describe_run`.
            may_change: Names of the options that may have other values.

        Raises:
            ResumeError: naming the first difference that would mix samples of different runs.
        """
        recorded = self.read("run.json")
        if recorded.get("schema") != SCHEMA_VERSION:
            raise ResumeError(
                f"{self.root}/run.json has schema {recorded.get('schema')!r}; this version continues {SCHEMA_VERSION}."
            )
        # What a person has set comes first: tasks, prompts and fingerprints may follow from it. Of that the model comes first,
        # because defaults of options may follow from it.
        if recorded["model"] != description["model"]:
            raise self._changed("the model", recorded["model"], description["model"])
        # The seed of the samples is compared as it is resolved: it may be that of the run or one of its own.
        ignored = {*may_change, *description["seeds"]}
        for part in ("seeds", "options"):
            for name, now in _as_recorded(description[part]).items():
                if (part == "seeds" or name not in ignored) and recorded[part].get(name) != now:
                    raise self._changed(name, recorded[part].get(name), now)
        sets, named = recorded.get("eval_sets", {}), description["eval_sets"]
        if list(sets) != list(named):
            raise self._changed("the sets of evaluation tasks", ", ".join(sets), ", ".join(named))
        counted = {"training tasks": (recorded["tasks"], description["tasks"])}
        counted["evaluation tasks"] = (recorded["eval_tasks"], description["eval_tasks"])
        counted |= {f"evaluation tasks of {name}": (sets[name], named[name]) for name in named}
        for kind, (before, now) in counted.items():
            if before != now:
                raise self._other_tasks(kind, before["count"], now["count"])
        if (before := recorded.get("prompts") or description["prompts"]) != (now := description["prompts"]):
            raise ResumeError(
                f"cannot continue the run in {self.root.parent}: the model is asked in other words now (fingerprint of the "
                f"prompts {now}, before {before}), so samples would mix. Use the same tokenizer, chat template and version of "
                "trl_gift, or give another output_dir."
            )
        one, other = (part.get("sampling_model") or {} for part in (recorded, description))
        for part in other:
            if part in one and one[part] != other[part]:
                raise self._changed(f"the {part} of the sampling model", one[part], other[part])
        # The type of the weights follows the device, which may be another; an older run does not say how they are quantised.
        before, now = (part.get("weights", {}).get("quantization") for part in (recorded, description))
        if before != now and recorded.get("weights"):
            raise self._changed("the quantisation of the model", before, now)

    def changed_training(self, description: Mapping[str, Any]) -> list[str]:
        """The options of the training that differ from the recorded ones, each in words with both values."""
        recorded: Any = self.read("run.json")["training"]
        return [
            f"{name} was {recorded[name]!r} and is now {now!r}"
            for name, now in _as_recorded(description["training"]).items()
            if name in recorded and recorded[name] != now
        ]

    def _other_tasks(self, kind: str, before: int, now: int) -> ResumeError:
        how = (
            f"the contents of its {now} {kind} are not the same any more"
            if before == now
            else f"it was begun with {before} {kind}, and there are {now} now"
        )
        return ResumeError(
            f"cannot continue the run in {self.root.parent}: {how}; give the same tasks, or give another output_dir."
        )

    def _changed(self, name: str, before: Any, now: Any) -> ResumeError:
        return ResumeError(
            f"cannot continue the run in {self.root.parent}: {name} was {before!r} and is now {now!r}; put it "
            "back, or give another output_dir."
        )

    @property
    def num_measured_rounds(self) -> int:
        """Number of rounds, from the first, whose `metrics.json` exists."""
        return next(index for index in count(1) if not self.has(f"round-{index}/metrics.json")) - 1

    def measured_rounds(self) -> list[dict[str, Any]]:
        """The content of each round's `metrics.json`, from the first round on."""
        return [self.read(f"round-{index + 1}/metrics.json") for index in range(self.num_measured_rounds)]

    @property
    def final_round(self) -> int | None:
        """The round whose weights the run has ended with; None while it has not ended."""
        return int(self.read("final.json")["round"]) if self.has("final.json") else None

    def has_saved(self, folder: Path) -> bool:
        """Whether a folder holds the model that the run has ended with, or its adapter."""
        mark = folder / SAVED_MARK
        if self.final_round is None or not mark.is_file() or not any(folder.glob("*.safetensors")):
            return False
        saved = json.loads(mark.read_text(encoding="utf-8"))
        return bool((saved["run"], saved["round"]) == (self.key, self.final_round))

    def sampled_rounds(self) -> list[Path]:
        """The folders of the rounds that have been sampled, wholly or in part, in order."""
        numbered = [path for path in self.root.glob("round-*") if path.name.removeprefix("round-").isdigit()]
        return sorted(numbered, key=lambda path: int(path.name.removeprefix("round-")))

    def example(self) -> dict[str, Any] | None:
        """Description and signature of one of the tasks; None while the run has not ended, and for an older run."""
        return self.read("final.json").get("example") if self.has("final.json") else None

    def round(self, index: int) -> Path:
        """The folder of a round."""
        return self.root / f"round-{index}"

    def read(self, name: str) -> dict[str, Any]:
        """A JSON artefact."""
        content: dict[str, Any] = json.loads((self.root / name).read_text(encoding="utf-8"))
        return content

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a JSON artefact, whole or not at all."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"schema": SCHEMA_VERSION, **content})

    def has(self, name: str) -> bool:
        """Whether an artefact exists."""
        return (self.root / name).exists()


def describe_run(
    options: Mapping[str, Any],
    model: str,
    tasks: Sequence[Task],
    eval_tasks: Sequence[Task],
    seeds: Mapping[str, int] | None = None,
    training: Mapping[str, Any] | None = None,
    prompts: str = "",
    weights: Mapping[str, Any] | None = None,
    eval_sets: Mapping[str, Sequence[Task]] | None = None,
    left_out: Mapping[str, Sequence[str]] | None = None,
    use_cpu: bool = False,
    wording: Mapping[str, Any] | None = None,
    sampling_model: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `run.json` records of a run.

    Args:
        options: The options of `GiFTConfig`.
        model: Name of the model.
        tasks: The tasks to learn from; their fingerprint is recorded.
        eval_tasks: The tasks to measure on; likewise.
        seeds: The resolved seeds by the names of their options. All samples depend on them.
        training: The options of `SFTConfig` that the weights depend on.
        prompts: Fingerprint of the model's prompts.
        weights: How the model was loaded, by `LoadedAs`.
        eval_sets: All sets to measure on, if they have names; `eval_tasks` is the first.
        left_out: Names of the tasks that were too long for the model, by what they were for.
        use_cpu: Whether the run is on the CPU by choice.
        sampling_model: Name, fingerprint and fingerprint of the prompts of another model that samples; None if there is none.
        wording: Which command has begun it, by `Wording`; nothing refuses a run that another command continues.
    """
    return {
        "options": dict(options),
        "seeds": dict(seeds or {}),
        "training": dict(training or {}),
        "model": model,
        "prompts": prompts,
        "weights": dict(weights or {}),
        "use_cpu": use_cpu,
        **(wording or {}),
        **({"sampling_model": dict(sampling_model)} if sampling_model else {}),
        "tasks": _counted(tasks),
        "eval_tasks": _counted(eval_tasks),
        "eval_sets": {name: _counted(those) for name, those in (eval_sets or {}).items()},
        "left_out": {kind: list(names) for kind, names in (left_out or {}).items()},
        "versions": {"python": platform.python_version(), "trl_gift": __version__}
        | {library: version(library) for library in _LIBRARIES},
    }


def drawn_by(recorded: Mapping[str, Any]) -> str | None:
    """The model that sampled in place of the one in training, such as `"name@0123456789abcdef"`; None if there is none.

    Args:
        recorded: Content of `run.json`.
    """
    found = recorded.get("sampling_model")
    return f"{found['name']}@{found['fingerprint']}" if found else None


def _counted(tasks: Sequence[Task]) -> dict[str, Any]:
    return {"count": len(tasks), "fingerprint": fingerprint(tasks)}


def _as_recorded(value: Any) -> Any:
    """A value as it comes back from a JSON file."""
    return json.loads(json.dumps(value))
