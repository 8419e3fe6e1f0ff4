"""The sections of the report, in order.

A section is a function from a ``Report`` to HTML, or to None when there is nothing to show.
Other parts of hwsim add theirs with ``@section(...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yaml
from markupsafe import Markup

from hwsim.accelerator import steady_timeline, timeline
from hwsim.accelerator.energy import KINDS
from hwsim.accelerator.energy import QUANTITY as ENERGY
from hwsim.design.roles import Role
from hwsim.report import faults
from hwsim.report.activity import draw_timeline
from hwsim.report.charts import Bar, Curve, bars, curves
from hwsim.report.classes import draw_classes
from hwsim.report.experiment import Report
from hwsim.report.graph import draw_pipeline
from hwsim.report.svg import integer, percent, quantity
from hwsim.studies.statistics import share_of_images

Build = Callable[[Report], Markup | None]


@dataclass(frozen=True)
class Section:
    """key: anchor in the page. title: heading; a section without one stands on its own."""

    key: str
    title: str
    build: Build


SECTIONS: list[Section] = []


def section(key: str, title: str) -> Callable[[Build], Build]:
    """Add a section at the end of the report, or in the place of the one with that ``key``."""

    def add(build: Build) -> Build:
        new = Section(key, title, build)
        place = next((n for n, old in enumerate(SECTIONS) if old.key == key), len(SECTIONS))
        SECTIONS[place : place + 1] = [new]
        return build

    return add


ROLE_CLASS: dict[str, str] = {
    role: f"f{role.record.colour}" for role in sorted(Role, key=lambda role: role.record.colour)
}
KIND_CLASS = {**ROLE_CLASS, "logic": "f5", "leakage": "f6"}


@section("headline", "")
def headline(report: Report) -> Markup:
    bits = sum(memory.cells for memory in report.result.accelerator.memories)
    return report.render("headline.html", bits=bits)


@section("accuracy", "Accuracy, from floating point to Verilog")
def accuracy(report: Report) -> Markup:
    found = report.result.accuracy
    right = round(found.integer * found.test_images)
    return report.render(
        "accuracy.html",
        interval=share_of_images(right, found.test_images) if found.test_images else None,
        classes=draw_classes(report.result.confusion),
    )


@section("pipeline", "The pipeline")
def pipeline(report: Report) -> Markup:
    high_water = {fifo.name: fifo.high_water_beats for fifo in report.result.accelerator.fifos}
    interval = report.result.accelerator.cycles.frame_interval_cycles
    picture = draw_pipeline(report.pipeline, high_water, interval)
    return report.render("pipeline.html", picture=picture)


@section("timeline", "Who works when")
def activity(report: Report) -> Markup:
    alone, steady = timeline(report.pipeline), steady_timeline(report.pipeline)
    return report.render(
        "timeline.html",
        alone=alone,
        steady=steady,
        alone_picture=draw_timeline(alone),
        steady_picture=draw_timeline(steady),
    )


@section("energy", "Energy of one frame")
def energy(report: Report) -> Markup:
    costs = report.result.accelerator.costs
    total = costs.total(ENERGY) or 1.0

    def bar(name: str, parts: Mapping[str, float]) -> Bar:
        segments = [
            (KIND_CLASS[kind], pj, f"{name}, {kind}: {quantity(pj * 1e-12, 'J')}")
            for kind, pj in parts.items()
        ]
        whole = sum(parts.values())
        return Bar(name, segments, f"{quantity(whole * 1e-12, 'J')} ({percent(whole / total, 1)})")

    # Kinds that the design does not have, as a table, are not drawn.
    spent = {kind: pj for kind, pj in costs.by_kind(ENERGY, KINDS).items() if pj > 0}
    by_kind = sorted(spent.items(), key=lambda item: -item[1])
    return report.render(
        "energy.html",
        kinds=bars([bar(kind, {kind: pj}) for kind, pj in by_kind], "Energy by kind"),
        total=total,
        basis=costs.bases[ENERGY],
        stages=bars(
            [bar(stage, parts) for stage, parts in costs.by_part_and_kind(ENERGY, KINDS).items()],
            "Energy by stage, in the colours of the kinds",
        ),
    )


@section("memory", "Memories")
def memory(report: Report) -> Markup:
    memories = report.result.accelerator.memories
    layers = list(dict.fromkeys(m.layer for m in memories))
    rows = []
    for layer in layers:
        mine = [m for m in memories if m.layer == layer]
        segments = [
            (ROLE_CLASS[m.role], float(m.cells), f"{m.name}: {integer(m.cells)} bits") for m in mine
        ]
        total = sum(m.cells for m in mine)
        rows.append(Bar(layer, segments, f"{integer(total)} bits"))
    by_role = {role: [m for m in memories if m.role is role] for role in ROLE_CLASS}
    roles = [(role, mine) for role, mine in by_role.items() if mine]
    totals = [
        (role, len(mine), sum(m.cells for m in mine), sum(m.reads for m in mine),
         sum(m.writes for m in mine))
        for role, mine in roles
    ]  # fmt: skip
    keys = {role: ROLE_CLASS[role] for role, _ in roles}
    picture = bars(rows, "Memory bits by stage", keys)
    return report.render("memory.html", picture=picture, totals=totals)


@section("cycles", "Predicted against measured cycles")
def cycles(report: Report) -> Markup:
    found = report.result.accelerator.verification
    tests = list(dict.fromkeys(figure.test for figure in found.figures))
    names = list(dict.fromkeys(figure.figure for figure in found.figures))
    table = {(figure.test, figure.figure): figure for figure in found.figures}
    return report.render("cycles.html", tests=tests, names=names, table=table)


@section("synthesis", "Resources and clock")
def synthesis(report: Report) -> Markup | None:
    found = report.synthesis
    if found is None:
        return None
    tools = ", ".join(f"{name} {version}" for name, version in found.tools.items())
    return report.render("synthesis.html", s=found, tools=tools)


@section("faults", faults.TITLE)
def low_voltage(report: Report) -> Markup | None:
    return None if report.faults is None else faults.draw(report.faults)


@section("training", "Training")
def training(report: Report) -> Markup | None:
    looks = {"network": ("this network", "k0"), "float": ("dense float twin", "k1")}
    known = [(*looks[key], report.history[key]) for key in looks if report.history.get(key)]
    if not known:
        return None
    loss = [
        Curve(name, look, [(r["epoch"] + 1, r["loss"]) for r in records])
        for name, look, records in known
    ]
    accuracies = [
        Curve("" if dash else name, look + dash, [(r["epoch"] + 1, 100 * r[f"{part}_accuracy"])
              for r in records])
        for name, look, records in known
        for part, dash in (("test", ""), ("train", " dashed"))
    ]  # fmt: skip
    frozen = next((r["epoch"] + 1 for r in report.history.get("network", ()) if r["frozen"]), None)
    seconds = ", ".join(
        f"{name} {sum(r['wall_seconds'] for r in records):.0f} s" for name, _, records in known
    )
    return report.render(
        "training.html",
        loss=curves(loss, "Loss by epoch", "loss"),
        accuracy=curves(accuracies, "Accuracy by epoch", "accuracy, %"),
        frozen=frozen,
        seconds=seconds,
    )


@section("provenance", "How to make it again")
def provenance(report: Report) -> Markup:
    config = yaml.safe_dump(report.result.config, sort_keys=False)
    bases = dict(report.result.bases)
    for target in report.result.targets:
        found = target.costs.bases
        bases |= {f"targets.ledger.entries.{quantity}": basis for quantity, basis in found.items()}
    return report.render("provenance.html", config=config, bases=sorted(bases.items()))
