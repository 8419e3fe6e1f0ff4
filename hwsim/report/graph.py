"""The pipeline as a picture: one row per stage, FIFOs between them, shortcuts at the side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from hwsim.accelerator import Fifo, Pipeline, Stage
from hwsim.report import words
from hwsim.report.svg import box, drawing, el, integer, label, line, text_width

PITCH, BOX = 56, 35
LANE = 30
"""Distance between two shortcuts that run side by side."""
WIDTH = 1140


@dataclass(frozen=True)
class Graph:
    """The drawn graph: its parts, the height of each row's middle, where it ends on the right."""

    parts: list[Markup]
    middle: dict[str, float]
    right: float
    bottom: float


def draw_graph(
    pipeline: Pipeline, high_water: Mapping[str, int], top: float = 0, left: float = 4
) -> Graph:
    """Stages as boxes from ``top`` down, linked by FIFOs; high_water: beats by FIFO name."""
    order = [pipeline.source, *(stage.name for stage in pipeline.stages), pipeline.sink]
    row = {name: n for n, name in enumerate(order)}
    middle = {name: top + PITCH * n + BOX / 2 for name, n in row.items()}
    half = dict.fromkeys(order, BOX / 2) | {pipeline.source: 13.0, pipeline.sink: 13.0}
    straight, shortcuts = _split(pipeline, row)
    lane_of = _lanes([(row[f.producer], row[f.consumer]) for f in shortcuts])
    x = left + LANE * (max(lane_of, default=-1) + 1) + (12 if shortcuts else 0)
    texts = {stage.name: stage.words for stage in pipeline.stages}
    width = max(
        [260.0]
        + [text_width(text, 11) + 24 for text in texts.values()]
        + [text_width(name, 13) + 24 for name in texts]
    )
    parts: list[Markup] = []
    spans = [(middle[f.producer] + 7, middle[f.consumer] - 7) for f in shortcuts]
    for fifo, span, lane in zip(shortcuts, spans, lane_of, strict=True):
        outer = [s for s, other in zip(spans, lane_of, strict=True) if other > lane]
        parts += _shortcut(x, x - LANE * (lane + 1) + 6, span)
        parts.append(_shortcut_label(fifo, high_water, x - LANE * (lane + 1) + 6, span, outer))
    for fifo in straight:
        parts += _link(fifo, high_water, middle, half, x + 22)
    ends = (
        (pipeline.source, "input", pipeline.input),
        (pipeline.sink, "output", pipeline.output),
    )
    for name, end, stream in ends:
        text = f"{end}  {words.shape(stream)}"
        parts.append(box(x, middle[name] - 13, width, 26, "card", rx=13))
        parts.append(label(x + 16, middle[name] + 4, text, "b"))
    for stage in pipeline.stages:
        parts += _box(stage, texts[stage.name], x, middle[stage.name], width)
    return Graph(parts, middle, x + width, middle[pipeline.sink] + BOX / 2)


def _split(pipeline: Pipeline, row: Mapping[str, int]) -> tuple[list[Fifo], list[Fifo]]:
    """FIFOs between neighbouring rows, one each, and all others."""
    straight: dict[int, Fifo] = {}
    shortcuts = []
    for fifo in pipeline.fifos:
        at = row[fifo.producer]
        if row[fifo.consumer] == at + 1 and at not in straight:
            straight[at] = fifo
        else:
            shortcuts.append(fifo)
    return list(straight.values()), shortcuts


def _lanes(spans: list[tuple[int, int]]) -> list[int]:
    """The innermost free lane for each span of rows; short ones choose first."""
    taken: list[list[tuple[int, int]]] = []
    lanes = [0] * len(spans)
    for n in sorted(range(len(spans)), key=lambda n: (spans[n][1] - spans[n][0], spans[n])):
        a, b = spans[n]
        free = [all(b <= c or d <= a for c, d in others) for others in taken]
        lanes[n] = free.index(True) if True in free else len(taken)
        if lanes[n] == len(taken):
            taken.append([])
        taken[lanes[n]].append((a, b))
    return lanes


def _arrow(x: float, y: float, *, right: bool = False) -> Markup:
    d = "l-7 -3.5v7z" if right else "l-3.5 -7h7z"
    return el("path", d=f"M{x:.1f} {y:.1f}{d}", class_="tip")


def _link(
    fifo: Fifo,
    high_water: Mapping[str, int],
    middle: Mapping[str, float],
    half: Mapping[str, float],
    x: float,
) -> list[Markup]:
    """A FIFO straight down, with a gauge of how full it gets; half: half the height of boxes."""
    y1 = middle[fifo.producer] + half[fifo.producer]
    y2 = middle[fifo.consumer] - half[fifo.consumer]
    y = (middle[fifo.producer] + middle[fifo.consumer]) / 2
    full = 34 * high_water[fifo.name] / fifo.depth
    return [
        line(x, y1, x, y2 - 5, "edge"),
        _arrow(x, y2),
        box(x + 12, y - 3.5, 34, 7, "gauge"),
        box(x + 12, y - 3.5, full, 7, "f1"),
        label(x + 53, y + 3.5, f"{high_water[fifo.name]} of {fifo.depth}", "s m n"),
    ]


def _shortcut(x: float, lane: float, span: tuple[float, float]) -> list[Markup]:
    """A FIFO around other stages, at the left of the boxes."""
    y1, y2 = span
    path = (
        f"M{x:.1f} {y1:.1f}H{lane + 8:.1f}Q{lane:.1f} {y1:.1f} {lane:.1f} {y1 + 8:.1f}"
        f"V{y2 - 8:.1f}Q{lane:.1f} {y2:.1f} {lane + 8:.1f} {y2:.1f}H{x - 5:.1f}"
    )
    return [el("path", d=path, class_="edge"), _arrow(x, y2, right=True)]


def _shortcut_label(
    fifo: Fifo,
    high_water: Mapping[str, int],
    lane: float,
    span: tuple[float, float],
    outer: Sequence[tuple[float, float]],
) -> Markup:
    """The FIFO's level along its lane, in the longest piece that no ``outer`` shortcut crosses."""
    crossings = sorted(y for ends in outer for y in ends if span[0] < y < span[1])
    edges = [span[0], *crossings, span[1]]
    a, b = max(pairwise(edges), key=lambda piece: piece[1] - piece[0])
    text = f"FIFO {high_water[fifo.name]} of {fifo.depth}"
    if text_width(text, 10.5) > b - a - 8:
        text = f"{high_water[fifo.name]} of {fifo.depth}"
    turned = f"translate({lane - 5:.1f} {(a + b) / 2:.1f}) rotate(-90)"
    return label(0, 0, text, "s m mid", transform=turned)


def _box(stage: Stage, text: str, x: float, y: float, width: float) -> list[Markup]:
    top = y - BOX / 2
    return [
        box(x, top, width, BOX, "card", rx=4),
        box(x, top, 6, BOX, f"f{stage.kind.colour}", rx=2),
        label(x + 14, y - 3, stage.name, "l b"),
        label(x + 14, y + 12, text, "s m"),
    ]


def draw_pipeline(
    pipeline: Pipeline, high_water: Mapping[str, int], interval_cycles: int
) -> Markup:
    """The whole picture: the graph, and beside it what each stage yields and how long it takes.

    interval_cycles: the interval between frames, which the stages' own ideal intervals are drawn
    against.
    """
    head = 30
    graph = draw_graph(pipeline, high_water, top=head)
    columns = _columns(pipeline, graph.right + 26)
    bars = columns["interval"]
    longest = max(interval_cycles, pipeline.ideal_interval)
    room = text_width(integer(longest)) + 12
    scale = max(WIDTH - bars - room, 160.0) / longest
    limit = bars + interval_cycles * scale
    low = graph.bottom - PITCH + BOX / 2
    parts = [
        label(graph.right - 4, 14, "FIFOs: most beats ever held, of depth", "s m end"),
        *(label(columns[key], 14, key, "b") for key in ("output", "lanes", "weights in")),
        label(bars, 14, "fewest cycles a frame", "b"),
        line(limit, head - 4, limit, low, "limit"),
        label(limit, low + 14, f"{integer(interval_cycles)} cycles between frames", "s m end"),
        *graph.parts,
    ]
    for stage in pipeline.stages:
        y, cycles = graph.middle[stage.name], stage.timing.ideal_interval
        slowest = "b" if cycles == pipeline.ideal_interval else ""
        parts += [
            label(columns["output"], y + 4, words.shape(stage.output)),
            label(columns["lanes"], y + 4, words.lanes(stage)),
            box(bars, y - 6, max(1.0, cycles * scale), 12, "busy"),
            label(bars + cycles * scale + 6, y + 4, integer(cycles), f"n {slowest}".strip()),
        ]
        if stage.weights is not None:
            parts.append(label(columns["weights in"], y + 4, stage.weights, "m"))
    end = bars + longest * scale + room
    return drawing(parts, end, graph.bottom + 4, "Stages and FIFOs of the pipeline")


def _columns(pipeline: Pipeline, x: float) -> dict[str, float]:
    """Where each column starts, wide enough for its longest text."""
    texts = {
        "output": [words.shape(stage.output) for stage in pipeline.stages],
        "lanes": [words.lanes(stage) for stage in pipeline.stages] + ["lanes"],
        "weights in": ["weights in"],
    }
    at = {}
    for key, values in texts.items():
        at[key] = x
        x += max(text_width(value) for value in values) + 18
    return {**at, "interval": x}
