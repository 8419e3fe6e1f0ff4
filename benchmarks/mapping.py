"""What a new configuration costs: the mapped accelerator, its energy, FIFO depths and cycles.

    python benchmarks/mapping.py [--design resnet20] [--repeats 7]

CPU time, the least of the repeats, kernels compiled before. Every repeat maps the network anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from cycles import DESIGNS, residual_network

from hwsim.accelerator import (
    Pipeline,
    auto_fold,
    build_pipeline,
    estimate_energy,
    memory_list,
    simulate,
    smallest_depths,
)
from hwsim.config.energy_table import EnergyTable
from hwsim.config.loader import load_config


def least(repeats: int, run: Callable[[], object]) -> float:
    """CPU milliseconds."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return best * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--design", choices=list(DESIGNS), default="resnet20")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    channels, blocks, size, interval = DESIGNS[args.design]
    network = residual_network(channels, blocks, size)
    table = load_config("cmos_45nm", EnergyTable, "energy")
    folding = auto_fold(network, interval)

    def configuration() -> Pipeline:
        pipeline = build_pipeline(network, folding)
        estimate_energy(pipeline, table, pipeline.ideal_interval, 100.0)
        return pipeline

    pipeline = configuration()
    smallest_depths(pipeline)

    def images() -> None:
        for memory in memory_list(pipeline):
            pipeline.image(memory)

    print(f"{args.design}: {len(pipeline.stages)} stages, {len(pipeline.fifos)} FIFOs")
    print(f"configuration with its energy: {least(args.repeats, configuration):.1f} ms")
    print(f"images of all memories: {least(args.repeats, images):.1f} ms")
    depths = least(args.repeats, lambda: smallest_depths(pipeline))
    print(f"smallest depths: {depths:.0f} ms")
    tight = pipeline.with_depths(smallest_depths(pipeline))
    for frames in (1, 3):
        cycles = least(args.repeats, lambda frames=frames: simulate(tight, frames))  # type: ignore[misc]
        print(f"exact cycles of {frames} frames: {cycles:.1f} ms")


if __name__ == "__main__":
    main()
