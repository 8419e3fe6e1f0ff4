"""``hwsim generate``: Verilog of the accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.cells import (
    Clusters,
    MapFile,
    MapHolds,
    MapInterleave,
    MapReads,
    failing_cells,
    words,
)
from hwsim.cli.common import Json, NetworkFile, Output, Quiet, example
from hwsim.cli.mapping import Config, FifoDepth, Interval, Weights, accelerator_config

if TYPE_CHECKING:
    from hwsim.accelerator import Pipeline
    from hwsim.faults import DesignFaults
    from hwsim.network import Network


@example("hwsim generate runs/quickstart/network.hwnet -o verilog")
def generate(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="For the files.")],
    config: Config = None,
    frame_interval_cycles: Interval = None,
    weights: Weights = None,
    fifo_depth: FifoDepth = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Test images of the experiment in --config.")
    ] = None,
    technology: Annotated[
        str | None, typer.Option(help="Memories fail: YAML file or shipped technology.")
    ] = None,
    voltage: Annotated[
        str | None,
        typer.Option(
            metavar="V",
            help="Relative to vmin; or NAME=V,... of memories, layers or roles, all others at "
            "vmin; or the faults.json of hwsim faults.",
        ),
    ] = None,
    chip: Annotated[
        int | None, typer.Option(min=0, help="Seed: which cells fail; default 0.")
    ] = None,
    spatial: Clusters = None,
    cell_map: MapFile = None,
    map_holds: MapHolds = "fails",
    map_reads: MapReads = None,
    map_interleave: MapInterleave = 1,
    protection: Annotated[
        str, typer.Option(metavar="P", help="Of weights and constants: none, parity, secded, ...")
    ] = "none",
    faulty: Annotated[
        str | None,
        typer.Option(
            metavar="MEMORIES",
            help="Which memories fail: roles or names, separated by commas; default: all.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verilog of a network's accelerator, its manifest and test vectors.

    The test vectors are images of the experiment's data set when --images is given, else random.
    With --technology and --voltage the memories are those of a chip whose cells fail, the chip of
    that number in hwsim faults with the same options: the Verilog computes what it would.
    """
    from hwsim.errors import ConfigError
    from hwsim.network import load
    from hwsim.rtl.emit import generate as emit
    from hwsim.run.mapping import map_network

    out = Output("generate", as_json=as_json, quiet=quiet)
    net = load(network)
    accelerator = accelerator_config(config, frame_interval_cycles, weights, fifo_depth)
    vectors = labels = None
    if images is not None:
        if config is None:
            raise ConfigError("--images needs --config, which names the data set")
        vectors, labels = _test_images(config, images)
    with out.progress.task("map the network"):
        pipeline = map_network(net, accelerator)
    supply = None if voltage is None else _voltages(voltage, net)
    source = spatial, cell_map, map_holds, map_reads, map_interleave
    faults = _faults(pipeline, technology, supply, chip, faulty, source, protection)
    manifest = emit(pipeline, output, vectors, labels, out.progress, faults)
    lines = len((output / "accelerator.v").read_text(encoding="utf-8").splitlines())
    document = {
        "folder": str(output),
        "files": {"verilog": str(output / "accelerator.v")},
        "network_sha256": manifest.network.hash,
        "lines": lines,
        "stages": len(pipeline.stages),
        "accelerator": dict(manifest.cycles),
        "faults": None
        if faults is None
        else {
            "technology": technology,
            "voltage_rel": supply,
            "chip": chip or 0,
            "map": None if cell_map is None else str(cell_map),
            "protection": protection,
            "failing_cells": len(faults),
        },
    }

    def people() -> Iterator[str]:
        yield f"{lines:,} lines of Verilog, {len(pipeline.stages)} stages, written to {output}"
        if faults is not None:
            yield f"{len(faults):,} failing cells in {len(faults.memories)} memories"
        yield f"check them: hwsim verify {output}"

    out.finish(document, people)


def _faults(
    pipeline: Pipeline,
    technology: str | None,
    supply: float | dict[str, float] | None,
    chip: int | None,
    faulty: str | None,
    source: tuple[str | None, Path | None, str, Path | None, int],
    protection: str,
) -> DesignFaults | None:
    """The faults that the options ask for.

    supply: voltages relative to vmin, of all memories or by name, layer or role. source: as
    ``failing_cells`` takes it.
    """
    from hwsim.accelerator.memories import ROLES
    from hwsim.errors import ConfigError
    from hwsim.faults import Chip, FaultSource, design_faults, load_technology
    from hwsim.faults.design import memory_protections, memory_shapes
    from hwsim.faults.ecc import parse_protection

    if technology is None and supply is None:
        if chip is not None or faulty is not None or any(source[:2]) or protection != "none":
            raise ConfigError(
                "--chip, --faulty, --spatial, --map and --protection need --technology and "
                "--voltage"
            )
        return None
    if technology is None or supply is None:
        raise ConfigError("--technology and --voltage belong together")
    memory = load_technology(technology)
    chosen = ROLES if faulty is None else tuple(name.strip() for name in faulty.split(","))
    rates = (
        {name: memory.probability(v) for name, v in supply.items()}
        if isinstance(supply, dict)
        else memory.probability(supply)
    )
    code = parse_protection(protection)
    spatial, cells = failing_cells(memory, *source)
    of_chip: FaultSource = Chip(memory, chip or 0, spatial)
    if cells is not None:
        shapes = memory_shapes(pipeline, memory_protections(pipeline, chosen, code))
        of_chip = cells.laid_out(shapes, chip or 0)
    return design_faults(pipeline, of_chip, rates, chosen, code)


def _voltages(text: str, network: Network) -> float | dict[str, float]:
    """``0.85``, ``weight=0.85,fifo=0.9``, or what a faults.json of this network found."""
    from hwsim.errors import ConfigError

    if text.endswith(".json"):
        return _found_voltages(Path(text), network)
    try:
        if "=" not in text:
            return float(text)
        pairs = (word.split("=") for word in words(text))
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        raise ConfigError(
            f"must be a number, NAME=V,... or a faults.json, not {text!r}", key="--voltage"
        ) from None


def _found_voltages(path: Path, network: Network) -> float | dict[str, float]:
    from hwsim.errors import ConfigError
    from hwsim.faults.result import load_faults
    from hwsim.network import network_hash

    found = load_faults(path)
    if found.network_sha256 != network_hash(network):
        raise ConfigError(f"{path}: is of another network", key="--voltage")
    if found.per_memory is None:
        return found.lowest_voltage_rel
    return {memory.name: memory.voltage_rel for memory in found.per_memory.memories}


def _test_images(config: str, count: int):  # type: ignore[no-untyped-def]
    """(images, labels) of the experiment's data set, as the network reads them."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.cli.images import check_count
    from hwsim.cli.stages import dataset, network_images

    experiment = load_experiment(config)
    data = dataset(experiment.data)
    check_count(count, len(data.test_x), data.name)
    return network_images(experiment, count), data.test_y[:count]
