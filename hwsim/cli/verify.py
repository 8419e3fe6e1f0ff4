"""``hwsim verify``: simulate the emitted Verilog and compare every output and cycle count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hwsim.cli.common import Json, Output, Quiet, example, mark, styled
from hwsim.cli.experiment import verification_line
from hwsim.cli.tables import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.rtl.vectors import Coverage
    from hwsim.rtl.verify import VerificationResult


@example("hwsim verify runs/quickstart/verilog --images 4 --waves")
def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that hwsim generate wrote.")
    ],
    images: Annotated[
        int | None, typer.Option(min=1, help="Number of test vectors. Default: all.")
    ] = None,
    simulator: Annotated[
        Literal["verilator", "icarus"], typer.Option(help="Simulator of the Verilog.")
    ] = "verilator",
    gap_probability: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of input beats that are held back.")
    ] = 0.25,
    stall_probability: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of output beats that are refused.")
    ] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random pauses.")] = 0,
    waves: Annotated[bool, typer.Option("--waves", help="Keep waveforms in DIR.")] = False,
    allow_edited: Annotated[
        bool, typer.Option("--allow-edited", help="Accept Verilog that hwsim did not write.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate an accelerator's Verilog; every output and cycle count must equal the model's.

    If anything differs, the exit code is 1, and one line names the layer, the pixel, the channel,
    the expected value and the value found.
    """
    from hwsim.cli.stages.verify import verification_figures
    from hwsim.rtl.verify import verify as check

    out = Output("verify", as_json=as_json, quiet=quiet)
    result = check(
        folder,
        simulator=simulator,
        images=images,
        gap_probability=gap_probability,
        stall_probability=stall_probability,
        seed=seed,
        waves=waves,
        progress=out.progress,
        allow_edited=allow_edited,
    )
    document = {
        "seed": seed,
        "folder": str(folder),
        "verification": verification_figures(result),
        "seconds": dict(result.seconds),
        "edited": list(result.edited),
        "waves": str(result.waves) if result.waves else None,
        "tools": dict(result.tools),
    }
    out.finish(document, lambda: _people(result))
    if not result.passed:
        raise typer.Exit(1)


def _people(result: VerificationResult) -> Iterator[RenderableType]:
    from hwsim.cli.stages.verify import verification_figures

    for name in result.edited:
        yield styled(("!", "yellow"), f" {name} was edited after it was generated")
    yield styled(mark(result.passed), " ", verification_line(verification_figures(result)))
    table = Grid("test", "cycle count", "predicted", "measured", words=2)
    for run in result.runs:
        for name, (predicted, measured) in run.figures.items():
            style = None if predicted == measured else "red"
            table.add(run.test, name, f"{predicted:,}", f"{measured:,}", style=style)
    yield table
    for failure in result.failures:
        yield styled(mark(False), " ", failure.text)
    yield f"edges shown: {_edges(result.coverage)}"
    for edge in result.coverage.not_seen:
        yield styled(("!", "yellow"), f" no image shows {edge}")
    for note in result.notes:
        yield styled(("!", "yellow"), f" {note}")
    if result.correct is not None:
        yield f"{result.correct} of {result.images} images classified as labelled"
    if result.waves:
        yield f"waveforms in {result.waves}"


def _edges(shown: Coverage) -> str:
    """Which edges the images of a verification show, in words."""
    ends = [images > 0 for pair in shown.saturated.values() for images in pair]
    text = f"{sum(ends)} of {len(ends)} ends of requantizers"
    if shown.ties is not None:
        text += f", ties of ArgMax in {shown.ties} images"
    never = f"; {len(shown.cannot_occur)} cannot occur" if shown.cannot_occur else ""
    return text + never
