"""The activity of stages as a picture: one row per stage, the share of each bin as height."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from hwsim.accelerator import Timeline
from hwsim.report.svg import box, drawing, el, integer, label, line, percent, text_width, ticks

ROW, BAND = 24, 17


def strip(
    lines: Timeline, stage: int, x: float, y: float, width: float, height: float
) -> list[Markup]:
    """The activity of one stage in the rectangle at (x, y): blue busy, orange blocked above it."""
    spans = lines.busy[stage] + lines.starved[stage] + lines.blocked[stage]
    # What happens in few cycles of a bin still gets a visible height.
    least = 1 / height
    edges = x + width * np.concatenate(([0], np.cumsum(spans))) / lines.cycles
    busy = np.where(lines.busy[stage] > 0, np.maximum(lines.busy[stage] / spans, least), 0)
    top = (lines.busy[stage] + lines.blocked[stage]) / spans
    top = np.where(lines.blocked[stage] > 0, np.clip(top, busy + least, 1), busy)
    parts = [box(x, y, width, height, "starved")]
    for share, class_ in ((top, "blocked"), (busy, "busy")):
        # Blocked is drawn first from the floor, so that busy hides its lower part.
        if class_ == "busy" or lines.blocked[stage].any():
            parts.append(el("path", d=_steps(edges, share, y, height), class_=class_))
    return parts


def _steps(edges: np.ndarray, share: np.ndarray, y: float, height: float) -> str:
    """Outline of a step curve over the floor ``y + height``; bins of equal height share a step."""
    floor = y + height
    path = [f"M{edges[0]:.1f} {floor:.1f}"]
    level = None
    for left, value in zip(edges, share, strict=False):
        at = f"{floor - height * value:.1f}"
        if at != level:
            path.append(f"H{left:.1f}V{at}")
            level = at
    path.append(f"H{edges[-1]:.1f}V{floor:.1f}Z")
    return "".join(path)


def axis(lines: Timeline, x: float, width: float, top: float, bottom: float) -> list[Markup]:
    """Vertical grid and tick labels below ``bottom``; cycles count from the span's first."""
    parts = []
    for value in ticks(0, lines.cycles, 8):
        at = x + width * value / lines.cycles
        parts.append(line(at, top, at, bottom + 4, "grid"))
        parts.append(label(at, bottom + 17, integer(value), "s m mid n"))
    parts.append(label(x + width / 2, bottom + 33, "cycles", "s m mid"))
    return parts


def legend(x: float, y: float) -> list[Markup]:
    """What the three colours mean."""
    parts = []
    for class_, text in (
        ("busy", "busy: a step starts"),
        ("starved", "starved: waits for input"),
        ("blocked", "blocked: waits for room in a FIFO"),
    ):
        parts += [box(x, y - 9, 12, 10, class_), label(x + 17, y, text, "s m")]
        x += 17 + text_width(text, 10.5) + 18
    return parts


def draw_timeline(lines: Timeline, width: float = 1120) -> Markup:
    """The whole picture: a row per stage, and its shares of the span at the right."""
    left = max(text_width(name) for name in lines.names) + 10
    shares = ("busy", "starved", "blocked")
    columns = [width - 62 * n for n in (2, 1, 0)]
    right = width - 62 * 3 - 6
    top = 28
    bottom = top + ROW * len(lines.names)
    parts = [*legend(left, 12), *axis(lines, left, right - left, top - 4, bottom)]
    parts += [label(x, 14, name, "s m end") for name, x in zip(shares, columns, strict=True)]
    for n, name in enumerate(lines.names):
        y = top + ROW * n + (ROW - BAND) / 2
        total = [int(getattr(lines, key)[n].sum()) for key in shares]
        tip = f"{name}: " + ", ".join(
            f"{key} {integer(value)} cycles" for key, value in zip(shares, total, strict=True)
        )
        row = [
            el("title", tip),
            label(left - 8, y + BAND / 2 + 4, name, "end"),
            *strip(lines, n, left, y, right - left, BAND),
        ]
        row += [
            label(x, y + BAND / 2 + 4, percent(value / lines.cycles, 1), "s n end")
            for value, x in zip(total, columns, strict=True)
        ]
        parts.append(el("g", *row))
    return drawing(parts, width, bottom + 40, "Activity of every stage over time")
