"""The trained model of a run: where it lies, and what stands for the run's folder where a model is named.

Nothing is loaded here.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from trl_gift.errors import ConfigError
from trl_gift.run.folder import SAVED_MARK, RunFolder
from trl_gift.training.rounds import end_checkpoint, read_checkpoint

# Where a run saves its model at its end: `trl-gift train` at the top, the quickstart in a folder of its own.
_SAVED = (".", "model")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def model_to_train(name: str) -> str:
    """What a run starts from: the name itself, or the whole model that the run of that name has saved or trained.

    Args:
        name: A name on the Hub, the folder of a model, or the folder of a run.

    Raises:
        ConfigError: for a run without a trained model, or with an adapter.
    """
    if not RunFolder(name).exists or (Path(name) / "config.json").is_file():
        return name
    found = trained_model(name)
    if found is None:
        recorded = RunFolder(name).read("run.json").get("model")
        raise ConfigError(
            f"model_name_or_path={name!r} is the folder of a run that has no trained model yet; finish that run, or give its base "
            f"model, {recorded!r}."
        )
    if (Path(found[0]) / "adapter_config.json").is_file():
        command = shlex.join(["trl-gift", "merge", name.rstrip("/"), "--output", f"{name.rstrip('/')}-merged"])
        raise ConfigError(
            f"model_name_or_path={name!r} is the folder of a run that trained an adapter, which is no whole model; merge it into its "
            f"base first (`{command}`), and give the folder of the result."
        )
    return found[0]


def trained_model(output_dir: str | Path) -> tuple[str, int | None] | None:
    """The trained model of a run.

    Args:
        output_dir: The run's folder.

    Returns:
        The folder of a model or an adapter, and its round if that is known; None if no round has been trained.
    """
    run = RunFolder(output_dir)
    kept = run.final_round
    for name in _SAVED:
        folder = Path(output_dir) / name
        if (folder / "adapter_config.json").is_file() or (
            (folder / "config.json").is_file() and any(next(folder.glob(kind), None) for kind in _WEIGHTS)
        ):
            mark = folder / SAVED_MARK
            saved = json.loads(mark.read_text(encoding="utf-8"))["round"] if mark.is_file() else kept
            if saved == kept or kept is None or end_checkpoint(output_dir, run.key, kept) is None:
                return str(folder), saved
    found = [read_checkpoint(path, run.key) for path in Path(output_dir).glob("checkpoint-*")]
    ends = [item for item in found if item and item.mark.is_end]
    # The round that the run has ended with, if its checkpoint is still there.
    best = max(ends, key=lambda item: (item.mark.round == kept, item.step), default=None)
    return (str(best.path), best.mark.round) if best else None
