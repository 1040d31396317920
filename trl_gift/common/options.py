"""Options of a dataclass, each declared in one place: its type, bounds, choices, default and, beneath, its text.

    @described
    @dataclass
    class Config:
        num_steps: Annotated[int, Stage("Sampling"), Bounds(low=1)] = 20
        \"\"\"Number of steps of each task's chain.\"\"\"

        sampler: Literal["gibbs", "conditional"] = "gibbs"
        \"\"\"How programs are sampled.\"\"\"

`described` reads the texts from the source file (as pydantic's `use_attribute_docstrings` does) and writes them into the
field's metadata, where `HfArgumentParser` finds its help, and into the class's docstring. Bounds are not metadata,
because `HfArgumentParser` passes all metadata to argparse.

`settle` writes a value in the one form that its type has (a list for a single value, an int for 2.0), and `check` compares
it with its type, its choices and its bounds.

Not covered: bounds of the members of a list; choices inside a union.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from trl_gift.errors import ConfigError

_Class = TypeVar("_Class", bound=type)
_WIDTH = 110
_WORDS = {
    bool: "True or False", int: "a whole number", float: "a number", str: "a text", dict: "a dictionary", type(None): "None"
}  # fmt: skip
_PLURALS = {int: "whole numbers", str: "texts"}


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of a number. A value that is not a number is not compared with them.

    Attributes:
        low: Smallest allowed value.
        high: Largest allowed value.
        above: The value must be larger than this.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf

    def hold(self, value: float) -> bool:
        """Whether a number is within the bounds; NaN is not."""
        return self.low <= value <= self.high and value > self.above

    def __str__(self) -> str:
        words = (("at least", self.low), ("above", self.above), ("at most", self.high))
        return " and ".join(f"{word} {bound:g}" for word, bound in words if math.isfinite(bound))


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """Begins a stage: the option that carries this and all options after it belong to the stage, until the next one."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class MayChange:
    """Marks an option that may have another value when a run is resumed, because no sample depends on it."""


MAY_CHANGE: Final = MayChange()


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option as its field declares it.

    Attributes:
        name: Name of the field.
        stage: Title of its stage; empty for options before the first stage.
        type: Its type without annotations, such as `int | None`.
        default: Its default.
        bounds: Bounds of its value, if it has any.
        choices: Its allowed values; empty if any value of the type is allowed.
        may_change: Whether a resumed run may have another value.
        text: What it does, followed by its bounds.
    """

    name: str
    stage: str
    type: Any
    default: Any
    bounds: Bounds | None
    choices: tuple[Any, ...]
    may_change: bool
    text: str

    @property
    def type_name(self) -> str:
        """The type or the choices for people, such as `int or None`."""
        if self.choices:
            return " or ".join(map(repr, self.choices))
        name = self.type.__name__ if type(self.type) is type else str(self.type).replace("typing.", "")
        return name.replace(" | ", " or ").replace("NoneType", "None")


def described(cls: _Class) -> _Class:
    """A decorator for a dataclass: gives each field its help text, and the class a docstring that lists all options."""
    texts = _texts(cls)
    bounds = {item.name: item.bounds for item in _declared(cls)}
    for item in dataclasses.fields(cls):
        if item.name in texts:
            text = texts[item.name] + (f" Must be {bounds[item.name]}." if bounds[item.name] else "")
            # Argparse formats help texts, so percent signs are doubled.
            item.metadata = MappingProxyType({**item.metadata, "help": text.replace("%", "%%")})
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), *_listing(options_of(cls).values())])
    return cls


@cache
def options_of(cls: type) -> Mapping[str, Option]:
    """The options that a dataclass declares itself, without those of its parents, by name and in their order."""
    return MappingProxyType({item.name: item for item in _declared(cls)})


def settle(values: Any, cls: type) -> None:
    """Writes the values of an object in the form of their types: a list for a single value or a tuple, an int for 2.0."""
    for option in options_of(cls).values():
        value = getattr(values, option.name)
        members = _members(option.type)
        lists = [member for member in members if typing.get_origin(member) is list]
        if lists and value is not None and not isinstance(value, dict):
            items = list(value) if isinstance(value, list | tuple) else [value]
            setattr(
                values, option.name, [_whole(item) if typing.get_args(lists[0]) == (int,) else item for item in items]
            )
        elif int in members and float not in members:
            setattr(values, option.name, _whole(value))


def check(values: Any, cls: type) -> None:
    """Compares the values of an object with the types, choices and bounds that a dataclass declares.

    Raises:
        ConfigError: for the first value that is not allowed.
    """
    for option in options_of(cls).values():
        value = getattr(values, option.name)
        if option.choices and value not in option.choices:
            raise ConfigError(
                f"{option.name}={value!r} is unknown; use one of {', '.join(map(repr, option.choices))}."
            )
        if not option.choices and not any(_fits(value, member) for member in _members(option.type)):
            wanted = " or ".join(_in_words(member) for member in _members(option.type))
            within = f" that is {option.bounds}" if option.bounds else ""
            raise ConfigError(f"{option.name}={value!r} is not {wanted}; use {wanted}{within}.")
        if option.bounds and isinstance(value, Real) and not option.bounds.hold(float(value)):
            raise ConfigError(f"{option.name}={value!r} is out of range; use a number that is {option.bounds}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{option.name}={value!r} is not finite; use a finite number.")


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union; of another type, the type itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _whole(value: Any) -> Any:
    """A number without a fraction as an int; any other value as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    return int(float(value)) if float(value).is_integer() else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type. A bool is not a number, and a whole number counts as a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _in_words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return f"a list of {_PLURALS.get(arguments[0], str(arguments[0]))}"
    return _WORDS.get(origin or hint, str(hint))


def _declared(cls: type) -> Iterator[Option]:
    own = inspect.get_annotations(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    stage = ""
    by_name = {item.name: item for item in dataclasses.fields(cls)}
    # The order of the class body; an option of a parent that gets another default would come before all others.
    for item in (by_name[name] for name in own if name in by_name):
        hint = hints[item.name]
        extras: list[Any] = []
        if typing.get_origin(hint) is typing.Annotated:
            hint, *extras = typing.get_args(hint)
        stage = next((extra.name for extra in extras if isinstance(extra, Stage)), stage)
        yield Option(
            name=item.name,
            stage=stage,
            type=hint,
            default=item.default if item.default_factory is dataclasses.MISSING else item.default_factory(),
            bounds=next((extra for extra in extras if isinstance(extra, Bounds)), None),
            choices=typing.get_args(hint) if typing.get_origin(hint) is Literal else (),
            may_change=MAY_CHANGE in extras,
            text=item.metadata.get("help", "").replace("%%", "%"),
        )


def _texts(cls: type) -> dict[str, str]:
    """The text beneath each field; none where the package is installed without its source."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except OSError:
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                texts[name] = " ".join(words.split())
    return texts


def _listing(options: typing.Iterable[Option]) -> Iterator[str]:
    """The lines of a docstring that describe options, stage by stage."""
    stage = None
    for option in options:
        if option.stage != stage:
            stage = option.stage
            yield f"\n{stage or 'Options'}:"
        yield f"    {option.name} ({option.type_name}, defaults to {option.default!r}):"
        yield textwrap.fill(option.text, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
