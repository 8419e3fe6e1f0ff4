"""``hwsim generate``: Verilog of the accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.common import Json, NetworkFile, Output, Quiet, example
from hwsim.cli.mapping import Config, FifoDepth, Interval, Weights, accelerator_config

if TYPE_CHECKING:
    from hwsim.accelerator import Pipeline
    from hwsim.faults import DesignFaults


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
    voltage: Annotated[float | None, typer.Option(help="Relative to vmin.")] = None,
    chip: Annotated[
        int | None, typer.Option(min=0, help="Seed: which cells fail; default 0.")
    ] = None,
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
    With --technology and --voltage the memories are those of a chip whose cells fail: the Verilog
    computes what it would.
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
    faults = _faults(pipeline, technology, voltage, chip, faulty)
    manifest = emit(pipeline, output, vectors, labels, out.progress, faults)
    lines = len((output / "accelerator.v").read_text().splitlines())
    document = {
        "folder": str(output),
        "files": {"verilog": str(output / "accelerator.v")},
        "network_sha256": manifest["network"]["hash"],
        "lines": lines,
        "stages": len(pipeline.stages),
        "accelerator": manifest["cycles"],
        "faults": None
        if faults is None
        else {
            "technology": technology,
            "voltage_rel": voltage,
            "chip": chip or 0,
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
    voltage: float | None,
    chip: int | None,
    faulty: str | None,
) -> DesignFaults | None:
    """The faults that the options ask for."""
    from hwsim.accelerator.memories import ROLES
    from hwsim.errors import ConfigError
    from hwsim.faults import Chip, design_faults, load_technology

    if technology is None and voltage is None:
        if chip is not None or faulty is not None:
            raise ConfigError("--chip and --faulty need --technology and --voltage")
        return None
    if technology is None or voltage is None:
        raise ConfigError("--technology and --voltage belong together")
    memory = load_technology(technology)
    chosen = ROLES if faulty is None else [name.strip() for name in faulty.split(",")]
    return design_faults(pipeline, Chip(memory, chip or 0), memory.probability(voltage), chosen)


def _test_images(config: str, count: int):  # type: ignore[no-untyped-def]
    """(images, labels) of the experiment's data set, as the network reads them."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.cli.stages import dataset, network_images

    experiment = load_experiment(config)
    return network_images(experiment, count), dataset(experiment.data).test_y[:count]
