"""Plain values as tagged bytes: the only data that crosses between a program and its judge.

Not pickle: decoding builds only exact builtins (and `Decimal`, `Fraction`, `deque`, dates, numeric arrays, tables of pandas,
the spans of a `re.Match`, the types of `library`), so a reply can carry no code, no overridden `__eq__` and no identity.
Encoding converts other subclasses of builtins to the builtin that they extend, and refuses every other type by name.

One-shot iterators cross as iterators: `list(f(x)) == [1]` holds for a generator and `f(x) == [1]` does not, as in one
interpreter. A function crosses as a handle, which only its owner can turn back into the function; so does an iterator,
whose items cross when they are asked for (`streams`). Without handles the items cross with the iterator.

The decoder reads hostile bytes: it bounds the depth, the number of values and every length, and raises `DecodeError` at
each violation.
"""

from __future__ import annotations

import datetime
import re
import struct
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

from trl_gift.sandbox.values import library, tables
from trl_gift.sandbox.values.matches import Match
from trl_gift.sandbox.values.streams import Source, stream

MAX_DEPTH = 200
_MAX_VALUES = 4_000_000

_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
_U32 = struct.Struct("<I")
_SINGLETONS = {b"N": None, b"T": True, b"F": False, b".": Ellipsis, b"!": NotImplemented}
_VIEWS: dict[type, bytes] = {type({}.keys()): b"k", type({}.values()): b"v", type({}.items()): b"m"}
_PACKED = {int: "q", float: "d"}
_NUMERIC = re.compile(r"[<>|=][biufcU]\d{1,4}")
_TEMPORAL: dict[bytes, Callable[[str], Any]] = {
    b"1": datetime.date.fromisoformat,
    b"2": datetime.datetime.fromisoformat,
    b"3": datetime.time.fromisoformat,
}
# The order matters: a bool is an int, a datetime is a date.
_BASES: tuple[type, ...] = (
    bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, deque, Decimal, Fraction,
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
)  # fmt: skip

HandleMaker = Callable[[Any], int]
HandleResolver = Callable[[int], Any]


class EncodeError(TypeError):
    """A value of a type that does not cross."""


class DecodeError(ValueError):
    """Bytes that no encoder writes, or a value that exceeds the bounds."""


def encode(value: Any, handle: HandleMaker | None = None) -> bytes:
    """`value` as bytes.

    Args:
        value: The value.
        handle: Gives a function its number; without it functions are refused.

    Raises:
        EncodeError: A type that cannot cross, or a value that exceeds the bounds.
    """
    out: list[bytes] = []
    _Encoder(out, handle).put(value, 0)
    return b"".join(out)


def decode(data: bytes, handle: HandleResolver | None = None, home: library.Home | None = None) -> Any:
    """The value in `data`.

    Args:
        data: The bytes of exactly one value.
        handle: Turns the number of a function into a callable; without it functions are refused.
        home: The reader's own classes by name, for values of such classes that come back; none by default.

    Raises:
        DecodeError: The bytes are malformed, or the value exceeds the bounds.
    """
    decoder = _Decoder(data, handle, home or {})
    value = decoder.take(0)
    if decoder.position != len(data):
        raise DecodeError(f"{len(data) - decoder.position} bytes after the value")
    return value


class _Encoder:
    def __init__(self, out: list[bytes], handle: HandleMaker | None) -> None:
        self.out = out
        self.handle = handle
        self.count = 0

    def spend(self, count: int) -> None:
        """Count values against the bound."""
        self.count += count
        if self.count > _MAX_VALUES:
            raise EncodeError(f"more than {_MAX_VALUES} values")

    def put(self, value: Any, depth: int) -> None:
        """Write one value."""
        self.spend(1)
        if depth > MAX_DEPTH:
            raise EncodeError(f"a value nested deeper than {MAX_DEPTH}")
        kind = type(value)
        writer = _WRITERS.get(kind)
        if writer is not None:
            writer(self, value, depth)
        elif kind in _VIEWS:
            self.sequence(_VIEWS[kind], list(value), depth)
        else:
            self.other(value, kind, depth)

    def other(self, value: Any, kind: type, depth: int) -> None:
        if (parts := library.parts(value, kind)) is not None:
            return self.library(parts, depth)
        for base in _BASES:
            if base in kind.__mro__:  # not isinstance, which believes a `__class__` attribute
                return _WRITERS[base](self, _exact(base, value), depth)
        if kind.__module__ == "numpy":
            return self.numpy(value, kind, depth)
        if kind.__module__.split(".")[0] == "pandas":
            return self.pandas(value, depth)
        if hasattr(kind, "__next__"):
            if self.handle is not None:
                tag = b"Y" if hasattr(kind, "send") else b"y"
                self.out.append(tag + _U32.pack(self.handle(Source(value).advance)))
                return None
            return self.sequence(b"g", list(islice(value, _MAX_VALUES + 1 - self.count)), depth)
        if self.handle is not None and callable(value):
            self.out.append(b"h" + _U32.pack(self.handle(value)))
            return None
        raise EncodeError(f"a value of type {kind.__module__}.{kind.__qualname__} cannot cross between processes")

    def library(self, parts: library.Parts, depth: int) -> None:
        handle, self.handle = self.handle, None
        try:
            self.sequence(b"L", parts, depth)
        finally:
            self.handle = handle

    def collection(self, value: dict[Any, Any], depth: int) -> None:
        made = value.default_factory if isinstance(value, defaultdict) else None
        crosses = made is not None and (self.handle is not None or library.parts(made, type(made)) is not None)
        name = type(value).__name__
        self.sequence(b"C", (name, made if crosses else None, dict(value)), depth)

    def moment(self, value: datetime.datetime, depth: int) -> None:
        if (parts := library.zoned(value)) is not None:
            return self.library(parts, depth)
        return self.sized(b"2", datetime.datetime.isoformat(value).encode("ascii"))

    def numpy(self, value: Any, kind: type, depth: int) -> None:
        if kind.__name__ == "ndarray" and _NUMERIC.fullmatch(value.dtype.str):
            self.sequence(b"n", (value.dtype.str, list(value.shape), value.tobytes()), depth)
        elif hasattr(value, "item") and not getattr(value, "shape", ()):
            self.put(value.item(), depth + 1)  # a scalar is the number that it holds
        else:
            raise EncodeError(f"a numpy.{kind.__name__} of dtype {getattr(value, 'dtype', '?')} cannot cross")

    def pandas(self, value: Any, depth: int) -> None:
        try:
            items = tables.parts(value)
        except tables.NotPlain as error:
            raise EncodeError(str(error)) from error
        self.sequence(b"P", items, depth)

    def integer(self, value: int, depth: int) -> None:
        if -(1 << 63) <= value < 1 << 63:
            self.out.append(b"i" + _I64.pack(value))
        else:
            self.sized(b"I", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))

    def sized(self, tag: bytes, data: bytes) -> None:
        self.out.append(tag + _U32.pack(len(data)))
        self.out.append(data)

    def sequence(self, tag: bytes, items: Any, depth: int) -> None:
        # Long sequences of one number type cross as one array: a million ints take milliseconds, not a second.
        if len(items) > 8 and len(kinds := set(map(type, items))) == 1 and (code := _PACKED.get(kinds.pop())):
            try:
                packed = array(code, items).tobytes()
            except OverflowError:
                packed = b""
            if packed:
                self.spend(len(items))
                self.out.append(b"p" + tag + code.encode())
                return self.sized(b"", packed)
        self.out.append(tag + _U32.pack(len(items)))
        for item in items:
            self.put(item, depth + 1)
        return None

    def mapping(self, value: dict[Any, Any], depth: int) -> None:
        self.out.append(b"d" + _U32.pack(len(value)))
        for key, item in value.items():
            self.put(key, depth + 1)
            self.put(item, depth + 1)


def _exact(base: type, value: Any) -> Any:
    """`value` as its exact builtin base, through the base's own methods, never through overridden ones."""
    if base in (int, float):
        return base.__pos__(value)
    if base is str:
        return str.__str__(value)
    if base is dict:
        return dict(dict.items(value))
    if base in (datetime.datetime, datetime.date, datetime.time):
        return base.fromisoformat(base.isoformat(value))
    if base is datetime.timedelta:
        return datetime.timedelta(value.days, value.seconds, value.microseconds)
    if base in (list, tuple, set, frozenset, deque):
        return base(base.__iter__(value))
    return base(value)


def _scalar(tag: bytes) -> Callable[[_Encoder, Any, int], None]:
    return lambda encoder, value, depth: encoder.out.append(tag)


def _text(tag: bytes, text: Callable[[Any], str]) -> Callable[[_Encoder, Any, int], None]:
    return lambda encoder, value, depth: encoder.sized(tag, text(value).encode("utf-8", "surrogatepass"))


def _many(tag: bytes) -> Callable[[_Encoder, Any, int], None]:
    return lambda encoder, value, depth: encoder.sequence(tag, value, depth)


_WRITERS: dict[type, Callable[[_Encoder, Any, int], None]] = {
    type(None): _scalar(b"N"),
    type(Ellipsis): _scalar(b"."),
    type(NotImplemented): _scalar(b"!"),
    Counter: _Encoder.collection,
    OrderedDict: _Encoder.collection,
    defaultdict: _Encoder.collection,
    bool: lambda encoder, value, depth: encoder.out.append(b"T" if value else b"F"),
    int: _Encoder.integer,
    float: lambda encoder, value, depth: encoder.out.append(b"f" + _F64.pack(value)),
    complex: lambda encoder, value, depth: encoder.out.append(b"c" + _COMPLEX.pack(value.real, value.imag)),
    str: _text(b"s", lambda value: value),
    bytes: lambda encoder, value, depth: encoder.sized(b"b", value),
    bytearray: lambda encoder, value, depth: encoder.sized(b"B", bytes(value)),
    list: _many(b"l"),
    tuple: _many(b"t"),
    set: _many(b"S"),
    frozenset: _many(b"Z"),
    deque: lambda encoder, value, depth: encoder.sequence(b"q", (value.maxlen, list(value)), depth),
    dict: _Encoder.mapping,
    range: lambda encoder, value, depth: encoder.sequence(b"r", (value.start, value.stop, value.step), depth),
    slice: lambda encoder, value, depth: encoder.sequence(b":", (value.start, value.stop, value.step), depth),
    Decimal: _text(b"D", str),
    Fraction: lambda encoder, value, depth: encoder.sequence(b"R", (value.numerator, value.denominator), depth),
    datetime.date: _text(b"1", datetime.date.isoformat),
    datetime.datetime: _Encoder.moment,
    datetime.time: _text(b"3", datetime.time.isoformat),
    re.Match: lambda encoder, value, depth: encoder.sequence(
        b"x", (value.string, value.regs, dict(value.re.groupindex)), depth
    ),
    datetime.timedelta: lambda encoder, value, depth: encoder.sequence(
        b"4", (value.days, value.seconds, value.microseconds), depth
    ),
}


class _Decoder:
    def __init__(self, data: bytes, handle: HandleResolver | None, home: library.Home) -> None:
        self.data = data
        self.home = home
        self.position = 0
        self.count = 0
        self.handle = handle

    def read(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise DecodeError("the data ends within a value")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def length(self) -> int:
        return int(_U32.unpack(self.read(4))[0])

    def take(self, depth: int) -> Any:
        self.count += 1
        if depth > MAX_DEPTH + 2 or self.count > _MAX_VALUES + 16:
            raise DecodeError("a value that exceeds the bounds of depth or size")
        tag = self.read(1)
        if tag in _SINGLETONS:
            return _SINGLETONS[tag]
        if tag == b"i":
            return _I64.unpack(self.read(8))[0]
        if tag == b"f":
            return _F64.unpack(self.read(8))[0]
        try:
            return self.composite(tag, depth)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, ImportError, re.error) as error:
            if isinstance(error, DecodeError):
                raise
            raise DecodeError(f"a malformed value: {error}") from error

    def composite(self, tag: bytes, depth: int) -> Any:
        if tag == b"s":
            return self.read(self.length()).decode("utf-8", "surrogatepass")
        if tag == b"d":
            return {self.take(depth + 1): self.take(depth + 1) for _ in range(self.length())}
        if tag == b"p":
            return self.build(self.read(1), self.packed())
        if tag == b"I":
            return int.from_bytes(self.read(self.length()), "little", signed=True)
        if tag == b"c":
            return complex(*_COMPLEX.unpack(self.read(16)))
        if tag == b"b":
            return self.read(self.length())
        if tag == b"B":
            return bytearray(self.read(self.length()))
        if tag == b"D":
            return Decimal(self.read(self.length()).decode("ascii"))
        if tag in _TEMPORAL:
            return _TEMPORAL[tag](self.read(self.length()).decode("ascii"))
        if tag == b"h":
            return self.function(self.length())
        if tag in (b"y", b"Y"):
            return stream(self.function(self.length()), generator=tag == b"Y")
        if tag == b"L":
            return self.library(depth)
        return self.build(tag, [self.take(depth + 1) for _ in range(self.length())])

    def library(self, depth: int) -> Any:
        handle, self.handle = self.handle, None  # see `library`: no part may be a function
        try:
            return library.build([self.take(depth + 1) for _ in range(self.length())], self.home)
        finally:
            self.handle = handle

    def packed(self) -> list[Any]:
        code = self.read(1).decode("ascii", "replace")
        if code not in _PACKED.values():
            raise DecodeError("a packed array of an unknown type")
        values = array(code, self.read(self.length()))
        self.count += len(values)
        return values.tolist()

    def function(self, number: int) -> Any:
        if self.handle is None:
            raise DecodeError("a function, where functions may not cross")
        return self.handle(number)

    def build(self, tag: bytes, items: list[Any]) -> Any:
        builder = _BUILDERS.get(tag)
        if builder is None:
            raise DecodeError(f"unknown tag {tag!r}")
        return builder(items)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {key: value for key, value in items}  # noqa: C416  (dict() would accept strings of two letters)


def _collection(items: list[Any]) -> Any:
    match items:
        case ["Counter", None, dict() as counts]:
            return Counter(counts)
        case ["OrderedDict", None, dict() as held]:
            return OrderedDict(held)
        case ["defaultdict", made, dict() as held]:
            return defaultdict(made, held)
    raise DecodeError("a collection of an unknown form")


def _numeric_array(items: list[Any]) -> Any:
    import numpy  # only if the program's side had it

    kind, shape, data = items
    if not _NUMERIC.fullmatch(kind):
        raise DecodeError(f"an array of dtype {kind!r}")
    return numpy.frombuffer(data, dtype=kind).reshape(shape).copy()


def _iterator(items: list[Any]) -> Iterator[Any]:
    return iter(items)


_BUILDERS: dict[bytes, Callable[[list[Any]], Any]] = {
    b"l": lambda items: items,
    b"t": tuple,
    b"S": set,
    b"Z": frozenset,
    b"q": lambda items: deque(items[1], items[0]),
    b"g": _iterator,
    b"C": _collection,
    b"k": lambda items: dict.fromkeys(items).keys(),
    b"v": lambda items: dict(enumerate(items)).values(),
    b"m": lambda items: _pairs(items).items(),
    b"r": lambda items: range(*items),
    b":": lambda items: slice(*items),
    b"n": _numeric_array,
    b"P": tables.build,
    b"x": lambda items: Match(*items),
    b"R": lambda items: Fraction(*items),
    b"4": lambda items: datetime.timedelta(*items),
}
