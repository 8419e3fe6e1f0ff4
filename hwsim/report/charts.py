"""Bars and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from hwsim.report.svg import box, drawing, el, integer, label, line, text_width, ticks

ROW, BAR = 22, 13


@dataclass(frozen=True)
class Bar:
    """One row: segments as (class, value, what it is), ``text`` at its end."""

    name: str
    segments: Sequence[tuple[str, float, str]]
    text: str

    @property
    def total(self) -> float:
        return sum(value for _, value, _ in self.segments)


def bars(
    rows: Sequence[Bar], title: str, keys: Mapping[str, str] | None = None, width: float = 540
) -> Markup:
    """Stacked horizontal bars; keys: class by name, for a legend above them."""
    left = max(text_width(row.name) for row in rows) + 10
    right = width - max(text_width(row.text) for row in rows) - 8
    longest = max(row.total for row in rows) or 1.0
    parts, top = legend_rows(keys or {}, left, width)
    for n, row in enumerate(rows):
        y, x = top + ROW * n, left
        drawn = [label(left - 8, y + 11, row.name, "end")]
        for class_, value, tip in row.segments:
            size = (right - left) * value / longest
            if value > 0:
                drawn.append(
                    el("rect", el("title", tip), x=x, y=float(y), width=size, height=BAR,
                       class_=class_)
                )  # fmt: skip
            x += size
        drawn.append(label(x + 6, y + 11, row.text, "n"))
        parts.append(el("g", *drawn))
    return drawing(parts, width, top + ROW * len(rows), title)


def legend_rows(keys: Mapping[str, str], left: float, width: float) -> tuple[list[Markup], float]:
    """A legend in as many lines as it takes, and where the rows below it may start."""
    parts: list[Markup] = []
    x, y = left, 10.0
    for name, class_ in keys.items():
        room = 17 + text_width(name, 10.5) + 14
        if x + room > width and x > left:
            x, y = left, y + 18
        parts += [box(x, y - 9, 12, 10, class_), label(x + 17, y, name, "s m")]
        x += room
    return parts, y + 14 if keys else 2


@dataclass(frozen=True)
class Curve:
    """One line of a chart: y over x. class_ colours it; without a name it has no legend."""

    name: str
    class_: str
    points: Sequence[tuple[float, float]] = field(default_factory=tuple)


def curves(
    lines: Sequence[Curve], title: str, y_title: str, width: float = 540, height: float = 250
) -> Markup:
    """Line chart over epochs."""
    xs = [x for curve in lines for x, _ in curve.points]
    ys = [y for curve in lines for _, y in curve.points]
    lo, hi = min(ys), max(ys)
    pad = (hi - lo) * 0.06 or 0.01
    lo, hi = lo - pad, hi + pad
    first, last = min(xs), max(max(xs), min(xs) + 1)
    left, right, top, bottom = 52.0, width - 12, 44.0, height - 38
    tick_values = ticks(lo, hi, 5)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - first) / (last - first),
            bottom - (bottom - top) * (y - lo) / (hi - lo),
        )

    step = tick_values[1] - tick_values[0] if len(tick_values) > 1 else 1.0
    digits = max(0, len(f"{step:.6f}".rstrip("0").partition(".")[2]))
    parts = [label(4, 14, y_title, "b")]
    fills = {"k0": "f0", "k1": "f3"}
    keys, _ = legend_rows({c.name: fills[c.class_] for c in lines if c.name}, left, width)
    parts.append(el("g", *keys, transform="translate(0 22)"))
    for value in tick_values:
        _, y = at(first, value)
        parts += [
            line(left, y, right, y, "grid"),
            label(left - 6, y + 4, f"{value:.{digits}f}", "s m end n"),
        ]
    for value in ticks(first, last, 8):
        if value == int(value):
            x, _ = at(value, lo)
            parts.append(label(x, bottom + 16, integer(value), "s m mid n"))
    parts.append(label((left + right) / 2, bottom + 32, "epoch", "s m mid"))
    parts.append(line(left, bottom, right, bottom, "rule"))
    for curve in lines:
        d = "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*point) for point in curve.points))
        parts.append(el("path", d=f"M{d}", class_=f"curve {curve.class_}"))
    return drawing(parts, width, height, title)
