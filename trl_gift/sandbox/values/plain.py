"""Values as plain JSON without loss: what JSON has stays as it is, everything else becomes `{"$type": ...}`.

`to_plain` and `from_plain` serve the files of tests and cases. Between processes values cross as bytes (`codec`).
"""

from __future__ import annotations

import base64
import math
from typing import Any

from trl_gift.sandbox.values import codec

_MOST_BITS = 14_000


def to_plain(value: Any) -> Any:
    """`value` as JSON values; types that JSON does not have become objects with one key."""
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int:
        # Readers of JSON refuse numbers of more than 4,300 decimal digits.
        return value if value.bit_length() < _MOST_BITS else {"$int": hex(value)}
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if type(value) is list:
        return [to_plain(item) for item in value]
    if type(value) is tuple:
        return {"$tuple": [to_plain(item) for item in value]}
    if type(value) is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: to_plain(item) for key, item in value.items()}
        return {"$dict": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    if type(value) in (set, frozenset):
        return {f"${type(value).__name__}": [to_plain(item) for item in value]}
    return {"$value": base64.b64encode(codec.encode(value)).decode("ascii")}


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`."""
    if type(value) is list:
        return [from_plain(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, body),) = value.items()
        if key == "$int":
            return int(body, 16)
        if key == "$float":
            return float(body)
        if key == "$dict":
            return {from_plain(name): from_plain(item) for name, item in body}
        if key in _COLLECTIONS:
            return _COLLECTIONS[key](from_plain(item) for item in body)
        if key == "$value":
            return codec.decode(base64.b64decode(body))
    return {key: from_plain(item) for key, item in value.items()}


_COLLECTIONS: dict[str, Any] = {"$tuple": tuple, "$set": set, "$frozenset": frozenset}
