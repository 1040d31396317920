"""Values of pandas as plain values and back: what `codec` writes for them, and what it builds from these.

A table crosses as its columns, its index and their types; its `attrs` and flags do not. Not covered: columns of dates with
a time zone, of periods, intervals and other extension types. They are refused by name.
"""

from __future__ import annotations

from typing import Any

_LISTED = frozenset(
    {"object", "str", "string", "boolean", "Float32", "Float64"}
    | {f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)}
)
_STORED = "biufc"  # kinds of numpy types that cross as arrays
_TIMES = "mM"


class NotPlain(TypeError):
    """A value of pandas that has no plain form; the message names its type."""


def parts(value: Any) -> tuple[Any, ...]:
    """A `Series`, `DataFrame` or index as nested tuples of plain values and numeric arrays.

    Raises:
        NotPlain: another type of pandas, or a column of a type that is not covered.
    """
    import pandas

    if isinstance(value, pandas.DataFrame):
        columns = [_column(value.iloc[:, place]) for place in range(value.shape[1])]
        return ("frame", columns, parts(value.index), parts(value.columns))
    if isinstance(value, pandas.Series):
        return ("series", _column(value), parts(value.index), value.name)
    if isinstance(value, pandas.RangeIndex):
        return ("range", value.start, value.stop, value.step, value.name)
    if isinstance(value, pandas.MultiIndex):
        levels = [parts(value.get_level_values(place)) for place in range(value.nlevels)]
        return ("levels", levels, list(value.names))
    if isinstance(value, pandas.DatetimeIndex | pandas.TimedeltaIndex):
        return ("moments", _column(value), value.name, value.freqstr)
    if isinstance(value, pandas.Index):
        return ("index", _column(value), value.name)
    raise NotPlain(f"a value of type pandas.{type(value).__name__} cannot cross between processes")


def build(items: list[Any]) -> Any:
    """The inverse of `parts`.

    Raises:
        ValueError: parts of an unknown form, or that pandas refuses.
        TypeError: as above.
    """
    try:
        return _built(items)
    except (AttributeError, AssertionError, RuntimeError) as error:  # how pandas refuses some nonsense
        raise ValueError(f"a table that pandas refuses: {error}") from error


def _built(items: list[Any]) -> Any:
    import pandas

    match items:
        case ["series", column, index, name]:
            return pandas.Series(_values(column), index=_index(index), name=name)
        case ["frame", list() as columns, index, names]:
            rows = _index(index)
            series = [pandas.Series(_values(column), index=rows) for column in columns]
            # By position, because two columns may have one name.
            frame = pandas.DataFrame(dict(enumerate(series)), index=rows)
            frame.columns = _index(names)
            return frame
    return _index(tuple(items))


def _index(items: Any) -> Any:
    import pandas

    if isinstance(items, pandas.Index):
        return items  # built already, as a value of its own
    match items:
        case ("range", int() as start, int() as stop, int() as step, name):
            return pandas.RangeIndex(start, stop, step, name=name)
        case ("levels", list() as levels, list() as names):
            return pandas.MultiIndex.from_arrays([_index(level) for level in levels], names=names)
        case ("moments", ("times", _, _) as column, name, None | str() as step):
            index = pandas.Index(_values(column), name=name)
            index.freq = step
            return index
        case ("index", column, name):
            return pandas.Index(_values(column), name=name)
    raise ValueError("a table of an unknown form")


def _column(values: Any) -> tuple[Any, ...]:
    """The type of a column or index, and its values."""
    import numpy
    import pandas

    dtype, name = values.dtype, str(values.dtype)
    if isinstance(dtype, pandas.CategoricalDtype):
        data = values.array
        return ("category", _column(dtype.categories), data.codes.copy(), bool(dtype.ordered))
    if isinstance(dtype, numpy.dtype) and dtype.kind in _STORED:
        return ("array", values.to_numpy())
    if isinstance(dtype, numpy.dtype) and dtype.kind in _TIMES:
        return ("times", dtype.str, values.to_numpy().view("int64"))
    if name == "object":
        return ("list", name, values.tolist())
    if name in _LISTED:
        return ("list", name, [None if item is pandas.NA else item for item in values.tolist()])
    raise NotPlain(f"a column of dtype {name} cannot cross between processes")


def _values(column: Any) -> Any:
    import numpy
    import pandas

    match column:
        case ("array", numpy.ndarray() as stored):
            return stored
        case ("times", str() as name, numpy.ndarray() as stored) if numpy.dtype(name).kind in _TIMES:
            return stored.view(name)
        case ("list", str() as name, list() as items) if name in _LISTED:
            # pandas would spread the items of nested lists over dimensions.
            if name == "object":
                stored = numpy.empty(len(items), dtype=object)
                for place, item in enumerate(items):
                    stored[place] = item
                return stored
            return pandas.array(items, dtype=name)
        case ("category", categories, numpy.ndarray() as codes, bool() as ordered):
            kinds = pandas.CategoricalDtype(pandas.Index(_values(categories)), ordered)
            return pandas.Categorical.from_codes(codes, dtype=kinds)
    raise ValueError("a column of an unknown form")
