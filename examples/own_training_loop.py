"""A multiplexer network in a training loop of your own, down to integers that are equal.

python examples/own_training_loop.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from hwsim.config.training import DataConfig, ModelConfig
from hwsim.execute import Executor
from hwsim.models.data import load_data
from hwsim.models.export import agreement, export_network
from hwsim.models.golden import GoldenNetwork
from hwsim.models.inference import network_input
from hwsim.models.networks import build_network
from hwsim.models.settle import settle_statistics
from hwsim.network import save

BETA = (0.5, 60.0)
"""Inverse temperature of the positions' softmax: at the start, and as they are frozen."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--output", type=Path, default=Path("digits.hwnet"))
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)

    data = load_data(DataConfig(set="digits"))
    config = ModelConfig(channels=(32, 64, 64), strides=(1, 2, 1), activation_bits=3)
    model = build_network(config, data.shape, data.classes, seed=0)
    x = torch.from_numpy(network_input(data.train_x, config.input_bits))
    y = torch.from_numpy(data.train_y)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=options.steps)
    freeze_at = int(0.4 * options.steps)
    for step in range(options.steps):
        if step < freeze_at:
            model.set_beta(BETA[0] * (BETA[1] / BETA[0]) ** (step / freeze_at))
        else:
            model.freeze_positions()
        rows = torch.randint(len(x), (128,))
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()

    settle_statistics(model, x.split(256))
    network = export_network(model.eval(), "digits")
    pictures = network_input(data.test_x, config.input_bits)
    labels = Executor(network).run(pictures)
    golden = GoldenNetwork(network)(torch.from_numpy(pictures)).numpy()
    print(f"integer accuracy           {np.mean(labels.ravel() == data.test_y):.2%}")
    print(f"as the training model says {agreement(model, network, data.test_x):.2%}")
    print(f"executor == torch          {np.array_equal(labels, golden)}")
    save(network, options.output)


if __name__ == "__main__":
    main()
