"""The card of a merged model: what it was made of, and the card of its adapter.

Not covered: figures of the merged model itself; nothing has measured it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from trl_gift.common.files import write_text
from trl_gift.hub.cards import render
from trl_gift.hub.files import CARD
from trl_gift.hub.names import hub_name
from trl_gift.playground import is_playground_model

_HEADING = re.compile(r"^#(?=#* )", re.MULTILINE)
_BLOCK = re.compile(r"^(`{3,})[^`\n]*\n.*?^\1\s*$", re.DOTALL | re.MULTILINE)
_KEPT = ("license", "license_name", "license_link", "datasets")


def write_merged_card(
    folder: Path,
    adapter: str,
    base: str,
    parameters: int,
    dtype: str,
    prompt: str,
    completion_length: int,
    writes_edits: bool,
    quoted_from: Sequence[Path] = (),
) -> None:
    """Writes the card of a merged model into its folder.

    Args:
        folder: The folder of the model.
        adapter: The adapter: a folder, or a name on the Hub.
        base: The base model: a folder, or a name on the Hub.
        parameters: Number of parameters.
        dtype: Their type.
        prompt: An example of a prompt, exactly as the model reads it.
        completion_length: Number of tokens that a completion may have.
        writes_edits: Whether the model writes programs in edits.
        quoted_from: Folders of which the first that holds a card holds the adapter's.
    """
    path = next((found / CARD for found in quoted_from if (found / CARD).is_file()), None)
    quoted = ModelCard(path.read_text(encoding="utf-8")) if path else None
    known = {name: value for name in _KEPT if quoted and (value := quoted.data.get(name)) is not None}
    tags = {*(quoted.data.get("tags") or () if quoted else ()), "code", "trl-gift"} - {"lora"}
    data = ModelCardData(
        **known,
        base_model=hub_name(base),
        library_name="transformers",
        pipeline_tag="text-generation",
        model_name=folder.name,
        tags=sorted(tags),
    )
    text = render(
        "merged_card.md",
        card_data=data.to_yaml(),
        name=folder.name,
        model={
            "adapter": None,
            "location": str(folder.resolve()),
            "prompt": prompt,
            "completion_length": completion_length,
            "writes_edits": writes_edits,
        },
        base=hub_name(base),
        base_text="the playground's model" if is_playground_model(base) else "a local base model",
        adapter_name=f"`{Path(adapter).name}`"
        if Path(adapter).is_dir()
        else f"[{adapter}](https://huggingface.co/{adapter})",
        parameters=parameters,
        dtype=dtype,
        adapter_card=_one_level_down(quoted.text.strip()) if quoted else "",
    )
    write_text(folder / CARD, text)


def _one_level_down(text: str) -> str:
    """A card whose headings stand two levels lower, below a heading of another card; blocks of code stay as they are."""
    parts, place = [], 0
    for block in _BLOCK.finditer(text):
        parts += [_HEADING.sub("###", text[place : block.start()]), block[0]]
        place = block.end()
    return "".join([*parts, _HEADING.sub("###", text[place:])])
