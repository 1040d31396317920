"""The pictures of the page as plain SVG, with a background of their own so that light and dark pages show them alike."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from experiments.intervals import Difference, signed

_INK, _FAINT, _COLOURS = "#1f2328", "#8c959f", ("#0969da", "#9a6700", "#1a7f37")
_LABEL, _PLOT, _ROW, _TOP = 170, 460, 26, 24
_PANEL, _HEIGHT, _MARGIN = 360, 220, 46


def differences(title: str, rows: Sequence[tuple[str, Difference]]) -> str:
    """Differences in points, one below the other, with their intervals and a line at zero.

    Args:
        title: What is drawn.
        rows: Label and difference; differences are shares, from -1 to 1.
    """
    reach = max(0.01, *(abs(bound) for _, one in rows for bound in (one.low, one.high))) * 1.08

    def x(value: float) -> float:
        return _LABEL + _PLOT * (value + reach) / (2 * reach)

    parts = []
    height = _TOP + _ROW * len(rows) + 34
    parts.append(_line(x(0), _TOP - 6, x(0), height - 28, _FAINT))
    for place, (label, one) in enumerate(rows):
        y = _TOP + _ROW * (place + 0.5)
        colour = {"helps": _COLOURS[2], "harms": "#cf222e"}.get(one.finding, _INK)
        parts.append(_text(_LABEL - 12, y + 4, label, "end"))
        parts.append(_line(x(one.low), y, x(one.high), y, colour, 2))
        parts.append(f'<circle cx="{x(one.mean):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')
        parts.append(_text(_LABEL + _PLOT + 12, y + 4, signed(100 * one.mean), "start", colour))
    for value in (-reach / 1.08, 0.0, reach / 1.08):
        parts.append(_text(x(value), height - 12, signed(100 * value) if value else "0", "middle", _FAINT))
    return _svg(title, _LABEL + _PLOT + 70, height, parts)


def lines(title: str, panels: Sequence[tuple[str, dict[str, Sequence[float | None]]]]) -> str:
    """Panels side by side, each with lines over the steps 0, 1, 2, ..., from zero.

    Args:
        title: What is drawn.
        panels: For each its title, and the values of each line by its name; None leaves a gap.
    """
    parts = []
    for number, (heading, series) in enumerate(panels):
        parts += _panel(number * _PANEL + _MARGIN, heading, series)
    for place_of, (name, colour) in enumerate(zip(panels[0][1], _COLOURS, strict=False)):
        parts.append(_text(_MARGIN + 130 * place_of, _HEIGHT + 46, name, "start", colour))
    parts.append(_text(_PANEL * len(panels) - 20, _HEIGHT + 46, "step of the chain", "end", _FAINT))
    return _svg(title, _PANEL * len(panels), _HEIGHT + 60, parts)


def _panel(left: float, heading: str, series: dict[str, Sequence[float | None]]) -> list[str]:
    width, floor, top = _PANEL - _MARGIN - 20, _HEIGHT, 44
    highest = max([0.01, *(value for values in series.values() for value in values if value is not None)])
    steps = max(len(values) for values in series.values())

    def x(step: int) -> float:
        return left + width * step / max(steps - 1, 1)

    parts = [
        _text(left + width / 2, 26, heading, "middle"),
        _line(left, floor, left + width, floor, _FAINT),
        _text(left - 8, floor + 4, "0", "end", _FAINT),
        _text(left - 8, top + 4, f"{highest:.2f}" if highest < 10 else f"{highest:.0f}", "end", _FAINT),
        *(_text(x(step), floor + 18, str(step), "middle", _FAINT) for step in range(steps)),
    ]
    for colour, values in zip(_COLOURS, series.values(), strict=False):
        points = [
            f"{x(step):.1f},{floor - (floor - top) * value / highest:.1f}"
            for step, value in enumerate(values)
            if value is not None
        ]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {places} stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="ui-sans-serif, system-ui, sans-serif" font-size="13" role="img" aria-label="{escape(title)}">'
    )
    background = f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#ffffff"/>'
    return "\n".join([head, background, *parts, "</svg>\n"])
