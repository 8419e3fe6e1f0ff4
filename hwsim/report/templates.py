"""The templates of this package, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hwsim.report import svg

_STYLES = ("chart.css", "plots.css", "style.css")


def render(template: str, **values: Any) -> Markup:
    """A template of this package, filled in with ``values`` alone."""
    return Markup(_templates().get_template(template).render(**values))


def render_page(title: str, version: str, parts: Sequence[tuple[str, str, Markup]]) -> str:
    """A whole page that needs no other file. parts: (key, heading or "", body) of each section."""
    style = "".join((svg.HERE / name).read_text(encoding="utf-8") for name in _STYLES)
    return render("report.html", title=title, version=version, parts=parts, style=Markup(style))


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(svg.HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(integer=svg.integer, percent=svg.percent, quantity=svg.quantity)
    return environment
