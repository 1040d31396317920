"""The templates of the report (`templates/`), rendered by jinja2. Every value is escaped unless a template says otherwise."""

from __future__ import annotations

from importlib.resources import files

import jinja2


def render(template: str, **values: object) -> str:
    """The text that a template gives.

    Args:
        template: Name of a file in `templates/`.
        values: What the template refers to; a name that is missing is an error.
    """
    return _ENVIRONMENT.get_template(template).render(**values)


def template_text(name: str) -> str:
    """A file of `templates/` as it is: a style sheet or a script."""
    return files("trl_gift.report").joinpath("templates", name).read_text(encoding="utf-8")


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; a dash if it is unknown."""
    return "–" if share is None else f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def number(value: float | None) -> str:
    """A count with marks between thousands, another number with three digits; a dash if it is unknown."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """A time for people: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("trl_gift.report"),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"percent": percent, "points": points, "number": number, "duration": duration}
