"""Pipeline and activity in one picture: each stage with its activity while a frame passes."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from hwsim.accelerator import Pipeline, Timeline
from hwsim.report import words
from hwsim.report.activity import axis, legend, strip
from hwsim.report.graph import BOX, PITCH, draw_graph
from hwsim.report.svg import drawing, integer, label, text_width

WIDTH = 1000


def draw_overview(
    pipeline: Pipeline, high_water: Mapping[str, int], lines: Timeline, title: str
) -> Markup:
    """The picture as a file of its own (an ``svg`` element with its style sheet).

    high_water: beats by FIFO name. lines: the activity to show, a row for each stage. title: one
    line above the picture.
    """
    head, margin = 64.0, 16.0
    graph = draw_graph(pipeline, high_water, top=head, left=margin)
    shapes = graph.right + 16
    x = shapes + max(text_width(words.shape(s.output)) for s in pipeline.stages) + 12
    width = WIDTH - x - margin
    last = graph.bottom - PITCH + BOX / 2
    caption = f"activity in {integer(lines.cycles)} cycles, bars: share of cycles busy or blocked"
    parts = [
        label(margin, 24, title, "l b"),
        label(margin, 46, "stages, and the most beats ever held in each FIFO", "s m"),
        label(shapes, 46, "output", "s m"),
        label(x, 46, caption, "s m"),
        *axis(lines, x, width, head + PITCH - 12, last),
        *graph.parts,
    ]
    for n, stage in enumerate(pipeline.stages):
        y = graph.middle[stage.name]
        parts.append(label(shapes, y + 4, words.shape(stage.output)))
        parts += strip(lines, n, x, y - BOX / 2 + 4, width, BOX - 8)
    bottom = graph.bottom + 30
    parts += legend(x, bottom - 4)
    return drawing(parts, WIDTH, bottom + 10, title, alone=True)
