"""What a user names as a model: a whole model, an adapter on its base, or the folder of a run.

A run's folder stands for its trained model: what the run saved at its end, else the checkpoint from the end of the round that it
has ended with, else the last checkpoint that ends a round. Nothing is loaded here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trl_gift.errors import ConfigError
from trl_gift.run.folder import RunFolder
from trl_gift.run.trained import trained_model
from trl_gift.run.weights import LoadedAs, loaded_as
from trl_gift.training.adapters import is_adapter, read_adapter

# The options of a run on which depends how its model is asked and how programs are run.
_ASKING = (
    "prompt_format", "prompt_tests", "pin_imports", "system_prompt", "chat_template_kwargs", "open_answer", "prompt_date",
    "rename_entry_point",
    "train_on_thinking", "stop", "max_completion_length", "execution_cpu_s", "execution_memory_mb",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        model: The whole model, or the base of the adapter: a folder, or a name on the Hub.
        adapter: The adapter, likewise; None for a whole model.
        revision: Of `model` on the Hub; None for its main branch, and for a folder.
        adapter_revision: Of `adapter`, likewise.
        run: The folder of the run that trained it, if the run was named; else None.
        round: The round that trained it, if that is known; else None.
        loaded: How `model` was loaded while the adapter was trained, as far as that is recorded.
    """

    model: str
    adapter: str | None = None
    revision: str | None = None
    adapter_revision: str | None = None
    run: Path | None = None
    round: int | None = None
    loaded: LoadedAs = field(default_factory=LoadedAs)

    def line(self) -> str:
        """What it is, in words."""
        what = f"adapter {self.adapter} on {self.model}" if self.adapter else self.model
        if self.run is None:
            return what
        by = f"round {self.round}" if self.round else "saved at its end"
        return f"{what}, the trained model of the run {self.run} ({by})"


def find_source(name: str, base: str | None = None, revision: str | None = None) -> ModelSource:
    """Finds out what a name stands for.

    Args:
        name: A model or an adapter, as a folder or by its name on the Hub; or the folder of a run.
        base: The base of an adapter; the one that the adapter names if not given.
        revision: On the Hub: of the adapter if `name` is one there, else of the model or the base.

    Raises:
        ConfigError: for a run without a trained model, an adapter without a base, and a base for what is no adapter.
    """
    run = round_index = None
    path = name
    if RunFolder(name).exists:
        found = trained_model(name)
        if found is None:
            recorded = RunFolder(name).read("run.json").get("model")
            raise ConfigError(
                f"{name!r} is the folder of a run that has no trained model yet; end a round with the run's own command and --resume, "
                f"or name its base model, {recorded!r}."
            )
        run, (path, round_index) = Path(name), found
    if is_adapter(path, revision):
        on_hub = not Path(path).is_dir()
        settings = read_adapter(path, revision if on_hub else None)
        if settings.is_prompt_learning:
            raise ConfigError(
                f"{name!r} is a {settings.peft_type.value} adapter, which no engine here can sample from; give LoRA or another "
                "adapter of the weights."
            )
        named = base or settings.base_model_name_or_path
        if not named:
            raise ConfigError(f"{name!r} does not name its base model; give it with --base.")
        # A base that is given is another copy; the recorded revision need not exist there.
        own_revision = None if base else settings.revision
        of_base = own_revision if on_hub else revision or own_revision
        loaded = LoadedAs() if on_hub else loaded_as(Path(path), RunFolder(run) if run else None)
        return ModelSource(named, path, of_base, revision if on_hub else None, run, round_index, loaded)
    if base is not None:
        raise ConfigError(f"base={base!r} is for adapters, and {name!r} is a whole model; leave it out.")
    return ModelSource(path, revision=revision, run=run, round=round_index)


def measuring_device(name: str | None) -> dict[str, Any]:
    """The options for a CPU, where there is nothing else, or the model is that of a run that was on one; else none.

    Args:
        name: What is measured: a model, or the folder of a run.
    """
    run = RunFolder(name) if name is not None else None
    by_choice = run is not None and run.exists and run.read("run.json").get("use_cpu", False)
    return {"use_cpu": True, "bf16": False} if by_choice or not torch.accelerator.is_available() else {}


def recorded_options(name: str) -> dict[str, Any]:
    """How a run has asked its model and run programs, as options; empty if the name is not a run's folder."""
    if not RunFolder(name).exists:
        return {}
    options = RunFolder(name).read("run.json").get("options", {})
    return {option: options[option] for option in _ASKING if option in options}
