"""Short, bounded `repr` of plain values, for messages: `reprlib` fails on huge ints and does not bound the width."""

from __future__ import annotations

from itertools import islice
from typing import Any

_LIMIT = 200
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def show(value: Any, limit: int = _LIMIT) -> str:
    """`repr(value)`, at most `limit` characters long (by default 200), at a cost that does not grow with the value."""
    text = _show(value, limit, 6)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _show(value: Any, limit: int, depth: int) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 600:
        return f"<int of {value.bit_length()} bits>"
    if isinstance(value, (str, bytes, bytearray)):
        return repr(value) if len(value) <= limit else repr(value[:limit]) + "..."
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        if depth == 0:
            return "..."
        if isinstance(value, dict):
            left, right = "{", "}"
            pairs = islice(value.items(), limit // 4)
            items = [f"{_show(k, limit, depth - 1)}: {_show(v, limit, depth - 1)}" for k, v in pairs]
        else:
            left, right = next(_BRACKETS[base] for base in type(value).__mro__ if base in _BRACKETS)
            items = [_show(item, limit, depth - 1) for item in islice(value, limit // 2)]
        if len(items) < len(value):
            items.append("...")
        elif isinstance(value, tuple) and len(items) == 1:
            right = ",)"
        return left + ", ".join(items)[: 2 * limit] + right
    try:
        text = repr(value)
        # An array or table spans lines.
        return (" ".join(text.split()) if hasattr(value, "shape") else text)[: 2 * limit]
    except Exception as error:  # noqa: BLE001  a Fraction of huge ints, an array of what are no characters
        return f"<{type(value).__name__}: {type(error).__name__}>"
