"""Charts as plain SVG, by functions of numbers alone. Colours come from classes, so that the page's themes apply to them.

Every chart has a title and a description for readers that do not see it, and labels its axes in words. Shares are given
from 0 to 1. A value that is None leaves a gap.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 16, 40
_BAR, _BAR_GAP, _BAR_LABEL = 26, 14, 78
_TICKS = 4
_NARROWEST_LABEL = 40

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together.

    Attributes:
        name: What they are.
        values: One value for each position of the axis.
        strength: Opacity of the line, so that one series can stand out.
    """

    name: str
    values: Sequence[float | None]
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its interval.

    Attributes:
        name: What was measured, the label under the point.
        value: The value.
        low: Lower bound of its interval.
        high: Upper bound of its interval.
    """

    name: str
    value: float
    low: float
    high: float


def as_percent(value: float) -> str:
    """An axis label of a share."""
    return f"{100 * value:.0f} %"


def as_number(value: float) -> str:
    """An axis label of a number."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def interval_chart(title: str, description: str, points: Sequence[Measured], form: Format = as_percent) -> str:
    """Values side by side, each with its interval and its figure; the first one is the reference line."""
    low, high = min(point.low for point in points), max(point.high for point in points)
    frame = _Frame(title, description, _ticks(low, high), form, len(points), "round", ends=False)
    frame.line(_LEFT, frame.y(points[0].value), WIDTH - _RIGHT, frame.y(points[0].value), "reference")
    frame.polyline([(frame.x(place), frame.y(point.value)) for place, point in enumerate(points)], "line faint")
    every = _every(len(points), 8)
    for place, point in enumerate(points):
        x = frame.x(place)
        frame.line(x, frame.y(point.low), x, frame.y(point.high), "whisker")
        for bound in (point.low, point.high):
            frame.line(x - 6, frame.y(bound), x + 6, frame.y(bound), "whisker")
        tip = (
            f"{point.name}: {100 * point.value:.1f} %, 95 % interval {100 * point.low:.1f} to {100 * point.high:.1f} %"
        )
        frame.dot(x, frame.y(point.value), "dot base" if place == 0 else "dot", tip, radius=5)
        if place % every == 0:
            frame.text(x, HEIGHT - _BOTTOM + 17, point.name.removeprefix("round "), "tick middle")
            rises = (
                place + 1 < len(points) and points[place + 1].value > point.value
            )  # the line would cross the figure
            side = (x - 9, "value end") if rises else (x + 9, "value")
            frame.text(side[0], frame.y(point.value) - 7, f"{100 * point.value:.1f} %", side[1])
    return frame.markup()


def line_chart(
    title: str,
    description: str,
    axis: str,
    series: Sequence[Series],
    form: Format = as_number,
    from_zero: bool = True,
    whole: bool = False,
) -> str:
    """Lines over the positions 0, 1, 2, ...

    Args:
        title: What the chart shows.
        description: The same in a sentence, with the figures that matter.
        axis: What the positions are.
        series: The lines; a later one is drawn over an earlier one.
        form: How a value is written.
        from_zero: Whether the vertical axis begins at zero.
        whole: Whether the values are counts, so that the axis has whole numbers alone.
    """
    values = [value for one in series for value in one.values if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    count = max((len(one.values) for one in series), default=1)
    ticks = _ticks(0.0 if from_zero else low, high, whole)
    frame = _Frame(title, description, ticks, form, count, axis, ends=True)
    every = _every(count, 10)
    for place in range(0, count, every):
        frame.text(frame.x(place), HEIGHT - _BOTTOM + 17, str(place), "tick middle")
    for one in series:
        run: list[tuple[float, float]] = []
        for place, value in [*enumerate(one.values), (count, None)]:
            if value is not None:
                run.append((frame.x(place), frame.y(value)))
                continue
            if run:
                frame.polyline(run, "line", one.strength)
            run = []
        for place, value in enumerate(one.values):
            if value is not None:
                tip = f"{one.name}, {axis} {place}: {form(value)}"
                frame.dot(frame.x(place), frame.y(value), "dot", tip, 3 if count <= 30 else 1.5, one.strength)
    return frame.markup()


def histogram(
    title: str, description: str, axis: str, edges: Sequence[float], before: Sequence[float], after: Sequence[float]
) -> str:
    """Two distributions over the same bins: `before` as an outline, `after` filled.

    Args:
        title: What the chart shows.
        description: The same in a sentence.
        axis: What is counted.
        edges: Bounds of the bins, one more than there are bins.
        before: Share of each bin.
        after: Likewise.
    """
    frame = _Frame(
        title, description, _ticks(0.0, max(*before, *after, 0.01)), as_percent, len(edges), axis, ends=True
    )
    for place, (left, right) in enumerate(pairwise(edges)):
        x, width = frame.x(place), frame.x(place + 1) - frame.x(place)
        tip = f"{left:.3g} to {right:.3g}: {100 * before[place]:.1f} % before, {100 * after[place]:.1f} % after"
        frame.rect(x + 1, frame.y(before[place]), width - 2, frame.floor - frame.y(before[place]), "before", tip)
        frame.rect(x + 4, frame.y(after[place]), width - 8, frame.floor - frame.y(after[place]), "after", tip)
    every = _every(len(edges), 7)
    for place in range(0, len(edges), every):
        frame.text(frame.x(place), HEIGHT - _BOTTOM + 17, f"{edges[place]:.3g}", "tick middle")
    return frame.markup()


def stacked_bars(
    title: str, description: str, bars: Sequence[tuple[str, Mapping[str, float]]], form: Format = as_percent
) -> str:
    """One horizontal bar for each name, divided by its parts; all bars are equally long.

    Args:
        title: What the chart shows.
        description: The same in a sentence.
        bars: For each bar its label, and the size of each part by its name, which is also its class (`part-NAME`).
        form: How a part's share of its bar is written.
    """
    height = len(bars) * (_BAR + _BAR_GAP) + _BAR_GAP
    canvas = _Canvas(title, description, height)
    space = WIDTH - _BAR_LABEL - _RIGHT
    for place, (label, parts) in enumerate(bars):
        y, x, total = _BAR_GAP + place * (_BAR + _BAR_GAP), float(_BAR_LABEL), sum(parts.values())
        canvas.text(_BAR_LABEL - 10, y + _BAR / 2 + 4, label, "tick end")
        for name, size in parts.items():
            width = space * size / total if total else 0.0
            if width:
                words = name.replace("_", " ")
                tip = f"{label}: {words}, {form(size / total)} ({as_number(size)})"
                canvas.rect(x, y, max(width - 1, 0.5), _BAR, f"part part-{name}", tip)
                if width >= _NARROWEST_LABEL:
                    canvas.text(x + width / 2, y + _BAR / 2 + 4, form(size / total), f"inside on-{name}")
            x += width
    return canvas.markup()


class _Canvas:
    """An SVG element that is being drawn; all text is escaped by the XML library."""

    def __init__(self, title: str, description: str, height: float) -> None:
        self._root = ET.Element("svg", {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img", "class": "chart"})
        ET.SubElement(self._root, "title").text = title
        ET.SubElement(self._root, "desc").text = description

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        ET.SubElement(self._root, "line", {name: _round(value) for name, value in places.items()} | {"class": kind})

    def polyline(self, points: Sequence[tuple[float, float]], kind: str, strength: float = 1.0) -> None:
        places = " ".join(f"{_round(x)},{_round(y)}" for x, y in points)
        ET.SubElement(self._root, "polyline", {"points": places, "class": kind, "opacity": f"{strength:g}"})

    def dot(self, x: float, y: float, kind: str, tip: str, radius: float = 3, strength: float = 1.0) -> None:
        values = {"cx": _round(x), "cy": _round(y), "r": f"{radius:g}", "class": kind, "opacity": f"{strength:g}"}
        ET.SubElement(ET.SubElement(self._root, "circle", values), "title").text = tip

    def rect(self, x: float, y: float, width: float, height: float, kind: str, tip: str) -> None:
        places = {"x": x, "y": y, "width": width, "height": height}
        values = {name: _round(value) for name, value in places.items()} | {"class": kind}
        ET.SubElement(ET.SubElement(self._root, "rect", values), "title").text = tip

    def text(self, x: float, y: float, text: str, kind: str) -> None:
        ET.SubElement(self._root, "text", {"x": _round(x), "y": _round(y), "class": kind}).text = text

    def markup(self) -> str:
        return ET.tostring(self._root, encoding="unicode", short_empty_elements=False)


class _Frame(_Canvas):
    """A canvas with a vertical scale, its grid, and places along the horizontal axis."""

    def __init__(
        self, title: str, description: str, ticks: Sequence[float], form: Format, count: int, axis: str, ends: bool
    ) -> None:
        super().__init__(title, description, HEIGHT)
        self._low, self._high, self._count = ticks[0], ticks[-1], count
        self._inset = 0.0 if ends and count > 1 else (WIDTH - _LEFT - _RIGHT) / (2 * count)
        self.floor = self.y(self._low)
        for tick in ticks:
            self.line(_LEFT, self.y(tick), WIDTH - _RIGHT, self.y(tick), "grid")
            self.text(_LEFT - 8, self.y(tick) + 4, form(tick), "tick end")
        self.text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, axis, "axis")

    def x(self, place: int) -> float:
        space = WIDTH - _LEFT - _RIGHT - 2 * self._inset
        return _LEFT + self._inset + (space * place / (self._count - 1) if self._count > 1 else 0.0)

    def y(self, value: float) -> float:
        space = HEIGHT - _TOP - _BOTTOM
        return _TOP + space * (1 - (value - self._low) / (self._high - self._low))


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers that enclose a range, at least two; whole ones if asked for."""
    span = high - low if high > low else max(abs(high), 1.0) / 2
    raw = span / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9)]
    step = max(1.0, next(one for one in steps if one == int(one) or one < 1)) if whole else steps[0]
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(step * place, 10) for place in range(first, last + 1)]


def _every(count: int, most: int) -> int:
    return max(1, math.ceil(count / most))


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
