"""Images per second: hwsim's executor against PyTorch, measured in turns in one process.

Subject: a ResNet-20-shaped multiplexer network (3x32x32, 16/32/64 channels, 3 blocks each, binary
weights, 4-bit activations, dense 8-bit stem), images in as uint8, labels out. Baseline: PyTorch
float32 running the dense ResNet-20 of the same shape with batch norm folded, in inference mode,
at the best of several batch sizes, memory formats and (where it works) torch.compile. Weights
are random; they do not change the speed.

    python benchmarks/executor.py [--threads 1 2] [--repeats 9] [--images 512] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.execute import Executor
from hwsim.network import (
    Add,
    Alphabet,
    ArgMax,
    Conv2d,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
)

CHANNELS = (16, 32, 64)
BLOCKS = 3


# -- subject ---------------------------------------------------------------------------------------


def mux_resnet20(seed: int = 0) -> Network:
    """Integer network of the shape that the experiment ``cifar10_resnet20_mux`` exports."""
    rng = np.random.default_rng(seed)
    ops: list[Op] = []

    def add(op: Op) -> str:
        ops.append(op)
        return op.name

    def requantize(name: str, source: str, outputs: int, gain: float, lo: int, hi: int) -> str:
        m = np.rint(gain * 2**14 * rng.uniform(0.8, 1.2, outputs)).astype(np.int64)
        b = np.full(outputs, 2**13)
        return add(Requantize(name, (source,), m, b, 14, lo, hi))

    def mux(name: str, source: str, inputs: int, outputs: int, k: int, stride: int) -> str:
        tap = rng.integers(0, k * k, (outputs, inputs))
        weight = rng.choice([-1, 1], (outputs, inputs))
        pad = k // 2
        return add(
            MuxConv2d(name, (source,), tap, weight, (k, k), (stride, stride), (pad, pad))
        )  # alphabet: binary

    stem = rng.integers(-128, 128, (CHANNELS[0], 3, 3, 3))
    add(Conv2d("stem_acc", ("input",), stem, pad=(1, 1), alphabet=Alphabet("int8")))
    at = requantize("stem", "stem_acc", CHANNELS[0], 15 / 1e5, 0, 15)
    inputs = CHANNELS[0]
    for stage, outputs in enumerate(CHANNELS):
        for block in range(BLOCKS):
            n = f"s{stage}b{block}"
            stride = 2 if stage and not block else 1
            gain = 1 / inputs**0.5
            acc = mux(f"{n}_a_acc", at, inputs, outputs, 3, stride)
            body = requantize(f"{n}_a", acc, outputs, gain, 0, 15)
            acc = mux(f"{n}_b_acc", body, outputs, outputs, 3, 1)
            body = requantize(f"{n}_b", acc, outputs, 8 * gain, -128, 127)
            short = at if stride == 1 else mux(f"{n}_s_acc", at, inputs, outputs, 1, stride)
            short = requantize(f"{n}_s", short, outputs, 8 if stride == 1 else gain, -128, 127)
            total = add(Add(f"{n}_sum", (body, short)))
            at = requantize(n, total, outputs, 1 / 8, 0, 15)
            inputs = outputs
    add(GlobalAvgPool("pooled", (at,)))
    add(Linear("logits", ("pooled",), rng.integers(-128, 128, (10, inputs))))
    add(ArgMax("label", ("logits",)))
    return Network("mux_resnet20", TensorType(3, 32, 32, 8), tuple(ops))


# -- baseline --------------------------------------------------------------------------------------


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.a = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.b = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.s = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(torch.relu(self.a(x))) + self.s(x))


def dense_resnet20() -> nn.Module:
    """Float ResNet-20; batch norm is folded, that is, it only left its biases."""
    layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS[0], 3, 1, 1), nn.ReLU()]
    inputs = CHANNELS[0]
    for stage, outputs in enumerate(CHANNELS):
        for block in range(BLOCKS):
            layers.append(_Block(inputs, outputs, 2 if stage and not block else 1))
            inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)]
    return nn.Sequential(*layers).eval()


def torch_candidates(images: int) -> dict[str, Callable[[], Any]]:
    """Ways to run the baseline on ``images`` images; each call runs all of them."""
    model = dense_resnet20()
    variants = {
        "contiguous": (model, torch.contiguous_format),
        "channels_last": (dense_resnet20().to(memory_format=torch.channels_last),
                          torch.channels_last),
    }  # fmt: skip
    try:
        compiled = torch.compile(variants["channels_last"][0])
        with torch.inference_mode():
            compiled(torch.zeros(32, 3, 32, 32).to(memory_format=torch.channels_last))
        variants["channels_last, compiled"] = (compiled, torch.channels_last)
    except Exception as error:  # a C++ compiler is not everywhere, and torch raises many kinds
        print(f"torch.compile left out: {type(error).__name__}", file=sys.stderr)

    def runner(run: Callable[[Tensor], Tensor], batches: list[Tensor]) -> Callable[[], Any]:
        def call() -> None:
            with torch.inference_mode():
                for batch in batches:
                    run(batch).argmax(1)

        return call

    candidates = {}
    for name, (run, form) in variants.items():
        for size in (32, 64, 128):
            x = torch.randn(size, 3, 32, 32).to(memory_format=form)
            batches = [x.clone(memory_format=torch.preserve_format) for _ in range(images // size)]
            candidates[f"{name}, batch {size}"] = runner(run, batches)
    return candidates


# -- measurement -----------------------------------------------------------------------------------


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU time of a call; on a busy machine the latter is the fairer at one thread."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(threads: int, images: int, repeats: int) -> dict[str, Any]:
    """Medians over ``repeats`` turns of executor and best baseline; figures in images/s."""
    torch.set_num_threads(threads)
    candidates = torch_candidates(images)
    trials: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(4):
        for name, call in candidates.items():
            trials[name].append(seconds(call)[0])
    best = min(trials, key=lambda name: min(trials[name][1:]))
    x = np.random.default_rng(1).integers(0, 256, (images, 3, 32, 32), np.uint8)
    executor = Executor(mux_resnet20(), threads=threads)
    executor.run(x)
    turns = [(seconds(lambda: executor.run(x)), seconds(candidates[best])) for _ in range(repeats)]
    ratios = [theirs[0] / mine[0] for mine, theirs in turns]
    return {
        "threads": threads,
        "baseline": best,
        "executor_images_per_s": images / statistics.median(mine[0] for mine, _ in turns),
        "torch_images_per_s": images / statistics.median(theirs[0] for _, theirs in turns),
        "ratio_median": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "ratio_cpu_time": statistics.median(theirs[1] / mine[1] for mine, theirs in turns),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--images", type=int, default=512, help="a multiple of 128")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [compare(n, arguments.images, arguments.repeats) for n in arguments.threads]
    if arguments.json:
        print(json.dumps({"benchmark": "executor", "rows": rows}, indent=2))
        return
    for row in rows:
        print(
            f"{row['threads']} thread(s): executor {row['executor_images_per_s']:.0f} images/s, "
            f"PyTorch {row['torch_images_per_s']:.0f} ({row['baseline']}), ratio "
            f"{row['ratio_median']:.1f} ({row['ratio_lowest']:.1f}..{row['ratio_highest']:.1f}), "
            f"by CPU time {row['ratio_cpu_time']:.1f}"
        )


if __name__ == "__main__":
    main()
