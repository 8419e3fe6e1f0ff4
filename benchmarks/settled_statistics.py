"""What settled batch-norm statistics are worth at the end of the tutorial's training loop.

A small network (channels 12, 16, 16) on the digits; the integers' test accuracy is taken with the
running averages as the loop left them, and again after ``settle_statistics``.

    OMP_NUM_THREADS=1 python benchmarks/settled_statistics.py [--seeds 5] [--steps 900] [--decay]

--decay: with the learning rate schedule of examples/own_training_loop.py, whose last steps move
the weights little.
"""

from __future__ import annotations

import argparse
import statistics
import warnings

import numpy as np
import torch
import torch.nn.functional as F

from hwsim.config.training import DataConfig, ModelConfig
from hwsim.errors import HwsimWarning
from hwsim.models.data import Dataset, load_data
from hwsim.models.export import export_network
from hwsim.models.golden import GoldenNetwork
from hwsim.models.inference import network_input
from hwsim.models.networks import ConvNet, build_network
from hwsim.models.settle import settle_statistics


def accuracy(model: ConvNet, data: Dataset) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HwsimWarning)  # the point of the comparison
        network = export_network(model.eval())
    x = torch.from_numpy(network_input(data.test_x, model.config.input_bits))
    return float(np.mean(GoldenNetwork(network)(x).numpy().ravel() == data.test_y))


def train(data: Dataset, seed: int, steps: int, decay: bool) -> tuple[float, float]:
    """Accuracy before and after settling, of the tutorial's loop."""
    torch.manual_seed(seed)
    config = ModelConfig(channels=(12, 16, 16), strides=(1, 2, 1), activation_bits=3)
    model = build_network(config, data.shape, data.classes, seed=seed)
    x = torch.from_numpy(network_input(data.train_x, config.input_bits))
    y = torch.from_numpy(data.train_y)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    if not decay:
        optimizer.param_groups[0].update(lr=5e-3, betas=(0.9, 0.999))
    freeze_at = int(0.4 * steps)
    for step in range(steps):
        if step < freeze_at:
            model.set_beta(0.5 * 120 ** (step / freeze_at))
        else:
            model.freeze_positions()
        rows = torch.randint(len(x), (64,))
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if decay:
            rate.step()
    before = accuracy(model, data)
    settle_statistics(model, x.split(256))
    return before, accuracy(model, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--decay", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(DataConfig(set="digits"))
    found = []
    for seed in range(arguments.seeds):
        found.append(train(data, seed, arguments.steps, arguments.decay))
        print(f"seed {seed}: {found[-1][0]:.1%} as left, {found[-1][1]:.1%} settled", flush=True)
    left, settled = (statistics.mean(column) for column in zip(*found, strict=True))
    print(f"mean of {len(found)}: {left:.1%} as left, {settled:.1%} settled")


if __name__ == "__main__":
    main()
