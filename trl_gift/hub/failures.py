"""How requests to the Hub fail: the exceptions by name, and the reason of one in a line."""

from __future__ import annotations

# The HTTP library of the installed huggingface_hub: httpx, or httpx2 from 2.0 on.
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # it is in `__all__`, which is computed

# A refused request is an `HfHubHTTPError`, which is an `httpx.HTTPError` as a failed connection is. Offline mode and a
# missing token are OSErrors. A name that cannot be a repository's and a card that the Hub rejects are ValueErrors.
HUB_ERRORS = (httpx.HTTPError, OSError, ValueError)
# The libraries that transfer large files raise RuntimeError when a connection fails.
UPLOAD_ERRORS = (*HUB_ERRORS, RuntimeError)


def reason(error: BaseException) -> str:
    """The first line of an error's message, as a sentence; the name of its type if it has no message."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if line.endswith((".", "!", "?")) else f"{line}."
