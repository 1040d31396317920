"""Which files of a run leave the machine.

Every push is first laid out in a folder of its own, beside the run's artefacts. The push uploads this folder and nothing
else. The folder does not change while a push in the background reads it, whatever training writes in the meantime. Large
files are hard links.

Always left out: `training_args.bin` (a pickle that holds the output folder, the machine's name and the Hub token),
event files of trackers (named after the machine), logs, and every file that saving the model does not write.
Configurations are pushed without the local paths that saving puts into them.
"""

from __future__ import annotations

import json
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from trl_gift.common.files import write_json

CARD = "README.md"
_NEVER = ("training_args.bin", CARD, "*.tmp")  # we write the card; peft's names the base model by its path
_TRAINING_STATE = (
    "optimizer*", "scheduler*", "scaler*", "rng_state*", "trainer_state.json", "gift_state.json", "latest",
    "zero_to_fp32.py", "global_step*", "pytorch_model_fsdp*",
)  # fmt: skip
_CONFIGURATIONS = ("*config.json", "trainer_state.json")


def lay_out_checkpoint(checkpoint: Path, folder: Path, base_model: str | None) -> None:
    """Lays out a whole checkpoint in `folder`: model, tokenizer and training state.

    Args:
        checkpoint: What the trainer saved.
        folder: Made if absent.
        base_model: The Hub's name of the base model, for an adapter.
    """
    _link_all(checkpoint, folder, _NEVER)
    make_public(folder, base_model)


def lay_out_model(checkpoint: Path, folder: Path, base_model: str | None) -> None:
    """Lays out the model and the tokenizer of a checkpoint in `folder`, without the training state."""
    _link_all(checkpoint, folder, _NEVER + _TRAINING_STATE)
    make_public(folder, base_model)


def leave_copy(saved: Path, output_dir: Path) -> None:
    """Links freshly saved files into `output_dir`, where users of a trainer look for them."""
    _link_all(saved, output_dir, (CARD,))


def make_public(folder: Path, base_model: str | None) -> None:
    """Removes from a folder what must stay on the machine: private files, and local paths in configurations."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != CARD and _matches(path.name, _NEVER):
            path.unlink()
        elif path.is_file() and _matches(path.name, _CONFIGURATIONS):
            content = json.loads(path.read_text(encoding="utf-8"))
            public = _without_paths(content)
            if "base_model_name_or_path" in public:
                public["base_model_name_or_path"] = base_model
            if content.get("best_model_checkpoint"):
                public["best_model_checkpoint"] = Path(content["best_model_checkpoint"]).name
            if public != content:
                write_json(path, public)  # a new file: the old one may be a link to what the trainer still uses


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return None if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    return "\n" not in text and text.startswith(("/", "~/")) and len(Path(text).parts) > 2


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _link_all(source: Path, target: Path, without: tuple[str, ...]) -> None:
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_file() and not any(_matches(part, without) for part in parts):
            _link(path, target.joinpath(*parts))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
