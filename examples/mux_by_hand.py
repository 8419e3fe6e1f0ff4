"""A tiny accelerator without any training: from arrays to Verilog.

python examples/mux_by_hand.py my_verilog
hwsim verify my_verilog
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hwsim.accelerator import Fold, build_pipeline, memory_list, simulate
from hwsim.network import (
    Alphabet,
    ArgMax,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
    evaluate,
)
from hwsim.rtl.emit import generate


def make_network() -> Network:
    """One multiplexer convolution of 8 channels and a classifier of 4 classes, random weights."""
    rng = np.random.default_rng(0)
    conv = MuxConv2d(
        "conv",
        ("input",),
        tap=rng.integers(0, 9, (8, 2)),  # which of the 3 x 3 pixels each slice keeps
        weight=rng.choice([-1, 1], (8, 2)),
        kernel=(3, 3),
        pad=(1, 1),
        alphabet=Alphabet("binary"),
    )
    # y = clamp((acc * 1 + 4) >> 3, 0, 15): rounds, scales by 1/8 and is a ReLU of 4 bits.
    ones = np.ones(8, int)
    scale = Requantize("act", ("conv",), multiplier=ones, bias=4 * ones, shift=3, lo=0, hi=15)
    head = Linear(
        "logits", ("pool",), weight=rng.integers(-8, 8, (4, 8)), alphabet=Alphabet("int4")
    )
    ops = (conv, scale, GlobalAvgPool("pool", ("act",)), head, ArgMax("label", ("logits",)))
    return Network("by_hand", TensorType(channels=2, height=6, width=6, bits=8), ops)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the Verilog goes")
    options = parser.parse_args(arguments)

    network = make_network()
    for name, kind in network.types.items():
        print(f"{name:<8}{kind}")

    # Two output lanes and two input lanes: 36 pixels x 8/2 x 2/2 = 144 cycles a frame.
    pipeline = build_pipeline(network, {"conv": Fold(pe=2, simd=2), "logits": Fold(1, 2)})
    cycles = simulate(pipeline, frames=4)
    print(f"a frame every {cycles.frame_interval_cycles} cycles, "
          f"latency {cycles.frame_latency_cycles}")  # fmt: skip
    for stage in cycles.stages:
        print(f"{stage.name:<8}busy {stage.busy_cycles:>4}, starved {stage.starved_cycles:>4}, "
              f"blocked {stage.blocked_cycles:>4}")  # fmt: skip
    stores = [m for m in memory_list(pipeline) if m.style == "memory"]
    print(f"{sum(m.size_bits for m in stores):,} bits in {len(stores)} memories")

    rng = np.random.default_rng(1)
    brightest = rng.integers(2, 257, (8, 2, 1, 1))
    images = rng.integers(0, brightest, (8, *network.input.shape))
    print("labels", evaluate(network, images)["label"].ravel().tolist())
    generate(pipeline, options.folder, images)
    print(f"written to {options.folder}; now: hwsim verify {options.folder}")


if __name__ == "__main__":
    main()
