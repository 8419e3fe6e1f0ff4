"""SVG as text: elements, scales and number formats that all drawings share.

Drawings use the classes of ``chart.css`` for colours and type, so that one drawing serves light
and dark pages and paper alike. Sizes are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

HERE = Path(__file__).parent


def el(tag: str, *children: Markup | str, **attributes: object) -> Markup:
    """One element; text and attribute values are escaped, ``class_`` becomes ``class``.

    Underscores inside attribute names become hyphens, floats are rounded to 2 decimals, and
    attributes that are None are left out.
    """
    text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(str(escape(child)) for child in children)
    return Markup(f"<{tag}{text}>{inner}</{tag}>" if inner else f"<{tag}{text}/>")


def _plain(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def group(parts: Sequence[Markup], **attributes: object) -> Markup:
    return el("g", *parts, **attributes)


def label(x: float, y: float, text: str, class_: str = "", **attributes: object) -> Markup:
    """Text whose baseline starts at (x, y); see ``chart.css`` for the classes."""
    return el("text", text, x=float(x), y=float(y), class_=f"t {class_}".strip(), **attributes)


def box(x: float, y: float, width: float, height: float, class_: str, **more: object) -> Markup:
    return el(
        "rect", x=float(x), y=float(y), width=float(width), height=float(height), class_=class_,
        **more,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return el("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", class_=class_)


def drawing(
    parts: Sequence[Markup], width: float, height: float, title: str, *, alone: bool = False
) -> Markup:
    """A whole picture. alone: with its own style sheet, to be saved as a file."""
    style = [el("style", Markup((HERE / "chart.css").read_text(encoding="utf-8")))] if alone else []
    if alone:
        style.append(box(0, 0, width, height, "page"))
    return el(
        "svg",
        el("title", title),
        *style,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=math.ceil(width),
        height=math.ceil(height),
        class_="chart",
        role="img",
    )


def text_width(text: str, size: float = 12) -> float:
    """Room that ``text`` needs in any of the fonts that a reader may have; on the safe side."""
    return 0.6 * size * len(text)


def ticks(lo: float, hi: float, about: int = 6) -> list[float]:
    """Round values in ``lo..hi``, a step of 1, 2 or 5 times a power of ten apart."""
    if hi <= lo:
        return [lo]
    raw = (hi - lo) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(lo / step - 1e-9)
    return [i * step for i in range(first, math.floor(hi / step + 1e-9) + 1)]


def integer(value: float) -> str:
    """``12,345``."""
    return f"{round(value):,}"


def percent(share: float | None, digits: int = 2) -> str:
    """A fraction for people: ``98.61 %``."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"


def quantity(value: float, unit: str) -> str:
    """``value`` with an SI prefix and 3 significant digits: ``1.23 nJ``; value in ``unit``."""
    prefixes = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
    factor, prefix = next((p for p in prefixes if abs(value) >= p[0]), prefixes[-1])
    size = value / factor
    digits = max(0, 2 - math.floor(math.log10(abs(size)))) if size else 0
    return f"{size:,.{digits}f}\u00a0{prefix}{unit}"
