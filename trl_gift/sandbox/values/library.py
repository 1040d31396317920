"""Values of the standard library as plain parts and back: what `codec` writes for them, and what it builds from these.

Tuples with names, data classes and enums are rebuilt from their names and plain values, without the program's code: methods
and properties of the program's classes do not cross. Where the reader has a class of the same name and the same fields, as
the program has that gave the value, the value becomes one of that class.

No part may be a function. A program could otherwise return an object whose `startswith` says yes to every test.

Not covered: data classes with an equality of their own or without one, enums with an equality of their own or with values
that cannot be hashed. They are refused by name.
"""

from __future__ import annotations

import builtins
import collections
import datetime
import importlib
import keyword
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_ENUMS = ("IntEnum", "StrEnum", "IntFlag", "Flag", "Enum")
_MIXED_IN = {"object": object, "int": int, "str": str, "float": float}
_ARRAYS = "bBhHiIlLqQfd"
# The classes that cross as themselves: those of plain data, because tests ask `type(x) is int`.
_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, range, type(None))
}
_ADDRESSES = ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface")

Home = Mapping[str, Any]
Parts = tuple[Any, ...]


def parts(value: Any, kind: type) -> Parts | None:
    """The plain parts of a value of a type that this module knows, or None.

    Args:
        value: The value.
        kind: Its type.
    """
    if isinstance(value, type):
        return _class_parts(value)
    module, name = kind.__module__.split(".")[0], kind.__qualname__
    reader = _PARTS.get((module, name))
    if reader is not None:
        return (name, *reader(value))
    if module == "ipaddress" and name in _ADDRESSES:
        return ("ip", name, str(value))
    if module == "builtins" and BaseException in kind.__mro__:
        return ("exception", name, list(value.args))
    if tuple in kind.__mro__ and _is_named(kind):
        return ("named", kind.__name__, list(kind._fields), list(tuple.__iter__(value)))  # type: ignore[attr-defined]
    if "__dataclass_params__" in vars(kind):
        return _data_parts(value, kind)
    if "_member_map_" in vars(kind):
        chosen = value._name_ if value._name_ in kind._member_map_ else None  # type: ignore[attr-defined]
        enum = _enum_parts(kind)
        return enum and (*enum, chosen, value._value_)
    return None


def _is_named(kind: Any) -> bool:
    fields = vars(kind).get("_fields")
    return type(fields) is tuple and all(type(field) is str for field in fields)


def _class_parts(cls: type) -> Parts | None:
    if "_member_map_" in vars(cls) and vars(cls)["_member_map_"]:
        enum = _enum_parts(cls)
        return enum and (*enum, None, None)
    return ("class", cls.__name__) if _CLASSES.get(cls.__name__) is cls else None


def _data_parts(value: Any, kind: Any) -> Parts | None:
    settings = kind.__dataclass_params__
    equality = vars(kind).get("__eq__")
    if not settings.eq or equality is None or equality.__code__.co_filename != "<string>":
        return None
    names = list(kind.__dataclass_fields__)
    held = [object.__getattribute__(value, name) for name in names]
    hashed = bool(settings.frozen or settings.unsafe_hash)
    return ("data", kind.__qualname__, names, held, bool(settings.order), hashed)


def _enum_parts(kind: Any) -> Parts | None:
    if "__eq__" in vars(kind) or "__hash__" in vars(kind):
        return None
    bases = [base.__name__ for base in kind.__mro__ if base.__module__ == "enum"]
    base = next((name for name in _ENUMS if name in bases), None)
    mixed = kind._member_type_.__name__
    if base is None or mixed not in _MIXED_IN:
        return None
    return (
        "enum",
        base,
        mixed,
        kind.__qualname__,
        [(name, member._value_) for name, member in kind._member_map_.items()],
    )


def build(items: list[Any], home: Home) -> Any:
    """The inverse of `parts`.

    Args:
        items: The parts.
        home: The reader's own classes by name; empty for none.

    Raises:
        ValueError: parts of an unknown form.
        TypeError: as above.
    """
    match items:
        case ["named", str() as name, list() as fields, list() as values]:
            return _of_home(home, name, fields, values) or _named(name, tuple(fields))(*values)
        case ["data", str() as name, list() as fields, list() as values, bool() as order, bool() as hashed]:
            return _of_home(home, name, fields, values) or _data(name, fields, values, order, hashed)
        case ["enum", str() as base, str() as mixed, str() as name, list() as members, chosen, value]:
            own = home.get(name)
            known = isinstance(own, type) and "_member_map_" in vars(own)
            cls: Any = own if known else _enum(base, mixed, name, tuple((*pair, type(pair[1])) for pair in members))
            if chosen is None and value is None:
                return cls
            return cls(value) if chosen is None else cls[chosen]
        case ["class", str() as name]:
            return _CLASSES[name]
        case ["exception", str() as name, list() as arguments]:
            cls = getattr(builtins, name)
            if isinstance(cls, type) and issubclass(cls, Exception):
                return cls(*arguments)
        case ["ip", str() as name, str() as text] if name in _ADDRESSES:
            return getattr(importlib.import_module("ipaddress"), name)(text)
        case [str() as name, *rest] if name in _BUILT:
            return _BUILT[name](*rest)
    raise ValueError("a value of the standard library in an unknown form")


def _of_home(home: Home, name: str, fields: list[str], values: list[Any]) -> Any:
    """The value as one of the reader's own class, or None if it has none of this form."""
    cls: Any = home.get(name)
    if not isinstance(cls, type):
        return None
    if _is_named(cls) and list(cls._fields) == fields:  # type: ignore[attr-defined]
        return tuple.__new__(cls, values)
    if "__dataclass_fields__" in vars(cls) and list(vars(cls)["__dataclass_fields__"]) == fields:
        return _filled(cls, fields, values)
    return None


def _filled(cls: Any, fields: list[str], values: list[Any]) -> Any:
    value = object.__new__(cls)
    for name, item in zip(fields, values, strict=True):
        object.__setattr__(value, name, item)
    return value


@lru_cache(maxsize=64)
def _named(name: str, fields: tuple[str, ...]) -> Any:
    return collections.namedtuple(name, fields)


def _data(name: str, fields: list[str], values: list[Any], order: bool, hashed: bool) -> Any:
    return _filled(_data_class(name, tuple(fields), order, hashed), fields, values)


@lru_cache(maxsize=64)
def _data_class(name: str, fields: tuple[str, ...], order: bool, hashed: bool) -> Any:
    import dataclasses

    if any(field.startswith("__") or not _is_name(field) for field in fields):
        raise ValueError("a field with a name that no field may have")
    return dataclasses.make_dataclass(name, fields, order=order, unsafe_hash=hashed)


def _is_name(text: Any) -> bool:
    return type(text) is str and text.isidentifier() and not keyword.iskeyword(text)


@lru_cache(maxsize=64)
def _enum(base: str, mixed: str, name: str, members: tuple[tuple[str, Any, type], ...]) -> Any:
    import enum

    if base not in _ENUMS or any(key.startswith("_") or not _is_name(key) for key, _, _ in members):
        raise ValueError("an enum with a name that no member may have")
    cls: Any = getattr(enum, base)
    extra = {} if mixed == "object" or base in ("IntEnum", "StrEnum", "IntFlag") else {"type": _MIXED_IN[mixed]}
    return cls(name, [(key, value) for key, value, _ in members], **extra)


def _text_buffer(module: str, name: str) -> Callable[[Any, int], Any]:
    def make(content: Any, position: int) -> Any:
        buffer = getattr(importlib.import_module(module), name)(content)
        buffer.seek(position)
        return buffer

    return make


def _array(code: str, data: bytes) -> Any:
    if code not in _ARRAYS:
        raise ValueError(f"an array of type {code!r}")
    return importlib.import_module("array").array(code, data)


def _zone_parts(zone: datetime.timezone) -> Parts:
    offset, name = zone.utcoffset(None), zone.tzname(None)
    return (offset, None if datetime.timezone(offset).tzname(None) == name else name)


def _zone(offset: datetime.timedelta, name: str | None) -> datetime.timezone:
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _path(name: str) -> Callable[[str], Any]:
    return lambda text: getattr(importlib.import_module("pathlib"), name)(text)


_PARTS: dict[tuple[str, str], Callable[[Any], Parts]] = {
    ("uuid", "UUID"): lambda value: (value.int,),
    ("pathlib", "PosixPath"): lambda value: (str(value),),
    ("pathlib", "PurePosixPath"): lambda value: (str(value),),
    ("array", "array"): lambda value: (value.typecode, value.tobytes()),
    ("datetime", "timezone"): _zone_parts,
    ("zoneinfo", "ZoneInfo"): lambda value: (value.key,),
    ("_io", "StringIO"): lambda value: (value.getvalue(), value.tell()),
    ("_io", "BytesIO"): lambda value: (value.getvalue(), value.tell()),
    ("types", "SimpleNamespace"): lambda value: (vars(value),),
    ("re", "Pattern"): lambda value: (value.pattern, value.flags),
}
_BUILT: dict[str, Callable[..., Any]] = {
    "UUID": lambda number: importlib.import_module("uuid").UUID(int=number),
    "PosixPath": _path("PosixPath"),
    "PurePosixPath": _path("PurePosixPath"),
    "array": _array,
    "timezone": _zone,
    "ZoneInfo": lambda key: importlib.import_module("zoneinfo").ZoneInfo(key),
    "StringIO": _text_buffer("io", "StringIO"),
    "BytesIO": _text_buffer("io", "BytesIO"),
    "SimpleNamespace": lambda held: importlib.import_module("types").SimpleNamespace(**held),
    "Pattern": lambda pattern, flags: importlib.import_module("re").compile(pattern, flags),
    "datetime": lambda text, fold, zone: datetime.datetime.fromisoformat(text).replace(fold=fold, tzinfo=zone),
}


def zoned(value: datetime.datetime) -> Parts | None:
    """The parts of a moment in a zone that `isoformat` does not name, or None."""
    zone = value.tzinfo
    if type(zone).__module__.split(".")[0] != "zoneinfo":
        return None
    return ("datetime", value.replace(tzinfo=None, fold=0).isoformat(), value.fold, zone)
