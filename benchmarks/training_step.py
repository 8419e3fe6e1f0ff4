"""What errors cost a training step: RandBET and single-pass steps against clean quantized ones.

Two models with 8-bit weights: the Fashion-MNIST network of hwsim (multiplexer layers, batch 128)
and a plain PyTorch ResNet-18 for 32 x 32 pictures (11.16 million weights, ``store_weights``,
batch 32). A step is forward, backward and optimizer, on random pictures; all kinds of steps take
turns, and CPU time is counted, so that a busy machine troubles them little. Printed are medians
and medians of the ratios to the clean step of the same turn.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py [--turns 11] [--rate 0.01]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsim.config.training import FaultTrainingConfig, ModelConfig
from hwsim.models.faults import store_weights
from hwsim.models.networks import build_network
from hwsim.models.robust import RobustLoss

METHODS = ("clean", "single", "randbet", "deviation")


class Block(nn.Module):
    """Residual block of ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )  # fmt: skip
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


def resnet18() -> nn.Module:
    """For pictures of 3 x 32 x 32; 11,164,352 weights in convolutions and head."""
    blocks: list[nn.Module] = []
    inputs = 64
    for stage, outputs in enumerate((64, 128, 256, 512)):
        for block in range(2):
            blocks.append(Block(inputs, outputs, 2 if stage and not block else 1))
            inputs = outputs
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(*stem, *blocks, *head)


def fashion() -> tuple[nn.Module, Tensor]:
    config = ModelConfig(
        channels=(64, 64, 128, 128, 128, 128),
        strides=(2, 1, 2, 1, 1, 1),
        stem_kernel=5,
        weights="int8",
    )
    model = build_network(config, (1, 28, 28), 10, seed=0)
    model.freeze_positions()
    return model, torch.randint(0, 256, (128, 1, 28, 28))


def plain() -> tuple[nn.Module, Tensor]:
    return store_weights(resnet18(), 8).model, torch.rand(32, 3, 32, 32)


def steps(model: nn.Module, x: Tensor, rate: float) -> dict[str, Callable[[], None]]:
    """One training step by each method."""
    y = torch.randint(0, 10, (len(x),))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    counter = iter(range(1, 1 << 30))

    def loss(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, y)

    def step(method: str) -> Callable[[], None]:
        robust = None
        if method != "clean":
            config = FaultTrainingConfig(bit_error_rate=rate, method=method, memories=("weight",))  # type: ignore[arg-type]
            robust = RobustLoss(model, config, seed=0)

        def run() -> None:
            optimizer.zero_grad()
            if robust is None:
                loss(model(x)).backward()
            else:
                for forward in robust.passes(x, loss, next(counter), 1.0):
                    forward()[0].backward()
            optimizer.step()

        return run

    return {method: step(method) for method in METHODS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--rate", type=float, default=0.01)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name, make in (("Fashion-MNIST network", fashion), ("ResNet-18", plain)):
        model, x = make()
        kinds = steps(model.train(), x, arguments.rate)
        times: dict[str, list[float]] = {method: [] for method in METHODS}
        for turn in range(arguments.turns + 1):
            for method, run in kinds.items():
                started = time.process_time()
                run()
                if turn:  # the first turn warms up
                    times[method].append(time.process_time() - started)
        print(f"{name}, batch {len(x)}, bit error rate {arguments.rate:g}, "
              "one thread")  # fmt: skip
        for method, taken in times.items():
            ratios = [a / b for a, b in zip(taken, times["clean"], strict=True)]
            print(
                f"  {method:<10} {1000 * statistics.median(taken):8.1f} ms   "
                f"{statistics.median(ratios):.2f} x clean"
            )


if __name__ == "__main__":
    main()
