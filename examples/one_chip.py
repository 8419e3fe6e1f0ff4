"""One faulty chip everywhere: a network is tuned to the failing cells of chip 7.

A multiplexer network is trained on the digits, then trained further while its weights and taps are
read from chip 7 of a 14 nm SRAM at low voltage. A placement makes these the cells that the
accelerator uses, so that the accelerator with chip 7 answers as PyTorch does.

python examples/one_chip.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hwsim.accelerator import Pipeline
from hwsim.accelerator.mapping import map_network
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.config.training import DataConfig, ModelConfig
from hwsim.faults import FaultyExecutor, design_faults
from hwsim.lowvoltage import Chip, load_technology
from hwsim.models.data import Dataset, load_data
from hwsim.models.export import export_network
from hwsim.models.faults import FaultInjector, placement_of
from hwsim.models.inference import network_input, predict
from hwsim.models.networks import ConvNet, build_network
from hwsim.models.settle import settle_statistics
from hwsim.network import save

TECHNOLOGY = load_technology("sram_14nm")
CHIP, OTHERS = Chip(TECHNOLOGY, 7), [Chip(TECHNOLOGY, seed) for seed in range(8, 24)]


def mapped(model: ConvNet) -> Pipeline:
    """The accelerator of the model as it is."""
    return map_network(export_network(model.eval(), "digits"), AcceleratorConfig())


def train(model: ConvNet, x: Tensor, y: Tensor, steps: int) -> None:
    """Without errors; positions are frozen after two fifths."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for step in range(steps):
        if step < 2 * steps // 5:
            model.set_beta(0.5 * 120 ** (2.5 * step / steps))
        else:
            model.freeze_positions()
        rows = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
        rate.step()
    settle_statistics(model, x.split(256))


def tune(model: ConvNet, x: Tensor, y: Tensor, steps: int, voltage: float) -> None:
    """Go on with the weights and taps that chip 7 yields, and with its batch statistics."""
    faults = FaultInjector(model, placement=placement_of(model, mapped(model)))
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=2e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    with faults.chip(CHIP, voltage_rel=voltage):
        for step in range(steps):
            if step % 20 == 0:
                settle_statistics(model, x.split(256))
            rows = torch.randint(len(x), (128,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            rate.step()
        settle_statistics(model, x.split(256))


def report(name: str, model: ConvNet, data: Dataset, voltage: float) -> None:
    """Accuracies, in PyTorch and in the accelerator."""
    pipeline = mapped(model)
    faults = FaultInjector(model, placement=placement_of(model, pipeline))
    images = network_input(data.test_x, model.config.input_bits)

    def in_accelerator(chip: Chip) -> np.ndarray:
        rate = TECHNOLOGY.probability(voltage)
        known = design_faults(pipeline, chip, rate, ["weight"])
        return FaultyExecutor(known).run(images).reshape(-1)

    def right(labels: np.ndarray) -> float:
        return float(np.mean(labels == data.test_y))

    with faults.chip(CHIP, voltage_rel=voltage):
        in_torch = predict(model, data.test_x)
    answers = in_accelerator(CHIP)
    print(
        f"{name:<8} {right(predict(model, data.test_x)):.1%} without errors; on chip 7 "
        f"{right(in_torch):.1%} in PyTorch and {right(answers):.1%} in the accelerator, "
        f"{np.mean(in_torch == answers):.1%} of the labels equal; "
        f"{np.mean([right(in_accelerator(chip)) for chip in OTHERS]):.1%} on other chips"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--voltage", type=float, default=0.78, help="relative to vmin")
    parser.add_argument("--output", type=Path, default=Path("chip7.hwnet"))
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = load_data(DataConfig(set="digits"))
    config = ModelConfig(channels=(32, 64, 64), strides=(1, 2, 1), activation_bits=3)
    model = build_network(config, data.shape, data.classes, seed=0)
    x = torch.from_numpy(network_input(data.train_x, config.input_bits))
    y = torch.from_numpy(data.train_y)
    train(model, x, y, options.steps)
    report("trained", model, data, options.voltage)
    tune(model, x, y, options.steps, options.voltage)
    report("tuned", model, data, options.voltage)
    save(export_network(model.eval(), "digits"), options.output)


if __name__ == "__main__":
    main()
