"""``hwsim generate``: Verilog of the accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.cells import ChipOptions
from hwsim.cli.common import Json, NetworkFile, Output, Quiet, example, takes_options
from hwsim.cli.mapping import Config, FifoDepth, Interval, Weights, accelerator_config


@example("hwsim generate runs/quickstart/network.hwnet -o verilog")
@takes_options
def generate(
    *,
    network: NetworkFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files.")
    ],
    config: Config = None,
    frame_interval_cycles: Interval = None,
    weights: Weights = None,
    fifo_depth: FifoDepth = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Number of test images, from the experiment in --config."),
    ] = None,
    faulty_chip: ChipOptions,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the Verilog of a network's accelerator, its manifest and test vectors.

    With --images the test vectors are images of the experiment's data set, otherwise random ones.
    With --technology and --voltage the memories have the failing cells of a chip: the chip of the
    same number in hwsim faults with the same options. The Verilog gives the answers of this chip. A
    faults.json in --voltage sets the memories, protection, cells and seed of its study.
    """
    from hwsim.accelerator.mapping import map_network
    from hwsim.cli.faulty_build import faulty_build
    from hwsim.errors import ConfigError
    from hwsim.network import load
    from hwsim.rtl.emit import generate as emit

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
    build = faulty_build(faulty_chip, pipeline)
    faults = None if build is None else build.faults(pipeline)
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
        if build is None or faults is None
        else {
            **build.described(),
            "failing_cells": len(faults),
        },
    }

    def people() -> Iterator[str]:
        yield f"{lines:,} lines of Verilog, {len(pipeline.stages)} stages, written to {output}"
        if faults is not None:
            yield f"{len(faults):,} failing cells in {len(faults.memories)} memories"
        yield f"check them: hwsim verify {output}"

    out.finish(document, people)


def _test_images(config: str, count: int):  # type: ignore[no-untyped-def]
    """(images, labels) of the experiment's data set, as the network reads them."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.cli.images import check_count
    from hwsim.cli.stages.pictures import dataset, network_images

    experiment = load_experiment(config)
    data = dataset(experiment.data)
    check_count(count, len(data.test_x), data.name)
    return network_images(experiment, count), data.test_y[:count]
