"""``hwsim faults``: accuracy and energy of a network whose memories run at low voltage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.cells import (
    CellOptions,
    relative_voltage,
    some_words,
    words,
)
from hwsim.cli.common import Json, NetworkFile, Output, Quiet, example, fraction, takes_options
from hwsim.cli.mapping import Config, accelerator_config, energy_config
from hwsim.cli.tables import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.lowvoltage.protection import Protection
    from hwsim.lowvoltage.technology import MemoryTechnology
    from hwsim.studies.campaign import CampaignPlan
    from hwsim.studies.result import FaultsResult, Method, PerMemory, SensitivityMap
    from hwsim.studies.statistics import StopRule

_RECORDS = "faults.jsonl"


@dataclass(frozen=True)
class CampaignOptions:
    """What is measured, over how many chips, as the options say it."""

    voltages: Annotated[
        str | None,
        typer.Option(
            metavar="V,V,...",
            help="Voltages to measure, relative to vmin; or with a unit: %, V, mV.",
        ),
    ] = None
    steps: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Number of voltages from the lowest with data up to vmin."
        ),
    ] = 8
    refine: Annotated[
        int,
        typer.Option(
            min=0, max=20, help="Number of halvings that bring the lowest voltage closer."
        ),
    ] = 3
    chips: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Just so many at each voltage. Default: 70, 140, 280, 560 or 1120, until the 95 % "
            "interval decides.",
        ),
    ] = None
    max_chips: Annotated[
        int | None,
        typer.Option(min=2, help="Largest number of chips; the number doubles from --chips on."),
    ] = None
    until_width: Annotated[
        float | None,
        typer.Option(
            callback=fraction,
            help="Add chips until the interval is at most this wide (as in 0.02).",
        ),
    ] = None
    within: Annotated[
        float,
        typer.Option(callback=fraction, help="Accuracy that may be lost, 0..1; 0.01 is one point."),
    ] = 0.01
    yield_goal: Annotated[
        float | None,
        typer.Option(
            "--yield",
            callback=fraction,
            help="Share of chips, 0..1, that must each keep --within. Default: the mean must.",
        ),
    ] = None
    memories: Annotated[
        str, typer.Option(metavar="ROLE,...", help="Roles or names of the memories that fail.")
    ] = "weight,constants,window,fifo"
    protection: Annotated[
        str,
        typer.Option(
            metavar="P,...",
            help="Protections to compare: none, parity, secded, secded:zero, tmr:N.",
        ),
    ] = "none"
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Also measure which memories and bits hurt most.")
    ] = False
    per_memory: Annotated[
        bool,
        typer.Option(
            "--per-memory", help="Also find a voltage for each memory, with the first protection."
        ),
    ] = False

    def plan(self, technology: MemoryTechnology, seed: int) -> CampaignPlan:
        """The voltages, chips and searches; seed: of the first chip. Raises ConfigError."""
        from hwsim.studies.campaign import CampaignPlan

        low = technology.lowest_rel
        grid = [
            relative_voltage(word, technology, "--voltages") for word in words(self.voltages or "")
        ]
        grid = grid or [low + (1 - low) * n / self.steps for n in range(self.steps)]
        rule = _stop_rule(self.chips, self.max_chips, self.until_width)
        return CampaignPlan(
            tuple(grid), rule, self.within, self.yield_goal, self.refine, seed, self.sensitivity,
            self.per_memory,
        )  # fmt: skip

    def ways(self) -> list[Protection]:
        """The protections that are compared."""
        from hwsim.lowvoltage.protection import ALLOWED, parse_protection

        found = some_words(self.protection, "--protection", f"of {ALLOWED}")
        return [parse_protection(word) for word in found]

    def asked(self) -> tuple[str, ...]:
        """Roles or names of the memories that fail."""
        return tuple(some_words(self.memories, "--memories", "role or name"))


@example("hwsim faults runs/quickstart/network.hwnet --data digits -o runs/quickstart")
@takes_options
def faults(
    *,
    network: NetworkFile,
    data: Annotated[str, typer.Option(help="Data set: digits, mnist, fashion_mnist, cifar10, ...")],
    path: Annotated[str | None, typer.Option(help="Folder or file of the data set.")] = None,
    config: Config = None,
    technology: Annotated[
        str, typer.Option(help="Memory technology: a shipped name, or a YAML file.")
    ] = "sram_14nm",
    cells: CellOptions,
    campaign: CampaignOptions,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Number of images; the first ones are taken. Default: all."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first chip; the next chips have the next seeds.")
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for faults.json and a report."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the lowest supply voltage of the memories over many chips, and the energy it saves.

    With -o, an interrupted run resumes: faults.jsonl keeps every chip that was counted. The report
    is faults.html. If hwsim run filled DIR, the report is also a section of report.html.
    """
    from hwsim.accelerator import Prices
    from hwsim.accelerator.mapping import map_network
    from hwsim.cli.images import labelled_images
    from hwsim.lowvoltage.technology import load_technology
    from hwsim.network import load
    from hwsim.run.figures import energy_table
    from hwsim.studies.campaign import Names, measure_faults
    from hwsim.studies.study import ChipRecords, Study

    out = Output("faults", as_json=as_json, quiet=quiet)
    memory = load_technology(technology)
    plan, ways, asked = campaign.plan(memory, seed), campaign.ways(), campaign.asked()
    clusters, failing = cells.failing(memory)
    net = load(network)
    accelerator = accelerator_config(config, None, None, None)
    energy = energy_config(config, None, None)
    prices = Prices(energy_table(energy), energy.voltage_v)
    name, x, labels = labelled_images(net, data, path, images)
    with out.progress.task("map the network"):
        pipeline = map_network(net, accelerator)
    studies = [Study(pipeline, memory, x, labels, asked, way, clusters, failing) for way in ways]
    folder = _folder(output)
    result = measure_faults(
        studies,
        plan,
        prices,
        accelerator.clock_mhz,
        Names(
            technology,
            name,
            energy.table,
            str(cells.map or ""),
            str(cells.reads or "") or None,
            cells.shape,
        ),
        ChipRecords(None if folder is None else folder / _RECORDS),
        out.progress,
    )
    files = {} if folder is None else _write(folder, result)
    document = {**result.model_dump(mode="json"), "files": files}
    out.finish(document, lambda: _people(result, files))


def _stop_rule(chips: int | None, most: int | None, width: float | None) -> StopRule:
    """``--chips`` alone is the number of chips; with another option it is the least number."""
    from hwsim.errors import ConfigError
    from hwsim.studies.statistics import LEAST, MOST, StopRule

    if chips is not None and most is None and width is None:
        return StopRule.fixed(chips)
    if most is not None and most < (chips or 2):
        raise ConfigError(
            f"must be at least {chips} (the number of --chips), not {most}", key="--max-chips"
        )
    most = max(chips or 0, MOST) if most is None else most
    return StopRule(min(LEAST, most) if chips is None else chips, most, width)


def _folder(output: Path | None) -> Path | None:
    """The folder for results; it is made if it is missing. Raises OutputError."""
    from hwsim.errors import OutputError

    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{output}: cannot be made ({error.strerror})") from None
    return output


def _write(folder: Path, result: FaultsResult) -> dict[str, str]:
    """Write ``faults.json`` and the reports; return their paths."""
    from hwsim.files import write_json
    from hwsim.report import build_report
    from hwsim.report.experiment import RESULT
    from hwsim.report.faults import write_faults_page
    from hwsim.studies.result import FAULTS

    write_json(folder / FAULTS, result.model_dump(mode="json"))
    files = {"faults": str(folder / FAULTS), "page": str(write_faults_page(folder, result))}
    if (folder / RESULT).exists():
        files["report"] = str(build_report(folder))
    return files


def _people(result: FaultsResult, files: dict[str, str]) -> Iterator[RenderableType]:
    from hwsim.report.faults import answer, method_name, open_question, own_answer

    for found in result.methods:
        yield _table(result, found)
    if result.sensitivity is not None:
        yield from _places(result.sensitivity)
    if result.per_memory is not None:
        yield _supplies(result, result.per_memory)
    several = len(result.methods) > 1
    for found in result.methods:
        yield (f"{method_name(found.protection)}: " if several else "") + answer(result, found)
        if (more := open_question(result, found)) is not None:
            yield more
    if result.per_memory is not None:
        yield own_answer(result, result.per_memory)
    yield (
        f"these memories take {100 * result.memory_energy_share:.1f} % of the accelerator's energy "
        f"at nominal voltage ({result.energy_table})"
    )
    if result.map is not None:
        yield (
            f"these memories fill the map of {result.map.rows} x {result.map.columns} cells "
            f"{result.map.repetitions:.2f} times; a chip is another place in it"
        )
    if files:
        yield f"written to {', '.join(files.values())}"


def _table(result: FaultsResult, found: Method) -> RenderableType:
    from hwsim.report.faults import method_name

    cells = result.technology_description if result.map is None else f"cells of {result.map.file}"
    title = f"{cells}, {method_name(found.protection)}"
    table = Grid(
        "V / Vmin", "bit errors", "chips", "accuracy", "95 % interval", "worst", "yield",
        "95 % interval", "E / Vmin", words=0, title=title,
    )  # fmt: skip
    for row in found.curve:
        table.add(
            f"{row.voltage_rel:.3f}",
            f"{row.bit_error_rate:.3g}",
            str(row.chips),
            f"{100 * row.accuracy_mean:.2f} %",
            f"{100 * row.accuracy_low:.2f}..{100 * row.accuracy_high:.2f}",
            f"{100 * row.accuracy_worst:.2f} %",
            f"{100 * row.share_good:.1f} %",
            f"{100 * row.yield_low:.1f}..{100 * row.yield_high:.1f}",
            f"{row.energy_rel_vmin:.3f}",
            style="bold" if row.voltage_rel == found.lowest_voltage_rel else None,
        )
    return table


def _places(found: SensitivityMap) -> Iterator[RenderableType]:
    from hwsim.report.faults import lost

    for heading, parts in (("faults in one memory", found.memories), ("in one bit", found.bits)):
        title = f"{heading} alone, bit error rate {found.bit_error_rate:.3g}"
        table = Grid("part", "cells", "points lost", "95 % interval", title=title)
        for part in sorted(parts, key=lambda part: -part.loss_mean):
            table.add(
                part.name,
                f"{part.cells:,}",
                lost(part.loss_mean),
                f"{lost(part.loss_low)}..{lost(part.loss_high)}",
            )
        yield table


def _supplies(result: FaultsResult, found: PerMemory) -> RenderableType:
    from hwsim.report.faults import method_name

    title = f"a voltage for each memory, {method_name(result.protection)}"
    table = Grid("memory", "V / Vmin", "bit error rate", "share of energy", title=title)
    for memory, share in found.shares:
        table.add(
            memory.name,
            f"{memory.voltage_rel:.3f}",
            f"{memory.bit_error_rate:.3g}",
            f"{100 * share:.1f} %",
        )
    return table
