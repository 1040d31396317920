"""LiveCodeBench: public tests visible, private tests hidden, calls of `func_name` or runs of a program; no references.

Columns as in livecodebench/code_generation_lite: `public_test_cases` is JSON; `private_test_cases` is JSON or, as
published, JSON in a pickle in zlib in base64. A pickle from an unknown author can run any code when it is loaded, so this
one is read by an unpickler that cannot look up any name: it can build texts, numbers and containers of them, and a result
that is not a text is refused. The unpacked size is limited, too.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Mapping
from typing import Any, NoReturn

from trl_gift.common.words import json_reason
from trl_gift.tasks.formats.common import Format, Row, calls, json_field, stdio, visible_and_hidden
from trl_gift.tasks.formats.readings import Calls
from trl_gift.tasks.functions import starter_signature
from trl_gift.tasks.task import Task, bad, id_field, optional_text, text_field

_MOST_BYTES = 1 << 30


class _TextUnpickler(pickle.Unpickler):
    """Cannot load a class or a function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


def _read(row: Row, where: str) -> Task:
    public = _tests(json_field(row, "public_test_cases", where, empty=[]), "public_test_cases", where)
    private = _tests(_private(row, where), "private_test_cases", where)
    if not public and not private:
        raise bad(where, "public_test_cases", row.get("public_test_cases"), "there is no test; give at least one")
    metadata = json_field(row, "metadata", where, empty={})
    name = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    task_id = id_field(row, where, "question_id")
    description = text_field(row, "question_content", where).strip()
    inputs = [item["input"] for item in (*public, *private)]
    outputs = [item["output"] for item in (*public, *private)]
    if not name:
        tests, hidden = visible_and_hidden(stdio(inputs, outputs, where, "public_test_cases"), len(public))
        return Task(task_id, description, tests, hidden_tests=hidden)
    starter = optional_text(row, "starter_code", where) or ""
    signature = starter_signature(starter, name)
    if signature is None:
        raise bad(where, "starter_code", starter, f"must hold the def line of {name!r}, the function in 'metadata'")
    arguments = [_values(text, where) for text in inputs]
    results = [_value(text, where) for text in outputs]
    tests, hidden = visible_and_hidden(calls(name, Calls(arguments, results)), len(public))
    return Task(task_id, description, tests, signature=signature, hidden_tests=hidden)


def _private(row: Row, where: str) -> Any:
    field = "private_test_cases"
    value = row.get(field)
    if not isinstance(value, str) or value.lstrip()[:1] in ("[", ""):
        return json_field(row, field, where, empty=[])
    try:
        unpacking = zlib.decompressobj()
        packed = unpacking.decompress(base64.b64decode(value, validate=True), _MOST_BYTES)
        if unpacking.unconsumed_tail:
            raise bad(where, field, value, f"unpacks to more than {_MOST_BYTES} bytes; give the tests as JSON")
        text = _TextUnpickler(io.BytesIO(packed)).load()
        if not isinstance(text, str):
            raise bad(
                where, field, value, f"holds a pickled {type(text).__name__}, not a text; give the tests as JSON"
            )
        return json.loads(text)
    except (binascii.Error, zlib.error, EOFError, *_BROKEN_PICKLE) as error:
        raise bad(where, field, value, f"cannot be unpacked ({error}); give the tests as JSON") from None
    except json.JSONDecodeError as error:
        raise bad(
            where, field, value, f"unpacks to a text that is not JSON ({json_reason(error)}); give the tests as JSON"
        ) from None


# The errors that a damaged pickle may raise, according to the documentation of `pickle`.
_BROKEN_PICKLE = (pickle.UnpicklingError, AttributeError, ImportError, IndexError, KeyError, TypeError, OverflowError)


def _tests(value: object, field: str, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(
        isinstance(item, Mapping) and {"input", "output"} <= item.keys() for item in value
    ):
        raise bad(where, field, value, "must be a list of {'input', 'output', 'testtype'}")
    return value


def _values(text: object, where: str) -> list[Any]:
    """The arguments of a call, one JSON value a line."""
    if not isinstance(text, str):
        raise bad(where, "public_test_cases", text, "the input of a call must be a text, one argument a line")
    return [_value(line, where) for line in text.split("\n") if line.strip()]


def _value(text: object, where: str) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except json.JSONDecodeError as error:
        cure = f"arguments and results of calls must be JSON ({error})"
        raise bad(where, "public_test_cases", text, cure) from None


LIVECODEBENCH = Format(
    "LiveCodeBench", frozenset({"question_id", "question_content", "public_test_cases", "private_test_cases"}), _read
)
