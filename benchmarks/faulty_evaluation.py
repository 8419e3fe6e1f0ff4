"""Images per second of a chip's answers, against the same network without faults.

Subject: the network of executor.py, lanes as the mapper gives them, a chip of 14 nm SRAM. For
each group of memories that fail: the executor without faults (baseline), the chip as a circuit,
and the chip stage by stage, as errors that come and go are evaluated. In turns in one process.

    python benchmarks/faulty_evaluation.py [--rates 0.001 0.01] [--turns 5] [--images 512]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from executor import mux_resnet20

from hwsim.accelerator.memories import ROLES
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.execute import Executor
from hwsim.faults import Chip, FaultyExecutor, design_faults, load_technology
from hwsim.run.mapping import map_network

GROUPS = (
    ("weight", "constants"),
    ("window", "fifo"),
    ("accumulator",),
    ROLES,
)
SLOW_IMAGES = 64
"""Images that are evaluated stage by stage in a turn."""


def images_per_s(call: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    call()
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 1e-2])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--images", type=int, default=512)
    arguments = parser.parse_args()
    network = mux_resnet20()
    pipeline = map_network(network, AcceleratorConfig())
    chip = Chip(load_technology("sram_14nm"), seed=0)
    x = np.random.default_rng(1).integers(0, 256, (arguments.images, 3, 32, 32), np.uint8)
    clean = Executor(network, threads=1)
    print("| memories | bit error rate | failing cells | without faults | circuit | ratio "
          "| stage by stage | ratio |")  # fmt: skip
    print("|---" * 8 + "|")
    for roles in GROUPS:
        for rate in arguments.rates:
            faults = design_faults(pipeline, chip, rate, roles)
            ours, slow = FaultyExecutor(faults, threads=1), FaultyExecutor(faults, threads=1)
            slow.__dict__["_executor"] = None
            few = x[:SLOW_IMAGES]
            assert np.array_equal(ours.run(few), slow.run(few))
            clean.run(few)
            turns = [
                (
                    images_per_s(lambda: clean.run(x), len(x)),
                    images_per_s(lambda ours=ours: ours.run(x), len(x)),  # type: ignore[misc]
                    images_per_s(lambda slow=slow, few=few: slow.run(few), len(few)),  # type: ignore[misc]
                )
                for _ in range(arguments.turns)
            ]
            speeds = [statistics.median(column) for column in zip(*turns, strict=True)]
            circuit = statistics.median(fast / base for base, fast, _ in turns)
            stages = statistics.median(fast / step for _, fast, step in turns)
            print(f"| {', '.join(roles)} | {rate:g} | {len(faults):,} | {speeds[0]:,.0f} "
                  f"| {speeds[1]:,.0f} | {circuit:.2f} | {speeds[2]:,.0f} | {stages:,.0f} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
