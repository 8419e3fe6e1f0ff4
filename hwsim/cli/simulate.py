"""``hwsim simulate``: exact cycles, memories and energy of the accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.common import Json, NetworkFile, Output, Quiet, example
from hwsim.cli.mapping import (
    Clock,
    Config,
    FifoDepth,
    Interval,
    Weights,
    accelerator_config,
    energy_config,
)
from hwsim.cli.tables import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType


@example("hwsim simulate runs/quickstart/network.hwnet --frame-interval-cycles 4096")
def simulate(
    network: NetworkFile,
    config: Config = None,
    frame_interval_cycles: Interval = None,
    weights: Weights = None,
    fifo_depth: FifoDepth = None,
    clock_mhz: Clock = None,
    energy_table: Annotated[
        str | None, typer.Option(help="Energy table: a shipped name, or a YAML file.")
    ] = None,
    voltage_v: Annotated[
        float | None, typer.Option(help="Supply voltage. Default: the voltage of the table.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=10_000,
            help="Number of frames back to back. Default: until they come evenly.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print cycles, memories and energy of a network's accelerator; cycles equal the Verilog's."""
    from hwsim.accelerator.mapping import map_network
    from hwsim.network import load, network_hash
    from hwsim.run.figures import simulate_figures

    out = Output("simulate", as_json=as_json, quiet=quiet)
    net = load(network)
    accelerator = accelerator_config(config, frame_interval_cycles, weights, fifo_depth, clock_mhz)
    energy = energy_config(config, energy_table, voltage_v)
    with out.progress.task("cycles, memories, energy"):
        pipeline = map_network(net, accelerator)
        figures = simulate_figures(pipeline, accelerator.clock_mhz, energy, frames)
    document = {"network_sha256": network_hash(net), **figures}
    out.finish(document, lambda: _tables(figures))


def _tables(figures: dict[str, Any]) -> Iterator[RenderableType]:
    cycles = figures["accelerator"]
    stages = Grid(
        "stage", "kind", "pe", "simd", "busy", "starved", "blocked", "cycles a frame", words=2
    )
    for stage in figures["stages"]:
        numbers = ("pe", "simd", "busy_cycles", "starved_cycles", "blocked_cycles")
        stages.add(
            stage["name"],
            stage["kind"],
            *(f"{stage[key]:,}" for key in (*numbers, "ideal_interval_cycles")),
        )
    yield stages
    bits: dict[str, int] = {}
    for memory in figures["memories"]:
        key = f"{memory['role']} ({memory['style']})"
        bits[key] = bits.get(key, 0) + memory["words"] * memory["bits"]
    yield "memory bits: " + ", ".join(f"{role} {n:,}" for role, n in bits.items())
    energy = figures["energy"]
    kinds = ", ".join(f"{kind} {pj:,.1f}" for kind, pj in energy["by_kind"].items() if pj)
    yield f"energy: {energy['total_pj']:,.1f} pJ a frame ({energy['table']}): {kinds}"
    yield (
        f"first output after {cycles['first_output_cycles']:,} cycles, "
        f"frame latency {cycles['frame_latency_cycles']:,}, "
        f"a frame every {cycles['frame_interval_cycles']:,}"
    )
    yield f"{cycles['frames_per_second']:,.0f} frames/s at {cycles['clock_mhz']:g} MHz"
