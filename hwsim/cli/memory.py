"""``hwsim memory``: memory technologies at low voltage: look at one, or fit one to measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hwsim.cli.common import Json, Output, example, positive
from hwsim.cli.tables import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.faults.fit import Fit

app = typer.Typer(name="memory", help="Memories at low voltage: look at a technology, or fit one.")


@app.command()
@example("hwsim memory show sram_14nm --steps 6")
def show(
    technology: Annotated[
        str, typer.Argument(metavar="TECHNOLOGY", help="YAML file, or the name of a shipped one.")
    ],
    steps: Annotated[
        int, typer.Option(min=1, max=1000, help="Steps from the lowest voltage to vmin.")
    ] = 6,
    as_json: Json = False,
) -> None:
    """Bit error rate and energy of an access against supply voltage."""
    from hwsim.faults import load_technology

    memory = load_technology(technology)
    low, nominal = memory.lowest_rel, memory.nominal_rel
    voltages = [low + (1 - low) * n / steps for n in range(steps)] + [1.0]
    if nominal > 1:
        voltages.append(nominal)
    curve = [
        {
            "voltage_rel": v,
            "bit_error_rate": memory.probability(v),
            "energy_rel_vmin": memory.energy_rel(v),
            "energy_rel_nominal": memory.energy_rel(v) / memory.energy_rel(nominal),
        }
        for v in voltages
    ]
    out = Output("memory show", as_json=as_json)

    def people() -> Iterator[RenderableType]:
        headings = ("V / Vmin", "bit error rate", "energy / at Vmin", "energy / at nominal")
        table = Grid(*headings, words=0, title=memory.description)
        for row in curve:
            table.add(
                f"{row['voltage_rel']:.3f}",
                f"{row['bit_error_rate']:.3g}",
                f"{row['energy_rel_vmin']:.3f}",
                f"{row['energy_rel_nominal']:.3f}",
            )
        yield table

    out.finish({"technology": memory.model_dump(mode="json"), "curve": curve}, people)


@app.command()
@example("hwsim memory fit measurements.csv --nominal 0.8 -o mine.yaml")
def fit(
    measurements: Annotated[
        Path, typer.Argument(metavar="CSV", help="Columns voltage, failed, cells.")
    ],
    nominal: Annotated[
        float, typer.Option(callback=positive, help="Nominal supply, in the file's unit.")
    ],
    law: Annotated[
        Literal["probit", "exponential"], typer.Option(help="What is fitted.")
    ] = "probit",
    vmin: Annotated[
        float | None,
        typer.Option(
            callback=positive, help="Lowest voltage without failures; default: that of the file."
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="Where the measurements come from.")] = "measured",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="YAML", help="Write the technology.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a failure law to measured counts; intervals tell how well the data determines it.

    The technology that is written covers the voltages that were measured: asked for others,
    hwsim refuses rather than extrapolate.
    """
    from hwsim.faults.fit import fit_law, read_points, technology_of, write_technology

    found = fit_law(read_points(measurements), law, source)
    technology = technology_of(found, nominal=nominal, vmin=vmin, description=measurements.stem)
    if output is not None:
        write_technology(technology, output)
    document: dict[str, Any] = {
        "law": found.law.model_dump(mode="json"),
        "intervals": found.intervals,
        "confidence": found.confidence,
        "dispersion": found.dispersion,
        "points": len(found.points),
        "files": {"technology": None if output is None else str(output)},
    }
    Output("memory fit", as_json=as_json).finish(document, lambda: _people(found, output))


def _people(found: Fit, output: Path | None) -> Iterator[str]:
    values = found.law.model_dump()
    for name, (low, high) in found.intervals.items():
        interval = f"{found.confidence:.0%} interval {low:.5g}..{high:.5g}"
        yield f"{name:<15} {values[name]:<10.5g} {interval}"
    yield (
        f"{len(found.points)} voltages, {found.lowest:g}..{found.highest:g}; they scatter "
        f"{found.dispersion:.3g} times as much as counting alone would"
    )
    if output is not None:
        yield f"written to {output}"
