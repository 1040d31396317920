"""Cards are Markdown templates (`templates/*.md`), rendered by jinja2; this holds what both kinds of cards share.

In a template, `{% filter paragraph %}` joins the lines of a paragraph, so that its parts can stand on lines of their own.
"""

from __future__ import annotations

import jinja2

from trl_gift.common.words import plural

# The form that TRL's trainers have in `_paper`.
PAPER = {
    "title": "GiFT: Gibbs Fine-Tuning for Code Generation",
    "id": "2502.11466",
    "citation": """@inproceedings{li-etal-2025-gift,
  title     = {{GiFT}: {G}ibbs Fine-Tuning for Code Generation},
  author    = {Li, Haochen and Feng, Wanjin and Zhou, Xin and Shen, Zhiqi},
  booktitle = {Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics
               (Volume 1: Long Papers)},
  year      = {2025},
  url       = {https://aclanthology.org/2025.acl-long.599/}
}""",
}


def render(template: str, **values: object) -> str:
    """The card that a template gives.

    Args:
        template: Name of a file in `templates/`.
        values: What the template refers to; a name that is missing is an error.
    """
    return _ENVIRONMENT.get_template(template).render(paper=PAPER, **values)


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{value:.1%}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}"


def _link(name: str, kind: str = "") -> str:
    return f"[{name}](https://huggingface.co/{kind}{name})"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _fence(text: str, language: str) -> str:
    """A block of code, with marks that are longer than any in the text: prompts of chat models hold blocks."""
    marks = "```"
    while marks in text:
        marks += "`"
    return f"{marks}{language}\n{text.strip()}\n{marks}"


def _python_literal(text: str) -> str:
    """A Python literal of the text that reads well."""
    body = text.replace("\\", "\\\\").replace("\r", "\\r").replace("'''", "\\'\\'\\'")
    if body.endswith("'"):
        body = body[:-1] + "\\'"
    return f"'''{body}'''"


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("trl_gift.hub"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters |= {
    "cell": _cell,
    "fence": _fence,
    "link": _link,
    "number": lambda value: f"{value:g}",
    "paragraph": lambda text: " ".join(text.split()),
    "percent": percent,
    "plural": plural,
    "points": points,
    "python_literal": _python_literal,
    "thousands": lambda value: f"{value:,}",
}
