"""The licence of the base model, if its card states one; a licence is never assumed."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, ModelCard

from trl_gift.hub.failures import HUB_ERRORS
from trl_gift.hub.files import CARD

_FIELDS = ("license", "license_name", "license_link")
_TIMEOUT_S = 30.0


def licence_of(base_model: str | None, folder: str, token: str | None) -> dict[str, str]:
    """The licence fields of the base model's card.

    Args:
        base_model: The model's name on the Hub; None for a local model.
        folder: The folder of a local model, whose card is read if there is one.
        token: The token for the Hub.

    Returns:
        Those of `license`, `license_name` and `license_link` that the card states; nothing if there is no card, or if
        the Hub does not answer.
    """
    if base_model is None:
        path = Path(folder) / CARD
        data = ModelCard.load(path).data if path.is_file() else None
    else:
        try:
            data = HfApi().model_info(base_model, timeout=_TIMEOUT_S, token=token).card_data
        except HUB_ERRORS:  # the field stays unset, which is no reason to stop a training
            data = None
    stated = {name: data.get(name) for name in _FIELDS} if data else {}
    return {name: value for name, value in stated.items() if isinstance(value, str)}
