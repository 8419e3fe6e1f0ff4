"""``hwsim evaluate``: accuracy of an integer network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from hwsim.cli.common import Json, NetworkFile, Output, Quiet, example


@example("hwsim evaluate runs/quickstart/network.hwnet --data digits")
def evaluate(
    network: NetworkFile,
    data: Annotated[str, typer.Option(help="Data set: digits, mnist, fashion_mnist, cifar10, ...")],
    path: Annotated[str | None, typer.Option(help="Folder or file of the data set.")] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Number of images; the first ones are taken. Default: all."),
    ] = None,
    golden: Annotated[
        bool, typer.Option(help="Compute the same integers with torch, too, and compare.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy of a network on the test images of a data set, computed in integers."""
    import numpy as np

    from hwsim.cli.images import labelled_images
    from hwsim.execute import Executor
    from hwsim.network import load, network_hash

    net = load(network)
    out = Output("evaluate", as_json=as_json, quiet=quiet)
    name, x, y = labelled_images(net, data, path, images)
    count = len(x)
    with out.progress.task(f"evaluate {count:,} images"):
        executor = Executor(net)
        executor.run(x[:1])  # compiles the kernels
        start = time.perf_counter()
        accuracy = {"integer": executor.accuracy(x, y)}
        seconds = time.perf_counter() - start
    if golden:
        from hwsim.cli.stages.evaluate import run_golden
        from hwsim.models.golden import GoldenNetwork

        with out.progress.task("evaluate with torch"):
            accuracy["golden"] = float(np.mean(run_golden(GoldenNetwork(net), x) == y))

    document = {
        "network_sha256": network_hash(net),
        "data": name,
        "images": count,
        "accuracy": accuracy,
        "images_per_second": count / seconds,
        "threads": executor.threads,
    }

    def people() -> Iterator[str]:
        for way, share in accuracy.items():
            yield f"{way:<8} {100 * share:.2f} % of {count:,} test images of {name}"
        yield f"{count / seconds:,.0f} images/s with {executor.threads} threads"

    out.finish(document, people)
