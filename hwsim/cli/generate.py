"""``hwsim generate``: Verilog of the accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.common import Json, NetworkFile, Output, Quiet, example
from hwsim.cli.mapping import Config, FifoDepth, Interval, Weights, accelerator_config


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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verilog of a network's accelerator, its manifest and test vectors.

    The test vectors are images of the experiment's data set when --images is given, else random.
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
    manifest = emit(pipeline, output, vectors, labels, out.progress)
    lines = len((output / "accelerator.v").read_text().splitlines())
    document = {
        "folder": str(output),
        "files": {"verilog": str(output / "accelerator.v")},
        "network_sha256": manifest["network"]["hash"],
        "lines": lines,
        "stages": len(pipeline.stages),
        "accelerator": manifest["cycles"],
    }
    out.finish(
        document,
        lambda: [
            f"{lines:,} lines of Verilog, {len(pipeline.stages)} stages, written to {output}",
            f"check them: hwsim verify {output}",
        ],
    )


def _test_images(config: str, count: int):  # type: ignore[no-untyped-def]
    """(images, labels) of the experiment's data set, as the network reads them."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.cli.stages import dataset, network_images

    experiment = load_experiment(config)
    return network_images(experiment, count), dataset(experiment.data).test_y[:count]
