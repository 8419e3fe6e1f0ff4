"""A small network whose labels are its own answers, so that its accuracy without faults is 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwsim.accelerator import Fold, Pipeline, build_pipeline
from hwsim.execute import Executor
from hwsim.network import (
    ArgMax,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)

SHAPE = (1, 6, 6)


def small_network(seed: int = 8) -> Network:
    """Two convolutions and a classifier of four classes on 6 x 6 pictures of 8 bits."""
    rng = np.random.default_rng(seed)

    def conv(name: str, source: str, inputs: int, outputs: int) -> MuxConv2d:
        shape = outputs, inputs
        return MuxConv2d(
            name,
            (source,),
            tap=rng.integers(0, 9, shape),
            weight=rng.choice([-1, 1], shape),
            kernel=(3, 3),
            pad=(1, 1),
        )

    def requantize(name: str, source: str, channels: int, shift: int) -> Requantize:
        multiplier = rng.integers(8, 32, channels)
        return Requantize(
            name, (source,), multiplier=multiplier, bias=multiplier, shift=shift, lo=0, hi=15
        )

    ops = (
        conv("conv1", "input", 1, 4),
        requantize("quant1", "conv1", 4, 8),
        conv("conv2", "quant1", 4, 6),
        requantize("quant2", "conv2", 6, 5),
        GlobalAvgPool("pool", ("quant2",)),
        Linear("head", ("pool",), weight=rng.integers(-128, 128, (4, 6))),
        ArgMax("answer", ("head",)),
    )
    return Network("small", TensorType(*SHAPE, 8), ops)


def small_pipeline(weights: str = "memory") -> Pipeline:
    """Two lanes each; weights in ``memory`` or ``constant`` in the fabric."""
    network = small_network()
    folding = {name: Fold(2, 2, weights) for name in ("conv2", "head")}
    folding["conv1"] = Fold(2, 1, weights)
    return build_pipeline(network, folding)


def own_answers(network: Network, images: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels): random pictures and what the network says they are."""
    x = np.random.default_rng(0).integers(0, 256, (images, *SHAPE))
    # Brightness differs, so that there is something to tell them by.
    x = x * np.arange(1, images + 1).reshape(-1, 1, 1, 1) // images
    return x, Executor(network).run(x)[:, 0, 0, 0]


def write_npz(path: Path, network: Network, images: int = 40) -> Path:
    """A data set of those images."""
    x, labels = own_answers(network, images)
    pictures = x.astype(np.uint8)
    np.savez(path, train_x=pictures, train_y=labels, test_x=pictures, test_y=labels)
    return path
