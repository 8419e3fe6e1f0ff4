"""``hwsim memory``: show a memory technology at low voltage, or fit one to measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.common import Json, Output, example
from hwsim.cli.tables import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.lowvoltage.banks import BankRow, PairRow
    from hwsim.lowvoltage.fit import Fit

app = typer.Typer(
    name="memory", help="Memories at low voltage: show a technology, or fit one to measurements."
)


@app.command()
@example("hwsim memory show sram_14nm --steps 6")
def show(
    technology: Annotated[
        str,
        typer.Argument(
            metavar="TECHNOLOGY", help="YAML file, or the name of a shipped technology."
        ),
    ],
    steps: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of steps from the lowest voltage to vmin.")
    ] = 6,
    as_json: Json = False,
) -> None:
    """Print bit error rate and energy of an access against supply voltage."""
    from hwsim.lowvoltage import load_technology

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
        Path,
        typer.Argument(
            metavar="CSV",
            help="Columns voltage, failed, cells; or a list of failing cells: voltage, bank, row, "
            "bit.",
        ),
    ],
    nominal: Annotated[
        str, typer.Option(metavar="V", help="Nominal supply voltage, in the unit of the file.")
    ],
    law: Annotated[str, typer.Option(help="Kind of law: probit or exponential.")] = "probit",
    vmin: Annotated[
        str | None,
        typer.Option(
            metavar="V", help="Lowest voltage without failures. Default: taken from the file."
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="BANKSxROWSxBITS",
            help="Shape of all cells, for a list of failing cells, as in 890x1024x8.",
        ),
    ] = None,
    reads: Annotated[
        str, typer.Option(help="Behaviour of failing cells: flip, or read 0, or read 1.")
    ] = "flip",
    source: Annotated[str, typer.Option(help="Source of the measurements.")] = "measured",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="YAML", help="File for the technology.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a failure law to measured cells; intervals tell how well the data determine the law.

    For a list of failing cells the command also fits how banks differ, and reports effects that
    independent cells would hide. The written technology covers the measured voltages only; hwsim
    refuses other voltages and does not extrapolate.
    """
    from dataclasses import asdict

    from hwsim.errors import ConfigError
    from hwsim.lowvoltage.banks import bank_rows, fit_banks, pair_rows
    from hwsim.lowvoltage.cell_list import cells_of, is_list, parse_shape, shape_of
    from hwsim.lowvoltage.fit import fit_law, table_points, technology_of, write_technology
    from hwsim.lowvoltage.tables import read_table
    from hwsim.lowvoltage.technology import FaultModel

    models = {"flip": FaultModel(), "0": FaultModel(kind="stuck", ones=0.0),
              "1": FaultModel(kind="stuck", ones=1.0)}  # fmt: skip
    if reads not in models:
        raise ConfigError(f"must be {', '.join(models)}, not '{reads}'", key="--reads")
    supply = _volts(nominal, "--nominal")
    lowest = None if vmin is None else _volts(vmin, "--vmin")
    table = read_table(measurements)
    size = None if shape is None else parse_shape(shape)
    listed = is_list(table) or (table.header is None and (size or shape_of(table)) is not None)
    if size is not None and not listed:
        raise ConfigError(
            f"only fits lists of failing cells, and {measurements} has counts", key="--shape"
        )
    cells = cells_of(table, size) if listed else None
    found = (
        fit_law(table_points(table), law, source)
        if cells is None
        else fit_banks(cells, law, source)
    )
    technology = technology_of(
        found, nominal=supply, vmin=lowest, description=measurements.stem, faults=models[reads]
    )
    if output is not None:
        write_technology(technology, output)
    rows = [] if cells is None else bank_rows(cells, found)
    pairs = [] if cells is None else pair_rows(cells)
    document: dict[str, Any] = {
        "law": found.law.model_dump(mode="json"),
        "intervals": found.intervals,
        "confidence": found.confidence,
        "dispersion": found.dispersion,
        "between_voltages": found.between_voltages,
        "between_arrays": found.between_arrays,
        "points": len(found.sums),
        "banks": None
        if found.banks is None
        else {
            **found.banks.model_dump(mode="json"),
            "voltages": [asdict(row) for row in rows],
            "pairs": [asdict(pair) for pair in pairs],
        },
        "files": {"technology": None if output is None else str(output)},
    }
    out = Output("memory fit", as_json=as_json)
    out.finish(document, lambda: _people(found, rows, pairs, output))


def _volts(text: str, key: str) -> float:
    """A voltage in the unit of a table: millivolts become volts, percent becomes a share."""
    from hwsim.errors import ConfigError
    from hwsim.lowvoltage.tables import TableError, parse_voltage

    try:
        value, _ = parse_voltage(text)
    except TableError as error:
        raise ConfigError(str(error), key=key) from None
    if not 0 < value <= 10:
        raise ConfigError(
            f"must be above 0 and at most 10 (volts, or a share), not {text}; units are V, mV, %",
            key=key,
        )
    return value


def _people(
    found: Fit, rows: list[BankRow], pairs: list[PairRow], output: Path | None
) -> Iterator[RenderableType]:
    values: dict[str, Any] = found.law.model_dump()
    if found.banks is not None:
        values["bank_share"] = found.banks.share
    for name, (low, high) in found.intervals.items():
        interval = f"{found.confidence:.0%} interval {low:.5g}..{high:.5g}"
        yield f"{name:<15} {values[name]:<10.5g} {interval}"
    yield (
        f"{len(found.sums)} voltages, {found.lowest:g}..{found.highest:g}; they scatter "
        f"{found.dispersion:.3g} times as much as counting alone would"
    )
    unit = "probits" if found.law.kind == "probit" else "in ln p"
    if found.between_arrays is not None:
        yield f"arrays differ by {found.between_arrays:.3g} {unit} (standard deviation)"
    if found.banks is not None:
        yield from _of_banks(rows, pairs)
    if output is not None:
        yield f"written to {output}"


def _of_banks(rows: list[BankRow], pairs: list[PairRow]) -> Iterator[RenderableType]:
    from rich import box
    from rich.table import Table

    yield "banks, and where 95 % of memories lie if banks differ so | if cells are independent"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("V", "cells", "clean banks", "variance / mean", "worst bank", "kept below"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = [row.seen, *row.fitted, *row.independent]
        table.add_row(
            f"{row.voltage:g}",
            f"{row.failed:,}",
            _within([f"{100 * x.clean:.1f}" for x in figures], " %"),
            _within([f"{x.dispersion:.1f}" for x in figures]),
            _within([f"{x.worst:.0f}" for x in figures]),
            "" if row.kept is None else f"{100 * row.kept:.1f} %",
        )
    yield table
    counted = "; ".join(
        f"{pair.distance or 'none'}: {pair.pairs} ({pair.expected:.1f})" for pair in pairs
    )
    yield f"pairs in a bank by rows between them (expected of places at random): {counted}"


def _within(words: list[str], unit: str = "") -> str:
    seen, *bounds = words
    return f"{seen}{unit} ({bounds[0]}..{bounds[1]} | {bounds[2]}..{bounds[3]})"
