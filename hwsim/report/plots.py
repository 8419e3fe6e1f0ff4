"""Measured points over two scales: curves with intervals, and bars with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from hwsim.report.charts import BAR, ROW, legend_rows
from hwsim.report.svg import drawing, el, label, line, text_width, ticks

FILLS = ("f0", "f3", "f2", "f4", "f5")
STROKES = ("k0", "k1", "k2", "k3", "k4")
"""Colours of the first, second, ... series: areas and lines."""


@dataclass(frozen=True)
class Series:
    """One line of a plot. color: index into FILLS and STROKES.

    points: (x, y). band: (x, low, high), drawn as an area. least: (x, y) of a thin dashed line.
    chosen: the point that is set off by a ring.
    """

    name: str
    color: int
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = field(default_factory=tuple)
    least: Sequence[tuple[float, float]] = field(default_factory=tuple)
    chosen: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Scale:
    """Values to pixels along one axis."""

    lo: float
    hi: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        return self.first + (self.last - self.first) * (value - self.lo) / (self.hi - self.lo)


def decimals(values: Sequence[float]) -> int:
    """Decimals that ticks need so that no two read alike."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    return max(0, len(f"{step:.6f}".rstrip("0").partition(".")[2]))


def plot(
    series: Sequence[Series],
    title: str,
    x_title: str,
    y_title: str,
    *,
    level: tuple[float, str] | None = None,
    y_least: float | None = None,
    y_most: float | None = None,
    width: float = 540,
    height: float = 330,
) -> Markup:
    """Curves over linear scales.

    level: a dashed horizontal line and what it is. y_least: where the scale begins, what is below
    is cut off. y_most: where it ends, when no value can be above.
    """
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in (*s.points, *s.least)]
    ys += [y for s in series for _, *ends in s.band for y in ends]
    ys += [level[0]] if level else []
    pad_x, pad_y = _pad(xs), _pad(ys)
    keys, bottom_of_keys = legend_rows(
        {s.name: FILLS[s.color] for s in series if s.name}, 52, width
    )
    top = 22 + bottom_of_keys if keys else 30.0
    left, right, bottom = 52.0, width - 14, height - 40
    lo, hi = min(ys), max(ys)
    if y_least is not None and lo < y_least < hi:
        lo, pad_y = y_least, 0.05 * (hi - y_least)
    x = _Scale(min(xs) - pad_x, max(xs) + pad_x, left, right)
    y = _Scale(lo - pad_y, hi + pad_y, bottom, top)
    parts = [label(4, 14, y_title, "b"), el("g", *keys, transform="translate(0 22)")]
    parts += _axes(x, y, x_title, y_most)
    if level:
        at = y(level[0])
        parts.append(line(left, at, right, at, "limit"))
        start = right - text_width(level[1], 10.5)
        parts.append(line(start - 30, 10, start - 6, 10, "limit"))
        parts.append(label(start, 14, level[1], "s m"))
    drawn = [part for s in series for part in _curve(s, x, y)]
    for s in series:
        if s.chosen:
            a, b = s.chosen
            drawn.append(_dot(x(a), y(b), 5.5, f"chosen {STROKES[s.color]}"))
    parts.append(_cut(drawn, left, top, right, bottom))
    return drawing(parts, width, height, title)


def _cut(parts: Sequence[Markup], left: float, top: float, right: float, bottom: float) -> Markup:
    """What lies in the rectangle; an inner picture hides what lies outside of it."""
    width, height = right - left, bottom - top
    view = f"{left:.1f} {top:.1f} {width:.1f} {height:.1f}"
    return el("svg", *parts, x=left, y=top, width=width, height=height, viewBox=view)


def _pad(values: Sequence[float]) -> float:
    return (max(values) - min(values)) * 0.05 or 0.01


def _axes(x: _Scale, y: _Scale, x_title: str, y_most: float | None) -> list[Markup]:
    left, right, bottom, top = x.first, x.last, y.first, y.last
    parts = []
    values = [v for v in ticks(y.lo, y.hi, 6) if y_most is None or v <= y_most]
    for value in values:
        parts.append(line(left, y(value), right, y(value), "grid"))
        parts.append(label(left - 6, y(value) + 4, f"{value:.{decimals(values)}f}", "s m end n"))
    values = ticks(x.lo, x.hi, 7)
    for value in values:
        parts.append(line(x(value), top, x(value), bottom + 4, "grid"))
        parts.append(label(x(value), bottom + 17, f"{value:.{decimals(values)}f}", "s m mid n"))
    parts.append(label((left + right) / 2, bottom + 34, x_title, "s m mid"))
    parts.append(line(left, bottom, right, bottom, "rule"))
    return parts


def _curve(s: Series, x: _Scale, y: _Scale) -> list[Markup]:
    parts = []
    if s.band:
        upper = [(x(a), y(high)) for a, _, high in s.band]
        lower = [(x(a), y(low)) for a, low, _ in reversed(s.band)]
        parts.append(el("path", d=_path([*upper, *lower]) + "Z", class_=f"band {FILLS[s.color]}"))
    if s.least:
        d = _path([(x(a), y(b)) for a, b in s.least])
        parts.append(el("path", d=d, class_=f"curve thin dashed {STROKES[s.color]}"))
    d = _path([(x(a), y(b)) for a, b in s.points])
    parts.append(el("path", d=d, class_=f"curve {STROKES[s.color]}"))
    parts += [_dot(x(a), y(b), 3, f"dot {FILLS[s.color]}") for a, b in s.points]
    return parts


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)


def _dot(x: float, y: float, radius: float, class_: str) -> Markup:
    """A circle, drawn as a rounded rectangle."""
    return el(
        "rect", x=x - radius, y=y - radius, width=2 * radius, height=2 * radius, rx=radius,
        class_=class_,
    )  # fmt: skip


@dataclass(frozen=True)
class Whisker:
    """One bar: ``value`` with its interval low..high, and ``text`` at its end."""

    name: str
    value: float
    low: float
    high: float
    text: str


def whiskers(rows: Sequence[Whisker], title: str, class_: str = "f0", width: float = 540) -> Markup:
    """Horizontal bars with intervals, from a common zero."""
    left = max(text_width(row.name) for row in rows) + 10
    right = width - max(text_width(row.text) for row in rows) - 8
    lo = min(0.0, *(row.low for row in rows))
    hi = max(0.0, *(row.high for row in rows)) or 1.0
    x = _Scale(lo, hi, left, right)
    parts = []
    for n, row in enumerate(rows):
        y, a, b = 2.0 + ROW * n, *sorted((x(0), x(row.value)))
        middle = y + BAR / 2
        ends = x(row.low), x(row.high)
        parts.append(
            el(
                "g",
                label(left - 8, y + 11, row.name, "end"),
                el("rect", x=a, y=y, width=b - a, height=float(BAR), class_=class_),
                line(ends[0], middle, ends[1], middle, "whisker"),
                *(line(end, middle - 3, end, middle + 3, "whisker") for end in ends),
                label(width, y + 11, row.text, "n end"),
            )
        )
    parts.append(line(x(0), 0, x(0), 2 + ROW * len(rows) - 6, "rule"))
    return drawing(parts, width, 2 + ROW * len(rows), title)


@dataclass(frozen=True)
class Pin:
    """One row: a dot at ``value``, and ``text`` at its end."""

    name: str
    value: float
    text: str


def pins(
    rows: Sequence[Pin],
    title: str,
    x_title: str,
    *,
    start: float,
    mark: tuple[float, str],
    width: float = 540,
) -> Markup:
    """Horizontal pins from ``start`` to values; mark: a dashed vertical line and what it is."""
    left = max(text_width(row.name) for row in rows) + 10
    right = width - max(text_width(row.text) for row in rows) - 8
    ends = [start, mark[0], *(row.value for row in rows)]
    pad = _pad(ends)
    x = _Scale(min(ends) - pad, max(ends) + pad, left, right)
    top, bottom = 22.0, 22.0 + ROW * len(rows)
    half = text_width(mark[1], 10.5) / 2
    at = min(max(x(mark[0]), left + half), width - half)
    parts = [label(at, 12, mark[1], "s m mid")]
    values = ticks(x.lo, x.hi, 6)
    for value in values:
        parts.append(line(x(value), top, x(value), bottom + 4, "grid"))
        parts.append(label(x(value), bottom + 17, f"{value:.{decimals(values)}f}", "s m mid n"))
    parts.append(line(x(mark[0]), top, x(mark[0]), bottom, "limit"))
    for n, row in enumerate(rows):
        y = top + ROW * n + ROW / 2
        parts.append(
            el(
                "g",
                label(left - 8, y + 4, row.name, "end"),
                line(x(start), y, x(row.value), y, f"curve {STROKES[0]}"),
                _dot(x(row.value), y, 4, f"dot {FILLS[0]}"),
                label(width, y + 4, row.text, "n end"),
            )
        )
    parts.append(line(x(start), top, x(start), bottom, "rule"))
    parts.append(label((left + right) / 2, bottom + 34, x_title, "s m mid"))
    return drawing(parts, width, bottom + 40, title)
