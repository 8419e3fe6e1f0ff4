"""``hwsim synth``: FPGA resources and clock of an emitted accelerator, by open tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hwsim.cli.common import Json, Output, Quiet, example

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.rtl.synth import SynthesisResult


@example("hwsim synth runs/quickstart/verilog --target ecp5")
def synth(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that hwsim generate wrote.")
    ],
    target: Annotated[
        Literal["ecp5", "ice40", "xc7"], typer.Option(help="FPGA family whose cells are used.")
    ] = "ecp5",
    allow_edited: Annotated[
        bool, typer.Option("--allow-edited", help="Accept Verilog that hwsim did not write.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Map an accelerator's Verilog with Yosys; nextpnr also places and times it for ecp5.

    The first use of each tool takes about a minute longer.
    """
    from hwsim.rtl.synth import synth as synthesise

    out = Output("synth", as_json=as_json, quiet=quiet)
    result = synthesise(folder, target, out.progress, allow_edited)
    document = {"folder": str(folder), **result.to_json()}
    out.finish(document, lambda: [*_people(result), *_advice(folder)])


def _advice(folder: Path) -> Iterator[RenderableType]:
    """How the experiment's report gets these figures, if ``folder`` belongs to an experiment."""
    if (folder.parent / "result.json").is_file():
        yield f"in the report with: hwsim report {folder.parent}"


def _people(result: SynthesisResult) -> Iterator[RenderableType]:
    parts = [f"{count:,} {name.upper()}" for name, count in result.resources.items()]
    yield f"{result.target}: {', '.join(parts)}"
    if result.fmax_mhz is not None:
        yield f"highest clock after place and route: {result.fmax_mhz:g} MHz"
    if (path := result.slowest) is not None:
        yield (
            f"slowest path: {path.start} -> {path.end}, "
            f"{path.logic_ns:g} ns in logic, {path.routing_ns:g} ns in wires"
        )
