"""Types of the standard library between processes: what crosses, and what no program can make of it."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import io
import ipaddress
import re
import types
import uuid
import zoneinfo
from array import array
from pathlib import Path, PurePosixPath

import pytest

from trl_gift.sandbox.values import codec
from trl_gift.sandbox.values.compare_values import values_match
from trl_gift.sandbox.values.streams import Source, stream

Point = collections.namedtuple("Point", "x y")


class Color(enum.Enum):
    RED = 1
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(order=True)
class Item:
    name: str
    sizes: list[int] = dataclasses.field(default_factory=list)

    def startswith(self, text: str) -> bool:
        return True


@dataclasses.dataclass(eq=False)
class ByIdentity:
    x: int


@dataclasses.dataclass
class OwnEquality:
    x: int

    def __eq__(self, other):
        return True


HOME = {"Point": Point, "Color": Color, "Level": Level, "Item": Item}


@pytest.mark.parametrize(
    "value",
    [
        uuid.UUID(int=5), Path("a/b"), PurePosixPath("/a"), array("d", [1.5]), datetime.UTC,
        datetime.timezone(datetime.timedelta(hours=1), "X"), zoneinfo.ZoneInfo("UTC"), ipaddress.ip_address("::1"),
        datetime.datetime(2020, 1, 2, fold=1, tzinfo=zoneinfo.ZoneInfo("UTC")), types.SimpleNamespace(a=[1]),
        re.compile("a+", re.I), collections.Counter("aab"), collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, a=[1]), int, NotImplemented, Point(1, [2]), Color.BLUE, Level.LOW, Item("n", [1]), Color,
    ],
    ids=repr,
)  # fmt: skip
def test_crosses_whole(value):
    copy = codec.decode(codec.encode([value]), home=HOME)[0]
    assert copy == value
    assert type(copy) is type(value)


@pytest.mark.parametrize("value", [Point(1, [2]), Color.BLUE, Level.LOW, Item("n", [1])], ids=repr)
def test_classes_are_rebuilt_without_the_programs_code(value):
    copy = codec.decode(codec.encode(value))
    assert type(copy) is not type(value)
    assert type(copy) is type(codec.decode(codec.encode(value)))
    assert copy == codec.decode(codec.encode(value))
    assert repr(copy) == repr(value)
    assert not hasattr(copy, "startswith")


def test_buffers_keep_their_position():
    text, data = io.StringIO("abc"), io.BytesIO(b"abc")
    text.read(1)
    assert codec.decode(codec.encode(text)).read() == "bc"
    assert codec.decode(codec.encode(data)).getvalue() == b"abc"


@pytest.mark.parametrize("value", [ByIdentity(1), OwnEquality(1)], ids=["by identity", "an own equality"])
def test_an_equality_that_cannot_be_rebuilt_is_refused(value):
    with pytest.raises(codec.EncodeError, match="cannot cross"):
        codec.encode(value)


Yes = collections.namedtuple("Yes", "startswith")


@dataclasses.dataclass
class Agrees:
    startswith: object


@pytest.mark.parametrize(
    "make", [Yes, Agrees, lambda f: types.SimpleNamespace(startswith=f)], ids=["tuple", "data class", "namespace"]
)
def test_no_attribute_is_a_function(make):
    with pytest.raises(codec.EncodeError):
        codec.encode(make(lambda text: True), lambda function: 0)
    data = codec.encode(make("forged")).replace(codec.encode("forged"), b"h\x00\x00\x00\x00")
    with pytest.raises(codec.DecodeError):
        codec.decode(data, lambda number: lambda text: True)


def encoded(*items: object) -> bytes:
    """What a hostile program may send in the place of a value."""
    return b"L" + codec.encode(list(items))[1:]


@pytest.mark.parametrize(
    "items",
    [
        ("named", "P", ["x", "__class__"], [1, 2]), ("named", "P", ["x y; import os"], [1]), ("named", "P", ["x"], [1, 2]),
        ("data", "P", ["__class__"], [1], False, False), ("data", "P", ["x="], [1], False, False),
        ("enum", "Enum", "object", "E", [("mro", 1)], "mro", 1), ("enum", "Enum", "object", "E", [("_missing_", 1)], None, None),
        ("enum", "EnumMeta", "object", "E", [("A", 1)], "A", 1), ("enum", "Enum", "list", "E", [("A", 1)], "A", 1),
        ("class", "type"), ("class", "object"), ("exception", "eval", ["1"]), ("exception", "SystemExit", []),
        ("ip", "ip_address", "::1"), ("array", "u", b"x"), ("array", "d", b"x"), ("ZoneInfo", "../../etc/passwd"),
        ("Pattern", "(", 0), ("SimpleNamespace", {1: 2}), ("timezone", 5, None), ("UUID", -1), ("unknown", 1), (), (1, 2),
        ("StringIO", "a", -1), ("datetime", "x", 0, None), ("PosixPath", 5),
    ],
    ids=repr,
)  # fmt: skip
def test_nonsense_is_refused(items):
    with pytest.raises(codec.DecodeError):
        codec.decode(encoded(*items))


def test_equal_as_in_one_interpreter():
    counts, order = collections.Counter(a=1), collections.OrderedDict
    for actual, expected, equal in [
        (Point(1, 2), (1, 2), True), ((1, 2), Point(1, 2), True), (Point(1, 2), [1, 2], False),
        (collections.Counter(a=1, z=0), counts, True), ({"a": 1, "z": 0}, counts, False),
        (order(a=1, b=2), order(b=2, a=1), False), ({"a": 1, "b": 2}, order(b=2, a=1), True),
        (Item("a"), Item("a"), True), (Item("a"), Item("b"), False), (types.SimpleNamespace(shape=None), 10, False),
    ]:  # fmt: skip
        assert values_match(actual, expected, "equal", 0.0, 0.0) is equal


def test_streams_ask_for_more_and_more():
    asked = []

    def remote(iterator):
        source = Source(iterator)

        def advance(action, argument):
            asked.append((action, argument))
            return source.advance(action, argument)

        return advance

    numbers = stream(remote(iter(range(2000))), generator=False)
    assert list(numbers) == list(range(2000))
    assert len(asked) < 12
    asked.clear()
    singles = stream(remote(x for x in range(100)), generator=True)
    assert [next(singles) for _ in range(10)] == list(range(10))
    assert asked == [("next", 1)] * 10


def test_what_is_raised_ahead_comes_in_its_turn():
    def items():
        yield 1
        yield 2
        raise KeyError("k")

    source = Source(items())
    numbers = stream(source.advance, generator=False)
    assert [next(numbers), next(numbers)] == [1, 2]
    with pytest.raises(KeyError):
        next(numbers)


@pytest.mark.parametrize("answer", [None, ([], False, None), (1, True, None), ([1], 1, None), ([1], False)])
def test_a_stream_refuses_nonsense(answer):
    with pytest.raises(ValueError, match="gives no items"):
        next(stream(lambda action, argument: answer, generator=True))
