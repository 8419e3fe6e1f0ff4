"""From a PyTorch model of your own to "this voltage, this energy, this accuracy".

The same network is trained twice on the digits, without errors and (three more lines) with
random bit errors in its stored weights, and judged on the same chips of a 14 nm SRAM: how low can
the voltage be if nine chips in ten may lose at most a point of accuracy?

python examples/harden_a_model.py
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsim.config.training import DataConfig
from hwsim.lowvoltage import load_technology
from hwsim.models.data import load_data
from hwsim.models.faults import (
    Curriculum,
    FaultInjector,
    clip_weights,
    store_weights,
    voltage_curve,
)

VOLTAGES = [0.76, 0.78, 0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92]


def network() -> nn.Module:
    """Any module will do; this one is plain PyTorch."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 4, 10),
    )  # fmt: skip


def train(x: Tensor, y: Tensor, steps: int, error_rate: float) -> FaultInjector:
    """Train with 8-bit weights; ``error_rate`` > 0: against bit errors."""
    torch.manual_seed(0)
    model = store_weights(network(), bits=8).model
    faults = FaultInjector(model, seed=0)
    rate = Curriculum(error_rate, start=0.2, ramp=0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        if error_rate:
            with faults.errors(rate(step / steps)):
                F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        if error_rate:
            clip_weights(model, 0.15)
        schedule.step()
    return faults


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--chips", type=int, help="default: as many as it takes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = load_data(DataConfig(set="digits"))
    x, test_x = (torch.from_numpy(part).float() / 255 for part in (data.train_x, data.test_x))
    y, test_y = torch.from_numpy(data.train_y), torch.from_numpy(data.test_y)
    technology = load_technology("sram_14nm")
    for name, error_rate in (("plain", 0.0), ("hardened", 0.02)):
        faults = train(x, y, options.steps, error_rate)

        def accuracy(model: nn.Module = faults.model) -> float:
            return float((model(test_x).argmax(dim=1) == test_y).float().mean())

        curve = voltage_curve(faults, technology, accuracy, VOLTAGES, chips=options.chips, goal=0.9)
        lowest = curve.lowest
        saved = 1 - technology.energy_rel(lowest.voltage_rel)
        print(
            f"{name:<8} {curve.clean:.2%} without errors; 90 % of chips within a point at "
            f"{lowest.voltage_rel:.2f} Vmin: {saved:.0%} less energy for the weights"
        )


if __name__ == "__main__":
    main()
