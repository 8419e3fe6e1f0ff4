"""Small accelerators for tests of the emitted Verilog."""

from __future__ import annotations

import shutil

import numpy as np

from hwsim.accelerator import Fold, Pipeline, build_pipeline
from hwsim.network import (
    Add,
    Alphabet,
    ArgMax,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)

SIMULATOR = "icarus" if shutil.which("iverilog") else "verilator"
"""The one that starts faster for tiny designs, where there is a choice."""


def tiny_network(argmax: bool = False) -> Network:
    """Two multiplexer convolutions, a residual, a pool and a linear layer on 1x5x6 images."""
    rng = np.random.default_rng(11)

    def mux(name: str, source: str, inputs: int, outputs: int) -> MuxConv2d:
        shape = outputs, inputs
        return MuxConv2d(
            name,
            (source,),
            tap=rng.integers(0, 9, shape),
            weight=rng.choice([-1, 1], shape),
            kernel=(3, 3),
            pad=(1, 1),
            alphabet=Alphabet("binary"),
        )

    def requantize(name: str, source: str, channels: int) -> Requantize:
        scale = rng.integers(300, 700, channels)
        return Requantize(
            name, (source,), multiplier=scale, bias=np.full(channels, 900), shift=9, lo=0, hi=7
        )

    ops = [
        mux("conv1", "input", 1, 3),
        requantize("conv1_q", "conv1", 3),
        mux("conv2", "conv1_q", 3, 3),
        requantize("conv2_q", "conv2", 3),
        Add("join", ("conv2_q", "conv1_q")),
        requantize("join_q", "join", 3),
        MaxPool2d("pool", ("join_q",), kernel=(2, 2), stride=(2, 2)),
        GlobalAvgPool("mean", ("pool",)),
        Linear(
            "classes",
            ("mean",),
            weight=rng.choice([-1, 1], (4, 3)),
            alphabet=Alphabet("binary"),
        ),
    ]
    if argmax:
        ops.append(ArgMax("top", ("classes",)))
    return Network("tiny", TensorType(1, 5, 6, 4), tuple(ops))


def tiny_pipeline(argmax: bool = False) -> Pipeline:
    folding = {"conv1": Fold(2, 1), "conv2": Fold(1, 2, "constant"), "classes": Fold(2, 1)}
    pipeline = build_pipeline(tiny_network(argmax), folding, 4)
    shortcut = next(fifo.name for fifo in pipeline.fifos if fifo.consumer == "resize_join")
    return pipeline.with_depths({shortcut: 60})


def tiny_images(count: int = 3) -> np.ndarray:
    """[count, 1, 5, 6] integers 0..15."""
    return np.random.default_rng(3).integers(0, 16, (count, 1, 5, 6))
