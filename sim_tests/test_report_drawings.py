"""Drawings: every label inside the picture, none on top of another, curves as high as they say."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from support.report_folder import balanced, four_layers, resnet

from hwsim.accelerator import DeadlockError, Pipeline, build_pipeline, simulate, timeline
from hwsim.report.activity import draw_timeline
from hwsim.report.charts import Bar, Curve, bars, curves
from hwsim.report.graph import draw_pipeline
from hwsim.report.svg import integer, percent, quantity, text_width, ticks
from hwsim.testing import Limits, random_folding, random_network

SVG = "{http://www.w3.org/2000/svg}"
SIZES = {"s": 10.5, "l": 13.0}

Box = tuple[float, float, float, float, str]


def boxes(picture: str) -> tuple[list[Box], float, float]:
    """Room of every label (left, top, right, bottom, text), and the picture's width and height."""
    root = ElementTree.fromstring(picture)
    found: list[Box] = []

    def walk(node: ElementTree.Element, dx: float, dy: float) -> None:
        move = re.fullmatch(r"translate\((\S+) (\S+)\)", node.get("transform", ""))
        if move:
            dx, dy = dx + float(move[1]), dy + float(move[2])
        if node.tag == SVG + "text":
            found.append(_room(node, dx, dy))
        for child in node:
            walk(child, dx, dy)

    walk(root, 0, 0)
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    return found, width, height


def _room(node: ElementTree.Element, dx: float, dy: float) -> Box:
    classes = node.attrib["class"].split()
    size = next((SIZES[c] for c in classes if c in SIZES), 12.0)
    text = node.text or ""
    long = text_width(text, size) * 0.93
    before = long if "end" in classes else long / 2 if "mid" in classes else 0.0
    turned = re.fullmatch(r"translate\((\S+) (\S+)\) rotate\(-90\)", node.get("transform", ""))
    if turned:
        x, y = float(turned[1]), float(turned[2])
        return x - size * 0.8, y - (long - before), x + size * 0.2, y + before, text
    x, y = float(node.attrib["x"]) + dx, float(node.attrib["y"]) + dy
    return x - before, y - size * 0.8, x - before + long, y + size * 0.2, text


def check_labels(picture: str) -> None:
    labels, width, height = boxes(picture)
    for left, top, right, bottom, text in labels:
        assert left >= 0, text
        assert right <= width, text
        assert top >= 0, text
        assert bottom <= height, text
    for a, b in combinations(labels, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (a[4], b[4])


def draw(pipeline: Pipeline) -> list[str]:
    report = simulate(pipeline, 3)
    high_water = {fifo.name: fifo.high_water for fifo in report.fifos}
    return [
        draw_pipeline(pipeline, high_water, report.frame_interval_cycles),
        draw_timeline(timeline(pipeline, 1)),
    ]


@pytest.mark.parametrize("seed", range(25))
def test_labels_of_random_networks_keep_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, Limits(blocks=5))
    try:
        pictures = draw(build_pipeline(network, random_folding(network, rng), 64))
    except DeadlockError:
        return
    for picture in pictures:
        check_labels(picture)


def test_labels_of_shipped_shapes_keep_apart() -> None:
    shapes = (
        balanced(four_layers(), 1024),
        balanced(resnet(size=16, channels=(16, 32, 64)), 4096, depth=2048),
    )
    for pipeline in shapes:
        for picture in draw(pipeline):
            check_labels(picture)


def test_every_stage_and_fifo_is_drawn_once() -> None:
    pipeline = build_pipeline(resnet(size=8, channels=(4, 8), blocks=2), depths=512)
    picture, _ = draw(pipeline)
    texts = [text for *_, text in boxes(picture)[0]]
    for stage in pipeline.stages:
        assert texts.count(stage.name) == 1
    levels = [text for text in texts if re.fullmatch(r"(FIFO )?\d+ of 512", text)]
    assert len(levels) == len(pipeline.fifos)


def test_activity_is_drawn_to_scale() -> None:
    lines = timeline(balanced(four_layers(), 1024), 2, bins=40)
    root = ElementTree.fromstring(draw_timeline(lines))
    for n, row in enumerate(
        g for g in root.findall(SVG + "g") if g.find(SVG + "title") is not None
    ):
        floor = next(e for e in row if e.get("class") == "starved")
        y, height = float(floor.attrib["y"]), float(floor.attrib["height"])
        x, width = float(floor.attrib["x"]), float(floor.attrib["width"])
        path = next(e for e in row if e.get("class") == "busy").attrib["d"]
        area = _area(path, y + height) / height / width * lines.cycles
        busy = int(lines.busy[n].sum())
        assert area == pytest.approx(busy, rel=0.15, abs=0.003 * lines.cycles * 17)
        assert x > 0


def _area(path: str, floor: float) -> float:
    """Area between a step curve and its floor."""
    area, level = 0.0, floor
    x = float(path[1:].split()[0])
    for command, value in re.findall(r"([HV])([\d.]+)", path):
        if command == "H":
            area += (float(value) - x) * (floor - level)
            x = float(value)
        else:
            level = float(value)
    return area


def test_bars_and_curves() -> None:
    rows = [
        Bar(f"stage{n}", [("f0", 10.0**n, "a"), ("f1", 1.0, "b")], "1,000 bits") for n in range(5)
    ]
    keys = dict.fromkeys(("weight", "window", "fifo", "accumulator", "constants"), "f0")
    check_labels(bars(rows, "bits", keys))
    check_labels(bars([Bar("nothing", [("f0", 0.0, "zero")], "0 bits")], "bits"))
    points = [(n, 1 / n) for n in range(1, 40)]
    check_labels(curves([Curve("this network", "k0", points)], "Loss", "loss"))
    check_labels(curves([Curve("one epoch", "k1", [(1, 0.5)])], "Loss", "loss"))


def test_numbers() -> None:
    assert ticks(0, 1000, 5) == [0, 200, 400, 600, 800, 1000]
    assert ticks(0, 3, 8) == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert ticks(7, 7) == [7]
    assert integer(1234567.4) == "1,234,567"
    assert percent(0.98611) == "98.61\u00a0%"
    assert percent(None) == "–"
    assert quantity(1.234e-9, "J") == "1.23\u00a0nJ"
    assert quantity(23.5e-6, "s") == "23.5\u00a0µs"
    assert quantity(0.0, "J") == "0\u00a0pJ"
    assert quantity(5e-13, "J") == "0.500\u00a0pJ"
