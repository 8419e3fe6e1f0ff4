"""The same digits network with other weights: accuracy, bits to store and energy of each.

python examples/weight_alphabets.py --epochs 24
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from hwsim.accelerator import estimate_energy, memory_list, simulate
from hwsim.accelerator.mapping import map_network
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.config.energy_table import EnergyTable
from hwsim.config.experiment import ExperimentConfig
from hwsim.config.loader import load_config
from hwsim.execute import Executor
from hwsim.models.data import load_data
from hwsim.models.export import export_network
from hwsim.models.inference import network_input
from hwsim.models.train import train

ACCELERATOR = AcceleratorConfig(frame_interval_cycles=4096)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alphabets", nargs="+", default=["binary", "ternary", "int4", "pow2_3"])
    parser.add_argument("--epochs", type=int, default=24)
    options = parser.parse_args(arguments)

    base = load_config("quickstart", ExperimentConfig)
    data = load_data(base.data)
    x = network_input(data.test_x, base.model.input_bits)
    table = load_config("cmos_45nm", EnergyTable, "energy")
    training = base.training.model_copy(
        update={"epochs": options.epochs, "twin_epochs": 0, "distillation": 0.0}
    )
    print("weights    accuracy   weight bits   nJ a frame")
    for alphabet in options.alphabets:
        model = base.model.model_copy(update={"weights": alphabet})
        with tempfile.TemporaryDirectory() as folder:
            fit = train(data, model, training, seed=base.seed, folder=Path(folder))
        network = export_network(fit.network.model.eval(), alphabet)
        accuracy = np.mean(Executor(network).run(x).ravel() == data.test_y)
        pipeline = map_network(network, ACCELERATOR)
        interval = simulate(pipeline, frames=4).frame_interval_cycles
        bits = sum(m.size_bits for m in memory_list(pipeline) if m.role == "weight")
        energy = estimate_energy(pipeline, table, interval, ACCELERATOR.clock_mhz).total_pj
        print(f"{alphabet:<9}{100 * accuracy:>8.2f} %{bits:>14,}{energy / 1e3:>13,.1f}")


if __name__ == "__main__":
    main()
