"""A residual network with padding lanes everywhere, and chips whose cells fail in every way."""

from __future__ import annotations

import numpy as np

from hwsim.accelerator import Fold, Pipeline, build_pipeline
from hwsim.lowvoltage import Chip, FaultModel, load_technology
from hwsim.lowvoltage.protection import parse_protection
from hwsim.network import (
    Add,
    Alphabet,
    ArgMax,
    Flatten,
    Linear,
    Lookup,
    MaxPool2d,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)

KINDS = {
    "flip": FaultModel(kind="flip"),
    "stuck_0": FaultModel(kind="stuck", ones=0),
    "stuck_1": FaultModel(kind="stuck", ones=1),
    "preferred": FaultModel(kind="stuck", ones=0.5),
    "asymmetric": FaultModel.asymmetric(0.03, 0.01)[0],
    "transient_flip": FaultModel(kind="flip", persistence=0.5),
    "transient_stuck": FaultModel(kind="stuck", ones=0.5, persistence=0.25),
    "write_failure": FaultModel(kind="write_failure", ones=0.5),
    "transient_write": FaultModel(kind="write_failure", ones=0.5, persistence=0.5),
}
"""Each way in which cells fail, a row of its own; ``transient``: in some accesses only."""

PROTECTIONS = {
    name: parse_protection(name) for name in ("parity", "secded", "secded:zero", "tmr:2")
}
"""Ways to protect words, by name."""

SHORTCUT = "conv1_q__join"
"""The FIFO of the residual network's shortcut."""

RATES = (0.003, 0.03, 0.3)
"""Bit error rates: few, some and most words have failing cells."""


def chip(kind: str, seed: int) -> Chip:
    """A chip of the shipped SRAM whose cells fail as the row ``kind`` of ``KINDS`` says."""
    technology = load_technology("sram_14nm")
    return Chip(technology.model_copy(update={"faults": KINDS[kind]}), seed)


def residual_pipeline() -> Pipeline:
    """Fork, 3x3 multiplexers in groups and steps, join, lookup, pool, linear layer and ArgMax.

    No number of lanes divides its channels, and taps have codes that name none.
    """
    rng = np.random.default_rng(4)

    def mux(name: str, source: str, inputs: int, alphabet: str) -> MuxConv2d:
        values = Alphabet(alphabet)
        shape = 5, inputs
        return MuxConv2d(
            name,
            (source,),
            rng.integers(0, 9, shape),
            rng.choice(values.values, shape),
            (3, 3),
            pad=(1, 1),
            alphabet=values,
        )

    def requantize(name: str, source: str) -> Requantize:
        return Requantize(name, (source,), rng.integers(300, 700, 5), np.full(5, 900), 9, 0, 7)

    ops = (
        mux("conv1", "input", 3, "binary"),
        requantize("conv1_q", "conv1"),
        mux("conv2", "conv1_q", 5, "ternary"),
        requantize("conv2_q", "conv2"),
        Add("join", ("conv2_q", "conv1_q")),
        requantize("join_q", "join"),
        Lookup("join_l", ("join_q",), np.array([[0, 3, 1, 6, 2, 7, 5, 4]])),
        MaxPool2d("pool", ("join_l",), kernel=(2, 2), stride=(2, 2)),
        Flatten("flat", ("pool",)),
        Linear("classes", ("flat",), rng.integers(-2, 2, (4, 20)), Alphabet("int2")),
        ArgMax("top", ("classes",)),
    )
    network = Network("residual", TensorType(3, 4, 5, 4), ops)
    folding = {
        "conv1": Fold(2, 2),
        "conv2": Fold(3, 2),
        "join": Fold(1, 2),
        "classes": Fold(3, 2),
    }
    # The shortcut holds what the body needs before it yields anything, and is read in one clock.
    return build_pipeline(network, folding, 5).with_depths({SHORTCUT: 64})


def residual_images(count: int) -> np.ndarray:
    """[count, 3, 4, 5] integers 0..15."""
    return np.random.default_rng(9).integers(0, 16, (count, 3, 4, 5))
