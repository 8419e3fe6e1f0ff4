"""A training step before and after freeze_positions, with the C library's memory kept or not.

ResNet-20-shaped multiplexer network (3x32x32, 16/32/64 channels, three blocks each), batch 128,
float32: forward, backward and optimizer. Each row is a process of its own, since the state of the
heap decides; printed are medians of CPU time and of the pages that the system had to map anew.

    OMP_NUM_THREADS=1 python benchmarks/frozen_positions.py [--steps 9]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from contextlib import nullcontext

import torch
import torch.nn.functional as F

from hwsim.config.training import ModelConfig
from hwsim.models.networks import build_network
from hwsim.models.speed import kept_memory


def measure(steps: int, *, kept: bool) -> None:
    config = ModelConfig(network="resnet", channels=(16, 32, 64), stem_weights="int8")
    model = build_network(config, (3, 32, 32), 10, seed=0).train()
    x, y = torch.randint(0, 256, (128, 3, 32, 32)), torch.randint(0, 10, (128,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    with kept_memory() if kept else nullcontext():
        for name in ("soft", "frozen"):
            if name == "frozen":
                model.freeze_positions()
            seconds, pages = [], []
            for step in range(steps + 3):
                before = resource.getrusage(resource.RUSAGE_SELF)
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                after = resource.getrusage(resource.RUSAGE_SELF)
                if step >= 3:  # the first steps warm up
                    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    seconds.append(spent)
                    pages.append(after.ru_minflt - before.ru_minflt)
            memory = "kept" if kept else "as glibc does"
            print(
                f"{name:<6} memory {memory:<14} {1000 * statistics.median(seconds):7.0f} ms   "
                f"{statistics.median(pages):8,.0f} pages",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--kept", choices=["yes", "no"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kept is not None:
        measure(arguments.steps, kept=arguments.kept == "yes")
        return
    for kept in ("no", "yes"):
        words = [sys.executable, __file__, "--steps", str(arguments.steps), "--kept", kept]
        subprocess.run(words, check=True, env=os.environ)


if __name__ == "__main__":
    main()
