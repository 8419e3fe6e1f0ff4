"""Images per second of a chip's answers, against the same network without faults.

Subject: the network of executor.py, lanes as the mapper gives them, a chip of 14 nm SRAM. For
each group of memories that fail: the executor without faults (baseline); the chip, whose errors
always occur; the same stage by stage; and one whose errors occur in half of the accesses, which
is evaluated stage by stage in any case. In turns in one process, on one thread.

    python benchmarks/faulty_evaluation.py [--rates 0.001 0.01] [--turns 5] [--images 512]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from executor import mux_resnet20

from hwsim.accelerator.mapping import map_network
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.design.roles import Role
from hwsim.execute import Executor
from hwsim.faults import FaultyExecutor, design_faults
from hwsim.lowvoltage import Chip, FaultModel, load_technology

GROUPS = (
    ("weight", "constants"),
    ("window", "fifo"),
    ("accumulator",),
    tuple(Role),
)
SLOW_IMAGES = 64
"""Images that are evaluated stage by stage in a turn."""


def images_per_s(executor: Executor | FaultyExecutor, images: np.ndarray) -> float:
    start = time.perf_counter()
    executor.run(images)
    return len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 1e-2])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--images", type=int, default=512)
    arguments = parser.parse_args()
    network = mux_resnet20()
    pipeline = map_network(network, AcceleratorConfig())
    technology = load_technology("sram_14nm")
    chip = Chip(technology, seed=0)
    half = FaultModel(kind="flip", persistence=0.5)
    changing = Chip(technology.model_copy(update={"faults": half}), seed=0)
    x = np.random.default_rng(1).integers(0, 256, (arguments.images, 3, 32, 32), np.uint8)
    clean = Executor(network, threads=1)
    print("| memories | bit error rate | failing cells | without faults | with | ratio "
          "| stage by stage | errors that come and go | ratio |")  # fmt: skip
    print("|---" * 9 + "|")
    few = x[:SLOW_IMAGES]
    for roles in GROUPS:
        for rate in arguments.rates:
            faults = design_faults(pipeline, chip, rate, roles)
            fast = FaultyExecutor(faults, threads=1, path="circuit")
            slow = FaultyExecutor(faults, threads=1, path="stages")
            assert np.array_equal(fast.run(few), slow.run(few))
            coming = FaultyExecutor(design_faults(pipeline, changing, rate, roles), threads=1)
            jobs = ((clean, x), (fast, x), (slow, few), (coming, few))
            for executor, images in jobs:
                executor.run(images[:1])
            turns = [
                [images_per_s(executor, images) for executor, images in jobs]
                for _ in range(arguments.turns)
            ]
            speeds = [statistics.median(column) for column in zip(*turns, strict=True)]
            ratios = [statistics.median(turn[n] / turn[0] for turn in turns) for n in (1, 3)]
            print(f"| {', '.join(roles)} | {rate:g} | {len(faults):,} | {speeds[0]:,.0f} "
                  f"| {speeds[1]:,.0f} | {ratios[0]:.2f} | {speeds[2]:,.0f} "
                  f"| {speeds[3]:,.0f} | {ratios[1]:.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
